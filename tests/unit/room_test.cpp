// SPDX-License-Identifier: Apache-2.0
// How much room a configuration asks for when the maps are made.
#include "daemon/room.h"

#include <fmt/format.h>

#include "unit/config_cases.h"

namespace featherlb {
namespace {

using config_test::sound;

Config many(unsigned services, const std::string& backends)
{
    std::string text = "services:\n";
    for (unsigned i = 0; i < services; ++i)
        text += fmt::format("  - {{name: s{}, listen: \"10.1.0.1:{}/tcp\", backends: [{}]}}\n", i, i + 1, backends);
    return sound(text);
}

std::string many_backends(unsigned count)
{
    std::string all;
    for (unsigned i = 0; i < count; ++i)
        all += fmt::format("{}{{address: \"10.0.{}.{}:1\"}}", i == 0 ? "" : ", ", i / 250, 1 + i % 250);
    return all;
}

TEST(Room, is_never_less_than_is_enough_for_most)
{
    EXPECT_EQ(sizes_for(many(1, R"({address: "10.0.1.1:1"})")), DataPlaneSizes{});
}

TEST(Room, is_twice_what_many_services_need)
{
    const DataPlaneSizes sizes = sizes_for(many(10'000, R"({address: "10.0.1.1:1"}, {address: "10.0.1.2:1"})"));
    EXPECT_EQ(sizes.services, 20'002u);
    EXPECT_EQ(sizes.backends, 40'002u);
    // A table of 1,021 slots lies in 64 lines of 16; twice that is room for its successor.
    EXPECT_EQ(sizes.slots, 10'000u * 1024 * 4);
}

TEST(Room, counts_backends_of_a_tunnel_for_listeners_of_either_ip_version)
{
    const Config config = sound("services:\n  - {name: web, forward: ipip, listen: \"[fd00::1]:1/tcp\", backends: [" +
                                many_backends(20'000) + "]}\n");
    EXPECT_EQ(sizes_for(config).backends, 40'002u);
}

TEST(Room, counts_a_name_as_several_backends)
{
    EXPECT_EQ(sizes_for(many(5'000, R"({dns: "web.internal:1"})")).backends, 40'002u);
}

} // namespace
} // namespace featherlb
