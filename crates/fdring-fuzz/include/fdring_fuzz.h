/* The fuzzing kit of fdring for C: a generator of control messages, an oracle for parsers of them, and two targets.
 *
 * The static library is built by build.sh beside this directory, which also says how to link it. Every function aborts
 * the process where a target finds a fault, which is what fuzzers look for.
 */
#ifndef FDRING_FUZZ_H
#define FDRING_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The outcomes of struct fdring_cmsg. */
enum {
    FDRING_MESSAGE = 0,      /* header and body are there */
    FDRING_CUT_HEADER = 1,   /* fewer bytes are left than a header has: the end */
    FDRING_BELOW_HEADER = 2, /* cmsg_len is less than 16: the end */
    FDRING_PAST_END = 3,     /* cmsg_len is more than what is left: the end */
    FDRING_BODY = 4          /* there, but the body has a wrong length for its type (rights, credentials, pidfd) */
};

/* A message that a right walker finds, or the fault that ends the walk. Offsets and lengths are in bytes. */
struct fdring_cmsg {
    uint64_t offset;   /* where the header begins */
    uint64_t len;      /* cmsg_len; 0 if the header is cut */
    uint64_t body_len; /* the length of the body if it is all there, else 0; it begins at offset + 16 */
    int32_t level;     /* cmsg_level; 0 if the header is cut */
    int32_t type;      /* cmsg_type; 0 if the header is cut */
    uint32_t outcome;  /* FDRING_... */
    uint32_t reserved; /* 0 */
};

/* Writes the control buffer that these bytes stand for to control; what does not fit is cut off. Returns its length.
 * Any bytes stand for one: messages in sequence, well-formed and not, cut at any byte. */
size_t fdring_cmsg_generate(const uint8_t *data, size_t size, uint8_t *control, size_t room);

/* Writes what a right walker finds in a control buffer to found, at most room of them. Returns how many there are. */
size_t fdring_cmsg_expect(const uint8_t *control, size_t size, struct fdring_cmsg *found, size_t room);

/* The targets: fdring's walker of control messages, and its parser of frames, each with its oracle. */
void fdring_fuzz_cmsg_walk(const uint8_t *data, size_t size);
void fdring_fuzz_frame_parse(const uint8_t *data, size_t size);

#ifdef __cplusplus
}
#endif

#endif
