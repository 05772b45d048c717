/* Connects to a Unix stream socket, receives exactly N descriptors, and prints the files' contents, as the manual pages
 * have it: recv SOCKET N */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int n = atoi(argv[2]);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
    int peer = socket(AF_UNIX, SOCK_STREAM, 0);
    if (peer < 0)
        fail("socket");
    if (connect(peer, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail("connect");

    char payload[1];
    struct iovec iov = { .iov_base = payload, .iov_len = sizeof(payload) };
    char buf[CMSG_SPACE(sizeof(int) * n)];
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof(buf) };
    if (recvmsg(peer, &message, 0) != 1)
        fail("recvmsg");
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    if (control == NULL || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS ||
        control->cmsg_len != CMSG_LEN(sizeof(int) * n) || (message.msg_flags & MSG_CTRUNC)) {
        fprintf(stderr, "not %d descriptors\n", n);
        return 1;
    }
    int fds[n];
    memcpy(fds, CMSG_DATA(control), sizeof(int) * n);
    for (int i = 0; i < n; i++) {
        char contents[4096];
        ssize_t len = pread(fds[i], contents, sizeof(contents), 0);
        if (len < 0)
            fail("pread");
        fwrite(contents, 1, len, stdout);
        close(fds[i]);
    }
    close(peer);
    return 0;
}
