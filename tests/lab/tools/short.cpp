// SPDX-License-Identifier: Apache-2.0
// Many short connections: connect, one line out, one line in, the server closes first. Prints one JSON object:
// what became of them, connect times, connections per backend. `--list FILE` writes a line for each connection, in
// the order in which they were opened: source address, source port, name of the backend.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <netinet/in.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "net.h"

namespace {

struct Connection {
    Fd fd;
    std::uint32_t number = 0; // of the connection; says which source it has
    std::uint64_t started_us = 0;
    bool connected = false;
    std::string answer;
};

class ShortLived {
public:
    explicit ShortLived(const Arguments& arguments)
        : sources_(arguments.sources()), to_(arguments.to()), count_(arguments.number("--count")),
          timeout_us_(arguments.number("--timeout-ms", "5000") * 1000ULL),
          slots_(arguments.number("--concurrency", "64"))
    {
        const std::string list = arguments.text("--list", "");
        if (!list.empty()) {
            names_.resize(count_);
            list_ = list;
        }
        connect_us_.reserve(count_);
        for (std::uint32_t i = 0; i < slots_.size(); ++i) {
            free_.push_back(i);
        }
    }

    int run()
    {
        const std::uint64_t begin = now_us();
        std::uint64_t next_look = begin + 100000;
        while (done_ < count_) {
            while (started_ < count_ && !free_.empty()) {
                start();
            }
            epoll_.wait(50, [this](std::uint64_t slot, std::uint32_t events) { handle(slot, events); });
            if (now_us() > next_look) {
                next_look = now_us() + 100000;
                expire();
            }
        }
        report(static_cast<double>(now_us() - begin) / 1e6);
        write_list();
        return ok_ == count_ ? 0 : 1;
    }

private:
    void start()
    {
        const std::uint32_t slot = free_.front();
        auto& connection = slots_[slot];
        connection.number = started_++;
        connection.started_us = now_us();
        connection.connected = false;
        connection.answer.clear();
        connection.fd = start_connect(sources_.of(connection.number), to_);
        if (!connection.fd) {
            ++(errno == EADDRINUSE || errno == EADDRNOTAVAIL ? no_source_ : errors_);
            ++done_;
            return;
        }
        free_.pop_front();
        epoll_.add(connection.fd.get(), EPOLLOUT, slot);
    }

    void finish(std::uint64_t slot)
    {
        slots_[slot].fd.close();
        free_.push_back(static_cast<std::uint32_t>(slot));
        ++done_;
    }

    void handle(std::uint64_t slot, std::uint32_t events)
    {
        auto& connection = slots_[slot];
        if (!connection.connected) {
            if (const int error = connect_error(connection.fd.get()); error != 0) {
                ++(error == ECONNREFUSED ? refused_ : error == ETIMEDOUT ? timeouts_ : errors_);
                finish(slot);
                return;
            }
            if (!(events & EPOLLOUT)) {
                return;
            }
            connect_us_.push_back(static_cast<std::uint32_t>(now_us() - connection.started_us));
            connection.connected = true;
            if (write(connection.fd.get(), "?\n", 2) != 2) {
                count_reset(connection, std::strerror(errno));
                finish(slot);
                return;
            }
            epoll_.change(connection.fd.get(), EPOLLIN, slot);
            return;
        }
        char data[256];
        const ssize_t size = read(connection.fd.get(), data, sizeof(data));
        if (size < 0 && errno == EAGAIN) {
            return;
        }
        if (size > 0) {
            connection.answer.append(data, static_cast<std::size_t>(size));
            return;
        }
        if (size < 0 || !connection.answer.ends_with('\n')) {
            count_reset(connection, size < 0 ? std::strerror(errno) : "end of file");
        } else {
            ++ok_;
            const auto name = connection.answer.substr(0, connection.answer.find(' '));
            ++backends_[name];
            if (!names_.empty()) {
                names_[connection.number] = name;
            }
        }
        finish(slot);
    }

    void count_reset(const Connection& connection, const char* why)
    {
        ++resets_;
        fmt::print(stderr, "connection {}, {} us old, {} bytes read: {}\n", connection.number,
            now_us() - connection.started_us, connection.answer.size(), why);
    }

    void expire()
    {
        const std::uint64_t now = now_us();
        for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
            if (slots_[slot].fd && now - slots_[slot].started_us > timeout_us_) {
                ++timeouts_;
                finish(slot);
            }
        }
    }

    void report(double seconds)
    {
        std::sort(connect_us_.begin(), connect_us_.end());
        const auto at = [this](double share) {
            return connect_us_.empty()
                       ? 0U
                       : connect_us_[static_cast<std::size_t>(share * static_cast<double>(connect_us_.size() - 1))];
        };
        // Above 0.9 s a SYN was sent again, so one was lost or not answered.
        const auto retried = connect_us_.end() - std::lower_bound(connect_us_.begin(), connect_us_.end(), 900000U);
        std::vector<std::string> shares;
        for (const auto& [name, connections] : backends_) {
            shares.push_back(fmt::format("\"{}\": {}", name, connections));
        }
        fmt::print("{{\"count\": {}, \"ok\": {}, \"refused\": {}, \"timeouts\": {}, \"resets\": {}, \"no_source\": {}, "
                   "\"errors\": {}, \"retried\": {}, \"seconds\": {:.3f}, \"connect_us\": {{\"p50\": {}, \"p99\": {}, "
                   "\"max\": {}}}, \"backends\": {{{}}}}}\n",
            count_, ok_, refused_, timeouts_, resets_, no_source_, errors_, retried, seconds, at(0.5), at(0.99),
            at(1.0), fmt::join(shares, ", "));
    }

    void write_list()
    {
        if (list_.empty()) {
            return;
        }
        std::FILE* file = std::fopen(list_.c_str(), "w");
        if (file == nullptr) {
            fail(list_);
        }
        for (std::uint32_t k = 0; k < count_; ++k) {
            const Address source = sources_.of(k);
            fmt::print(file, "{} {} {}\n", source.host(), source.port(), names_[k].empty() ? "-" : names_[k]);
        }
        std::fclose(file);
    }

    Sources sources_;
    Address to_;
    std::uint32_t count_;
    std::uint64_t timeout_us_;
    std::vector<Connection> slots_;
    std::deque<std::uint32_t> free_;
    Epoll epoll_;
    std::uint32_t started_ = 0, done_ = 0, ok_ = 0, refused_ = 0, timeouts_ = 0, resets_ = 0, no_source_ = 0,
                  errors_ = 0;
    std::vector<std::uint32_t> connect_us_;
    std::map<std::string, std::uint32_t> backends_;
    std::string list_;
    std::vector<std::string> names_;
};

} // namespace

int short_lived(const Arguments& arguments)
{
    return ShortLived(arguments).run();
}
