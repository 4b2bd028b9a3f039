// SPDX-License-Identifier: Apache-2.0
#include "kernel/layout.h"

#include <array>
#include <cstring>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace featherlb {
namespace {

flb_field row(const char* name, std::uint32_t offset, std::uint32_t size)
{
    flb_field field{};
    std::strncpy(field.name, name, sizeof(field.name) - 1);
    field.offset = offset;
    field.size = size;
    return field;
}

std::string name_of(const flb_field& field)
{
    return {field.name, ::strnlen(field.name, sizeof(field.name))};
}

TEST(Layout, OursHasEachFieldOnceInsideItsRecordAndBesideTheOthers)
{
    const Layout& ours = Layout::ours();
    std::set<std::string> names;
    for (const flb_field& field : ours.rows()) {
        const std::string name = name_of(field);
        EXPECT_TRUE(names.insert(name).second) << name;
        EXPECT_LT(name.size(), sizeof(field.name)) << name;
        const std::size_t dot = name.find('.');
        if (dot == std::string::npos)
            continue;
        const flb_field* record = ours.find(name.substr(0, dot));
        ASSERT_NE(record, nullptr) << name;
        EXPECT_LE(field.offset + field.size, record->size) << name;
        for (const flb_field& other : ours.rows()) {
            const std::string its = name_of(other);
            if (its != name && its.starts_with(name.substr(0, dot + 1))) {
                EXPECT_TRUE(field.offset + field.size <= other.offset || other.offset + other.size <= field.offset)
                    << name << " and " << its;
            }
        }
    }
}

TEST(Layout, EveryMapThatHasRecordsHasOnesThatAreDescribed)
{
    for (const char* map : {"settings", "listeners", "sources", "prefixes", "pins", "services", "backends", "names"}) {
        const MapRecords records = records_of(map);
        EXPECT_TRUE(!records.key.empty() || !records.value.empty()) << map;
        for (const std::string_view record : {records.key, records.value}) {
            if (!record.empty()) {
                EXPECT_NE(Layout::ours().find(record), nullptr) << record;
            }
        }
    }
    EXPECT_TRUE(records_of("service_turns").value.empty());
}

TEST(Layout, RowsBehindAnEmptyOneAreNotLookedAt)
{
    const std::array rows = {row("flb_name", 0, 8), flb_field{}, row("flb_flow4", 0, 64)};
    const Layout layout(rows);
    EXPECT_NE(layout.find("flb_name"), nullptr);
    EXPECT_EQ(layout.find("flb_flow4"), nullptr);
    EXPECT_EQ(layout.to_ours("flb_flow4"), std::nullopt);
}

TEST(Layout, ARecordThatLiesElsewhereBecomesOneOfOurs)
{
    // Other order, one field narrower, one that we do not know, one that it does not know.
    const std::array rows = {row("flb_source", 0, 32), row("flb_source.backend", 0, 2), row("flb_source.unknown", 4, 8),
        row("flb_source.address", 12, 16)};
    const Layout theirs(rows);
    EXPECT_FALSE(theirs.same("flb_source", Layout::ours()));
    const auto move = theirs.to_ours("flb_source");
    ASSERT_TRUE(move);
    EXPECT_EQ(move->their_size(), 32u);
    std::array<std::byte, 32> record{};
    record.fill(std::byte{0xee});
    record[0] = std::byte{0x34};
    record[1] = std::byte{0x12};
    for (std::size_t i = 0; i < 16; i++)
        record[12 + i] = static_cast<std::byte>(i);
    flb_source ours{};
    ours.port = 0x7777; // is written whole
    move->make(record, std::as_writable_bytes(std::span(&ours, 1)));
    EXPECT_EQ(ours.backend, 0x1234u);
    EXPECT_EQ(ours.port, 0u);
    for (std::size_t i = 0; i < 16; i++)
        EXPECT_EQ(ours.address.bytes[i], i);
}

TEST(Layout, AFieldThatDoesNotLieInItsRecordIsLeftOut)
{
    const std::array rows = {
        row("flb_listener", 0, 8), row("flb_listener.service", 6, 4), row("flb_listener.flags", 0, 4)};
    const auto move = Layout(rows).to_ours("flb_listener");
    ASSERT_TRUE(move);
    const std::array<std::byte, 8> record = {std::byte{5}};
    flb_listener ours{};
    move->make(record, std::as_writable_bytes(std::span(&ours, 1)));
    EXPECT_EQ(ours.flags, 5u);
    EXPECT_EQ(ours.service, 0u);
}

TEST(Layout, TheSameRecordIsTheSameInWhateverOrder)
{
    std::vector<flb_field> rows(Layout::ours().rows().begin(), Layout::ours().rows().end());
    std::reverse(rows.begin(), rows.end());
    const Layout other(rows);
    EXPECT_TRUE(other.same("flb_service", Layout::ours()));
    EXPECT_TRUE(other.same("flb_flow6", Layout::ours()));
    EXPECT_FALSE(other.same("flb_nothing", Layout::ours()));
}

} // namespace
} // namespace featherlb
