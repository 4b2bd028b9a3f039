// SPDX-License-Identifier: Apache-2.0
#include "model_traffic.h"

#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace featherlb::packet {
namespace {

constexpr std::size_t remembered = 24; // tuples that are busy at the moment
constexpr std::size_t most_fars = 2000;

// Weighted choice of TCP flags.
struct Choice {
    unsigned weight;
    std::uint8_t flags;
};

constexpr std::uint8_t any_flags = 0xff; // all 64 values of the six old ones

} // namespace

std::string to_string(const Key& key)
{
    return fmt::format("{} {}:{} > {}:{}", key.protocol == protocol_tcp ? "tcp" : "udp", key.source.to_string(),
        key.sport, key.destination.to_string(), key.dport);
}

std::string to_string(const Frame& f)
{
    std::string flags;
    for (const auto& [bit, letter] :
        {std::pair{tcp_syn, 'S'}, {tcp_ack, 'A'}, {tcp_fin, 'F'}, {tcp_rst, 'R'}, {tcp_psh, 'P'}})
        if (f.is_tcp() && (f.flags & bit))
            flags += letter;
    std::string tags;
    for (const Tag& tag : f.tags)
        tags += fmt::format(" vlan {:x}/{:x}", tag.tci, tag.protocol);
    return fmt::format("{} [{}] seq {} ack {} ttl {} options {}+{} payload {} from {:02x} to {:02x}{}",
        to_string(key_of(f)), flags, f.seq, f.ack, f.ttl, f.options.size() + f.extensions.size(), f.tcp_options.size(),
        f.payload.size(), fmt::join(f.from, ":"), fmt::join(f.to, ":"), tags);
}

Arriving Traffic::next()
{
    const std::uint32_t kind = below(100);
    if (kind < 4)
        return noise();
    if (kind < 44 && !fars_.empty())
        return from_backend();
    return from_client();
}

std::size_t Traffic::recent_or_any(std::deque<std::size_t>& recent, std::size_t all)
{
    if (!recent.empty() && !one_in(5))
        return recent[below(static_cast<std::uint32_t>(recent.size()))];
    recent.push_back(below(static_cast<std::uint32_t>(all)));
    if (recent.size() > remembered)
        recent.pop_front();
    return recent.back();
}

void Traffic::dress(Frame& f)
{
    static constexpr std::array<std::size_t, 8> sizes = {0, 0, 0, 1, 7, 100, 536, 1400};
    f.ttl = one_in(100) ? static_cast<std::uint8_t>(below(3)) : static_cast<std::uint8_t>(2 + below(254));
    f.tos = static_cast<std::uint8_t>(below(256));
    f.id = static_cast<std::uint16_t>(below(65536));
    f.flow_label = f.is_ipv4() ? 0 : below(1 << 20);
    f.window = static_cast<std::uint16_t>(below(65536));
    f.payload = pattern(one_in(200) ? 1440 + below(200) : any(sizes));
    if (!f.payload.empty())
        f.payload[0] = static_cast<std::uint8_t>(below(256));
    if (f.is_ipv4() && one_in(20))
        f.options.assign(4 * (std::size_t{1} + below(5)), 1);
    if (!f.is_ipv4() && one_in(20))
        f.extensions = {one_in(2) ? hop_by_hop() : destination_options(below(3))};
    if (f.is_tcp() && !one_in(3))
        f.tcp_options = timestamps();
    f.without_checksum = !f.is_tcp() && f.is_ipv4() && one_in(4);
    if (one_in(4))
        f = padded(f);
}

std::uint8_t Traffic::client_flags(const Owner* owner)
{
    static const std::vector<Choice> opening = {{70, tcp_syn}, {10, tcp_ack}, {6, tcp_ack | tcp_psh},
        {4, tcp_fin | tcp_ack}, {3, tcp_rst}, {3, tcp_rst | tcp_ack}, {1, 0xc0 | tcp_syn}, {3, any_flags}};
    static const std::vector<Choice> unproven = {{20, tcp_syn}, {62, tcp_ack}, {6, tcp_ack | tcp_psh},
        {5, tcp_fin | tcp_ack}, {2, tcp_rst}, {2, tcp_rst | tcp_ack}, {3, any_flags}};
    static const std::vector<Choice> open = {{66, tcp_ack}, {14, tcp_ack | tcp_psh}, {10, tcp_fin | tcp_ack},
        {2, tcp_rst}, {2, tcp_rst | tcp_ack}, {4, tcp_syn}, {2, any_flags}};
    static const std::vector<Choice> closing = {
        {35, tcp_ack}, {25, tcp_fin | tcp_ack}, {33, tcp_syn}, {2, tcp_rst}, {2, tcp_syn | tcp_ack}, {3, any_flags}};
    const std::vector<Choice>& choices = !owner                            ? opening
                                         : !Model::is_proven(owner->state) ? unproven
                                         : Model::is_closing(owner->state) ? closing
                                                                           : open;
    std::uint32_t at = below(100);
    for (const Choice& choice : choices) {
        if (at < choice.weight)
            return choice.flags == any_flags ? static_cast<std::uint8_t>(below(64)) : choice.flags;
        at -= choice.weight;
    }
    return tcp_ack;
}

std::uint8_t Traffic::backend_flags(const Owner* owner)
{
    const std::uint32_t at = below(100);
    if (at < 3)
        return static_cast<std::uint8_t>(below(64));
    if (owner && owner->state == FLB_FLOW_SYN)
        return at < 85 ? tcp_syn | tcp_ack : at < 93 ? tcp_rst | tcp_ack : tcp_ack;
    if (at < 8)
        return tcp_syn | tcp_ack;
    if (at < 11)
        return tcp_rst;
    return at < 25 ? tcp_fin | tcp_ack : tcp_ack;
}

Arriving Traffic::from_client()
{
    const std::size_t number = recent_or_any(recent_talks_, talks_.size());
    Talk& talk = talks_[number];
    const Owner* owner = model_.find(talk.key);
    Frame f;
    f.to = talk.side->mac;
    f.from = talk.mac;
    f.tags = talk.tags;
    f.source = talk.key.source;
    f.destination = talk.key.destination;
    f.sport = talk.key.sport;
    f.dport = talk.key.dport;
    f.protocol = talk.key.protocol;
    if (f.is_tcp()) {
        f.flags = client_flags(owner);
        f.seq = talk.seq += below(1000);
        f.ack = owner && !one_in(4) ? owner->proof : below(1u << 31);
        if (one_in(10) && owner)
            f.ack = owner->proof + 1 - below(3);
    }
    dress(f);
    return {f, talk.side, number};
}

Arriving Traffic::from_backend()
{
    Far& far = fars_[recent_or_any(recent_fars_, fars_.size())];
    const Owner* owner = model_.find_by_reply(far.key);
    const Interface& side = far.way.ifindex == Surroundings::get().backends().index ? Surroundings::get().backends()
                                                                                    : Surroundings::get().clients();
    Frame f;
    f.to = side.mac;
    f.from = far.way.mac;
    f.tags = far.way.tags;
    f.source = far.key.source;
    f.destination = far.key.destination;
    f.sport = far.key.sport;
    f.dport = far.key.dport;
    f.protocol = far.key.protocol;
    if (f.is_tcp()) {
        f.flags = backend_flags(owner);
        if (f.flags == (tcp_syn | tcp_ack) && one_in(8))
            far.isn = one_in(20) ? 0xffffffff : static_cast<std::uint32_t>(random_());
        f.seq = f.flags & tcp_syn ? far.isn : far.isn + 1 + below(5000);
        f.ack = static_cast<std::uint32_t>(random_());
    }
    dress(f);
    if (one_in(8)) { // forged by who forges the client's packets, too
        const Talk& talk = talks_[far.talk < talks_.size() ? far.talk : 0];
        f.to = talk.side->mac;
        f.from = talk.mac;
        f.tags = talk.tags;
        return {f, talk.side, far.talk};
    }
    return {f, &side, far.talk};
}

Arriving Traffic::noise()
{
    Arriving packet = fars_.empty() || one_in(2) ? from_client() : from_backend();
    packet.talk = nobody;
    Frame& f = packet.frame;
    switch (below(7)) {
    case 0:
        f.source = any(strangers_);
        break;
    case 1:
        f.destination = any(strangers_);
        break;
    case 2:
        f.to[5] ^= 0x40; // another station's
        break;
    case 3:
        f.dport = static_cast<std::uint16_t>(1 + below(65535));
        break;
    case 4:
        f.sport = static_cast<std::uint16_t>(1 + below(65535));
        break;
    case 5:
        f.protocol = f.is_tcp() ? protocol_udp : protocol_tcp;
        f.tcp_options.clear();
        f.without_checksum = false;
        f.padding.clear();
        break;
    default: // by the other interface, which a connection does not mind
        packet.in = packet.in == &Surroundings::get().clients() ? &Surroundings::get().backends()
                                                                : &Surroundings::get().clients();
        f.to = packet.in->mac;
    }
    return packet;
}

void Traffic::left(const Arriving& packet, const Expected& answer)
{
    if (answer.kind != Expected::send || answer.reason != FLB_DROP_none)
        return;
    const Frame& out = answer.out;
    const Key key{out.destination, out.source, out.dport, out.sport, out.protocol};
    if (model_.find_by_reply(key) == nullptr)
        return;
    const auto [found, fresh] = far_of_.try_emplace(key, fars_.size());
    if (fresh)
        fars_.push_back({key, {}, packet.talk, static_cast<std::uint32_t>(random_())});
    Far& far = fars_[found->second];
    far.talk = packet.talk;
    far.way = {out.to, answer.ifindex, out.tags};
    if (fresh || out.flags == tcp_syn) {
        recent_fars_.push_back(found->second);
        if (recent_fars_.size() > remembered)
            recent_fars_.pop_front();
    }
    if (fars_.size() >= most_fars) {
        fars_.clear();
        far_of_.clear();
        recent_fars_.clear();
    }
}

void Traffic::move_client(const Interface& side, const Mac& mac, const std::vector<Tag>& tags)
{
    Talk& talk = talks_[below(static_cast<std::uint32_t>(talks_.size()))];
    talk.side = &side;
    talk.mac = mac;
    talk.tags = tags;
}

} // namespace featherlb::packet
