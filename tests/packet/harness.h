// SPDX-License-Identifier: Apache-2.0
// Harness: the fixture of the packet tests, for both hooks and both families. It fills the maps by small builders,
// writes packets of a connection as the client, the backend and we would send them, plays chains of (description,
// packet in, verdict, packet out), and finds entries of the flow table.
//
// Numbers: service n listens at service_address(n):80, TCP and UDP; backend n is backend_address(n):8080, behind the
// interface "backends" unless put elsewhere; connections to it come from snat_address(n / 100) with ports from 20000
// upwards, in turn, so the first one has port 20000. A service's id is its n, and so is a backend's.
#pragma once

#include <functional>
#include <optional>
#include <ostream>

#include <gtest/gtest.h>

#include "plane.h"
#include "surroundings.h"

namespace featherlb::packet {

struct Param {
    Hook hook = Hook::xdp;
    Family family = Family::ipv4;
};
std::string name_of(const ::testing::TestParamInfo<Param>& info);
std::ostream& operator<<(std::ostream& out, const Param& param);
std::ostream& operator<<(std::ostream& out, Verdict verdict);

// All hooks and families, for INSTANTIATE_TEST_SUITE_P.
inline const auto every_way = ::testing::Values(Param{Hook::xdp, Family::ipv4}, Param{Hook::xdp, Family::ipv6},
    Param{Hook::tc, Family::ipv4}, Param{Hook::tc, Family::ipv6});
inline const auto ipv4_ways = ::testing::Values(Param{Hook::xdp, Family::ipv4}, Param{Hook::tc, Family::ipv4});
inline const auto ipv6_ways = ::testing::Values(Param{Hook::xdp, Family::ipv6}, Param{Hook::tc, Family::ipv6});

// For EXPECT_TRUE: tells where the bytes differ.
[[nodiscard]] ::testing::AssertionResult same(const Bytes& expected, const Bytes& got);

struct ServiceSpec {
    flb_forward forward = FLB_SNAT;
    flb_pick pick = FLB_PICK_TURN;
    std::vector<unsigned> backends = {1}; // one slot for each
    std::uint64_t pick_seed = 1;
    std::optional<Family> outer = {}; // `ipip`: of the backends; else as the service
};

// One direction of a flow as it lies in the table.
struct Entry {
    flb_flow* flow = nullptr;
    std::uint32_t index = 0;
    IpAddress source, destination; // the key
    std::uint16_t sport = 0, dport = 0;
    std::uint8_t protocol = 0;
    IpAddress new_source, new_destination;
    std::uint16_t new_sport = 0, new_dport = 0;

    [[nodiscard]] bool exists() const { return flow != nullptr; }
    [[nodiscard]] std::uint64_t ctl() const; // throws where there is no entry, which fails the test
    [[nodiscard]] unsigned state() const { return static_cast<unsigned>(ctl() >> FLB_CTL_STATE_SHIFT) & 0x7f; }
    [[nodiscard]] std::uint32_t age() const { return static_cast<std::uint32_t>(ctl()); }
    [[nodiscard]] std::uint32_t generation() const
    {
        return static_cast<std::uint32_t>(ctl() >> FLB_CTL_GENERATION_SHIFT);
    }
    [[nodiscard]] bool is_reply() const { return state() < FLB_FLOW_STATES && (FLB_FLOW_REPLIES >> state() & 1) != 0; }
    // Makes it `ticks` older.
    void grow_old(std::uint32_t ticks) const;
    void set_state(unsigned state) const;
};

struct Step {
    std::string what;
    Frame in;
    Verdict verdict = {};
    Frame out;
};

struct Connection;

class Harness : public ::testing::TestWithParam<Param> {
public:
    static constexpr std::uint16_t service_port = 80, backend_port = 8080, first_snat_port = 20000, snat_ports = 1000;
    static constexpr std::uint16_t client_port = 40000;

    // ---- who is where
    [[nodiscard]] bool v6() const { return GetParam().family == Family::ipv6; }
    [[nodiscard]] Hook hook() const { return GetParam().hook; }
    [[nodiscard]] IpAddress address(unsigned net, unsigned host) const; // 10.net.x.y, fd00:net::z
    [[nodiscard]] static IpAddress address(Family family, unsigned net, unsigned host);
    [[nodiscard]] IpAddress client(unsigned n = 0) const { return address(1, 5 + n); }
    [[nodiscard]] IpAddress service_address(unsigned n = 1) const { return address(9, n); }
    [[nodiscard]] IpAddress snat_address(unsigned n = 0) const { return address(2, 1 + n); }
    [[nodiscard]] IpAddress backend_address(unsigned n = 1) const { return address(3, 10 + n); }
    // An address of the network `net` that belongs to nobody.
    [[nodiscard]] IpAddress stranger() const { return address(77, 1); }
    [[nodiscard]] static Mac client_mac() { return {0x02, 0, 0, 0x01, 0, 0x05}; }
    [[nodiscard]] static Mac backend_mac(unsigned n = 1) { return {0x02, 0, 0, 0x03, 0, static_cast<std::uint8_t>(n)}; }
    [[nodiscard]] static const Interface& clients() { return Surroundings::get().clients(); }
    [[nodiscard]] static const Interface& backends() { return Surroundings::get().backends(); }
    // What a packet towards an interface gives: to the interface that it came by, or to another.
    [[nodiscard]] Verdict sent(const Interface& in, const Interface& out) const;

    // ---- builders
    void use(Sets sets); // another size of table; forgets everything else
    void serve(unsigned n, const ServiceSpec& spec = {});
    void put_backend(unsigned n, unsigned service, flb_forward forward, std::optional<Family> outer = {});
    void put_slots(unsigned service, const std::vector<unsigned>& backend_numbers);
    void listen(const IpAddress& address, std::uint16_t port, std::uint8_t protocol, unsigned service);
    void put_own_address(const IpAddress& address, std::uint8_t protocol);     // as the daemon does for listeners
    void put_snat_addresses(unsigned backend, unsigned first, unsigned count); // a pool
    void set_ports(std::uint16_t first, std::uint16_t count, std::uint32_t stride);
    void mark(const IpAddress& address, std::uint8_t kinds);
    [[nodiscard]] flb_backend& backend(unsigned n) { return plane_->backends()[n]; }
    [[nodiscard]] flb_service& service(unsigned n = 1) { return plane_->services()[n]; }
    [[nodiscard]] flb_iface& iface(const Interface& interface);
    // A hop as the maps have it.
    [[nodiscard]] static flb_hop hop(const Mac& mac, const Interface& interface, const std::vector<Tag>& tags = {});

    // The first connection of client 0 through service 1 to backend 1.
    [[nodiscard]] Connection connection(flb_forward forward = FLB_SNAT, std::uint8_t protocol = protocol_tcp) const;

    // ---- running
    Outcome run(const Frame& in) { return run(to_bytes(in), in.to == backends().mac ? backends() : clients()); }
    Outcome run(const Bytes& bytes, const Interface& in = clients(), std::uint32_t gso_size = 0);
    void play(const std::vector<Step>& steps);
    void expect_out(const std::string& what, const Frame& in, Verdict verdict, const Frame& out);
    void expect_drop(const std::string& what, const Frame& in, flb_drop_reason reason);
    void expect_drop(
        const std::string& what, const Bytes& in, flb_drop_reason reason, const Interface& interface = clients());
    void expect_pass(const std::string& what, const Frame& in); // unchanged, nothing counted
    void expect_pass(const std::string& what, const Bytes& in, const Interface& interface = clients());
    // The RST that answers a client's segment, sent back where it came from.
    void expect_reset(const std::string& what, const Frame& in, flb_drop_reason reason = FLB_DROP_no_flow);
    // The ICMP error that we make about a packet, and that it is sent back where the packet came from.
    [[nodiscard]] Frame answer_to(
        const Frame& in, flb_drop_reason reason, std::uint32_t mtu, const IpAddress& source) const;
    void expect_answer(const std::string& what, const Frame& in, flb_drop_reason reason, std::uint32_t mtu,
        const IpAddress& source, std::uint32_t gso_size = 0);
    [[nodiscard]] std::uint64_t all_drops() const;

    // ---- the flow table
    [[nodiscard]] std::vector<Entry> entries() const;       // all that are not empty
    [[nodiscard]] Entry find(const Frame& packet) const;    // by the packet's own addresses and ports
    [[nodiscard]] Entry reply_of(const Entry& owner) const; // of the pair; none if it is another's
    [[nodiscard]] Entry at(std::uint32_t index) const;
    void expect_sound_table() const;  // no key twice, no reply twice, pairs point at each other, sound loads
    void forget_flows();              // all of them, and that they were open
    void expect_sound_loads() const;  // counts of open connections equal the table
    void expect_sound_bounds() const; // no backend has less to do than its chunk's bound says

    [[nodiscard]] Plane& plane() { return *plane_; }

protected:
    void SetUp() override;

private:
    Inside inside_;
    Plane* plane_ = nullptr;
};

// The packets of one connection. With no arguments: client 0, service 1, backend 1, the first port of snat.
struct Connection {
    std::reference_wrapper<const Harness> h; // assignable, unlike a reference
    std::uint8_t protocol = protocol_tcp;
    unsigned service = 1, backend = 1;
    IpAddress client = h.get().client();
    std::uint16_t client_port = Harness::client_port;
    IpAddress outside = h.get().snat_address(); // as which the backend sees the client; dnat: the client
    std::uint16_t outside_port = Harness::first_snat_port;
    Mac client_mac = Harness::client_mac();
    std::vector<Tag> client_tags = {}, backend_tags = {};
    Interface client_side = Harness::clients(), backend_side = Harness::backends();
    std::uint16_t port = Harness::service_port, port_there = Harness::backend_port; // of the service; of the backend

    // The same with the client's own address towards the backend.
    [[nodiscard]] Connection kept() const;

    [[nodiscard]] Frame request(std::uint8_t flags = 0, Bytes payload = {}) const; // as the client sends it
    [[nodiscard]] Frame forwarded(Frame request) const;                            // as it leaves to the backend
    [[nodiscard]] Frame answer(std::uint8_t flags = 0, Bytes payload = {}) const;  // as the backend sends it
    [[nodiscard]] Frame returned(Frame answer) const;                              // as it leaves to the client

    [[nodiscard]] Step there(const std::string& what, const Frame& request) const;
    [[nodiscard]] Step back(const std::string& what, const Frame& answer) const;
    // SYN, SYN-ACK, ACK. Sequence numbers: the client's SYN has 1000, the backend's 5000.
    [[nodiscard]] std::vector<Step> handshake() const;
    [[nodiscard]] Frame syn() const;
    [[nodiscard]] Frame syn_ack() const;
    [[nodiscard]] Frame first_ack() const;
    [[nodiscard]] Frame request_data(std::uint8_t flags, Bytes payload = {}) const; // seq 1001, ack 5001
    [[nodiscard]] Frame answer_data(std::uint8_t flags, Bytes payload = {}) const;  // seq 5001, ack 1001
};

} // namespace featherlb::packet
