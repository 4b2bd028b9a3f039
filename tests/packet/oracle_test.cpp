// SPDX-License-Identifier: Apache-2.0
// The suite's own idea of a packet, compared with that of libtins: it reads the bytes and writes them again, with all
// lengths and checksums computed anew. So do the packets that the programs send.
#include <tins/tins.h>

#include "harness.h"

namespace featherlb::packet {
namespace {

Bytes written_by_tins(const Bytes& bytes)
{
    Tins::EthernetII frame(bytes.data(), static_cast<std::uint32_t>(bytes.size()));
    return frame.serialize();
}

class Oracle : public Harness {
protected:
    // Frames of which libtins knows all headers.
    [[nodiscard]] std::vector<Frame> samples() const
    {
        std::vector<Frame> frames;
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            const Connection c = connection(FLB_SNAT, protocol);
            for (const std::size_t length : {0, 1, 2, 33, 1000, 1339}) {
                frames.push_back(c.request(tcp_ack, pattern(length + 60))); // libtins pads short frames itself
                frames.push_back(c.answer(tcp_ack | tcp_psh, pattern(length + 60)));
                frames.back().tcp_options = timestamps();
                frames.back().tags = {{.tci = 5}};
                frames.push_back(c.answer(tcp_syn, pattern(length + 60)));
                frames.back().tags = {{.tci = 0xa00f}};
                if (v6())
                    frames.back().extensions = {hop_by_hop(), destination_options()};
                else
                    frames.back().options = {1, 1, 1, 0};
            }
        }
        return frames;
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, Oracle, every_way, name_of);

TEST_P(Oracle, libtins_writes_the_suites_packets_the_same_way)
{
    for (const Frame& frame : samples())
        EXPECT_TRUE(same(written_by_tins(to_bytes(frame)), to_bytes(frame)));
}

TEST_P(Oracle, libtins_finds_every_checksum_of_the_programs_right)
{
    for (const flb_forward forward : {FLB_SNAT, FLB_DNAT}) {
        use({});
        serve(1, {.forward = forward});
        backend(1).hop = hop(backend_mac(), backends(), {{.tci = 9}});
        unsigned compared = 0;
        for (Frame frame : samples()) {
            if (frame.source != client())
                continue;
            if (frame.is_tcp())
                frame.flags = tcp_syn;
            const Outcome outcome = run(frame);
            ASSERT_EQ(outcome.verdict, Verdict::redirect);
            EXPECT_TRUE(same(written_by_tins(outcome.bytes), outcome.bytes));
            compared++;
        }
        EXPECT_GE(compared, 12u);
    }
}

TEST_P(Oracle, libtins_reads_what_the_programs_wrote)
{
    serve(1);
    const Outcome outcome = run(Connection{*this}.syn());
    Tins::EthernetII frame(outcome.bytes.data(), static_cast<std::uint32_t>(outcome.bytes.size()));
    const auto& tcp = frame.rfind_pdu<Tins::TCP>();
    EXPECT_EQ(tcp.sport(), first_snat_port);
    EXPECT_EQ(tcp.dport(), backend_port);
    EXPECT_EQ(tcp.seq(), 1000u);
    EXPECT_EQ(frame.dst_addr().to_string(), "02:00:00:03:00:01");
    EXPECT_EQ(frame.src_addr().to_string(), "02:00:00:00:00:02");
    if (v6()) {
        const auto& ip = frame.rfind_pdu<Tins::IPv6>();
        EXPECT_EQ(ip.dst_addr().to_string(), backend_address().to_string());
        EXPECT_EQ(ip.src_addr().to_string(), snat_address().to_string());
        EXPECT_EQ(ip.hop_limit(), 63);
    } else {
        const auto& ip = frame.rfind_pdu<Tins::IP>();
        EXPECT_EQ(ip.dst_addr().to_string(), backend_address().to_string());
        EXPECT_EQ(ip.src_addr().to_string(), snat_address().to_string());
        EXPECT_EQ(ip.ttl(), 63);
    }
}

} // namespace
} // namespace featherlb::packet
