// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <algorithm>
#include <cstring>

namespace featherlb::packet::host {

bool Run::fails(const char* what, const Map* map)
{
    constexpr std::uint64_t prime = 0x100000001b3;
    const auto add = [this](const std::string& text) {
        for (const char letter : text)
            trace = (trace ^ static_cast<std::uint8_t>(letter)) * prime;
    };
    calls++;
    add(what);
    if (map)
        add(map->definition().name);
    if (calls == conditions.shrinking) {
        readable = std::min(readable, conditions.kept);
        show();
    }
    if (calls != conditions.failing)
        return false;
    counter_failed = map && map->definition().name == "drop_counters";
    return true;
}

Interruption Run::meets(const char* what)
{
    fails(what);
    meetings.push_back(calls);
    if (calls == conditions.interrupted || (conditions.by == Interruption::crowd && calls > conditions.interrupted))
        return conditions.by;
    return Interruption::none;
}

void Run::show()
{
    if (conditions.shrinking && calls >= conditions.shrinking)
        readable = std::min(readable, conditions.kept);
    readable = std::min(readable, length);
    const auto begin = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(data));
    if (xdp) {
        xdp->data = begin;
        xdp->data_end = begin + readable;
    } else {
        skb->data = begin;
        skb->data_end = begin + readable;
        skb->len = length;
    }
}

bool Run::grow(std::uint32_t at, std::int32_t bytes)
{
    std::uint8_t* to = data - bytes;
    if (to < room || at > length || -bytes > static_cast<std::int32_t>(length - at))
        return false;
    std::memmove(to, data, at);
    data = to;
    length += static_cast<std::uint32_t>(bytes);
    readable += static_cast<std::uint32_t>(bytes);
    if (partial_at) {
        partial_at += static_cast<std::uint32_t>(bytes);
        partial_field += static_cast<std::uint32_t>(bytes);
    }
    return true;
}

} // namespace featherlb::packet::host
