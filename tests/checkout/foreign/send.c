/* Listens on a Unix stream socket and sends the files named to the first peer, as the manual pages have it:
 * send SOCKET FILE... */
#include <fcntl.h>
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
    int n = argc - 2;
    if (n < 1)
        return 2;
    int fds[n];
    for (int i = 0; i < n; i++)
        if ((fds[i] = open(argv[i + 2], O_RDWR | O_CREAT | O_APPEND, 0666)) < 0)
            fail("open");

    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0)
        fail("socket");
    unlink(argv[1]);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail("bind");
    if (listen(listener, 5) < 0)
        fail("listen");
    puts("listening");
    fflush(stdout);
    int peer = accept(listener, NULL, NULL);
    if (peer < 0)
        fail("accept");

    char payload[] = "bytes";
    struct iovec iov = { .iov_base = payload, .iov_len = sizeof(payload) };
    char buf[CMSG_SPACE(sizeof(int) * n)];
    memset(buf, 0, sizeof(buf));
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof(buf) };
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(control), fds, sizeof(int) * n);
    if (sendmsg(peer, &message, 0) < 0)
        fail("sendmsg");
    for (int i = 0; i < n; i++)
        close(fds[i]);
    close(peer);
    close(listener);
    unlink(argv[1]);
    return 0;
}
