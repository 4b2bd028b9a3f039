// SPDX-License-Identifier: Apache-2.0
// The parts of kernel/network that need no kernel: messages are parsed and built, VLAN devices become tags.
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/rtnetlink.h>
#include <rapidcheck.h>

#include "kernel/netlink_messages.h"
#include "kernel/network.h"
#include "kernel/network_reasons.h"

namespace featherlb {
namespace {

IpAddress ip(const char* text)
{
    return IpAddress::parse(text).value();
}

// A message as the kernel would send it.
class Built {
public:
    template <typename Fixed>
    Built(std::uint16_t type, const Fixed& fixed)
    {
        header().nlmsg_len = 0;
        mnl_nlmsg_put_header(buffer_)->nlmsg_type = type;
        *static_cast<Fixed*>(mnl_nlmsg_put_extra_header(&header(), sizeof(Fixed))) = fixed;
    }
    nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(buffer_); }
    Built& number(std::uint16_t type, std::uint32_t value)
    {
        mnl_attr_put_u32(&header(), type, value);
        return *this;
    }
    Built& short_number(std::uint16_t type, std::uint16_t value)
    {
        mnl_attr_put_u16(&header(), type, value);
        return *this;
    }
    Built& text(std::uint16_t type, const char* value)
    {
        mnl_attr_put_strz(&header(), type, value);
        return *this;
    }
    Built& bytes(std::uint16_t type, std::vector<std::uint8_t> value)
    {
        mnl_attr_put(&header(), type, value.size(), value.data());
        return *this;
    }
    Built& address(std::uint16_t type, const IpAddress& value)
    {
        mnl_attr_put(&header(), type, value.is_ipv4() ? 4 : 16, value.to_abi().bytes);
        return *this;
    }
    template <typename Fill>
    Built& nest(std::uint16_t type, Fill fill)
    {
        nlattr* start = mnl_attr_nest_start(&header(), type);
        fill(*this);
        mnl_attr_nest_end(&header(), start);
        return *this;
    }

private:
    alignas(NLMSG_ALIGNTO) char buffer_[1024]{};
};

Built vlan_link(std::uint16_t protocol)
{
    ifinfomsg fixed{};
    fixed.ifi_index = 7;
    fixed.ifi_type = ARPHRD_ETHER;
    fixed.ifi_flags = IFF_UP | IFF_LOWER_UP;
    Built built(RTM_NEWLINK, fixed);
    built.text(IFLA_IFNAME, "eth0.10")
        .number(IFLA_MTU, 1400)
        .number(IFLA_LINK, 3)
        .bytes(IFLA_ADDRESS, {2, 0, 0, 0, 0, 7});
    built.nest(IFLA_LINKINFO, [&](Built& info) {
        info.text(IFLA_INFO_KIND, "vlan").nest(IFLA_INFO_DATA, [&](Built& data) {
            data.short_number(IFLA_VLAN_ID, 10).short_number(IFLA_VLAN_PROTOCOL, htons(protocol));
        });
    });
    return built;
}

Interface ethernet(std::uint32_t index, std::string name, std::uint32_t mtu = 1500)
{
    Interface interface;
    interface.index = index;
    interface.name = std::move(name);
    interface.mtu = mtu;
    interface.ethernet = true;
    return interface;
}

Interface vlan_on(
    std::uint32_t parent, std::uint32_t index, std::uint16_t id, bool ad = false, std::uint32_t mtu = 1500)
{
    Interface interface = ethernet(index, "vlan" + std::to_string(id), mtu);
    interface.kind = "vlan";
    interface.vlan = VlanDevice{parent, id, ad};
    return interface;
}

// ---- messages ----

TEST(Messages, a_vlan_device_tells_its_parent_id_and_protocol)
{
    Built built = vlan_link(ETH_P_8021AD);
    const auto link = parse_link(built.header());
    ASSERT_TRUE(link);
    EXPECT_EQ(link->index, 7U);
    EXPECT_EQ(link->name, "eth0.10");
    EXPECT_EQ(link->mtu, 1400U);
    EXPECT_EQ(link->kind, "vlan");
    EXPECT_TRUE(link->up && link->carrier && link->ethernet && !link->loopback && !link->no_arp);
    EXPECT_EQ(link->vlan, (VlanDevice{3, 10, true}));
    Built ordinary = vlan_link(ETH_P_8021Q);
    EXPECT_FALSE(parse_link(ordinary.header())->vlan->ad);
}

TEST(Messages, a_parent_in_another_namespace_is_none)
{
    Built built = vlan_link(ETH_P_8021Q);
    built.number(IFLA_LINK_NETNSID, 0);
    EXPECT_EQ(parse_link(built.header())->vlan->parent, 0U);
}

Built veth_link(const char* discipline)
{
    ifinfomsg fixed{};
    fixed.ifi_index = 8;
    fixed.ifi_type = ARPHRD_ETHER;
    Built built(RTM_NEWLINK, fixed);
    built.text(IFLA_IFNAME, "eth0").text(IFLA_QDISC, discipline).number(IFLA_LINK, 3);
    built.nest(IFLA_LINKINFO, [](Built& info) { info.text(IFLA_INFO_KIND, "veth"); });
    return built;
}

TEST(Messages, a_veth_hands_over_if_its_other_end_is_elsewhere_and_nothing_queues)
{
    EXPECT_FALSE(parse_link(veth_link("noqueue").header())->hands_over) << "the other end is in this namespace";
    EXPECT_TRUE(parse_link(veth_link("noqueue").number(IFLA_LINK_NETNSID, 0).header())->hands_over);
    EXPECT_FALSE(parse_link(veth_link("tbf").number(IFLA_LINK_NETNSID, 0).header())->hands_over);
    Built vlan = vlan_link(ETH_P_8021Q);
    EXPECT_FALSE(parse_link(vlan.text(IFLA_QDISC, "noqueue").number(IFLA_LINK_NETNSID, 0).header())->hands_over);
}

TEST(Messages, a_bridge_that_tells_of_its_port_is_no_link)
{
    ifinfomsg fixed{};
    fixed.ifi_family = AF_BRIDGE;
    fixed.ifi_index = 4;
    Built built(RTM_DELLINK, fixed);
    EXPECT_FALSE(parse_link(built.header()));
}

TEST(Messages, carrier_counts_only_while_the_interface_is_up)
{
    ifinfomsg fixed{};
    fixed.ifi_flags = IFF_LOWER_UP | IFF_NOARP | IFF_LOOPBACK;
    fixed.ifi_type = ARPHRD_ETHER;
    Built built(RTM_NEWLINK, fixed);
    const auto link = parse_link(built.header());
    EXPECT_TRUE(!link->up && !link->carrier && link->no_arp && link->loopback && !link->ethernet);
}

TEST(Messages, a_point_to_point_address_is_our_end)
{
    ifaddrmsg fixed{};
    fixed.ifa_family = AF_INET;
    fixed.ifa_prefixlen = 32;
    fixed.ifa_index = 5;
    Built built(RTM_NEWADDR, fixed);
    built.address(IFA_ADDRESS, ip("10.0.0.2")).address(IFA_LOCAL, ip("10.0.0.1"));
    const auto message = parse_address(built.header());
    ASSERT_TRUE(message);
    EXPECT_EQ(message->address.address, ip("10.0.0.1"));
    EXPECT_EQ(message->address.prefix_length, 32);
    EXPECT_EQ(message->address.ifindex, 5U);
    EXPECT_TRUE(message->working);
}

TEST(Messages, an_address_works_unless_it_is_tentative_or_a_duplicate)
{
    const auto with_flags = [](std::uint32_t flags) {
        ifaddrmsg fixed{};
        fixed.ifa_family = AF_INET6;
        Built built(RTM_NEWADDR, fixed);
        built.address(IFA_ADDRESS, ip("fe80::1")).number(IFA_FLAGS, flags);
        return parse_address(built.header()).value();
    };
    EXPECT_TRUE(with_flags(IFA_F_PERMANENT).working);
    EXPECT_TRUE(with_flags(0).address.link_local);
    EXPECT_FALSE(with_flags(IFA_F_TENTATIVE).working);
    EXPECT_TRUE(with_flags(IFA_F_TENTATIVE | IFA_F_OPTIMISTIC).working);
    EXPECT_FALSE(with_flags(IFA_F_DADFAILED).working);
    EXPECT_TRUE(with_flags(IFA_F_DEPRECATED).address.deprecated);
}

Built route_message(std::uint8_t family, std::uint8_t type)
{
    rtmsg fixed{};
    fixed.rtm_family = family;
    fixed.rtm_type = type;
    return {RTM_NEWROUTE, fixed};
}

TEST(Messages, a_route_has_gateway_source_and_mtu)
{
    Built built = route_message(AF_INET, RTN_UNICAST);
    built.number(RTA_OIF, 3).address(RTA_GATEWAY, ip("10.0.0.254")).address(RTA_PREFSRC, ip("10.0.0.1"));
    built.nest(RTA_METRICS, [](Built& metrics) { metrics.number(RTAX_MTU, 1380); });
    const auto route = parse_route(built.header());
    ASSERT_TRUE(route);
    EXPECT_EQ(*route,
        (Route{.type = RTN_UNICAST, .ifindex = 3, .gateway = ip("10.0.0.254"), .source = ip("10.0.0.1"), .mtu = 1380}));
}

TEST(Messages, an_ipv4_route_may_go_by_an_ipv6_gateway)
{
    Built built = route_message(AF_INET, RTN_UNICAST);
    std::vector<std::uint8_t> via(18);
    const std::uint16_t family = AF_INET6;
    std::memcpy(via.data(), &family, sizeof(family));
    std::memcpy(via.data() + 2, ip("fe80::7").to_abi().bytes, 16);
    built.bytes(RTA_VIA, via);
    EXPECT_EQ(parse_route(built.header())->gateway, ip("fe80::7"));
}

TEST(Messages, a_route_with_a_lifetime_is_temporary)
{
    Built built = route_message(AF_INET, RTN_UNICAST);
    EXPECT_FALSE(parse_route(built.header())->temporary);
    rta_cacheinfo info{};
    info.rta_expires = 600;
    const auto* begin = reinterpret_cast<const std::uint8_t*>(&info);
    built.bytes(RTA_CACHEINFO, {begin, begin + sizeof(info)});
    EXPECT_TRUE(parse_route(built.header())->temporary);
}

Built neighbour_message(std::uint16_t state, std::uint8_t flags = 0)
{
    ndmsg fixed{};
    fixed.ndm_family = AF_INET;
    fixed.ndm_ifindex = 3;
    fixed.ndm_state = state;
    fixed.ndm_flags = flags;
    Built built(RTM_NEWNEIGH, fixed);
    built.address(NDA_DST, ip("10.0.0.2"));
    return built;
}

TEST(Messages, a_neighbour_is_usable_with_a_mac_in_a_state_that_has_one)
{
    for (const int state : {NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_PERMANENT}) {
        Built built = neighbour_message(static_cast<std::uint16_t>(state));
        EXPECT_FALSE(parse_neighbour(built.header())->usable());
        built.bytes(NDA_LLADDR, {2, 0, 0, 0, 0, 9});
        EXPECT_TRUE(parse_neighbour(built.header())->usable()) << state;
    }
    for (const int state : {NUD_NONE, NUD_INCOMPLETE, NUD_FAILED}) {
        Built built = neighbour_message(static_cast<std::uint16_t>(state));
        built.bytes(NDA_LLADDR, {2, 0, 0, 0, 0, 9});
        EXPECT_FALSE(parse_neighbour(built.header())->usable()) << state;
    }
}

TEST(Messages, a_link_address_that_is_no_mac_does_not_count)
{
    Built built = neighbour_message(NUD_REACHABLE);
    built.bytes(NDA_LLADDR, std::vector<std::uint8_t>(20));
    EXPECT_FALSE(parse_neighbour(built.header())->mac);
}

TEST(Messages, proxy_entries_are_not_neighbours)
{
    Built built = neighbour_message(NUD_PERMANENT, NTF_PROXY);
    EXPECT_FALSE(parse_neighbour(built.header()));
}

TEST(Messages, what_is_asked_of_the_kernel_reads_back_as_managed_and_ours)
{
    const NeighbourKey key{9, ip("fd00::5")};
    Request request = Request::keep_neighbour(key, Request::Keep::managed, Request::Existing::refuse);
    const auto neighbour = parse_neighbour(request.header());
    ASSERT_TRUE(neighbour);
    EXPECT_EQ(neighbour->key, key);
    EXPECT_TRUE(neighbour->managed);
    EXPECT_EQ(neighbour->protocol, neighbour_protocol);
    EXPECT_EQ(request.header().nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    Request probe = Request::keep_neighbour(key, Request::Keep::used, Request::Existing::change);
    EXPECT_FALSE(parse_neighbour(probe.header())->managed);
    EXPECT_EQ(probe.header().nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE);
}

// The first `length` bytes of a message, allocated so that the address sanitizer watches their end.
class Cut {
public:
    Cut(const nlmsghdr& whole, std::uint32_t length) : bytes_(length)
    {
        std::memcpy(bytes_.data(), &whole, length);
        header().nlmsg_len = length;
    }
    nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }
    void poke(std::size_t offset, std::uint8_t value)
    {
        if (offset >= sizeof(nlmsghdr) && offset < bytes_.size())
            bytes_[offset] = value;
    }
    void parse_as_everything()
    {
        (void)parse_link(header());
        (void)parse_address(header());
        (void)parse_route(header());
        (void)parse_neighbour(header());
    }

private:
    std::vector<std::uint8_t> bytes_;
};

TEST(Messages, a_message_cut_anywhere_is_parsed_without_reading_beyond_it)
{
    Built whole = vlan_link(ETH_P_8021Q);
    for (std::uint32_t length = sizeof(nlmsghdr); length < whole.header().nlmsg_len; ++length) {
        Cut cut(whole.header(), length);
        cut.parse_as_everything();
        EXPECT_EQ(parse_link(cut.header()).has_value(), length >= sizeof(nlmsghdr) + sizeof(ifinfomsg));
    }
}

// Messages come from the kernel, but a parser that trusts no length cannot be wrong about one.
TEST(Messages, a_message_with_any_bytes_changed_is_parsed_without_reading_beyond_it)
{
    EXPECT_TRUE(rc::check([](const std::vector<std::pair<std::uint8_t, std::uint8_t>>& changes) {
        Built whole = vlan_link(ETH_P_8021Q);
        Cut message(whole.header(), whole.header().nlmsg_len);
        for (const auto& [offset, value] : changes)
            message.poke(offset, value);
        message.parse_as_everything();
    }));
}

// ---- VLAN devices ----

TEST(WayOutTest, an_ordinary_device_is_itself_without_tags)
{
    const auto out = way_out({ethernet(4099, "eth0")}, 4099);
    ASSERT_TRUE(out);
    EXPECT_EQ(out->ifindex, 4099U);
    EXPECT_EQ(out->link, 4099 % FLB_IFACE_SLOTS);
    EXPECT_EQ(out->mtu, 1500U);
}

TEST(WayOutTest, a_vlan_device_becomes_its_parent_and_a_tag)
{
    const auto out = way_out({ethernet(2, "eth0", 1400), vlan_on(2, 5, 10)}, 5);
    ASSERT_TRUE(out);
    EXPECT_EQ(out->ifindex, 2U);
    EXPECT_EQ(out->link, 2 | 1 << FLB_LINK_TAGS_SHIFT);
    EXPECT_EQ(out->vlan, (std::array<std::uint16_t, 2>{10, 0}));
    EXPECT_EQ(out->mtu, 1400U);
}

TEST(WayOutTest, of_two_vlan_devices_the_lower_one_is_the_outer_tag)
{
    const std::vector<Interface> interfaces{
        ethernet(2, "eth0"), vlan_on(2, 5, 30, true), vlan_on(5, 6, 40, false, 1300)};
    const auto out = way_out(interfaces, 6);
    ASSERT_TRUE(out);
    EXPECT_EQ(out->link, 2 | 2 << FLB_LINK_TAGS_SHIFT | FLB_LINK_OUTER_AD);
    EXPECT_EQ(out->vlan, (std::array<std::uint16_t, 2>{30, 40}));
    EXPECT_EQ(out->mtu, 1300U);
}

TEST(WayOutTest, three_tags_are_refused)
{
    const std::vector<Interface> interfaces{ethernet(2, "eth0"), vlan_on(2, 5, 1), vlan_on(5, 6, 2), vlan_on(6, 7, 3)};
    const auto out = way_out(interfaces, 7);
    ASSERT_FALSE(out);
    EXPECT_NE(out.error().message.find("vlan3 puts more than 2"), std::string::npos);
}

TEST(WayOutTest, a_vlan_device_with_its_parent_elsewhere_is_an_ordinary_device)
{
    const auto out = way_out({vlan_on(0, 5, 10)}, 5);
    ASSERT_TRUE(out);
    EXPECT_EQ(out->link, 5);
}

TEST(WayOutTest, what_has_no_ethernet_frames_is_refused_with_a_remedy)
{
    Interface tunnel;
    tunnel.index = 3;
    tunnel.name = "wg0";
    tunnel.kind = "wireguard";
    Interface loopback;
    loopback.index = 1;
    loopback.name = "lo";
    loopback.loopback = true;
    for (const std::uint32_t index : {1U, 3U}) {
        const auto out = way_out({loopback, tunnel}, index);
        ASSERT_FALSE(out);
        EXPECT_FALSE(out.error().remedy.empty());
    }
    EXPECT_FALSE(way_out({}, 9));
}

// ---- reasons ----

TEST(Reasons, each_refusal_of_a_route_has_its_own_words)
{
    const auto words = [](int number) { return describe_refusal(ip("10.0.0.9"), {number, "?", true}).message; };
    EXPECT_EQ(words(ENETUNREACH), "there is no route to 10.0.0.9");
    EXPECT_EQ(words(EHOSTUNREACH), "the route to 10.0.0.9 says unreachable");
    EXPECT_EQ(words(EACCES), "the route to 10.0.0.9 says prohibited");
    EXPECT_EQ(words(EINVAL), "the route to 10.0.0.9 is a blackhole");
    EXPECT_EQ(words(ENODEV), "there is no way to 10.0.0.9: ?");
}

TEST(Reasons, a_route_into_a_tunnel_is_refused)
{
    Route route{.type = RTN_UNICAST, .ifindex = 3, .gateway = {}, .source = {}};
    EXPECT_FALSE(refuse_route(ip("10.0.0.9"), route));
    route.encapsulated = true;
    EXPECT_TRUE(refuse_route(ip("10.0.0.9"), route));
}

TEST(Reasons, a_full_neighbour_table_names_the_setting)
{
    const Error error = describe_keep_failure({3, ip("fd00::1")}, "eth0", {ENOBUFS, "no room", true});
    EXPECT_NE(error.remedy.find("net.ipv6.neigh.default.gc_thresh3"), std::string::npos);
}

} // namespace
} // namespace featherlb
