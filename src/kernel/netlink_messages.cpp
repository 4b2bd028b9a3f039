// SPDX-License-Identifier: Apache-2.0
#include "kernel/netlink_messages.h"

#include <algorithm>
#include <cstring>

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

// In the headers since Linux 5.16; Debian 12 has them, older build machines may not.
#ifndef NTF_EXT_MANAGED
#define NTF_EXT_MANAGED (1 << 0)
#endif

namespace featherlb {

namespace {

// The attributes of a message or of a nest, by type. Of several of one type the last counts.
template <std::size_t Last>
class Attributes {
public:
    Attributes(const void* payload, std::size_t size)
    {
        const auto* at = static_cast<const nlattr*>(payload);
        int left = static_cast<int>(size);
        while (mnl_attr_ok(at, left)) {
            if (const std::uint16_t type = mnl_attr_get_type(at); type <= Last)
                found_[type] = at;
            left -= MNL_ALIGN(at->nla_len);
            at = mnl_attr_next(at);
        }
    }

    template <typename T>
    [[nodiscard]] std::optional<T> get(std::size_t type) const
    {
        if (found_[type] == nullptr || mnl_attr_get_payload_len(found_[type]) < sizeof(T))
            return std::nullopt;
        T value{};
        std::memcpy(&value, mnl_attr_get_payload(found_[type]), sizeof(T));
        return value;
    }

    [[nodiscard]] bool has(std::size_t type) const { return found_[type] != nullptr; }

    [[nodiscard]] std::string text(std::size_t type) const
    {
        if (found_[type] == nullptr)
            return {};
        const auto* begin = static_cast<const char*>(mnl_attr_get_payload(found_[type]));
        return {begin, ::strnlen(begin, mnl_attr_get_payload_len(found_[type]))};
    }

    [[nodiscard]] std::optional<IpAddress> address(std::size_t type, int family) const
    {
        if (family == AF_INET6)
            return address_of<16>(type, Family::ipv6);
        if (family == AF_INET)
            return address_of<4>(type, Family::ipv4);
        return std::nullopt;
    }

    // A MAC; nothing where the link address has another length.
    [[nodiscard]] std::optional<std::array<std::uint8_t, 6>> mac(std::size_t type) const
    {
        if (found_[type] == nullptr || mnl_attr_get_payload_len(found_[type]) != 6)
            return std::nullopt;
        return get<std::array<std::uint8_t, 6>>(type);
    }

    template <std::size_t LastInside>
    [[nodiscard]] Attributes<LastInside> nest(std::size_t type) const
    {
        if (found_[type] == nullptr)
            return {nullptr, 0};
        return {mnl_attr_get_payload(found_[type]), mnl_attr_get_payload_len(found_[type])};
    }

private:
    template <std::size_t Size>
    [[nodiscard]] std::optional<IpAddress> address_of(std::size_t type, Family family) const
    {
        const auto bytes = get<std::array<std::uint8_t, Size>>(type);
        if (!bytes)
            return std::nullopt;
        flb_addr abi{};
        std::copy(bytes->begin(), bytes->end(), abi.bytes);
        return IpAddress::from_abi(abi, family);
    }

    std::array<const nlattr*, Last + 1> found_{};
};

// The fixed part of a message, and what follows it.
template <typename Fixed, std::size_t Last>
struct Message {
    const Fixed* fixed;
    Attributes<Last> attributes;
};

template <typename Fixed, std::size_t Last>
std::optional<Message<Fixed, Last>> open(const nlmsghdr& header)
{
    if (header.nlmsg_len < mnl_nlmsg_size(MNL_ALIGN(sizeof(Fixed))))
        return std::nullopt;
    return Message<Fixed, Last>{static_cast<const Fixed*>(mnl_nlmsg_get_payload(&header)),
        {mnl_nlmsg_get_payload_offset(&header, sizeof(Fixed)),
            mnl_nlmsg_get_payload_len(&header) - MNL_ALIGN(sizeof(Fixed))}};
}

int family_number(const IpAddress& address)
{
    return address.is_ipv4() ? AF_INET : AF_INET6;
}

void parse_kind(const Attributes<IFLA_MAX>& attributes, Interface& interface)
{
    const auto info = attributes.nest<IFLA_INFO_MAX>(IFLA_LINKINFO);
    interface.kind = info.text(IFLA_INFO_KIND);
    // A queueing discipline that somebody has given it must see what leaves by it.
    interface.hands_over =
        interface.kind == "veth" && attributes.has(IFLA_LINK_NETNSID) && attributes.text(IFLA_QDISC) == "noqueue";
    if (interface.kind != "vlan")
        return;
    const auto data = info.nest<IFLA_VLAN_MAX>(IFLA_INFO_DATA);
    const auto id = data.get<std::uint16_t>(IFLA_VLAN_ID);
    if (!id)
        return;
    VlanDevice vlan{.parent = 0, .id = *id, .ad = data.get<std::uint16_t>(IFLA_VLAN_PROTOCOL) == htons(ETH_P_8021AD)};
    // With a namespace id the number is one of that namespace.
    if (!attributes.has(IFLA_LINK_NETNSID))
        vlan.parent = attributes.get<std::uint32_t>(IFLA_LINK).value_or(0);
    interface.vlan = vlan;
}

} // namespace

bool Neighbour::usable() const
{
    return mac && (state & (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)) != 0;
}

std::optional<Interface> parse_link(const nlmsghdr& header)
{
    const auto message = open<ifinfomsg, IFLA_MAX>(header);
    // The bridge tells of its ports by the same messages; a port that leaves the bridge is no device that vanishes.
    if (!message || message->fixed->ifi_family != AF_UNSPEC)
        return std::nullopt;
    const auto& [fixed, attributes] = *message;
    Interface interface;
    interface.index = static_cast<std::uint32_t>(fixed->ifi_index);
    interface.name = attributes.text(IFLA_IFNAME);
    interface.mac = attributes.mac(IFLA_ADDRESS).value_or(interface.mac);
    interface.mtu = attributes.get<std::uint32_t>(IFLA_MTU).value_or(0);
    interface.up = (fixed->ifi_flags & IFF_UP) != 0;
    interface.carrier = interface.up && (fixed->ifi_flags & IFF_LOWER_UP) != 0;
    interface.loopback = (fixed->ifi_flags & IFF_LOOPBACK) != 0;
    interface.ethernet = fixed->ifi_type == ARPHRD_ETHER && !interface.loopback;
    interface.no_arp = (fixed->ifi_flags & IFF_NOARP) != 0;
    interface.master = attributes.get<std::uint32_t>(IFLA_MASTER).value_or(0);
    interface.tx_queues = attributes.get<std::uint32_t>(IFLA_NUM_TX_QUEUES).value_or(0);
    interface.rx_queues = attributes.get<std::uint32_t>(IFLA_NUM_RX_QUEUES).value_or(0);
    parse_kind(attributes, interface);
    return interface;
}

std::optional<AddressMessage> parse_address(const nlmsghdr& header)
{
    const auto message = open<ifaddrmsg, IFA_MAX>(header);
    if (!message)
        return std::nullopt;
    const auto& [fixed, attributes] = *message;
    // On a point-to-point link IFA_ADDRESS is the other end's.
    auto address = attributes.address(IFA_LOCAL, fixed->ifa_family);
    if (!address)
        address = attributes.address(IFA_ADDRESS, fixed->ifa_family);
    if (!address)
        return std::nullopt;
    const std::uint32_t flags = attributes.get<std::uint32_t>(IFA_FLAGS).value_or(fixed->ifa_flags);
    AddressMessage result;
    result.address.address = *address;
    result.address.prefix_length = fixed->ifa_prefixlen;
    result.address.ifindex = fixed->ifa_index;
    result.address.link_local = address->is_link_local();
    result.address.deprecated = (flags & IFA_F_DEPRECATED) != 0;
    const bool tentative = (flags & IFA_F_TENTATIVE) != 0 && (flags & IFA_F_OPTIMISTIC) == 0;
    result.working = !tentative && (flags & IFA_F_DADFAILED) == 0;
    return result;
}

namespace {

// A gateway of the other family: an IPv4 route by way of an IPv6 neighbour.
std::optional<IpAddress> parse_via(const Attributes<RTA_MAX>& attributes)
{
    const auto family = attributes.get<std::uint16_t>(RTA_VIA);
    if (family == AF_INET6)
        if (const auto via = attributes.get<std::array<std::uint8_t, 2 + 16>>(RTA_VIA)) {
            flb_addr abi{};
            std::copy(via->begin() + 2, via->end(), abi.bytes);
            return IpAddress::from_abi(abi, Family::ipv6);
        }
    return std::nullopt;
}

} // namespace

std::optional<Route> parse_route(const nlmsghdr& header)
{
    const auto message = open<rtmsg, RTA_MAX>(header);
    if (!message)
        return std::nullopt;
    const auto& [fixed, attributes] = *message;
    Route route;
    route.type = fixed->rtm_type;
    route.ifindex = attributes.get<std::uint32_t>(RTA_OIF).value_or(0);
    route.gateway = attributes.address(RTA_GATEWAY, fixed->rtm_family);
    if (!route.gateway)
        route.gateway = parse_via(attributes);
    route.source = attributes.address(RTA_PREFSRC, fixed->rtm_family);
    const auto metrics = attributes.nest<RTAX_MAX>(RTA_METRICS);
    route.mtu = metrics.get<std::uint32_t>(RTAX_MTU).value_or(0);
    route.encapsulated = attributes.has(RTA_ENCAP);
    if (const auto cache = attributes.get<rta_cacheinfo>(RTA_CACHEINFO))
        route.temporary = cache->rta_expires != 0;
    return route;
}

std::optional<Neighbour> parse_neighbour(const nlmsghdr& header)
{
    const auto message = open<ndmsg, NDA_MAX>(header);
    if (!message)
        return std::nullopt;
    const auto& [fixed, attributes] = *message;
    const auto address = attributes.address(NDA_DST, fixed->ndm_family);
    if (!address || (fixed->ndm_flags & NTF_PROXY) != 0)
        return std::nullopt;
    Neighbour neighbour;
    neighbour.key = {static_cast<std::uint32_t>(fixed->ndm_ifindex), *address};
    neighbour.mac = attributes.mac(NDA_LLADDR);
    neighbour.state = fixed->ndm_state;
    neighbour.protocol = attributes.get<std::uint8_t>(NDA_PROTOCOL).value_or(0);
    neighbour.managed = (attributes.get<std::uint32_t>(NDA_FLAGS_EXT).value_or(0) & NTF_EXT_MANAGED) != 0;
    return neighbour;
}

Request::Request(std::uint16_t type, std::uint16_t flags)
{
    nlmsghdr* message = mnl_nlmsg_put_header(buffer_.data());
    message->nlmsg_type = type;
    message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
}

template <typename T>
T& Request::extra()
{
    return *static_cast<T*>(mnl_nlmsg_put_extra_header(&header(), sizeof(T)));
}

void Request::put(std::uint16_t type, const IpAddress& address)
{
    const flb_addr abi = address.to_abi();
    mnl_attr_put(&header(), type, address.is_ipv4() ? 4 : 16, abi.bytes);
}

Request Request::dump_links()
{
    Request request(RTM_GETLINK, NLM_F_DUMP);
    request.extra<ifinfomsg>().ifi_family = AF_UNSPEC;
    mnl_attr_put_u32(&request.header(), IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return request;
}

Request Request::dump_addresses()
{
    Request request(RTM_GETADDR, NLM_F_DUMP);
    request.extra<ifaddrmsg>().ifa_family = AF_UNSPEC;
    return request;
}

Request Request::dump_neighbours(Family family)
{
    Request request(RTM_GETNEIGH, NLM_F_DUMP);
    request.extra<ndmsg>().ndm_family = family == Family::ipv4 ? AF_INET : AF_INET6;
    return request;
}

Request Request::get_route(const IpAddress& destination)
{
    Request request(RTM_GETROUTE, 0);
    auto& fixed = request.extra<rtmsg>();
    fixed.rtm_family = static_cast<unsigned char>(family_number(destination));
    fixed.rtm_dst_len = destination.is_ipv4() ? 32 : 128;
    request.put(RTA_DST, destination);
    return request;
}

Request Request::get_neighbour(const NeighbourKey& key)
{
    Request request(RTM_GETNEIGH, 0);
    auto& fixed = request.extra<ndmsg>();
    fixed.ndm_family = static_cast<unsigned char>(family_number(key.address));
    fixed.ndm_ifindex = static_cast<int>(key.ifindex);
    request.put(NDA_DST, key.address);
    return request;
}

Request Request::keep_neighbour(const NeighbourKey& key, Keep keep, Existing existing)
{
    // Without NLM_F_REPLACE an entry that is there keeps its MAC.
    const std::uint16_t flags = existing == Existing::refuse ? NLM_F_CREATE | NLM_F_EXCL : NLM_F_CREATE;
    Request request(RTM_NEWNEIGH, static_cast<std::uint16_t>(NLM_F_ACK | flags));
    auto& fixed = request.extra<ndmsg>();
    fixed.ndm_family = static_cast<unsigned char>(family_number(key.address));
    fixed.ndm_ifindex = static_cast<int>(key.ifindex);
    fixed.ndm_state = NUD_NONE;
    fixed.ndm_flags = keep == Keep::used ? NTF_USE : 0;
    request.put(NDA_DST, key.address);
    mnl_attr_put_u8(&request.header(), NDA_PROTOCOL, neighbour_protocol);
    if (keep == Keep::managed)
        mnl_attr_put_u32(&request.header(), NDA_FLAGS_EXT, NTF_EXT_MANAGED);
    return request;
}

Request Request::delete_neighbour(const NeighbourKey& key)
{
    Request request(RTM_DELNEIGH, NLM_F_ACK);
    auto& fixed = request.extra<ndmsg>();
    fixed.ndm_family = static_cast<unsigned char>(family_number(key.address));
    fixed.ndm_ifindex = static_cast<int>(key.ifindex);
    request.put(NDA_DST, key.address);
    return request;
}

} // namespace featherlb
