/* Control messages by the macros of cmsg(3), as the C library has them: what the walker is compared with. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

struct header {
    uint64_t offset, len;
    int32_t level, type;
};

/* Writes the headers that the macros hand out to found, at most room of them. Returns how many there are. */
size_t fdring_macros(unsigned char *control, size_t size, struct header *found, size_t room) {
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_control = control;
    message.msg_controllen = size;
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c), count++)
        if (count < room)
            found[count] = (struct header){(unsigned char *)c - control, c->cmsg_len, c->cmsg_level, c->cmsg_type};
    return count;
}

/* Writes a message by CMSG_LEN, CMSG_SPACE and CMSG_DATA. Returns CMSG_SPACE of the body. */
size_t fdring_macro_encode(int level, int type, const unsigned char *body, size_t size, unsigned char *control) {
    struct cmsghdr *c = (struct cmsghdr *)control;
    memset(control, 0, CMSG_SPACE(size));
    c->cmsg_len = CMSG_LEN(size);
    c->cmsg_level = level;
    c->cmsg_type = type;
    if (size > 0)
        memcpy(CMSG_DATA(c), body, size);
    return CMSG_SPACE(size);
}
