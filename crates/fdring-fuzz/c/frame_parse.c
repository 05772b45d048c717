/* The target frame_parse, for any engine that calls LLVMFuzzerTestOneInput. */
#include "fdring_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fdring_fuzz_frame_parse(data, size);
    return 0;
}
