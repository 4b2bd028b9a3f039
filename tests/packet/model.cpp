// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <cstring>

namespace featherlb::packet {
namespace {

Expected dropped(flb_drop_reason reason)
{
    return {Expected::drop, reason, {}, 0};
}

bool has(const Frame& in, unsigned flags)
{
    return (in.flags & flags) == flags;
}

// ADR of the pick: 64-bit words of the addresses and of {ports, protocol} as they lie in memory, mixed one by one.
std::uint64_t mixed(std::uint64_t hash, std::uint64_t word)
{
    hash = (hash ^ word) * 0xd6e8feb86659fd93ULL;
    return hash ^ (hash >> 32);
}

std::uint64_t word_at(const Bytes& bytes, std::size_t at)
{
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    return word;
}

std::uint32_t pick_hash(const Frame& in, std::uint64_t seed, bool with_ports)
{
    Bytes addresses;
    for (const IpAddress& address : {in.source, in.destination}) {
        const flb_addr raw = address.to_abi();
        addresses.insert(addresses.end(), raw.bytes, raw.bytes + (in.is_ipv4() ? 4 : 16));
    }
    Bytes rest(8);
    if (with_ports)
        rest = {static_cast<std::uint8_t>(in.sport >> 8), static_cast<std::uint8_t>(in.sport),
            static_cast<std::uint8_t>(in.dport >> 8), static_cast<std::uint8_t>(in.dport), in.protocol, 0, 0, 0};
    std::uint64_t hash = mixed(seed, 0x2545f4914f6cdd1dULL);
    for (std::size_t at = 0; at < addresses.size(); at += 8)
        hash = mixed(hash, word_at(addresses, at));
    hash = mixed(hash, word_at(rest, 0));
    return static_cast<std::uint32_t>(mixed(hash, 0) >> 32);
}

// Does a backend's packet come from where the client's do, and is the backend elsewhere? Tags count by their VLAN.
bool is_forged(const Hop& client, const ModelBackend& backend, const Hop& from)
{
    if (from != client || !backend.hop)
        return false;
    const auto side = [](const Hop& hop) {
        std::vector<unsigned> ids = {hop.ifindex};
        for (const Tag& tag : hop.tags)
            ids.push_back(tag.tci & 0xfff);
        return ids;
    };
    return side(*backend.hop) != side(from);
}

} // namespace

Key key_of(const Frame& f)
{
    return {f.source, f.destination, f.sport, f.dport, f.protocol};
}

// ---- who is who ------------------------------------------------------------------------------------------------

bool Model::may_be_ours(const Frame& in) const
{
    for (const auto& [place, service] : world.listeners)
        if (std::get<0>(place) == in.destination)
            return true;
    for (const auto& [place, source] : world.sources)
        if (std::get<0>(place) == in.source)
            return true;
    for (const auto& [number, backend] : world.backends)
        for (const IpAddress& address : backend.pool)
            if (address == in.destination)
                return true;
    return false;
}

bool Model::has_expired(const Owner& owner) const
{
    return world.now - owner.seen > world.timeout.at(owner.state);
}

const Owner* Model::find(const Key& key) const
{
    const auto found = owners_.find(key);
    return found == owners_.end() || has_expired(found->second) ? nullptr : &found->second;
}

const Owner* Model::find_by_reply(const Key& key) const
{
    const auto found = replies_.find(key);
    if (found == replies_.end())
        return nullptr;
    const Owner* owner = find(found->second.owner);
    return owner && owner->id == found->second.owner_id ? owner : nullptr;
}

Owner* Model::owner_of(const Reply& reply)
{
    const auto found = owners_.find(reply.owner);
    return found == owners_.end() || found->second.id != reply.owner_id ? nullptr : &found->second;
}

Reply* Model::reply_of(const Key& key, const Owner& owner)
{
    const auto found = replies_.find(owner.reply);
    return found == replies_.end() || found->second.owner_id != owner.id || found->second.owner != key ? nullptr
                                                                                                       : &found->second;
}

// ---- the steps -------------------------------------------------------------------------------------------------

Expected Model::answer(const Frame& in, unsigned ifindex)
{
    if (!may_be_ours(in) || in.to != world.interfaces.at(ifindex).mac)
        return {};
    const Hop from{in.from, ifindex, in.tags};
    std::optional<Path> path;
    if (owners_.contains(key_of(in)))
        path = from_client(in, from);
    else if (replies_.contains(key_of(in)))
        path = from_backend(in, from);
    if (!path)
        return unknown(in, from);
    if (path->refused)
        return dropped(path->refused);
    const ModelBackend& backend = world.backends.at(path->backend);
    const std::uint32_t concerned =
        in.is_tcp() ? FLB_BACKEND_RESET | FLB_BACKEND_REHASH_TCP : std::uint32_t{FLB_BACKEND_REHASH_UDP};
    if (path->direction == Path::to_backend && in.ttl > 1 && backend.valid && (backend.down & concerned))
        return reconsider(in, from, backend.down);
    return leave(in, *path);
}

Expected Model::reconsider(const Frame& in, const Hop& from, std::uint32_t down)
{
    const Key key = key_of(in);
    const bool syn = in.is_tcp() && (in.flags & (tcp_syn | tcp_ack | tcp_rst)) == tcp_syn;
    if (in.is_tcp() && (down & FLB_BACKEND_RESET) && !syn) {
        if (has(in, tcp_rst) || !has(in, tcp_ack))
            return dropped(FLB_DROP_backend_down);
        end(key);
        return reset(in, from.ifindex, FLB_DROP_backend_down);
    }
    const bool admitted = is_proven(owners_.at(key).state) && !syn;
    if (in.is_tcp())
        if (Reply* reply = reply_of(key, owners_.at(key))) {
            reply->superseded = true;
            reply->seen = world.now;
            forget(key);
            return unknown(in, from, admitted);
        }
    end(key);
    return unknown(in, from, admitted);
}

void Model::end(const Key& key)
{
    const Owner& owner = owners_.at(key);
    if (reply_of(key, owner))
        replies_.erase(owner.reply);
    forget(key);
}

// The state after this segment of the client.
unsigned after_client(const Frame& in, const Owner& owner)
{
    unsigned state = owner.state;
    if (!in.is_tcp())
        return state == FLB_FLOW_UDP_REPLIED ? unsigned{FLB_FLOW_UDP_STREAM} : state;
    if (state == FLB_FLOW_SYN_ACK && has(in, tcp_ack) && in.ack == owner.proof)
        state = FLB_FLOW_ESTABLISHED;
    if (has(in, tcp_rst))
        return Model::is_proven(state) && !Model::is_closed(state) ? unsigned{FLB_FLOW_RESET} : state;
    if (has(in, tcp_fin) && state == FLB_FLOW_ESTABLISHED)
        return FLB_FLOW_FIN_CLIENT;
    return has(in, tcp_fin) && state == FLB_FLOW_FIN_BACKEND ? unsigned{FLB_FLOW_CLOSED_BACKEND} : state;
}

// And after this one of the backend.
unsigned after_backend(const Frame& in, unsigned state)
{
    if (!in.is_tcp())
        return state == FLB_FLOW_UDP_NEW ? unsigned{FLB_FLOW_UDP_REPLIED} : state;
    if (has(in, tcp_rst)) {
        if (Model::is_closed(state))
            return state;
        return Model::is_proven(state) ? FLB_FLOW_RESET : FLB_FLOW_CLOSED_BACKEND;
    }
    if (has(in, tcp_syn | tcp_ack))
        return state == FLB_FLOW_SYN ? unsigned{FLB_FLOW_SYN_ACK} : state;
    if (state == FLB_FLOW_MIDSTREAM && has(in, tcp_ack))
        state = FLB_FLOW_ESTABLISHED;
    if (has(in, tcp_fin) && state == FLB_FLOW_ESTABLISHED)
        return FLB_FLOW_FIN_BACKEND;
    return has(in, tcp_fin) && state == FLB_FLOW_FIN_CLIENT ? unsigned{FLB_FLOW_CLOSED_CLIENT} : state;
}

std::optional<Model::Path> Model::from_client(const Frame& in, const Hop& from)
{
    const Key key = key_of(in);
    Owner& owner = owners_.at(key);
    Reply* reply = reply_of(key, owner);
    if (reply)
        reply->client = from;
    if (has_expired(owner) || (!is_proven(owner.state) && !reply)) {
        forget(key);
        return std::nullopt;
    }
    touch(key, owner);
    if (reply && !is_proven(owner.state))
        reply->seen = world.now;
    if (in.is_tcp() && (in.flags & (tcp_syn | tcp_ack | tcp_rst)) == tcp_syn && is_closing(owner.state)) {
        end(key);
        return std::nullopt;
    }
    Path path{
        owner.new_source, owner.new_destination, owner.new_sport, owner.new_dport, owner.backend, Path::to_backend, {}};
    const unsigned before = owner.state;
    if (!move(key, owner, after_client(in, owner), true))
        path.refused = FLB_DROP_source_connections;
    else if (reply && owner.state == FLB_FLOW_RESET && before != FLB_FLOW_RESET)
        reply->seen = world.now;
    return path;
}

std::optional<Model::Path> Model::from_backend(const Frame& in, const Hop& from)
{
    Reply& reply = replies_.at(key_of(in));
    const Key key = reply.owner;
    if (reply.superseded)
        return Path{.refused = FLB_DROP_superseded};
    Owner* owner = owner_of(reply);
    if (!owner || has_expired(*owner)) {
        if (owner)
            forget(key);
        replies_.erase(key_of(in));
        return std::nullopt;
    }
    touch(key, *owner);
    // A RST that the backend does not believe: the connection counts again.
    if (reply.seen != world.now && owner->state == FLB_FLOW_RESET && !has(in, tcp_rst) && !owner->counted &&
        service_of(*owner).source_connections) {
        count_of(world.backends.at(owner->backend).service, key.source)++;
        owner->counted = true;
    }
    reply.seen = world.now;
    // What may be forged is forwarded, but it proves nothing.
    if (is_proven(owner->state) || !is_forged(reply.client, world.backends.at(owner->backend), from)) {
        const unsigned next = after_backend(in, owner->state);
        if (next == FLB_FLOW_SYN_ACK && owner->state != next)
            owner->proof = in.seq + 1;
        move(key, *owner, next, false);
    }
    return Path{key.destination, key.source, key.dport, key.sport, owner->backend, Path::to_client, reply.client};
}

// design.md, "A packet of a connection that we do not know".
Expected Model::unknown(const Frame& in, const Hop& from, bool admitted)
{
    const auto listener = world.listeners.find({in.destination, in.dport, in.protocol});
    if (listener == world.listeners.end()) {
        const auto source = world.sources.find({in.source, in.sport, in.protocol});
        if (source == world.sources.end())
            return {};
        return leave(in, {source->second.address, in.destination, source->second.port, in.dport, source->second.backend,
                             Path::by_routes, {}});
    }
    ModelService& service = world.services.at(listener->second);
    if (const flb_drop_reason reason = lists_say(service, in.source); reason && !admitted)
        return dropped(reason);
    unsigned state = FLB_FLOW_UDP_NEW;
    bool store = true;
    if (in.is_tcp()) {
        const unsigned flags = in.flags & (tcp_syn | tcp_ack | tcp_fin | tcp_rst);
        state = FLB_FLOW_SYN;
        if (flags == 0 || (has(in, tcp_syn) && (flags & (tcp_fin | tcp_rst))))
            return dropped(FLB_DROP_bad_tcp_flags);
        if (flags != tcp_syn) {
            if (service.forward == FLB_SNAT)
                return reset(in, from.ifindex, FLB_DROP_no_flow);
            state = FLB_FLOW_MIDSTREAM;
            store = !has(in, tcp_rst);
        }
    }
    if (service.source_connections && !admitted && state != FLB_FLOW_MIDSTREAM &&
        count_of(listener->second, in.source) >= service.source_connections)
        return dropped(FLB_DROP_source_connections);
    unsigned backend = pinned(listener->second, in.source);
    if (!backend)
        backend = pick(in, service);
    return backend ? begin(in, from, service, backend, state, store) : dropped(FLB_DROP_no_backend);
}

unsigned Model::pick(const Frame& in, ModelService& service)
{
    if (service.slots.empty())
        return 0;
    if (service.pick == FLB_PICK_TURN)
        return service.slots[service.turn++ % service.slots.size()];
    const std::uint64_t hash = pick_hash(in, service.seed, service.pick == FLB_PICK_HASH_5TUPLE);
    return service.slots[hash * service.slots.size() >> 32];
}

Model::Take Model::reply_key(const Key& key)
{
    const auto found = replies_.find(key);
    if (found != replies_.end() && found->second.superseded)
        return world.now - found->second.seen > world.timeout.at(FLB_FLOW_SUPERSEDED) ? Take::free : Take::resting;
    const Owner* owner = found == replies_.end() ? nullptr : owner_of(found->second);
    if (!owner || has_expired(*owner))
        return Take::free;
    if (is_closed(owner->state))
        return world.now - owner->seen < FLB_YOUNG_TICKS ? Take::closing : Take::resting;
    return is_proven(owner->state) ? Take::taken : Take::unproven;
}

// ADR 0006: a rotation; a port whose connection has closed is taken only after two others were not free, one whose
// connection has just closed after eight, and that of one that is not proven after twelve; or at once, where the last
// connection had to do that. After eight it leaps, over 4, 16, 64, ... others, and some.
std::optional<Key> Model::take_port(const Frame& in, ModelBackend& backend)
{
    const std::uint64_t size = std::uint64_t{world.ports} * backend.pool.size();
    for (int i = 0; i < FLB_SNAT_TRIES; i++) {
        if (i >= FLB_SNAT_TRIES / 2 && size > FLB_SNAT_TRIES) {
            const std::uint32_t leap = 1u << 2 * (i - FLB_SNAT_TRIES / 2 + 1);
            backend.cursor += leap + ((static_cast<std::uint32_t>(backend.cursor) * 0x9e3779b1u >> 8) % leap);
        }
        const std::uint64_t position = backend.cursor++ * world.stride % size;
        const Key key{backend.address, backend.pool[position / world.ports], backend.port,
            static_cast<std::uint16_t>(world.first_port + position % world.ports), in.protocol};
        const Take take = reply_key(key);
        const bool needy = backend.crowded || i >= FLB_SNAT_TRIES * 3 / 4;
        if (take == Take::free || (take == Take::resting && (needy || i >= 2)) ||
            (take == Take::closing && (needy || i >= FLB_SNAT_TRIES / 2)) || (take == Take::unproven && needy)) {
            backend.crowded = take == Take::unproven;
            return key;
        }
    }
    return std::nullopt;
}

Expected Model::begin(
    const Frame& in, const Hop& from, ModelService& service, unsigned number, unsigned state, bool store)
{
    ModelBackend& backend = world.backends.at(number);
    if (!backend.valid)
        return dropped(FLB_DROP_not_configured);
    Key reply{backend.address, in.source, backend.port, in.sport, in.protocol};
    if (service.forward == FLB_SNAT) {
        const std::optional<Key> free = take_port(in, backend);
        if (!free)
            return dropped(FLB_DROP_ports_exhausted);
        reply = *free;
    } else if (const Take take = reply_key(reply); store && (take == Take::taken || take == Take::unproven)) {
        return dropped(FLB_DROP_tuple_in_use);
    }
    const Path path{reply.destination, backend.address, reply.dport, backend.port, number, Path::to_backend, {}};
    if (store) {
        owners_[key_of(in)] = {
            next_id_, state, world.now, number, path.source, path.destination, path.sport, path.dport, 0, reply, false};
        replies_[reply] = {next_id_++, key_of(in), from, world.now, false};
        backend.connections++;
    }
    return leave(in, path);
}

// TTL, next hop, size; then addresses, ports, MACs and tags are new, and nothing else.
Expected Model::leave(const Frame& in, const Path& path)
{
    if (in.ttl <= 1)
        return dropped(FLB_DROP_ttl_exceeded);
    const std::size_t length = packet_length(in);
    ModelBackend& backend = world.backends.at(path.backend);
    Hop to = path.client;
    if (path.direction == Path::to_backend) {
        if (!backend.valid)
            return dropped(FLB_DROP_not_configured);
        if (!backend.hop)
            return dropped(FLB_DROP_backend_unresolved);
        if (length > backend.mtu)
            return dropped(FLB_DROP_too_big);
        to = *backend.hop;
    } else if (path.direction == Path::by_routes) {
        if (!world.on_link.contains(path.destination))
            return {};
        if (length > world.route_mtu)
            return dropped(FLB_DROP_too_big);
        const auto neighbour = world.neighbours.find(path.destination);
        if (neighbour == world.neighbours.end())
            return dropped(FLB_DROP_no_return_path);
        to = neighbour->second;
    }
    const ModelInterface& out = world.interfaces.at(to.ifindex);
    if (length > out.mtu)
        return dropped(FLB_DROP_too_big);
    const int direction = path.direction == Path::to_backend ? 0 : 1;
    backend.packets[direction]++;
    backend.bytes[direction] += length;
    Expected answer{Expected::send, FLB_DROP_none, in, to.ifindex};
    Frame& f = answer.out;
    f.to = to.mac;
    f.from = out.mac;
    f.tags = to.tags;
    f.source = path.source;
    f.destination = path.destination;
    f.sport = path.sport;
    f.dport = path.dport;
    f.ttl--;
    return answer;
}

Expected Model::reset(const Frame& in, unsigned ifindex, flb_drop_reason reason) const
{
    if (has(in, tcp_rst) || !has(in, tcp_ack) || !in.options.empty() || !in.extensions.empty())
        return dropped(reason);
    Expected answer{Expected::send, reason, {}, ifindex};
    Frame& f = answer.out;
    f = in;
    std::swap(f.to, f.from);
    std::swap(f.source, f.destination);
    std::swap(f.sport, f.dport);
    f.seq = in.ack;
    f.ack = 0;
    f.flags = tcp_rst;
    f.window = 0;
    f.id = 0;
    f.fragment = 0x4000;
    f.ttl = 64;
    f.tcp_options.clear();
    f.payload.clear();
    f.padding.clear();
    return answer;
}

} // namespace featherlb::packet
