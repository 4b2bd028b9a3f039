// SPDX-License-Identifier: Apache-2.0
// A delay line: two TUN devices, and what goes into one comes out of the other so many milliseconds later. Both are
// made in the namespace of the caller; moving one of them elsewhere (`ip link set ... netns`) leaves the line intact.
// Says
// {"ready": true}, and ends with its standard input. A line holds at most 100,000 packets; more are lost, and counted
// in the line that it prints at the end.
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net.h"

namespace {

constexpr std::size_t most_waiting = 100'000, largest_packet = 65536;

struct Waiting {
    std::uint64_t due_us = 0;
    std::vector<char> packet;
};

// One direction: from one end into the other.
struct Line {
    int in = -1, out = -1;
    std::deque<Waiting> packets;
};

int open_tun(const std::string& name)
{
    const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        fail("/dev/net/tun");
    }
    ifreq request{};
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) != 0) {
        fail("TUNSETIFF " + name);
    }
    return fd;
}

} // namespace

int delay(const Arguments& arguments)
{
    const std::uint64_t delay_us = arguments.number("--ms") * 1000ULL;
    const Fd a(open_tun(arguments.text("--first"))), b(open_tun(arguments.text("--second")));
    std::array<Line, 2> lines{Line{a.get(), b.get(), {}}, Line{b.get(), a.get(), {}}};
    std::uint64_t carried = 0, lost = 0;
    std::vector<char> buffer(largest_packet);
    std::puts("{\"ready\": true}");
    std::fflush(stdout);
    for (;;) {
        std::uint64_t now = now_us(), next = now + 100'000;
        for (Line& line : lines) {
            for (; !line.packets.empty() && line.packets.front().due_us <= now; line.packets.pop_front()) {
                const std::vector<char>& packet = line.packets.front().packet;
                ++(write(line.out, packet.data(), packet.size()) == static_cast<ssize_t>(packet.size()) ? carried
                                                                                                        : lost);
            }
            if (!line.packets.empty()) {
                next = std::min(next, line.packets.front().due_us);
            }
        }
        std::array<pollfd, 3> polled{pollfd{a.get(), POLLIN, 0}, pollfd{b.get(), POLLIN, 0}, pollfd{0, POLLIN, 0}};
        const std::uint64_t wait_ns = (next - now) * 1000;
        const timespec timeout{
            static_cast<time_t>(wait_ns / 1'000'000'000), static_cast<long>(wait_ns % 1'000'000'000)};
        ppoll(polled.data(), polled.size(), &timeout, nullptr);
        if (polled[2].revents != 0) {
            break; // the standard input has ended
        }
        now = now_us();
        for (Line& line : lines) {
            for (ssize_t size = 0; (size = read(line.in, buffer.data(), buffer.size())) > 0;) {
                if (line.packets.size() < most_waiting) {
                    line.packets.push_back({now + delay_us, {buffer.begin(), buffer.begin() + size}});
                } else {
                    ++lost;
                }
            }
        }
    }
    fmt::print("{{\"carried\": {}, \"lost\": {}}}\n", carried, lost);
    return 0;
}
