// Connects to a Unix stream socket, receives exactly one or four descriptors, and prints the files' contents:
// recv SOCKET N
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void check(bool good, const char *what)
{
    if (!good) {
        std::perror(what);
        std::exit(1);
    }
}

template <int n>
static void receive_array(int peer)
{
    msghdr message{};
    char buf[CMSG_SPACE(sizeof(int) * n)];
    char payload[16];
    iovec io = {payload, sizeof(payload)};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = buf;
    message.msg_controllen = sizeof(buf);
    check(recvmsg(peer, &message, 0) > 0, "recvmsg");
    cmsghdr *control = CMSG_FIRSTHDR(&message);
    check(control != nullptr && control->cmsg_type == SCM_RIGHTS, "control message");
    check(control->cmsg_len == CMSG_LEN(sizeof(int) * n), "number of descriptors");
    int fds[n];
    std::memcpy(fds, CMSG_DATA(control), sizeof(fds));
    for (int fd : fds) {
        char contents[4096];
        ssize_t len = pread(fd, contents, sizeof(contents), 0);
        check(len >= 0, "pread");
        std::cout.write(contents, len);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
    int peer = socket(AF_UNIX, SOCK_STREAM, 0);
    check(peer >= 0, "socket");
    check(connect(peer, reinterpret_cast<sockaddr *>(&address), sizeof(address)) == 0, "connect");
    if (std::atoi(argv[2]) == 1)
        receive_array<1>(peer);
    else
        receive_array<4>(peer);
    close(peer);
}
