// SPDX-License-Identifier: Apache-2.0
// Runs a pinned XDP program that makes and sends packets (tests/lab/programs/flood.bpf.c) on live frames, for a number
// of seconds, at a rate or as fast as it goes. Bounded by time and by `--most`. One line of JSON at the end.
#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net.h"

namespace {

constexpr std::uint64_t slot_us = 2000; // packets are sent in so many microseconds' worth
constexpr std::uint32_t largest_run = 16384;

long bpf(int command, bpf_attr& attr)
{
    return syscall(SYS_bpf, command, &attr, sizeof(attr));
}

int open_pinned(const std::string& path)
{
    bpf_attr attr{};
    attr.pathname = reinterpret_cast<std::uint64_t>(path.c_str());
    const long fd = bpf(BPF_OBJ_GET, attr);
    if (fd < 0) {
        fail(path);
    }
    return static_cast<int>(fd);
}

void run(int program, std::uint32_t packets, std::vector<char>& frame, xdp_md& context)
{
    bpf_attr attr{};
    attr.test.prog_fd = static_cast<std::uint32_t>(program);
    attr.test.repeat = packets;
    attr.test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    attr.test.data_in = reinterpret_cast<std::uint64_t>(frame.data());
    attr.test.data_size_in = static_cast<std::uint32_t>(frame.size());
    attr.test.ctx_in = reinterpret_cast<std::uint64_t>(&context);
    attr.test.ctx_size_in = sizeof(context);
    if (bpf(BPF_PROG_TEST_RUN, attr) != 0) {
        fail("BPF_PROG_TEST_RUN with live frames");
    }
}

} // namespace

int flood(const Arguments& arguments)
{
    const int program = open_pinned(arguments.text("--program"));
    const std::uint64_t end = now_us() + arguments.number("--seconds") * 1'000'000ULL;
    const std::uint64_t rate = arguments.number("--rate", "0"); // a second; 0: as fast as it goes
    const std::uint64_t most = arguments.number("--most", "200000000");
    std::vector<char> frame(arguments.number("--bytes", "98"));
    xdp_md context{};
    context.data_end = static_cast<std::uint32_t>(frame.size());
    context.ingress_ifindex = arguments.number("--ifindex");
    const std::uint64_t begin = now_us();
    std::uint64_t sent = 0;
    for (std::uint64_t now = begin; now < end && sent < most; now = now_us()) {
        std::uint64_t due = largest_run;
        if (rate != 0) {
            const std::uint64_t wanted = (now - begin) * rate / 1'000'000;
            due = wanted > sent ? std::min<std::uint64_t>(wanted - sent, largest_run) : 0;
        }
        if (due < rate * slot_us / 2'000'000 || due == 0) {
            usleep(slot_us / 4);
            continue;
        }
        run(program, static_cast<std::uint32_t>(due), frame, context);
        sent += due;
    }
    const double seconds = static_cast<double>(now_us() - begin) / 1e6;
    fmt::print("{{\"sent\": {}, \"seconds\": {:.3f}, \"rate\": {:.0f}}}\n", sent, seconds,
        static_cast<double>(sent) / seconds);
    return 0;
}
