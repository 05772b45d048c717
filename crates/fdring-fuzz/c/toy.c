/* A parser of one's own, fuzzed with the generator and the oracle: put yours in the place of count_descriptors.
 *
 * It counts the descriptors in a control buffer, by the macros of cmsg(3). PLANTED makes it wrong, to see that it is
 * found: then it takes cmsg_len for what the kernel would have written. RAW takes the input itself for the control
 * buffer, as the files of corpus/cmsg_walk are; otherwise the input is what the generator makes one of.
 */
#define _GNU_SOURCE
#include "fdring_fuzz.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static size_t count_descriptors(unsigned char *control, size_t size) {
    struct msghdr message = {.msg_control = control, .msg_controllen = size};
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
#ifndef PLANTED
        size_t rest = size - (size_t)((unsigned char *)c - control);
        if (c->cmsg_len < sizeof *c || c->cmsg_len > rest)
            break;
#endif
        size_t body = c->cmsg_len - sizeof *c;
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && body % sizeof(int) == 0)
            count += body / sizeof(int);
    }
    return count;
}

/* By their numbers in fdring_fuzz.h. */
static const char *const OUTCOMES[] = {"a message", "a cut header: the end", "a length below a header: the end",
                                       "a length past the end: the end", "a body of a wrong length"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fdring_cmsg found[4096];
#ifdef RAW
    const uint8_t *made = data;
    size_t used = size;
#else
    static uint8_t made[32768];
    size_t used = fdring_cmsg_generate(data, size, made, sizeof made);
#endif
    /* Of just that size, so that AddressSanitizer sees a parser that reads on (CFLAGS=-fsanitize=address). */
    unsigned char *control = malloc(used ? used : 1);
    memcpy(control, made, used);
    size_t messages = fdring_cmsg_expect(control, used, found, 4096), expected = 0;
    if (messages > 4096) { /* The generator makes far fewer. */
        free(control);
        return 0;
    }
    for (size_t i = 0; i < messages; i++)
        if (found[i].outcome == FDRING_MESSAGE && found[i].level == SOL_SOCKET && found[i].type == SCM_RIGHTS)
            expected += found[i].body_len / sizeof(int);
    size_t count = count_descriptors(control, used);
    if (count != expected) {
        fprintf(stderr, "%zu descriptors are counted where there are %zu, in %zu bytes:\n", count, expected, used);
        for (size_t i = 0; i < messages; i++)
            fprintf(stderr, "  at %llu: cmsg_len %llu, level %d, type %d: %s\n", (unsigned long long)found[i].offset,
                    (unsigned long long)found[i].len, found[i].level, found[i].type, OUTCOMES[found[i].outcome]);
        abort();
    }
    free(control);
    return 0;
}
