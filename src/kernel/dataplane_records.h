// SPDX-License-Identifier: Apache-2.0
// Rows of Tables <-> records of maps, as pure conversions. Records that a program may read are never written as a
// whole: the store copies them field by field, or word by word.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernel/map.h"
#include "plan/tables.h"

namespace featherlb {

// flb_service.slots taken apart.
struct Slice {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
};
[[nodiscard]] inline Slice slice_of(std::uint64_t word)
{
    return {.offset = static_cast<std::uint32_t>(word >> 32), .length = static_cast<std::uint32_t>(word)};
}

[[nodiscard]] inline Family family_of(std::uint32_t backend_flags)
{
    return backend_flags & FLB_BACKEND_IPV6 ? Family::ipv6 : Family::ipv4;
}

[[nodiscard]] flb_listener_key to_record(const ListenerKey& key);
[[nodiscard]] ListenerKey from_record(const flb_listener_key& record);
// A row that stands for a whole address under a protocol: key.port is 0.
[[nodiscard]] flb_listener_key to_own_address(const ListenerKey& key);
[[nodiscard]] bool is_own_address(const flb_listener_key& record);
[[nodiscard]] flb_prefix_key to_record(ServiceId service, const NetworkPrefix& network);
[[nodiscard]] NetworkPrefix from_record(const flb_prefix_key& record, Family family);
[[nodiscard]] flb_source to_record(const SourceRow& row);
[[nodiscard]] SourceRow from_record(const flb_source& record, Family family);
// Without its slots. `settings` tell how long a tick is.
[[nodiscard]] flb_service to_record(const ServiceRow& row, const flb_settings& settings);
[[nodiscard]] ServiceRow from_record(const flb_service& record, const flb_name& name, const flb_settings& settings);
[[nodiscard]] flb_backend to_record(const BackendRow& row, std::uint32_t snat_first);
[[nodiscard]] BackendRow from_record(const flb_backend& record); // without its source addresses

void write_name(flb_name& where, const std::string& name);
// One store for MAC and link; the tags, where they change as well, just before.
void put_hop(flb_hop& where, const flb_hop& hop);

} // namespace featherlb
