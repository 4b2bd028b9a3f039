// SPDX-License-Identifier: Apache-2.0
// Every reason of FLB_DROP_REASONS is seen at both hooks; one that a test run cannot provoke is excused here. A new
// reason in the list fails these tests until it has one or the other.
#include <map>

#include "harness.h"

namespace featherlb::packet {
namespace {

class Reasons : public Harness {};
INSTANTIATE_TEST_SUITE_P(hooks, Reasons, every_way, name_of);

// Prepares what is needed and gives the packet that is dropped.
using Provocation = std::function<Bytes(Harness&)>;

Bytes changed_syn(Harness& h, const std::function<void(Frame&)>& change)
{
    h.serve(1);
    Frame f = h.connection().syn();
    change(f);
    return to_bytes(f);
}

Bytes truncated(Harness& h)
{
    Bytes bytes = changed_syn(h, [&h](Frame& f) { f.length = static_cast<std::uint16_t>(h.v6() ? 19 : 39); });
    bytes.pop_back();
    return bytes;
}

Bytes extension_headers(Harness& h)
{
    if (!h.v6())
        return {}; // has none
    return changed_syn(h, [](Frame& f) { f.extensions.assign(7, destination_options()); });
}

Bytes early_fragment(Harness& h)
{
    return changed_syn(h, [&h](Frame& f) {
        f.bare = true;
        f.payload = pattern(16);
        if (h.v6())
            f.extensions = {fragment(3, true)};
        else
            f.fragment = 0x2003;
    });
}

// An error that quotes no ports.
Bytes short_quote(Harness& h)
{
    h.serve(1);
    const Frame syn = h.connection().syn();
    Frame f = syn;
    f.destination = syn.destination;
    f.protocol = h.v6() ? protocol_icmpv6 : protocol_icmp;
    f.icmp_type = h.v6() ? 1 : 3;
    Frame answer = syn;
    std::swap(answer.source, answer.destination);
    f.payload = quote(answer, h.v6() ? 44 : 24);
    return to_bytes(f);
}

// Nobody is told about a packet from an address that is not one station's.
Bytes used_up(Harness& h)
{
    return changed_syn(h, [&h](Frame& f) {
        f.ttl = 1;
        f.source = IpAddress::parse(h.v6() ? "ff02::1" : "224.0.0.1").value();
    });
}

Bytes orphaned_reply(Harness& h)
{
    h.serve(1, {.forward = FLB_DNAT});
    Connection c = h.connection(FLB_DNAT);
    c.outside = h.client(1); // on the link, but no neighbour is known
    return to_bytes(c.answer_data(tcp_ack));
}

Bytes unresolved(Harness& h)
{
    Bytes bytes = changed_syn(h, [](Frame&) {});
    h.backend(1).hop = {};
    return bytes;
}

// Two proven connections fill a table of one set.
Bytes full_table(Harness& h)
{
    h.use({1, 1});
    h.serve(1);
    for (unsigned n = 0; n < 3; n++) {
        Connection c = h.connection();
        c.client = h.client(n);
        c.outside_port = static_cast<std::uint16_t>(c.outside_port + n);
        if (n == 2)
            return to_bytes(c.syn());
        h.play(c.handshake());
    }
    return {};
}

Bytes locked_set(Harness& h)
{
    h.use({1, 1});
    h.serve(1);
    h.at(0).flow->ctl |= FLB_CTL_LOCK;
    return to_bytes(h.connection().syn());
}

Bytes only_port_taken(Harness& h)
{
    h.serve(1);
    h.set_ports(Harness::first_snat_port, 1, 1);
    h.play(h.connection().handshake());
    Connection other = h.connection();
    other.client = h.client(1);
    return to_bytes(other.syn());
}

// One client port towards two service addresses that share a backend.
Bytes same_tuple(Harness& h)
{
    h.serve(1, {.forward = FLB_DNAT});
    h.listen(h.service_address(2), Harness::service_port, protocol_tcp, 1);
    h.play(h.connection(FLB_DNAT).handshake());
    Frame f = h.connection(FLB_DNAT).syn();
    f.destination = h.service_address(2);
    return to_bytes(f);
}

Bytes too_big(Harness& h)
{
    return changed_syn(h, [&h](Frame& f) {
        f.payload = pattern(1500);
        f.source = IpAddress::parse(h.v6() ? "ff02::1" : "224.0.0.1").value();
    });
}

Bytes no_service(Harness& h)
{
    h.listen(h.service_address(1), Harness::service_port, protocol_tcp, 9);
    return to_bytes(h.connection().syn());
}

Bytes no_backend(Harness& h)
{
    h.serve(1, {.backends = {}});
    return to_bytes(h.connection().syn());
}

// The client's repeated SYN goes to backend 2, and then backend 1 answers.
Bytes late_answer(Harness& h)
{
    h.serve(1, {.backends = {1, 2}});
    h.service().flags |= FLB_SERVICE_SYN_FAILOVER;
    const Connection c = h.connection();
    h.run(c.syn());
    h.find(c.syn()).flow->aux -= Plane::hz;
    h.run(c.syn());
    return to_bytes(c.syn_ack());
}

Bytes rst_to_a_dead_backend(Harness& h)
{
    h.serve(1);
    h.play(h.connection().handshake());
    h.backend(1).flags |= FLB_BACKEND_RESET;
    return to_bytes(h.connection().request_data(tcp_rst));
}

// Behind options, so it is dropped, not answered.
Bytes refused(Harness& h)
{
    Bytes bytes = changed_syn(h, [&h](Frame& f) {
        if (h.v6())
            f.extensions = {hop_by_hop()};
        else
            f.options.assign(4, 1);
    });
    h.service().flags |= FLB_SERVICE_REFUSE;
    return bytes;
}

Bytes held_back(Harness& h)
{
    h.serve(1);
    h.plane().settings().copying_until = 1u << 30; // time stands still
    return to_bytes(h.connection().request_data(tcp_ack));
}

// Behind options, likewise.
Bytes killed(Harness& h)
{
    h.serve(1);
    h.play(h.connection().handshake());
    h.find(h.connection().syn()).set_state(FLB_FLOW_KILLED);
    h.plane().loads()[1].open--;
    Frame f = h.connection().request_data(tcp_ack);
    if (h.v6())
        f.extensions = {hop_by_hop()};
    else
        f.options.assign(4, 1);
    return to_bytes(f);
}

Bytes denied(Harness& h)
{
    Bytes bytes = changed_syn(h, [](Frame&) {});
    flb_prefix_key key{};
    key.bits = 32;
    key.service = 1;
    h.plane().put_prefix(key, false);
    h.service().flags |= FLB_SERVICE_LISTS;
    return bytes;
}

Bytes too_fast(Harness& h)
{
    h.serve(1);
    h.service().source_rate = 64; // the hertz of these tests are many: less a minute is beyond the limit's clock
    h.service().source_burst = 1;
    h.play({h.connection().there("the one that may be opened", h.connection().syn())});
    return to_bytes(h.connection(FLB_SNAT, protocol_udp).request());
}

Bytes too_many(Harness& h)
{
    h.serve(1);
    h.service().source_connections = 1;
    h.play(h.connection().handshake());
    return to_bytes(h.connection(FLB_SNAT, protocol_udp).request());
}

const std::map<flb_drop_reason, Provocation> provocations = {
    {FLB_DROP_truncated, truncated},
    {FLB_DROP_bad_length, [](Harness& h) { return changed_syn(h, [](Frame& f) { f.length = 5000; }); }},
    {FLB_DROP_bad_tcp_header, [](Harness& h) { return changed_syn(h, [](Frame& f) { f.tcp_words = 3; }); }},
    {FLB_DROP_bad_tcp_flags, [](Harness& h) { return changed_syn(h, [](Frame& f) { f.flags = 0; }); }},
    {FLB_DROP_extension_headers, extension_headers},
    {FLB_DROP_fragment, early_fragment},
    {FLB_DROP_ttl_exceeded, used_up},
    {FLB_DROP_no_flow, [](Harness& h) { return changed_syn(h, [](Frame& f) { f.flags = tcp_rst; }); }},
    {FLB_DROP_no_backend, no_backend},
    {FLB_DROP_backend_unresolved, unresolved},
    {FLB_DROP_no_return_path, orphaned_reply},
    {FLB_DROP_table_full, full_table},
    {FLB_DROP_table_contended, locked_set},
    {FLB_DROP_ports_exhausted, only_port_taken},
    {FLB_DROP_tuple_in_use, same_tuple},
    {FLB_DROP_too_big, too_big},
    {FLB_DROP_not_configured, no_service},
    {FLB_DROP_superseded, late_answer},
    {FLB_DROP_backend_down, rst_to_a_dead_backend},
    {FLB_DROP_refused, refused},
    {FLB_DROP_icmp_broken, short_quote},
    {FLB_DROP_killed, killed},
    {FLB_DROP_copying, held_back},
    {FLB_DROP_denied, denied},
    {FLB_DROP_source_rate, too_fast},
    {FLB_DROP_source_connections, too_many},
};

const std::map<flb_drop_reason, std::string> excuses = {
    {FLB_DROP_rewrite_failed,
        "a helper fails only without memory or headroom, of which a test run has enough: host/faults_test.cpp"},
};

#define LIST(name, text) {FLB_DROP_##name, #name},
const std::map<flb_drop_reason, std::string> reasons = {FLB_DROP_REASONS(LIST)};
#undef LIST

TEST_P(Reasons, each_is_seen_or_excused)
{
    for (const auto& [reason, name] : reasons) {
        SCOPED_TRACE(name);
        EXPECT_NE(provocations.contains(reason), excuses.contains(reason)) << "neither provoked nor excused, or both";
        if (!provocations.contains(reason))
            continue;
        use({});
        const Bytes bytes = provocations.at(reason)(*this);
        if (bytes.empty())
            continue; // not in this family
        const bool by_backend = reason == FLB_DROP_no_return_path || reason == FLB_DROP_superseded;
        expect_drop("provoked", bytes, reason, by_backend ? backends() : clients());
    }
}

TEST_P(Reasons, each_is_told_to_who_listens_and_to_nobody_else)
{
    for (const auto& [reason, provoke] : provocations) {
        SCOPED_TRACE(reasons.at(reason));
        use({});
        const Bytes bytes = provoke(*this);
        if (bytes.empty())
            continue; // not in this family
        const bool by_backend = reason == FLB_DROP_no_return_path || reason == FLB_DROP_superseded;
        const Interface& side = by_backend ? backends() : clients();
        plane().ask_samples(0);
        expect_drop("nobody listens", bytes, reason, side);
        EXPECT_EQ(plane().take_samples().size(), 0u);
        plane().ask_samples(~(1ull << reason));
        expect_drop("others are listened to", bytes, reason, side);
        EXPECT_EQ(plane().take_samples().size(), 0u);
        plane().ask_samples(1ull << reason);
        expect_drop("somebody listens", bytes, reason, side);
        const auto told = plane().take_samples();
        ASSERT_EQ(told.size(), 1u);
        EXPECT_EQ(told[0].kind, FLB_SAMPLE_DROP);
        EXPECT_EQ(told[0].reason, reason);
        EXPECT_EQ(told[0].family, v6() ? FLB_IPV6 : FLB_IPV4);
        EXPECT_EQ(told[0].slot, side.index % FLB_IFACE_SLOTS);
        const IpAddress from = IpAddress::from_abi(told[0].source, GetParam().family);
        const IpAddress to = IpAddress::from_abi(told[0].destination, GetParam().family);
        const auto is_ours = [&](const IpAddress& a) { return a == service_address() || a == service_address(2); };
        EXPECT_TRUE(is_ours(from) || is_ours(to) || by_backend) << from.to_string() << " to " << to.to_string();
    }
}

TEST_P(Reasons, configuration_that_is_not_there)
{
    const Connection c{*this};
    serve(1);
    plane().services()[1].flags = 0;
    expect_drop("the service is gone", c.syn(), FLB_DROP_not_configured);
    serve(1);
    backend(1).flags = 0;
    expect_drop("the backend is gone", c.syn(), FLB_DROP_not_configured);
    serve(1);
    put_slots(1, {Plane::max_backends + 5});
    expect_drop("a slot beyond the table of backends", c.syn(), FLB_DROP_not_configured);
    serve(1);
    listen(service_address(1), service_port, protocol_tcp, Plane::max_services + 5);
    expect_drop("a listener beyond the table of services", c.syn(), FLB_DROP_not_configured);
    EXPECT_EQ(entries().size(), 0u);
}

TEST_P(Reasons, a_flow_whose_backend_or_interface_has_gone)
{
    serve(1);
    const Connection c{*this};
    play(c.handshake());
    backend(1).hop = {};
    expect_drop("next hop lost", c.request_data(tcp_ack), FLB_DROP_backend_unresolved);
    backend(1).hop = hop(backend_mac(), backends());
    backend(1).flags = 0;
    expect_drop("backend gone", c.request_data(tcp_ack), FLB_DROP_not_configured);
    backend(1).flags = FLB_BACKEND_VALID;
    play({c.there("not up, but its connections go on", c.request_data(tcp_ack, pattern(3)))});
    backend(1).flags = FLB_BACKEND_VALID | FLB_BACKEND_DRAINING;
    play({c.there("draining", c.request_data(tcp_ack, pattern(3)))});
    const flb_iface way_out = iface(backends());
    iface(clients()) = {};
    expect_drop("the client's interface gone", c.answer_data(tcp_ack), FLB_DROP_no_return_path);
    iface(clients()) = way_out;
}

} // namespace
} // namespace featherlb::packet
