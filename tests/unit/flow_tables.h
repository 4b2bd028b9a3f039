// SPDX-License-Identifier: Apache-2.0
// A flow table in memory as the daemon maps it, for tests: entries put where a test wants them.
#pragma once

#include <cstdint>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/ip.h"
#include "featherlb/abi.h"

namespace featherlb {

struct TestFlow {
    flb_flow_state state = FLB_FLOW_ESTABLISHED;
    std::uint32_t age = 0;
    std::uint16_t port = 40000; // the client's
    std::uint32_t pair = 0;
    std::uint32_t backend = 1;
    std::uint8_t protocol = IPPROTO_TCP;
    const char* client = nullptr; // 10.0.0.1, fd00::1
    std::uint64_t bits = 0;
};

// A client of 10.9.0.1:80 (fd00:9::1) whom the backend 10.3.0.1:8080 (fd00:3::1) sees as 10.2.0.1:20000 (fd00:2::1).
// Generation: 7.
class FlowTables {
public:
    explicit FlowTables(std::size_t sets) : sets4(sets), sets6(sets) {}

    void put4(std::size_t set, std::size_t way, const TestFlow& flow)
    {
        flb_flow4& entry = sets4[set].way[way];
        entry.f = head(flow);
        entry.key.saddr = word(flow.client == nullptr ? "10.0.0.1" : flow.client);
        entry.key.daddr = word("10.9.0.1");
        entry.key.sport = htons(flow.port);
        entry.key.dport = htons(80);
        entry.key.protocol = flow.protocol;
        entry.saddr = word("10.2.0.1");
        entry.daddr = word("10.3.0.1");
    }
    void put6(std::size_t set, std::size_t way, const TestFlow& flow)
    {
        flb_flow6& entry = sets6[set].way[way];
        entry.f = head(flow);
        entry.key.saddr = bytes(flow.client == nullptr ? "fd00::1" : flow.client);
        entry.key.daddr = bytes("fd00:9::1");
        entry.key.sport = htons(flow.port);
        entry.key.dport = htons(80);
        entry.key.protocol = flow.protocol;
        entry.saddr = bytes("fd00:2::1");
        entry.daddr = bytes("fd00:3::1");
    }
    // The reply of the owner at `pair`.
    void put4_reply(
        std::size_t set, std::size_t way, std::uint32_t pair, std::uint32_t age = 0, std::uint32_t generation = 7)
    {
        put4(set, way, {.state = FLB_FLOW_REPLY, .age = age, .pair = pair});
        sets4[set].way[way].f.aux = generation;
    }
    void put6_reply(
        std::size_t set, std::size_t way, std::uint32_t pair, std::uint32_t age = 0, std::uint32_t generation = 7)
    {
        put6(set, way, {.state = FLB_FLOW_REPLY, .age = age, .pair = pair});
        sets6[set].way[way].f.aux = generation;
    }
    static std::uint32_t state(std::uint64_t ctl)
    {
        return static_cast<std::uint32_t>(ctl >> FLB_CTL_STATE_SHIFT) & 0x7f;
    }

    std::vector<flb_set4> sets4;
    std::vector<flb_set6> sets6;

private:
    static flb_flow head(const TestFlow& flow)
    {
        flb_flow f{};
        f.ctl = std::uint64_t{7} << FLB_CTL_GENERATION_SHIFT | flow.bits |
                std::uint64_t(flow.state) << FLB_CTL_STATE_SHIFT | flow.age;
        f.backend = flow.backend;
        f.pair = flow.pair;
        f.sport = htons(20000);
        f.dport = htons(8080);
        f.hop.link = 2;
        return f;
    }
    static flb_addr bytes(const char* text) { return IpAddress::parse(text)->to_abi(); }
    static __be32 word(const char* text)
    {
        __be32 out = 0;
        __builtin_memcpy(&out, bytes(text).bytes, sizeof(out));
        return out;
    }
};

} // namespace featherlb
