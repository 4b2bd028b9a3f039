// SPDX-License-Identifier: Apache-2.0
#include "variants.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <set>

#include <arpa/inet.h>
#include <linux/if_ether.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace featherlb::packet::host {
namespace {

std::uint64_t sum_words(std::span<const std::uint8_t> bytes)
{
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i++)
        sum += std::uint64_t{bytes[i]} << (i % 2 ? 0 : 8);
    return sum;
}

std::uint16_t fold(std::uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

void put(std::uint8_t* at, std::uint16_t value)
{
    at[0] = static_cast<std::uint8_t>(value >> 8);
    at[1] = static_cast<std::uint8_t>(value);
}

// As the device that sends a packet does it, whose offset of the checksum and of where to begin it was told.
void finish(Bytes& bytes, std::uint32_t from, std::uint32_t field)
{
    const auto sum = static_cast<std::uint16_t>(~fold(sum_words(std::span(bytes).subspan(from))));
    put(&bytes[field], sum ? sum : 0xffff);
}

// TC pulls so many bytes that any headers but these are in them (HOOK_PULL_BYTES).
bool has_long_headers(const Bytes& in)
{
    constexpr std::size_t pulled = 256, next_header = 20;
    return in.size() > pulled && (in[12] << 8 | in[13]) == ETH_P_IPV6 && in[next_header] != protocol_tcp &&
           in[next_header] != protocol_udp;
}

// Do they differ in nothing but how a checksum says 0?
bool are_both_zero(Bytes a, Bytes b, std::size_t field)
{
    for (Bytes* bytes : {&a, &b}) {
        if (((*bytes)[field] | (*bytes)[field + 1]) != 0 && ((*bytes)[field] & (*bytes)[field + 1]) != 0xff)
            return false;
        (*bytes)[field] = (*bytes)[field + 1] = 0;
    }
    return a == b;
}

struct Attempt {
    Machine& machine;
    const Bytes& in;
    const Once& once;
    const Drops& drops;

    // One run under conditions, of which nothing stays; `judge` sees it before.
    void operator()(const std::string& what, const Conditions& conditions,
        const std::function<void(const Result&, std::uint64_t drops)>& judge) const
    {
        const ::testing::ScopedTrace trace(__FILE__, __LINE__, what);
        const std::uint64_t before = drops ? drops() : 0;
        const Result result = once(conditions);
        judge(result, drops ? drops() - before : 0);
        machine.restore();
    }
};

void expect_sane(const Attempt& attempt, const Outcome& plain, const Result& result, std::uint64_t drops)
{
    const Outcome& outcome = result.outcome;
    EXPECT_NE(outcome.verdict, Verdict::other) << "returned " << outcome.code;
    EXPECT_LE(drops, 1u);
    if (attempt.drops && outcome.verdict == Verdict::drop && !result.counter_failed) {
        EXPECT_EQ(drops, 1u) << "dropped without a reason";
    }
    if (outcome.verdict == Verdict::pass) {
        EXPECT_TRUE(outcome.bytes == attempt.in || (!attempt.drops && outcome.bytes == plain.bytes))
            << "left to the stack, but changed";
        EXPECT_EQ(drops, 0u) << "left to the stack, but counted as dropped";
    }
}

void try_faults(const Attempt& attempt, const Outcome& without)
{
    // Between and within the headers of both families, with and without tags.
    constexpr std::array<std::uint32_t, 14> kept = {0, 13, 14, 17, 20, 33, 36, 41, 53, 57, 61, 73, 81, 100};
    const auto judge = [&](const Result& result, std::uint64_t drops) { expect_sane(attempt, without, result, drops); };
    Result plain;
    attempt("as it is", {}, [&](const Result& result, std::uint64_t) { plain = result; });
    for (unsigned call = 1; call <= plain.calls; call++) {
        attempt(fmt::format("call {} fails", call), {.failing = call}, judge);
        for (const std::uint32_t bytes : kept) {
            if (bytes < ETH_HLEN && !attempt.drops)
                continue; // the kernel leaves that much; a program that never drops can only trust it
            attempt(fmt::format("{} bytes are readable after call {}", bytes, call), {.shrinking = call, .kept = bytes},
                judge);
        }
    }
    for (const unsigned call : plain.meetings)
        for (const Interruption by :
            {Interruption::touch, Interruption::crowd, Interruption::replace, Interruption::end})
            attempt(fmt::format("another processor at call {}: {}", call, static_cast<int>(by)),
                {.interrupted = call, .by = by}, judge);
}

} // namespace

bool variants_wanted()
{
    static const bool wanted = [] {
        const char* text = std::getenv("FEATHERLB_HOST_VARIANTS");
        return text && std::strcmp(text, "1") == 0;
    }();
    return wanted;
}

void leave_to_device(Run& run)
{
    constexpr std::uint32_t ethernet = 14, tag = 4, tcp_field = 16, udp_field = 6;
    constexpr std::uint16_t more_or_offset = 0x3fff;
    const auto word = [&run](std::uint32_t at) {
        return static_cast<std::uint16_t>(run.data[at] << 8 | run.data[at + 1]);
    };
    std::uint32_t l3 = ethernet;
    while (l3 + tag < run.length && (word(l3 - 2) == ETH_P_8021Q || word(l3 - 2) == ETH_P_8021AD))
        l3 += tag;
    std::uint32_t l4 = 0, length = 0;
    std::uint8_t protocol = 0;
    std::uint64_t addresses = 0;
    if (word(l3 - 2) == ETH_P_IP && l3 + 20 <= run.length) {
        const std::uint32_t header = (run.data[l3] & 15u) * 4;
        if (header < 20 || word(l3 + 2) < header || (word(l3 + 6) & more_or_offset))
            return;
        l4 = l3 + header;
        length = word(l3 + 2) - header;
        protocol = run.data[l3 + 9];
        addresses = sum_words({run.data + l3 + 12, 8});
    } else if (word(l3 - 2) == ETH_P_IPV6 && l3 + 40 <= run.length) {
        l4 = l3 + 40;
        length = word(l3 + 4);
        protocol = run.data[l3 + 6];
        addresses = sum_words({run.data + l3 + 8, 32});
    }
    const std::uint32_t field = l4 + (protocol == protocol_tcp ? tcp_field : udp_field);
    if ((protocol != protocol_tcp && protocol != protocol_udp) || l4 + length != run.length || field + 2 > run.length ||
        word(field) == 0)
        return;
    const std::uint64_t pseudo = addresses + protocol + length;
    if (fold(sum_words({run.data + l4, length}) + pseudo) != 0xffff)
        return;
    put(run.data + field, fold(pseudo));
    run.partial_at = l4;
    run.partial_field = field;
}

void try_variants(Machine& machine, const Bytes& in, Hook hook, const Once& once, const Drops& drops)
{
    static std::set<std::pair<Hook, std::uint64_t>> seen; // ways through the program
    machine.watch();
    const Attempt attempt{machine, in, once, drops};
    Result plain;
    std::uint64_t plain_drops = 0;
    attempt("plain", {}, [&](const Result& result, std::uint64_t count) {
        plain = result;
        plain_drops = count;
    });
    if (hook == Hook::tc) {
        const auto same = [&](const Result& result, std::uint64_t count) {
            EXPECT_EQ(result.outcome.verdict, plain.outcome.verdict);
            EXPECT_TRUE(result.outcome.bytes == plain.outcome.bytes);
            EXPECT_EQ(count, plain_drops);
        };
        if (!has_long_headers(in))
            attempt("the link header is readable", {.readable = ETH_HLEN}, same);
        attempt("the checksum is left to the device", {.partial = true}, [&](Result result, std::uint64_t count) {
            if (!result.partial_at)
                return;
            if (plain.outcome.verdict == Verdict::redirect) {
                Bytes& bytes = result.outcome.bytes;
                finish(bytes, result.partial_at, result.partial_field);
                if (bytes.size() == plain.outcome.bytes.size() &&
                    are_both_zero(bytes, plain.outcome.bytes, result.partial_field))
                    bytes = plain.outcome.bytes;
                same(result, count);
            } else {
                EXPECT_EQ(result.outcome.verdict, plain.outcome.verdict);
                EXPECT_EQ(count, plain_drops);
            }
        });
    }
    if (seen.emplace(hook, plain.trace).second)
        try_faults(attempt, plain.outcome);
    machine.unwatch();
}

void try_faults(Machine& machine, const Once& once, const std::function<void()>& judge)
{
    machine.watch();
    const auto attempt = [&](const Conditions& conditions) {
        Result result = once(conditions);
        judge();
        machine.restore();
        return result;
    };
    const Result plain = attempt({});
    for (unsigned call = 1; call <= plain.calls; call++)
        attempt({.failing = call});
    for (const unsigned call : plain.meetings)
        for (const Interruption by :
            {Interruption::touch, Interruption::crowd, Interruption::replace, Interruption::end})
            attempt({.interrupted = call, .by = by});
    machine.unwatch();
}

} // namespace featherlb::packet::host
