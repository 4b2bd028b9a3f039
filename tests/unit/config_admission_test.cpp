// SPDX-License-Identifier: Apache-2.0
// `affinity`, `limits`, `allow` and `deny`: right settings, defaults, and wrong ones. tests/lab/bad_configs has a file
// for each kind of error; here is what those do not show.
#include <chrono>

#include "unit/config_cases.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using config_test::expect_problem;
using config_test::service_saying;
using config_test::sound;

AdmissionConfig admission_of(const std::string& more, const std::string& defaults = "")
{
    return sound(service_saying(more, defaults)).services.at(0).admission;
}
void expect_admission_problem(const std::string& more, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(more);
    expect_problem(service_saying(more), what, remedy);
}
std::vector<std::string> words_of(const std::shared_ptr<const AccessRules>& rules)
{
    std::vector<std::string> words;
    if (rules)
        for (const AccessRule& rule : *rules)
            words.push_back((rule.allow ? "+" : "-") + rule.network.to_string());
    return words;
}

TEST(ConfigAdmission, lets_everybody_in_unasked)
{
    const AdmissionConfig admission = sound(config_test::web).services.at(0).admission;
    EXPECT_EQ(admission.affinity.timeout, 0s);
    EXPECT_EQ(admission.limits, SourceLimits{});
    EXPECT_EQ(admission.access[0], nullptr);
    EXPECT_EQ(admission.access[1], nullptr);
}

TEST(ConfigAdmission, reads_affinity)
{
    EXPECT_EQ(admission_of("affinity: {timeout: 10m}").affinity.timeout, 600s);
    EXPECT_EQ(admission_of("affinity: {timeout: 10m}").affinity.ipv6_prefix, 128);
    EXPECT_EQ(admission_of("affinity: {timeout: 1h, ipv6_prefix: 64}").affinity.ipv6_prefix, 64);
    expect_admission_problem("affinity: {timeout: 10m, ipv6_prefix: §0}", "from 1 to 128", "");
    expect_admission_problem("affinity: {timeout: §0s}", "from 1s to 30d", "");
}

TEST(ConfigAdmission, reads_rates_by_the_second_and_by_the_minute)
{
    EXPECT_EQ(admission_of("limits: {new_connections_per_source: 100/s}").limits,
        (SourceLimits{.new_a_minute = 6000, .burst = 100, .connections = 0}));
    EXPECT_EQ(admission_of("limits: {new_connections_per_source: 30/m, connections_per_source: 7}").limits,
        (SourceLimits{.new_a_minute = 30, .burst = 30, .connections = 7}));
    EXPECT_EQ(admission_of("limits: {new_connections_per_source: 1/m, burst: 60}").limits.burst, 60u);
    EXPECT_EQ(admission_of("limits: {new_connections_per_source: 1000000/s}").limits.new_a_minute, 60'000'000u);
    for (const char* wrong : {"1000001/s", "60000001/m", "0/m"})
        expect_admission_problem(std::string("limits: {new_connections_per_source: §") + wrong + "}", "from 1/m", "");
    for (const char* wrong : {"1.5/s", "100/", "/s", "010/s", "-1/s", "100 /s", "100/S", "ten/s", "100/s/s"})
        expect_admission_problem(
            std::string("limits: {new_connections_per_source: §\"") + wrong + "\"}", "is not a rate", "such as 100/s");
}

TEST(ConfigAdmission, reads_lists_by_ip_version_in_order)
{
    const auto access = admission_of(R"(deny: ["2001:db8::/32", 10.2.0.0/16, 10.0.0.0/8])").access;
    EXPECT_EQ(words_of(access[0]), (std::vector<std::string>{"-10.0.0.0/8", "-10.2.0.0/16"}));
    EXPECT_EQ(words_of(access[1]), (std::vector<std::string>{"-2001:db8::/32"}));
}

TEST(ConfigAdmission, an_allow_list_is_a_rule_for_everybody_else_in_both_ip_versions)
{
    const auto access = admission_of("allow: [10.0.0.0/8]\n    deny: [10.1.0.0/16]").access;
    EXPECT_EQ(words_of(access[0]), (std::vector<std::string>{"-0.0.0.0/0", "+10.0.0.0/8", "-10.1.0.0/16"}));
    EXPECT_EQ(words_of(access[1]), (std::vector<std::string>{"-::/0"}));
    const auto all = admission_of("allow: [0.0.0.0/0]").access;
    EXPECT_EQ(words_of(all[0]), (std::vector<std::string>{"+0.0.0.0/0"}));
}

TEST(ConfigAdmission, takes_from_defaults_what_a_service_does_not_say)
{
    const std::string defaults =
        "defaults: {affinity: {timeout: 1h}, limits: {connections_per_source: 5}, deny: [10.0.0.0/8]}\n";
    const AdmissionConfig none = admission_of("affinity: none\n    limits: none", defaults);
    EXPECT_EQ(none.affinity.timeout, 0s);
    EXPECT_EQ(none.limits, SourceLimits{});
    const AdmissionConfig same = admission_of("algorithm: random", defaults);
    EXPECT_EQ(same.affinity.timeout, 3600s);
    EXPECT_EQ(same.limits.connections, 5u);
    EXPECT_EQ(words_of(same.access[0]), (std::vector<std::string>{"-10.0.0.0/8"}));
    const AdmissionConfig own =
        admission_of("allow: [192.0.2.0/24]\n    limits: {new_connections_per_source: 1/s}", defaults);
    EXPECT_EQ(own.limits.connections, 0u) << "a service's limits replace all of the default's";
    EXPECT_EQ(words_of(own.access[0]), (std::vector<std::string>{"-0.0.0.0/0", "+192.0.2.0/24"}));
}

TEST(ConfigAdmission, refuses_what_is_no_network)
{
    for (const char* wrong : {"10.0.0.0/", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/ 8"})
        expect_admission_problem(
            std::string("deny: [§\"") + wrong + "\"]", "no prefix length from 0 to 32", "198.51.100.0/24");
    expect_admission_problem(R"(deny: [§"2001:db8::/129"])", "from 0 to 128", "2001:db8::/32");
    expect_admission_problem(R"(deny: [§"2001:db8::1/64"])", "bits behind its prefix", "write 2001:db8::/64, or");
    expect_admission_problem(R"(deny: [§"2001:db8::1"])", "one address", "write 2001:db8::1/128");
    expect_admission_problem(R"(deny: [§"::ffff:10.0.0.0/104"])", "IPv4 address in IPv6 form", "");
    expect_admission_problem("deny: [§web/24]", "is not an address", "");
    expect_admission_problem("deny: [§[10.0.0.0/8]]", "must be text, not a list", "");
}

TEST(ConfigAdmission, a_hundred_thousand_networks_are_read_quickly)
{
    std::string list = "deny: [";
    for (unsigned n = 0; n < 100'000; n++)
        list += (n ? ", " : "") + std::to_string(1 + n / 65536) + "." + std::to_string(n / 256 % 256) + "." +
                std::to_string(n % 256) + ".0/24";
    const auto began = std::chrono::steady_clock::now();
    const auto access = admission_of(list + "]").access;
    const auto took = std::chrono::steady_clock::now() - began;
    ASSERT_TRUE(access[0]);
    EXPECT_EQ(access[0]->size(), 100'000u);
    RecordProperty(
        "milliseconds", static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
    EXPECT_LT(took, 60s) << "far from quadratic, also under a sanitizer";
}

} // namespace
} // namespace featherlb
