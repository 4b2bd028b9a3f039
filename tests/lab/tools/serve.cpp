// SPDX-License-Identifier: Apache-2.0
// The server: echoes on one port (TCP until the client closes, and UDP), and on the other answers one line by
// "NAME PEER-ADDRESS PEER-PORT" and closes first, so that TIME_WAIT is here. Commands on standard input, answers
// on standard output, one JSON line each: `peers`, `counts`. Ends with its standard input.
#include <cerrno>
#include <cstdio>
#include <memory>
#include <unordered_map>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "net.h"

namespace {

enum class Role { echo_listener, reply_listener, udp, echo, reply, commands };

struct Socket {
    Fd fd;
    Role role = Role::echo;
    Address peer;
    std::string unsent; // echo only: what the client is too slow to take back
};

class Server {
public:
    explicit Server(const Arguments& arguments) : name_(arguments.text("--name"))
    {
        for (const char* any : {"0.0.0.0", "::"}) {
            const auto echo = static_cast<std::uint16_t>(arguments.number("--echo"));
            const auto reply = static_cast<std::uint16_t>(arguments.number("--reply"));
            listen_on(parse_address(any, echo), SOCK_STREAM, Role::echo_listener);
            listen_on(parse_address(any, reply), SOCK_STREAM, Role::reply_listener);
            listen_on(parse_address(any, echo), SOCK_DGRAM, Role::udp);
        }
        insert(Fd(dup(STDIN_FILENO)), Role::commands);
        std::puts("{\"listening\": true}");
        std::fflush(stdout);
    }

    void run()
    {
        while (!ended_) {
            epoll_.wait(-1, [this](std::uint64_t fd, std::uint32_t events) {
                const auto found = sockets_.find(static_cast<int>(fd));
                if (found != sockets_.end() && !handle(*found->second, events)) {
                    sockets_.erase(found);
                }
            });
        }
    }

private:
    void insert(Fd fd, Role role, const Address& peer = {})
    {
        const int number = fd.get();
        auto socket = std::make_unique<Socket>();
        socket->fd = std::move(fd);
        socket->role = role;
        socket->peer = peer;
        sockets_[number] = std::move(socket);
        epoll_.add(number, EPOLLIN, static_cast<std::uint64_t>(number));
    }

    void listen_on(const Address& address, int kind, Role role)
    {
        Fd fd(socket(address.family(), kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        const int on = 1;
        setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (address.family() == AF_INET6) {
            setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        }
        if (bind(fd.get(), address.get(), address.size) != 0) {
            fail("bind");
        }
        if (kind == SOCK_STREAM && listen(fd.get(), 4096) != 0) {
            fail("listen");
        }
        insert(std::move(fd), role);
    }

    // false: done with it
    bool handle(Socket& socket, std::uint32_t events)
    {
        switch (socket.role) {
        case Role::echo_listener:
            accept_all(socket, Role::echo);
            return true;
        case Role::reply_listener:
            accept_all(socket, Role::reply);
            return true;
        case Role::udp:
            echo_datagrams(socket);
            return true;
        case Role::echo:
            return echo(socket, events);
        case Role::reply:
            return reply(socket);
        case Role::commands:
            command();
            return true;
        }
        return true;
    }

    void accept_all(Socket& listener, Role role)
    {
        for (;;) {
            Address peer;
            peer.size = sizeof(peer.storage);
            Fd fd(accept4(listener.fd.get(), peer.get(), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!fd) {
                return;
            }
            const int on = 1;
            setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            ++(role == Role::echo ? echo_accepted_ : reply_accepted_);
            insert(std::move(fd), role, peer);
        }
    }

    static void echo_datagrams(Socket& socket)
    {
        char data[65536];
        for (;;) {
            Address peer;
            peer.size = sizeof(peer.storage);
            const ssize_t size = recvfrom(socket.fd.get(), data, sizeof(data), 0, peer.get(), &peer.size);
            if (size < 0) {
                return;
            }
            sendto(socket.fd.get(), data, static_cast<std::size_t>(size), 0, peer.get(), peer.size);
        }
    }

    bool echo(Socket& socket, std::uint32_t events)
    {
        if (events & (EPOLLERR | EPOLLHUP)) {
            return false;
        }
        char data[65536];
        if (socket.unsent.empty()) {
            const ssize_t size = read(socket.fd.get(), data, sizeof(data));
            if (size == 0 || (size < 0 && errno != EAGAIN)) {
                return false;
            }
            socket.unsent.assign(data, size > 0 ? static_cast<std::size_t>(size) : 0);
        }
        const ssize_t sent = write(socket.fd.get(), socket.unsent.data(), socket.unsent.size());
        if (sent < 0 && errno != EAGAIN) {
            return false;
        }
        socket.unsent.erase(0, sent > 0 ? static_cast<std::size_t>(sent) : 0);
        epoll_.change(
            socket.fd.get(), socket.unsent.empty() ? EPOLLIN : EPOLLOUT, static_cast<std::uint64_t>(socket.fd.get()));
        return true;
    }

    bool reply(Socket& socket)
    {
        char data[256];
        const ssize_t size = read(socket.fd.get(), data, sizeof(data));
        if (size < 0 && errno == EAGAIN) {
            return true;
        }
        if (size > 0) { // the one line comes in one segment
            const auto text = fmt::format("{} {} {}\n", name_, socket.peer.host(), socket.peer.port());
            if (write(socket.fd.get(), text.data(), text.size()) < 0) {
                return false;
            }
        }
        return false;
    }

    void command()
    {
        char data[256];
        const ssize_t size = read(STDIN_FILENO, data, sizeof(data));
        if (size <= 0) {
            ended_ = true;
            return;
        }
        const std::string_view text(data, static_cast<std::size_t>(size));
        if (text.starts_with("peers")) {
            std::vector<std::string> peers;
            for (const auto& [fd, socket] : sockets_) {
                if (socket->role == Role::echo) {
                    peers.push_back(fmt::format("[\"{}\", {}]", socket->peer.host(), socket->peer.port()));
                }
            }
            fmt::print("{{\"peers\": [{}]}}\n", fmt::join(peers, ", "));
        } else {
            fmt::print("{{\"echo\": {}, \"reply\": {}}}\n", echo_accepted_, reply_accepted_);
        }
        std::fflush(stdout);
    }

    std::string name_;
    Epoll epoll_;
    std::unordered_map<int, std::unique_ptr<Socket>> sockets_;
    std::uint64_t echo_accepted_ = 0;
    std::uint64_t reply_accepted_ = 0;
    bool ended_ = false;
};

} // namespace

int serve(const Arguments& arguments)
{
    Server(arguments).run();
    return 0;
}
