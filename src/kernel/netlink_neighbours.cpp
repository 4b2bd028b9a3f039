// SPDX-License-Identifier: Apache-2.0
#include "kernel/netlink_neighbours.h"

#include <cerrno>
#include <utility>
#include <vector>

#include <linux/rtnetlink.h>

namespace featherlb {

namespace {

// What an answer of next_hop takes from a neighbour.
std::optional<std::array<std::uint8_t, 6>> usable_mac(const Neighbour* neighbour)
{
    return neighbour != nullptr && neighbour->usable() ? neighbour->mac : std::nullopt;
}

} // namespace

NetlinkResult<void> NeighbourTable::refresh()
{
    if (!stale_)
        return {};
    std::map<NeighbourKey, Neighbour> fresh;
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        std::map<NeighbourKey, Neighbour> part;
        Request request = Request::dump_neighbours(family);
        auto done = socket_->ask(
            request.header(),
            [&](const nlmsghdr& header) {
                if (auto neighbour = parse_neighbour(header))
                    part.insert_or_assign(neighbour->key, *neighbour);
            },
            [&] { part.clear(); });
        // A kernel without IPv6 has no such table.
        if (!done && !(done.error().from_kernel && done.error().number == EOPNOTSUPP))
            return done;
        fresh.merge(part);
    }
    table_ = std::move(fresh);
    stale_ = false;
    return {};
}

bool NeighbourTable::apply(const nlmsghdr& header)
{
    const auto event = parse_neighbour(header);
    if (!event)
        return false;
    const auto before = usable_mac(find(event->key));
    const bool known = table_.contains(event->key);
    const bool gone = header.nlmsg_type == RTM_DELNEIGH;
    if (gone)
        table_.erase(event->key);
    else
        table_.insert_or_assign(event->key, *event);
    if (!wanted_.contains(event->key))
        return false;
    return before != usable_mac(find(event->key)) || (gone && known);
}

const Neighbour* NeighbourTable::find(const NeighbourKey& key) const
{
    const auto found = table_.find(key);
    return found == table_.end() ? nullptr : &found->second;
}

NetlinkResult<void> NeighbourTable::keep(const NeighbourKey& key)
{
    Wanted& wanted = wanted_[key];
    const Neighbour* have = find(key);
    const bool kicked = std::exchange(wanted.kicked, false);
    if (have != nullptr) {
        const bool kept = have->permanent() || have->managed || wanted.probed;
        if (kept && (!kicked || have->usable()))
            return {};
    }
    return put(key, wanted);
}

void NeighbourTable::kick()
{
    for (auto& [key, wanted] : wanted_)
        wanted.kicked = true;
}

void NeighbourTable::probe()
{
    for (auto& [key, wanted] : wanted_) {
        const Neighbour* have = find(key);
        const bool sure = have != nullptr && (have->permanent() || (have->state & NUD_REACHABLE) != 0);
        if (wanted.probed && !sure)
            (void)put(key, wanted); // fails only as `keep` does, which tells
    }
}

void NeighbourTable::retain(const std::set<NeighbourKey>& keys)
{
    std::erase_if(wanted_, [&](const auto& entry) { return !keys.contains(entry.first); });
    // Without a current table an entry of ours may stay behind; the next call finds it.
    (void)refresh();
    std::vector<NeighbourKey> strays;
    for (const auto& [key, neighbour] : table_)
        if (neighbour.managed && neighbour.protocol == neighbour_protocol && !keys.contains(key))
            strays.push_back(key);
    for (const NeighbourKey& key : strays)
        drop(key);
}

// The kernel's present knowledge of one neighbour: an event about it may still wait to be read.
NetlinkResult<std::optional<Neighbour>> NeighbourTable::ask_for(const NeighbourKey& key)
{
    std::optional<Neighbour> neighbour;
    Request request = Request::get_neighbour(key);
    auto done = socket_->ask(request.header(), [&](const nlmsghdr& header) { neighbour = parse_neighbour(header); });
    if (!done && !(done.error().from_kernel && done.error().number == ENOENT))
        return tl::unexpected(done.error());
    if (neighbour)
        table_.insert_or_assign(key, *neighbour);
    else
        table_.erase(key);
    return neighbour;
}

NetlinkResult<void> NeighbourTable::put(const NeighbourKey& key, Wanted& wanted)
{
    if (find(key) == nullptr) {
        auto sent = send(key, wanted, Request::Existing::refuse);
        if (sent || sent.error().number != EEXIST)
            return sent;
    }
    // Asking the kernel to manage a permanent entry would make it an ordinary one: look before writing.
    auto now = ask_for(key);
    if (!now)
        return tl::unexpected(now.error());
    if (*now && (*now)->permanent())
        return {};
    return send(key, wanted, Request::Existing::change);
}

NetlinkResult<void> NeighbourTable::send(const NeighbourKey& key, Wanted& wanted, Request::Existing existing)
{
    const auto try_as = [&](Request::Keep keep) {
        Request request = Request::keep_neighbour(key, keep, existing);
        return socket_->ask(request.header(), [](const nlmsghdr&) {});
    };
    auto sent = try_as(wanted.probed ? Request::Keep::used : Request::Keep::managed);
    if (!sent && sent.error().from_kernel && sent.error().number == EINVAL && !wanted.probed) {
        sent = try_as(Request::Keep::used);
        wanted.probed = sent.has_value();
    }
    if (!sent)
        return sent;
    // The event that tells of it comes later; until then nobody needs to send it again.
    Neighbour& entry = table_.try_emplace(key, Neighbour{.key = key, .mac = {}}).first->second;
    entry.managed = !wanted.probed;
    entry.protocol = neighbour_protocol;
    return {};
}

void NeighbourTable::drop(const NeighbourKey& key)
{
    const auto now = ask_for(key);
    if (!now || !*now || (*now)->permanent() || !(*now)->managed || (*now)->protocol != neighbour_protocol)
        return;
    // Deleted rather than demoted: the host's own traffic, if there is any, resolves it again.
    Request request = Request::delete_neighbour(key);
    if (socket_->ask(request.header(), [](const nlmsghdr&) {}))
        table_.erase(key);
}

} // namespace featherlb
