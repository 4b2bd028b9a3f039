// SPDX-License-Identifier: Apache-2.0
// The decapsulation programs by BPF_PROG_TEST_RUN: what is taken out of its tunnel, what passes as it came, and the MSS
// of SYN-ACKs. Segmentation offload cannot be given to a test run: the lab has it (test_decap.py).
#include <array>
#include <cerrno>
#include <system_error>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "harness.h"
#include "kernel/decap.h"

namespace featherlb::packet {
namespace {

constexpr std::uint8_t protocol_ipip = 4, protocol_ipv6 = 41;
constexpr std::uint32_t mtu = 1500;

IpAddress at(const char* text)
{
    return *IpAddress::parse(text);
}

struct Way {
    Hook hook = Hook::tc;
    Family inner = Family::ipv4, outer = Family::ipv4;
};
std::string way_name(const ::testing::TestParamInfo<Way>& info)
{
    const auto digit = [](Family family) { return family == Family::ipv4 ? "4" : "6"; };
    return std::string(info.param.hook == Hook::tc ? "tc_" : "xdp_") + digit(info.param.inner) + "_in_" +
           digit(info.param.outer);
}

class Decap : public ::testing::TestWithParam<Way> {
protected:
    void SetUp() override { load({}); }

    void load(const std::vector<NetworkPrefix>& from)
    {
        auto loaded = Decapsulator::load(from);
        ASSERT_TRUE(loaded) << loaded.error().message;
        decap_.emplace(std::move(*loaded));
        ASSERT_TRUE(decap_->set_roles({{host(Family::ipv4), FLB_DECAP_OUTER}, {host(Family::ipv6), FLB_DECAP_OUTER},
            {service(Family::ipv4), FLB_DECAP_SERVICE}, {service(Family::ipv6), FLB_DECAP_SERVICE}}));
        featherlb::Interface interface;
        interface.index = here().index;
        interface.name = here().name;
        interface.mac = here().mac;
        ASSERT_TRUE(decap_->set_mtu(interface, mtu));
        front_ = make_tc_front(decap_->tc_fd());
        mss_front_ = make_tc_front(decap_->mss_fd());
    }

    static const Interface& here() { return Surroundings::get().clients(); }
    static IpAddress host(Family family) { return at(family == Family::ipv4 ? "10.2.0.11" : "fd00:2::11"); }
    static IpAddress service(Family family) { return at(family == Family::ipv4 ? "10.9.0.1" : "fd00:9::1"); }
    static IpAddress client(Family family) { return at(family == Family::ipv4 ? "10.1.0.5" : "fd00:1::5"); }
    static IpAddress balancer(Family family) { return at(family == Family::ipv4 ? "10.2.0.1" : "fd00:2::1"); }

    // The packet inside, with the link's header that it is to have afterwards.
    static Frame inside(std::uint8_t flags = tcp_ack)
    {
        Frame frame;
        frame.to = here().mac;
        frame.from = {0x02, 0, 0, 0x02, 0, 0x01};
        frame.source = client(GetParam().inner);
        frame.destination = service(GetParam().inner);
        frame.sport = 40000;
        frame.dport = 80;
        frame.seq = 1000;
        frame.flags = flags;
        frame.payload = pattern(100);
        return frame;
    }
    static Frame around(const Frame& inner)
    {
        Frame frame;
        frame.to = inner.to;
        frame.from = inner.from;
        frame.tags = inner.tags;
        frame.source = balancer(GetParam().outer);
        frame.destination = host(GetParam().outer);
        frame.protocol = inner.is_ipv4() ? protocol_ipip : protocol_ipv6;
        frame.bare = true;
        frame.payload = quote(inner, 65535);
        return frame;
    }

    Bytes run(const Bytes& wire) const { return run(wire, GetParam().hook == Hook::tc ? TC_ACT_UNSPEC : XDP_PASS); }
    Bytes run(const Bytes& wire, int verdict) const
    {
        return GetParam().hook == Hook::tc ? run_tc(front_.program.get(), wire, verdict) : run_xdp(wire, verdict);
    }
    Bytes run(const Frame& frame) const { return run(to_bytes(frame)); }

    static Bytes run_tc(int program, const Bytes& wire, int verdict = TC_ACT_UNSPEC)
    {
        constexpr std::size_t macs = 12, tag = 4;
        Bytes in = wire;
        __sk_buff context{};
        context.ifindex = context.ingress_ifindex = here().index;
        const unsigned type = static_cast<unsigned>(wire[macs]) << 8 | wire[macs + 1];
        if (type == tag_q || type == tag_ad) {
            context.cb[0] = static_cast<std::uint32_t>(htons(static_cast<std::uint16_t>(type))) << 16 |
                            static_cast<std::uint32_t>(wire[macs + 2]) << 8 | wire[macs + 3];
            in.erase(in.begin() + macs, in.begin() + macs + tag);
        }
        Bytes out = test_run(program, in, &context, sizeof(context), verdict);
        if (context.cb[0] != 0)
            out.insert(out.begin() + macs, wire.begin() + macs, wire.begin() + macs + tag);
        return out;
    }
    Bytes run_xdp(const Bytes& wire, int verdict) const
    {
        xdp_md context{};
        context.data_end = static_cast<std::uint32_t>(wire.size());
        context.ingress_ifindex = here().index;
        return test_run(decap_->xdp_fd(), wire, &context, sizeof(context), verdict);
    }
    static Bytes test_run(int program, const Bytes& in, void* context, std::uint32_t context_bytes, int verdict)
    {
        const Inside inside;
        Bytes out(in.size() + 256);
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = in.data();
        options.data_size_in = static_cast<std::uint32_t>(in.size());
        options.data_out = out.data();
        options.data_size_out = static_cast<std::uint32_t>(out.size());
        options.ctx_in = options.ctx_out = context;
        options.ctx_size_in = options.ctx_size_out = context_bytes;
        if (bpf_prog_test_run_opts(program, &options) != 0)
            throw std::system_error(errno, std::generic_category(), "test run");
        EXPECT_EQ(static_cast<int>(options.retval), verdict);
        out.resize(options.data_size_out);
        return out;
    }

    [[nodiscard]] std::uint64_t count(flb_decap_counter which) const { return decap_->counts().value()[which]; }
    [[nodiscard]] std::uint64_t all_counts() const
    {
        std::uint64_t sum = 0;
        const auto counts = decap_->counts();
        for (const std::uint64_t one : counts.value())
            sum += one;
        return sum;
    }

    // Whether the kernel can do this at all (TC before Linux 6.3 cannot change the IP version).
    [[nodiscard]] bool possible() const
    {
        return GetParam().hook == Hook::xdp || GetParam().inner == GetParam().outer || decap_->tc_crosses_families();
    }
    void expect_taken_out(const std::string& what, const Frame& inner, const Frame& outer)
    {
        SCOPED_TRACE(what);
        const std::uint64_t before = count(FLB_DECAP_decapsulated);
        const std::uint64_t refused = count(FLB_DECAP_not_possible);
        const Bytes out = run(outer);
        if (!possible()) {
            EXPECT_TRUE(same(to_bytes(outer), out));
            EXPECT_EQ(count(FLB_DECAP_not_possible), refused + 1);
            return;
        }
        EXPECT_TRUE(same(to_bytes(inner), out));
        EXPECT_EQ(count(FLB_DECAP_decapsulated), before + 1);
    }
    void expect_taken_out(const std::string& what, const Frame& inner) { expect_taken_out(what, inner, around(inner)); }
    void expect_lost(const Frame& outer)
    {
        const std::uint64_t before = count(FLB_DECAP_congestion);
        run(to_bytes(outer), GetParam().hook == Hook::tc ? TC_ACT_SHOT : XDP_DROP);
        EXPECT_EQ(count(FLB_DECAP_congestion), before + 1);
    }
    // Nothing: it is not even counted.
    void expect_pass(const std::string& what, const Frame& outer, std::optional<flb_decap_counter> counter = {})
    {
        SCOPED_TRACE(what);
        const std::uint64_t before = counter ? count(*counter) : 0, all = all_counts();
        EXPECT_TRUE(same(to_bytes(outer), run(outer)));
        EXPECT_EQ(all_counts(), all + (counter ? 1 : 0));
        EXPECT_EQ(counter ? count(*counter) : 1, before + 1);
    }

    std::optional<Decapsulator> decap_;
    TcFront front_, mss_front_;
};

TEST_P(Decap, a_packet_for_a_service_address_loses_its_outer_header)
{
    expect_taken_out("TCP", inside());
    Frame udp = inside();
    udp.protocol = protocol_udp;
    expect_taken_out("UDP", udp);
    Frame small = inside();
    small.payload.clear();
    expect_taken_out("nothing but headers", small);
    Frame large = inside();
    large.payload = pattern(1300);
    expect_taken_out("a long one", large);
}

// RFC 6040, figure 4; a row for each field of the outer header (not ECN-capable, ECT(1), ECT(0), congestion), a column
// for each of the inner.
TEST_P(Decap, congestion_on_the_way_is_reported_to_the_packet_inside)
{
    constexpr int lost = -1;
    constexpr std::array expected{0, 1, 2, 3, 0, 1, 1, 3, 0, 1, 2, 3, lost, 3, 3, 3};
    constexpr unsigned service_class = 0xb8;
    for (unsigned row = 0; row < expected.size(); ++row) {
        SCOPED_TRACE(std::to_string(row / 4) + " around " + std::to_string(row % 4));
        Frame inner = inside();
        inner.tos = static_cast<std::uint8_t>(service_class | row % 4);
        Frame outer = around(inner);
        outer.tos = static_cast<std::uint8_t>(row / 4);
        if (expected.at(row) == lost) {
            expect_lost(outer);
        } else if (possible()) {
            inner.tos = static_cast<std::uint8_t>(service_class | static_cast<unsigned>(expected.at(row)));
            expect_taken_out("reported", inner, outer);
        }
    }
}

TEST_P(Decap, one_tag_stays)
{
    Frame inner = inside();
    inner.tags = {{.tci = 100}};
    expect_taken_out("802.1Q", inner);
}

TEST_P(Decap, two_tags_stay_in_xdp_and_are_left_alone_in_tc)
{
    Frame inner = inside();
    inner.tags = {{.tci = 7, .protocol = tag_ad}, {.tci = 100}};
    if (GetParam().hook == Hook::xdp)
        expect_taken_out("802.1ad and 802.1Q", inner);
    else
        expect_pass("802.1ad and 802.1Q", around(inner));
}

TEST_P(Decap, an_outer_header_with_options_goes_as_a_whole)
{
    if (GetParam().outer == Family::ipv6)
        return;
    const Frame inner = inside();
    Frame outer = around(inner);
    outer.options = {1, 1, 1, 1, 1, 1, 1, 0};
    expect_taken_out("eight bytes of options", inner, outer);
}

TEST_P(Decap, fragments_inside_are_taken_out_like_any_packet)
{
    Frame later = inside();
    later.bare = true;
    if (GetParam().inner == Family::ipv4)
        later.fragment = 0x0010;
    else
        later.extensions = {fragment(0x10, false)};
    expect_taken_out("a later fragment", later);
}

TEST_P(Decap, what_is_not_for_this_host_passes_uncounted)
{
    Frame other_station = around(inside());
    other_station.to = {0x02, 0, 0, 9, 9, 9};
    expect_pass("another station's frame", other_station);
    Frame elsewhere = around(inside());
    elsewhere.destination = at(GetParam().outer == Family::ipv4 ? "10.2.0.12" : "fd00:2::12");
    expect_pass("another host's tunnel", elsewhere);
    Frame to_service = around(inside());
    to_service.destination = service(GetParam().outer);
    expect_pass("a service address outside", to_service);
    expect_pass("no tunnel", inside());
    Frame gre = around(inside());
    gre.protocol = 47;
    expect_pass("another tunnel", gre);
}

TEST_P(Decap, an_address_inside_that_is_no_service_passes)
{
    Frame own = inside();
    own.destination = host(GetParam().inner);
    expect_pass("the host's own", around(own), FLB_DECAP_not_a_service);
    Frame stranger = inside();
    stranger.destination = at(GetParam().inner == Family::ipv4 ? "10.9.0.2" : "fd00:9::2");
    expect_pass("nobody's", around(stranger), FLB_DECAP_not_a_service);
}

TEST_P(Decap, a_fragment_of_the_tunnel_passes)
{
    if (GetParam().outer == Family::ipv6)
        return; // has another next header, and so is no tunnel packet
    Frame first = around(inside());
    first.fragment = 0x2000;
    expect_pass("the first", first, FLB_DECAP_fragment);
    Frame later = around(inside());
    later.fragment = 0x0010;
    expect_pass("a later one", later, FLB_DECAP_fragment);
}

TEST_P(Decap, nonsense_inside_passes)
{
    Frame none = around(inside());
    none.payload.clear();
    expect_pass("nothing inside", none, FLB_DECAP_malformed);
    Frame cut = around(inside());
    cut.payload.resize(19);
    expect_pass("half a header", cut, FLB_DECAP_malformed);
    Frame wrong = around(inside());
    wrong.payload[0] = 0x50 | (wrong.payload[0] & 15);
    expect_pass("IP version 5", wrong, FLB_DECAP_malformed);
    if (GetParam().inner == Family::ipv4) {
        Frame narrow = around(inside());
        narrow.payload[0] = 0x44;
        expect_pass("a header of 16 bytes", narrow, FLB_DECAP_malformed);
    }
}

TEST_P(Decap, a_broken_outer_header_or_link_passes_uncounted)
{
    const Bytes good = to_bytes(around(inside()));
    const auto expect_untouched = [this](const std::string& what, const Bytes& bytes) {
        const std::uint64_t all = all_counts();
        EXPECT_TRUE(same(bytes, run(bytes))) << what;
        EXPECT_EQ(all_counts(), all) << what;
    };
    const bool ipv4 = GetParam().outer == Family::ipv4;
    if (GetParam().hook == Hook::xdp) // the kernel runs TC's program on nothing shorter than an IP header
        for (std::size_t bytes = 14; bytes < (ipv4 ? 34u : 54u); bytes++)
            expect_untouched("cut", Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(bytes)));
    Bytes wrong = good;
    wrong[14] ^= 0x10;
    expect_untouched("another version", wrong);
    wrong[14] = 0x44;
    expect_untouched("too narrow", wrong);
    wrong = good;
    wrong[12] = wrong[13] = 8;
    expect_untouched("no IP", wrong);
    Frame tagged = around(inside());
    tagged.tags = {{.tci = 1}, {.tci = 2}, {.tci = 3}};
    expect_untouched("three tags", to_bytes(tagged));
}

TEST_P(Decap, sources_can_be_restricted)
{
    load({NetworkPrefix::of(balancer(Family::ipv4), 24), NetworkPrefix::of(balancer(Family::ipv6), 64)});
    expect_taken_out("from the network", inside());
    Frame foreign = around(inside());
    foreign.source = at(GetParam().outer == Family::ipv4 ? "10.3.0.1" : "fd00:3::1");
    expect_pass("from elsewhere", foreign, FLB_DECAP_foreign_source);
}

INSTANTIATE_TEST_SUITE_P(EveryWay, Decap,
    ::testing::Values(Way{Hook::tc, Family::ipv4, Family::ipv4}, Way{Hook::tc, Family::ipv6, Family::ipv6},
        Way{Hook::tc, Family::ipv4, Family::ipv6}, Way{Hook::tc, Family::ipv6, Family::ipv4},
        Way{Hook::xdp, Family::ipv4, Family::ipv4}, Way{Hook::xdp, Family::ipv6, Family::ipv6},
        Way{Hook::xdp, Family::ipv4, Family::ipv6}, Way{Hook::xdp, Family::ipv6, Family::ipv4}),
    way_name);

// ---- the MSS ----

class DecapMss : public Decap {
protected:
    void expect_mss(const std::string& what, const Frame& sent, const Bytes& options)
    {
        SCOPED_TRACE(what);
        Frame wanted = sent;
        wanted.tcp_options = options;
        const std::uint64_t before = count(FLB_DECAP_clamped);
        EXPECT_TRUE(same(to_bytes(wanted), run_tc(mss_front_.program.get(), to_bytes(sent))));
        EXPECT_EQ(count(FLB_DECAP_clamped), before + (options == sent.tcp_options ? 0 : 1));
    }
    // The backend's SYN-ACK with these options, on its way out.
    static Frame syn_ack(const Bytes& options)
    {
        Frame frame = inside(tcp_syn | tcp_ack);
        std::swap(frame.to, frame.from);
        std::swap(frame.source, frame.destination);
        std::swap(frame.sport, frame.dport);
        frame.payload.clear();
        frame.tcp_options = options;
        return frame;
    }
    static Bytes mss(std::uint32_t value)
    {
        return {2, 4, static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
    }
    // What is left of the MTU.
    static std::uint32_t limit()
    {
        const auto bytes = [](Family family) { return family == Family::ipv4 ? 20u : 40u; };
        return mtu - bytes(GetParam().outer) - bytes(GetParam().inner) - 20;
    }
    void see_syn() { (void)run(around(inside(tcp_syn))); }
};

TEST_P(DecapMss, of_a_syn_ack_is_lowered_once_a_syn_came_through_a_tunnel)
{
    expect_mss("before", syn_ack(mss(1460)), mss(1460));
    (void)run(around(inside(tcp_ack)));
    expect_mss("after a packet that is no SYN", syn_ack(mss(1460)), mss(1460));
    see_syn();
    expect_mss("after the SYN", syn_ack(mss(1460)), mss(limit()));
    expect_mss("one more than fits", syn_ack(mss(limit() + 1)), mss(limit()));
    Frame tagged = syn_ack(mss(1460));
    tagged.tags = {{.tci = 100}};
    expect_mss("with a tag", tagged, mss(limit()));
}

TEST_P(DecapMss, is_found_behind_other_options)
{
    see_syn();
    const auto value = [](std::uint32_t number, int shift) { return static_cast<std::uint8_t>(number >> shift); };
    const auto odd = [&](std::uint32_t n) { return Bytes{1, 2, 4, value(n, 8), value(n, 0), 1, 1, 0}; };
    expect_mss("at an odd place", syn_ack(odd(1460)), odd(limit()));
    const auto behind = [&](std::uint32_t n) { return Bytes{4, 2, 3, 3, 7, 2, 4, value(n, 8), value(n, 0), 1, 1, 1}; };
    expect_mss("behind SACK and window scale", syn_ack(behind(1460)), behind(limit()));
    const auto last = [&](std::uint32_t n) {
        Bytes options(36, 1);
        options.insert(options.end(), {2, 4, value(n, 8), value(n, 0)});
        return options;
    };
    expect_mss("as the last of many", syn_ack(last(1460)), last(limit()));
}

TEST_P(DecapMss, stays_where_there_is_no_reason)
{
    see_syn();
    expect_mss("it fits", syn_ack(mss(limit())), mss(limit()));
    expect_mss("it is smaller", syn_ack(mss(536)), mss(536));
    expect_mss("there is none", syn_ack({}), {});
    expect_mss("none behind the end", syn_ack({0, 0, 2, 4, 5, 180, 0, 0}), {0, 0, 2, 4, 5, 180, 0, 0});
    expect_mss("an option without length", syn_ack({3, 0, 2, 4, 5, 180, 0, 0}), {3, 0, 2, 4, 5, 180, 0, 0});
    expect_mss("an MSS of another length", syn_ack({2, 3, 5, 180}), {2, 3, 5, 180});
    Frame syn = syn_ack(mss(1460));
    syn.flags = tcp_syn;
    expect_mss("a SYN of the host's own", syn, mss(1460));
    Frame own = syn_ack(mss(1460));
    own.source = host(GetParam().inner);
    expect_mss("a service of the host's own address", own, mss(1460));
}

TEST_P(DecapMss, of_other_packets_and_of_cut_ones_is_not_looked_for)
{
    see_syn();
    const auto expect_untouched = [this](const std::string& what, const Bytes& bytes) {
        EXPECT_TRUE(same(bytes, run_tc(mss_front_.program.get(), bytes))) << what;
    };
    Frame answer = syn_ack(mss(1460));
    const Bytes whole = to_bytes(answer);
    const std::size_t l4 = transport_offset(answer);
    for (const std::size_t bytes : {l4, l4 + 19, whole.size() - 1})
        expect_untouched("cut", Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes)));
    Bytes wrong = whole;
    wrong[12] = wrong[13] = 8;
    expect_untouched("no IP", wrong);
    answer.flags = tcp_ack;
    expect_untouched("no SYN", to_bytes(answer));
    answer.protocol = protocol_udp;
    expect_untouched("UDP", to_bytes(answer));
    Frame later = syn_ack(mss(1460));
    later.bare = true;
    if (GetParam().inner == Family::ipv4)
        later.fragment = 0x0010;
    expect_untouched("a later fragment", to_bytes(later));
}

TEST_P(DecapMss, has_a_least_value_on_narrow_ways)
{
    (void)run(around(inside(tcp_syn)));
    (void)run(around(inside(tcp_syn))); // the second one tells nothing new
    featherlb::Interface interface;
    interface.index = here().index;
    interface.mac = here().mac;
    ASSERT_TRUE(decap_->set_mtu(interface, 140));
    expect_mss("a way of 140 bytes", syn_ack(mss(1460)), mss(88));
}

TEST_P(DecapMss, keeps_what_is_known_of_a_service_when_addresses_change)
{
    see_syn();
    ASSERT_TRUE(decap_->set_roles({{service(GetParam().inner), FLB_DECAP_SERVICE}}));
    expect_mss("it stayed", syn_ack(mss(1460)), mss(limit()));
    ASSERT_TRUE(decap_->set_roles({}));
    expect_mss("it went", syn_ack(mss(1460)), mss(1460));
}

INSTANTIATE_TEST_SUITE_P(EveryTunnel, DecapMss,
    ::testing::Values(Way{Hook::tc, Family::ipv4, Family::ipv4}, Way{Hook::tc, Family::ipv6, Family::ipv6},
        Way{Hook::xdp, Family::ipv4, Family::ipv6}, Way{Hook::xdp, Family::ipv6, Family::ipv4}),
    way_name);

} // namespace
} // namespace featherlb::packet
