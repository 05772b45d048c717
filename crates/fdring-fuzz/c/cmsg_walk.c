/* The target cmsg_walk, for any engine that calls LLVMFuzzerTestOneInput. */
#include "fdring_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fdring_fuzz_cmsg_walk(data, size);
    return 0;
}
