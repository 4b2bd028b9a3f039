// SPDX-License-Identifier: Apache-2.0
// Decapsulator: the programs of bpf/decap.bpf.c, loaded, told what is theirs, and attached to interfaces for as long as
// the object lives. What the addresses and interfaces are is asked of the machine by whoever owns it (daemon/decap.h).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/network_prefix.h"
#include "base/result.h"
#include "featherlb/decap.h"
#include "kernel/attach.h"
#include "kernel/network.h"

namespace featherlb {

// The counters' names and what they mean, in the order of enum flb_decap_counter.
struct DecapCounterText {
    const char* name;
    const char* text;
};
[[nodiscard]] const std::vector<DecapCounterText>& decap_counter_texts();
using DecapCounts = std::array<std::uint64_t, FLB_DECAP_COUNTER_COUNT>;

// What each address of this host may be in a tunnel packet (FLB_DECAP_OUTER, FLB_DECAP_SERVICE). With `services` empty,
// the service addresses are those on loopback devices, 127.0.0.0/8 and ::1 excepted; else they are those of `services`
// that the host has.
using DecapRoles = std::map<IpAddress, std::uint32_t>;
[[nodiscard]] DecapRoles decap_roles(const std::vector<Interface>& interfaces,
    const std::vector<InterfaceAddress>& addresses, const std::vector<IpAddress>& services);

class Decapsulator {
public:
    // `from`: networks that tunnels may come from; empty: any.
    [[nodiscard]] static Result<Decapsulator> load(const std::vector<NetworkPrefix>& from);
    ~Decapsulator();
    Decapsulator(Decapsulator&&) noexcept;
    Decapsulator& operator=(Decapsulator&&) noexcept;

    // Whether TC can take IPv4 out of IPv6 and the other way round (Linux 6.3); XDP always can.
    [[nodiscard]] bool tc_crosses_families() const;
    // Attach::tc, xdp or xdp_generic; MSS clamping is TC's in any case.
    [[nodiscard]] Result<Hook> attach(const Interface& interface, Attach how);
    void detach(std::uint32_t ifindex);
    [[nodiscard]] Result<void> set_mtu(const Interface& interface, std::uint32_t mtu); // and its MAC
    [[nodiscard]] Result<void> set_roles(const DecapRoles& roles);
    [[nodiscard]] Result<DecapCounts> counts() const;

    // For tests.
    [[nodiscard]] int tc_fd() const;
    [[nodiscard]] int xdp_fd() const;
    [[nodiscard]] int mss_fd() const;

private:
    struct State;
    explicit Decapsulator(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace featherlb
