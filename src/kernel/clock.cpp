// SPDX-License-Identifier: Apache-2.0
#include "kernel/clock.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <stdexcept>

#include <bpf/bpf.h>

#include "clock.skel.h"
#include "kernel/map.h"

namespace featherlb {

struct Clock::Program {
    clock_bpf* skeleton = nullptr;
    Program() = default;
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() { clock_bpf__destroy(skeleton); }
};

Clock::Clock(std::unique_ptr<Program> program, std::uint32_t hz) : program_(std::move(program)), hz_(hz)
{
}
Clock::~Clock() = default;
Clock::Clock(Clock&&) noexcept = default;
Clock& Clock::operator=(Clock&&) noexcept = default;

Result<Clock> Clock::open()
{
    timespec jiffy{};
    if (::clock_getres(CLOCK_MONOTONIC_COARSE, &jiffy) != 0 || jiffy.tv_nsec <= 0)
        return fail("the kernel does not tell the length of a jiffy");
    const auto hz = usual_hz(static_cast<std::uint32_t>((1'000'000'000 + jiffy.tv_nsec / 2) / jiffy.tv_nsec));
    auto program = std::make_unique<Program>();
    program->skeleton = clock_bpf__open_and_load();
    if (!program->skeleton)
        return fail(bpf_error("loading the program that reads the kernel's clock", errno));
    return Clock(std::move(program), hz);
}

Result<std::uint64_t> Clock::jiffies() const
{
    std::uint64_t answer = 0;
    LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &answer, .ctx_size_in = sizeof(answer));
    const int error = bpf_prog_test_run_opts(bpf_program__fd(program_->skeleton->progs.flb_clock), &options);
    if (error < 0)
        return fail(bpf_error("reading the kernel's clock", -error));
    return answer;
}

std::uint32_t usual_hz(std::uint32_t measured)
{
    for (const std::uint32_t hz : {100u, 250u, 300u, 1000u})
        if (measured * 50 >= hz * 49 && measured * 50 <= hz * 51)
            return hz;
    return measured;
}

std::uint32_t tick_shift_for(std::uint32_t hz)
{
    const auto distance = [hz](std::uint32_t shift) { return std::abs((1l << shift) - static_cast<long>(hz)); };
    std::uint32_t best = 0;
    for (std::uint32_t shift = 1; shift < 16; shift++)
        if (distance(shift) < distance(best))
            best = shift;
    return best;
}

std::uint32_t to_ticks(std::chrono::seconds time, std::uint32_t hz, std::uint32_t tick_shift)
{
    const std::uint64_t jiffies = static_cast<std::uint64_t>(std::clamp<std::int64_t>(time.count(), 0, 1ll << 32)) * hz;
    const std::uint64_t ticks = (jiffies + (1ull << tick_shift) - 1) >> tick_shift;
    // The programs compare ages as signed 32-bit numbers.
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(ticks, 1, 0x7fffffff));
}

std::chrono::seconds from_ticks(std::uint32_t ticks, std::uint32_t hz, std::uint32_t tick_shift)
{
    return std::chrono::seconds((std::uint64_t{ticks} << tick_shift) / hz);
}

namespace {

struct StateTimeout {
    flb_flow_state state;
    std::chrono::seconds Timeouts::*time;
};

constexpr std::array state_timeouts = {
    StateTimeout{FLB_FLOW_SYN, &Timeouts::tcp_handshake},
    StateTimeout{FLB_FLOW_SYN_ACK, &Timeouts::tcp_handshake},
    StateTimeout{FLB_FLOW_MIDSTREAM, &Timeouts::tcp_handshake},
    StateTimeout{FLB_FLOW_ESTABLISHED, &Timeouts::tcp_established},
    StateTimeout{FLB_FLOW_AWAITING, &Timeouts::tcp_established},
    StateTimeout{FLB_FLOW_MEASURING, &Timeouts::tcp_established},
    StateTimeout{FLB_FLOW_FIN_CLIENT, &Timeouts::tcp_half_closed},
    StateTimeout{FLB_FLOW_FIN_BACKEND, &Timeouts::tcp_half_closed},
    StateTimeout{FLB_FLOW_CLOSED_CLIENT, &Timeouts::tcp_closed},
    StateTimeout{FLB_FLOW_CLOSED_BACKEND, &Timeouts::tcp_closed},
    StateTimeout{FLB_FLOW_CLOSED_ONE_WAY, &Timeouts::tcp_half_closed},
    StateTimeout{FLB_FLOW_RESET, &Timeouts::tcp_reset},
    StateTimeout{FLB_FLOW_UDP_NEW, &Timeouts::udp_unreplied},
    StateTimeout{FLB_FLOW_UDP_REPLIED, &Timeouts::udp_unreplied},
    StateTimeout{FLB_FLOW_UDP_STREAM, &Timeouts::udp_stream},
};

} // namespace

void fill_timeouts(flb_settings& settings, const Timeouts& timeouts)
{
    for (const auto& [state, time] : state_timeouts)
        settings.timeout[state] = to_ticks(timeouts.*time, settings.hz, settings.tick_shift);
    settings.timeout[FLB_FLOW_BUSY] = FLB_YOUNG_TICKS; // whoever has claimed an entry fills it at once
    // A reply lives as long as its owner. These only bound what replacement takes for expired.
    settings.timeout[FLB_FLOW_REPLY_NEW] = std::max(settings.timeout[FLB_FLOW_SYN], settings.timeout[FLB_FLOW_UDP_NEW]);
    settings.timeout[FLB_FLOW_SUPERSEDED] = settings.timeout[FLB_FLOW_SYN];
    settings.timeout[FLB_FLOW_KILLED] = settings.timeout[FLB_FLOW_CLOSED_CLIENT];
    settings.timeout[FLB_FLOW_REPLY] = settings.timeout[FLB_FLOW_ESTABLISHED];
    settings.timeout[FLB_FLOW_REPLY_MEASURED] = settings.timeout[FLB_FLOW_ESTABLISHED];
}

Timeouts timeouts_of(const flb_settings& settings)
{
    Timeouts result;
    for (const auto& [state, time] : state_timeouts)
        result.*time = from_ticks(settings.timeout[state], settings.hz, settings.tick_shift);
    return result;
}

std::uint32_t stride_for(std::span<const std::uint64_t> pairs)
{
    // Primes about 2^32 divided by the golden ratio, and its neighbours: successive pairs lie far apart, and a
    // product of a port count (at most 65,535) and a number of addresses has none of them as a divisor unless it
    // is at least as large.
    for (const std::uint32_t prime : {2654435761u, 2654435789u, 2246822519u, 3266489917u, 668265263u})
        if (std::ranges::none_of(pairs, [prime](std::uint64_t size) { return size != 0 && size % prime == 0; }))
            return prime;
    throw std::logic_error("no stride for the pools of source addresses");
}

} // namespace featherlb
