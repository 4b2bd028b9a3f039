// SPDX-License-Identifier: Apache-2.0
// OneWay: the fixture of the tests of `dsr` and `ipip`: what a client's packet must look like when it leaves.
#pragma once

#include <vector>

#include "harness.h"

namespace featherlb::packet {

// A way to forward that has one direction; ipip: IP version of the backends.
struct OneWayMode {
    flb_forward forward = FLB_DSR;
    Family outer = Family::ipv4;
};

class OneWay : public Harness {
protected:
    // dsr, ipip to IPv4 backends, ipip to IPv6 backends.
    [[nodiscard]] std::vector<OneWayMode> modes() const
    {
        return {{FLB_DSR, GetParam().family}, {FLB_IPIP, Family::ipv4}, {FLB_IPIP, Family::ipv6}};
    }
    void serve_one_way(const OneWayMode& mode, std::vector<unsigned> numbers = {1}, flb_pick pick = FLB_PICK_TURN);
    [[nodiscard]] static std::size_t outer_bytes(const OneWayMode& mode)
    {
        return mode.forward == FLB_DSR ? 0 : mode.outer == Family::ipv4 ? 20 : 40;
    }

    // `in` as it leaves to backend n. `label`: the flow label of an outer IPv6 header.
    [[nodiscard]] Frame there(const OneWayMode& mode, const Frame& in, unsigned n = 1, std::uint32_t label = 0) const;
    // The label that stands in a packet of which the outer header is IPv6.
    [[nodiscard]] static std::uint32_t label_of(const OneWayMode& mode, const Bytes& bytes, std::size_t tags = 0);
    // Sends it and compares all bytes. Gives what came out.
    Bytes expect_there(const std::string& what, const OneWayMode& mode, const Frame& in, unsigned n = 1);

    // Segments of a client whose connection began with a SYN of sequence number 1000.
    [[nodiscard]] Frame segment(std::uint8_t flags, Bytes payload = {}) const;
    [[nodiscard]] Frame syn() const;
    [[nodiscard]] unsigned state(const Frame& in) const
    {
        const Entry owner = find(in);
        return owner.exists() ? owner.state() : unsigned{FLB_FLOW_EMPTY};
    }
    // The flow was made long ago, or a moment from now, so that the next packet is a second one or one of the first's
    // burst, however fast this machine is.
    void long_ago(const Frame& in) const { find(in).flow->aux -= 1u << 20; }
    void just_now(const Frame& in) const { find(in).flow->aux += 1u << 21; }
};

std::ostream& operator<<(std::ostream& out, const OneWayMode& mode);

} // namespace featherlb::packet
