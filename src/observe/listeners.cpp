// SPDX-License-Identifier: Apache-2.0
#include "observe/listeners.h"

#include <algorithm>
#include <tuple>

namespace featherlb {

std::vector<std::string> write_listeners(std::vector<ListenerKey> keys)
{
    std::ranges::sort(keys, {}, [](const ListenerKey& key) { return std::tuple(key.address, key.protocol, key.port); });
    std::vector<ListenerConfig> ranges;
    for (const ListenerKey& key : keys) {
        const bool follows = !ranges.empty() && ranges.back().address == key.address &&
                             ranges.back().protocol == key.protocol && ranges.back().last_port() + 1 == key.port;
        if (follows)
            ++ranges.back().more_ports;
        else
            ranges.push_back({.address = key.address, .port = key.port, .protocol = key.protocol, .place = {}});
    }
    std::ranges::sort(
        ranges, {}, [](const ListenerConfig& range) { return std::tuple(range.address, range.port, range.protocol); });
    std::vector<std::string> texts;
    for (const ListenerConfig& range : ranges)
        texts.push_back(to_string(range));
    return texts;
}

} // namespace featherlb
