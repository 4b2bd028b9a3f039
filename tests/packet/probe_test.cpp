// SPDX-License-Identifier: Apache-2.0
// The programs of health checks in `dsr` and `ipip`: what leaves with a mark, and what comes back for it.
#include <cerrno>
#include <optional>
#include <system_error>

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "harness.h"
#include "kernel/probe_programs.h"

namespace featherlb::packet {
namespace {

constexpr std::uint32_t by_mac = FLB_PROBE_MARK, by_tunnel = FLB_PROBE_MARK + 1, by_other = FLB_PROBE_MARK + 2;

class Probe : public ::testing::TestWithParam<Family> {
protected:
    void SetUp() override
    {
        auto loaded = ProbePrograms::load();
        ASSERT_TRUE(loaded) << loaded.error().message;
        programs_.emplace(std::move(*loaded));
        ProbeRoutes routes;
        routes.by_mark = {{by_mac, {backend(), service(), {}, false}}, {by_tunnel, {backend(), service(), {}, true}},
            {by_other, {backend(), other_service(), other_own(), true}}};
        ASSERT_TRUE(programs_->follow(routes));
    }

    static bool v6() { return GetParam() == Family::ipv6; }
    static IpAddress at(const char* ipv4, const char* ipv6) { return *IpAddress::parse(v6() ? ipv6 : ipv4); }
    static IpAddress own() { return at("10.2.0.1", "fd00:2::1"); }
    static IpAddress backend() { return at("10.2.0.11", "fd00:2::11"); }
    static IpAddress service() { return at("10.9.0.1", "fd00:9::1"); }

    // Of the IP version that the backend has not.
    static IpAddress other_own() { return *IpAddress::parse(v6() ? "10.2.0.1" : "fd00:2::1"); }
    static IpAddress other_service() { return *IpAddress::parse(v6() ? "10.9.0.1" : "fd00:9::1"); }

    // As the daemon's socket sends it.
    static Frame question()
    {
        Frame frame;
        frame.to = {0x02, 0, 0, 3, 0, 1};
        frame.from = Surroundings::get().clients().mac;
        frame.source = own();
        frame.destination = backend();
        frame.sport = 50000;
        frame.dport = 80;
        frame.ttl = 1;
        frame.flags = tcp_syn;
        frame.seq = 77;
        frame.payload = pattern(11);
        return frame;
    }
    static Frame to_service(Frame frame)
    {
        frame.destination = service();
        return frame;
    }
    // As the backend sends it.
    static Frame answer()
    {
        Frame frame = to_service(question());
        std::swap(frame.to, frame.from);
        std::swap(frame.source, frame.destination);
        std::swap(frame.sport, frame.dport);
        frame.flags = tcp_syn | tcp_ack;
        frame.ttl = 64;
        return frame;
    }
    static Frame from_backend(Frame frame)
    {
        frame.source = backend();
        return frame;
    }

    struct Ran {
        Bytes bytes;
        int verdict = 0;
        std::uint32_t mark = 0;
    };
    static Ran test_run(int program, const Frame& frame, std::uint32_t mark)
    {
        const Inside inside;
        const Bytes in = to_bytes(frame);
        Ran ran{.bytes = Bytes(in.size() + 256)};
        __sk_buff context{};
        context.ifindex = Surroundings::get().clients().index;
        context.mark = mark;
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = in.data();
        options.data_size_in = static_cast<std::uint32_t>(in.size());
        options.data_out = ran.bytes.data();
        options.data_size_out = static_cast<std::uint32_t>(ran.bytes.size());
        options.ctx_in = options.ctx_out = &context;
        options.ctx_size_in = options.ctx_size_out = sizeof(context);
        if (bpf_prog_test_run_opts(program, &options) != 0)
            throw std::system_error(errno, std::generic_category(), "test run");
        ran.bytes.resize(options.data_size_out);
        ran.verdict = static_cast<int>(options.retval);
        ran.mark = context.mark;
        return ran;
    }
    [[nodiscard]] Ran out(const Frame& frame, std::uint32_t mark) const
    {
        return test_run(programs_->out_fd(), frame, mark);
    }
    [[nodiscard]] Ran in(const Frame& frame) const { return test_run(programs_->in_fd(), frame, 0); }
    void expect_pass(const std::string& what, const Ran& ran, const Frame& frame) const
    {
        SCOPED_TRACE(what);
        EXPECT_EQ(ran.verdict, TC_ACT_UNSPEC);
        EXPECT_TRUE(same(to_bytes(frame), ran.bytes));
    }

    std::optional<ProbePrograms> programs_;
};

TEST_P(Probe, a_question_goes_to_the_service_address_at_the_backends_mac)
{
    const Ran ran = out(question(), by_mac);
    expect_pass("dsr", ran, to_service(question()));
    EXPECT_EQ(ran.mark, 0u) << "a device below does not do it again";
}

TEST_P(Probe, a_question_goes_through_the_tunnel)
{
    Frame outer;
    outer.to = question().to;
    outer.from = question().from;
    outer.source = own();
    outer.destination = backend();
    outer.protocol = v6() ? 41 : 4;
    outer.id = 0;
    outer.bare = true;
    outer.payload = quote(to_service(question()), 65535);
    expect_pass("ipip", out(question(), by_tunnel), outer);
}

TEST_P(Probe, a_question_is_of_the_services_ip_version_in_the_tunnel)
{
    Frame inner = question();
    inner.source = other_own();
    inner.destination = other_service();
    inner.id = 0;
    Frame outer;
    outer.to = question().to;
    outer.from = question().from;
    outer.source = own();
    outer.destination = backend();
    outer.protocol = v6() ? 4 : 41;
    outer.id = 0;
    outer.bare = true;
    outer.payload = quote(inner, 65535);
    expect_pass("ipip", out(question(), by_other), outer);

    Frame told = answer();
    told.source = other_service();
    told.destination = other_own();
    Frame seen = from_backend(answer());
    seen.id = 0;
    expect_pass("its answer", in(told), seen);
}

TEST_P(Probe, what_cannot_be_made_anew_is_dropped)
{
    Frame frame = question();
    if (v6())
        return; // no daemon's socket sends extension headers; IPv4 may have options
    frame.options = Bytes(4, 1);
    EXPECT_EQ(out(frame, by_other).verdict, TC_ACT_SHOT);
}

TEST_P(Probe, the_answer_comes_from_the_backend_again)
{
    (void)out(question(), by_mac);
    expect_pass("it", in(answer()), from_backend(answer()));
    Frame other = answer();
    other.dport++;
    expect_pass("of another port", in(other), other);
    other = answer();
    other.sport++;
    expect_pass("from another port", in(other), other);
    other = answer();
    other.source = backend();
    expect_pass("from the backend's own address", in(other), other);
    other = answer();
    other.protocol = protocol_udp;
    expect_pass("of another protocol", in(other), other);
}

TEST_P(Probe, answers_that_nobody_asked_for_pass)
{
    expect_pass("none asked", in(answer()), answer());
}

TEST_P(Probe, what_is_no_question_passes)
{
    expect_pass("no mark", out(question(), 0), question());
    expect_pass("somebody's mark", out(question(), 0x1b00000), question());
    expect_pass("a mark of ours that is not in use", out(question(), FLB_PROBE_MARK + 9), question());
    Frame elsewhere = question();
    elsewhere.destination = own();
    expect_pass("not to the backend", out(elsewhere, by_mac), elsewhere);
    Frame udp = question();
    udp.protocol = protocol_udp;
    expect_pass("UDP", out(udp, by_mac), udp);
    expect_pass("and nothing is expected", in(answer()), answer());
}

TEST_P(Probe, routes_that_went_are_forgotten)
{
    ASSERT_TRUE(programs_->follow({}));
    expect_pass("no route", out(question(), by_mac), question());
}

INSTANTIATE_TEST_SUITE_P(BothFamilies, Probe, ::testing::Values(Family::ipv4, Family::ipv6),
    [](const auto& chosen) { return chosen.param == Family::ipv4 ? "ipv4" : "ipv6"; });

} // namespace
} // namespace featherlb::packet
