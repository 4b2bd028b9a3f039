// SPDX-License-Identifier: Apache-2.0
// Lists of networks on their way from the configuration to changes: what a plan makes of them, and their difference.
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "unit/plan_support.h"

namespace featherlb {
namespace {

using namespace plan_test;
using Kind = Change::Kind;

std::shared_ptr<const AccessRules> rules(const std::vector<std::string>& words)
{
    AccessRules list;
    for (const std::string& word : words) { // "+10.0.0.0/8"
        const std::size_t slash = word.find('/');
        list.push_back({NetworkPrefix::of(address(std::string_view(word).substr(1, slash - 1)),
                            static_cast<std::uint8_t>(std::stoi(word.substr(slash + 1)))),
            word[0] == '+'});
    }
    std::ranges::sort(list);
    return std::make_shared<const AccessRules>(std::move(list));
}

std::vector<std::string> words_of(const std::vector<Change>& changes)
{
    std::vector<std::string> words;
    for (const Change& change : changes) {
        const std::string rule = (change.rule.allow ? "+" : "-") + change.rule.network.to_string();
        if (change.kind == Kind::put_prefix)
            words.push_back("put " + rule);
        else if (change.kind == Kind::remove_prefix)
            words.push_back("remove " + rule);
        else
            words.emplace_back(change.kind == Kind::put_service ? "service" : "other");
    }
    return words;
}

Tables with(std::shared_ptr<const AccessRules> list)
{
    Tables tables;
    tables.services[1] = {.name = "web", .lists = list != nullptr, .slots = {}};
    if (list)
        tables.access.emplace(1, std::move(list));
    return tables;
}

TEST(Access, of_a_service_goes_to_the_row_of_its_ip_version)
{
    Config config = config_of({service(
        "web", {listen("10.9.0.1:80"), listen("[fd00:9::1]:80")}, {backend("10.0.0.1:80"), backend("[fd00::1]:80")})});
    config.services[0].admission.access = {rules({"-10.0.0.0/8"}), nullptr};
    config.services[0].admission.affinity = {.timeout = std::chrono::seconds(60), .ipv6_prefix = 64};
    config.services[0].admission.limits = {.new_a_minute = 60, .burst = 2, .connections = 3};
    const Tables want = make_tables(config, {}, {}, {}, roomy).value();
    ASSERT_EQ(want.services.size(), 2u);
    for (const auto& [id, row] : want.services) {
        EXPECT_EQ(row.lists, row.family == Family::ipv4);
        EXPECT_EQ(want.access.contains(id), row.family == Family::ipv4);
        EXPECT_EQ(row.affinity, std::chrono::seconds(60));
        EXPECT_EQ(row.affinity_prefix, row.family == Family::ipv4 ? 32 : 64);
        EXPECT_EQ(row.limits.connections, 3u);
    }
}

TEST(Access, that_does_not_fit_the_map_is_refused_with_those_that_are_being_replaced)
{
    Limits limits = roomy;
    limits.prefixes = 3;
    Config config = config_of({service("web", {listen("10.9.0.1:80")}, {backend("10.0.0.1:80")})});
    config.services[0].admission.access[0] = rules({"-10.0.0.0/8", "-11.0.0.0/8"});
    const Tables first = make_tables(config, {}, {}, {}, limits).value();
    EXPECT_TRUE(make_tables(config, {}, first, {}, limits)) << "the same again needs no more";
    config.services[0].admission.access[0] = rules({"-10.0.0.0/8", "-12.0.0.0/8"});
    const auto more = make_tables(config, {}, first, {}, limits);
    ASSERT_FALSE(more);
    EXPECT_THAT(more.error().message, testing::HasSubstr("4 networks"));
}

TEST(Access, comes_before_the_service_that_asks_for_it_and_goes_after)
{
    const auto list = rules({"-10.0.0.0/8"});
    EXPECT_EQ(words_of(diff(with(nullptr), with(list))), (std::vector<std::string>{"put -10.0.0.0/8", "service"}));
    EXPECT_EQ(words_of(diff(with(list), with(nullptr))), (std::vector<std::string>{"service", "remove -10.0.0.0/8"}));
}

TEST(Access, changes_only_what_differs)
{
    const Tables have = with(rules({"-10.0.0.0/8", "+10.1.0.0/16", "-10.2.0.0/16"}));
    const Tables want = with(rules({"-10.0.0.0/8", "-10.1.0.0/16", "+10.3.0.0/16"}));
    EXPECT_EQ(words_of(diff(have, want)),
        (std::vector<std::string>{"put -10.1.0.0/16", "put +10.3.0.0/16", "remove -10.2.0.0/16"}));
    EXPECT_TRUE(diff(have, with(rules({"-10.0.0.0/8", "+10.1.0.0/16", "-10.2.0.0/16"}))).empty()) << "equal, not same";
}

TEST(Access, puts_exceptions_before_and_removes_them_after_what_they_are_exceptions_of)
{
    const Tables open = with(rules({"-192.0.2.0/24"}));
    const Tables closed = with(rules({"-0.0.0.0/0", "+10.0.0.0/8", "-10.1.0.0/16"}));
    EXPECT_EQ(words_of(diff(open, closed)),
        (std::vector<std::string>{"put -10.1.0.0/16", "put +10.0.0.0/8", "put -0.0.0.0/0", "remove -192.0.2.0/24"}));
    EXPECT_EQ(words_of(diff(closed, open)), (std::vector<std::string>{"put -192.0.2.0/24", "remove -0.0.0.0/0",
                                                "remove +10.0.0.0/8", "remove -10.1.0.0/16"}));
}

// A daemon that died half-way left rules for a number that is no service yet.
TEST(Access, left_for_a_number_that_is_no_service_keep_it_from_being_given_out)
{
    Tables have;
    have.access.emplace(1, rules({"+10.0.0.0/8"}));
    const Config config = config_of({service("web", {listen("10.9.0.1:80")}, {backend("10.0.0.1:80")})});
    const Tables want = make_tables(config, {}, have, {}, roomy).value();
    EXPECT_FALSE(want.services.contains(1));
    EXPECT_EQ(want.services.size(), 1u);
    EXPECT_EQ(words_of(diff(have, want)).back(), "remove +10.0.0.0/8");
}

RC_GTEST_PROP(Access, applying_the_difference_gives_what_is_wanted,
    (const std::vector<std::uint16_t>& a, const std::vector<std::uint16_t>& b))
{
    const auto tables_of = [](const std::vector<std::uint16_t>& numbers) {
        std::map<NetworkPrefix, bool> unique;
        for (const std::uint16_t number : numbers) {
            flb_addr bytes{};
            bytes.bytes[0] = static_cast<std::uint8_t>(number & 0xf0);
            unique[NetworkPrefix::of(IpAddress::from_abi(bytes, Family::ipv4), static_cast<std::uint8_t>(number % 9))] =
                number & 0x200;
        }
        AccessRules list;
        for (const auto& [network, allow] : unique)
            list.push_back({network, allow});
        return with(list.empty() ? nullptr : std::make_shared<const AccessRules>(std::move(list)));
    };
    Tables tables = tables_of(a);
    const Tables want = tables_of(b);
    for (const Change& change : diff(tables, want))
        apply(tables, want, change);
    RC_ASSERT(tables == want);
}

TEST(Access, of_a_hundred_thousand_networks_is_planned_and_compared_quickly)
{
    AccessRules list;
    for (std::uint32_t n = 0; n < 100'000; n++) {
        flb_addr bytes{};
        bytes.bytes[0] = static_cast<std::uint8_t>(1 + n / 65536);
        bytes.bytes[1] = static_cast<std::uint8_t>(n / 256);
        bytes.bytes[2] = static_cast<std::uint8_t>(n);
        list.push_back({{IpAddress::from_abi(bytes, Family::ipv4), 24}, false});
    }
    Config config = config_of({service("web", {listen("10.9.0.1:80")}, {backend("10.0.0.1:80")})});
    config.services[0].admission.access[0] = std::make_shared<const AccessRules>(list);
    const auto began = std::chrono::steady_clock::now();
    const Tables want = make_tables(config, {}, {}, {}, roomy).value();
    EXPECT_EQ(diff({}, want).size(), 100'000u + 3);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
    for (int i = 0; i < 1000; i++) // each network event makes a plan
        ASSERT_TRUE(diff(want, make_tables(config, {}, want, {}, roomy).value()).empty());
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(40)) << "what is shared is not compared";
}

} // namespace
} // namespace featherlb
