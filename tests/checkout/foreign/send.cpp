// Listens on a Unix stream socket and sends the files named to the first peer: send SOCKET FILE (or four of them).
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include <fcntl.h>
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
static void send_array(int peer, const int *fds)
{
    msghdr message{};
    char buf[CMSG_SPACE(sizeof(int) * n)] = {};
    char payload = '!';
    iovec io = {&payload, 1};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = buf;
    message.msg_controllen = sizeof(buf);
    cmsghdr *control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int) * n);
    std::memcpy(CMSG_DATA(control), fds, sizeof(int) * n);
    check(sendmsg(peer, &message, 0) >= 0, "sendmsg");
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 6)
        return 2;
    int fds[4];
    for (int i = 2; i < argc; i++) {
        fds[i - 2] = open(argv[i], O_RDWR | O_CREAT | O_APPEND, 0666);
        check(fds[i - 2] >= 0, "open");
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    check(listener >= 0, "socket");
    unlink(argv[1]);
    check(bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof(address)) == 0, "bind");
    check(listen(listener, 1) == 0, "listen");
    std::cout << "listening" << std::endl;
    int peer = accept(listener, nullptr, nullptr);
    check(peer >= 0, "accept");
    if (argc == 3)
        send_array<1>(peer, fds);
    else
        send_array<4>(peer, fds);
    for (int i = 2; i < argc; i++)
        close(fds[i - 2]);
    close(peer);
    close(listener);
    unlink(argv[1]);
}
