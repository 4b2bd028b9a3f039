// SPDX-License-Identifier: Apache-2.0
// Keys and single values that are wrong: each is found at its place and answered with what would be right.
#include "unit/config_cases.h"

namespace featherlb {
namespace {

using config_test::expect_problem;
using config_test::listening;
using config_test::problems_of;
using config_test::service_with;
using config_test::web;
using config_test::with_backend;

// `setting` before a sound service.
void expect_setting_problem(const std::string& setting, std::string_view what, std::string_view remedy)
{
    SCOPED_TRACE(setting);
    expect_problem(setting + "\n" + web, what, remedy);
}

TEST(ConfigKeys, unknown_ones_are_answered_with_the_nearest)
{
    expect_setting_problem("§interface: auto", "unknown key \"interface\"", "did you mean \"interfaces\"?");
    expect_setting_problem("flows: {§mx: 1}", "unknown key \"mx\"", "did you mean \"max\"?");
    expect_setting_problem("§Hash-Seed: 1", "unknown key \"Hash-Seed\"", "did you mean \"hash_seed\"?");
    expect_setting_problem("timeouts:\n  tcp_reset: 1s\n  §tcp_estabilshed: 1s", "unknown key", "\"tcp_established\"?");
    expect_setting_problem("interfaces:\n  - name: eth0\n    §atach: xdp", "unknown key \"atach\"", "\"attach\"?");
    expect_problem(with_backend("{address: \"10.0.0.1:80\", §wieght: 2}"), "unknown key \"wieght\"", "\"weight\"?");
}

TEST(ConfigKeys, unknown_ones_that_resemble_nothing_are_answered_with_the_list)
{
    expect_setting_problem("§colour: red", "unknown key \"colour\"",
        "the file may have: interfaces, admin, metrics, flows, snat, ipip, defaults, timeouts, hash_seed, services");
    expect_problem(with_backend("{address: \"10.0.0.1:80\", §colour: red}"), "unknown key",
        "a backend may have: name, address, dns, weight");
}

TEST(ConfigKeys, in_the_wrong_place_are_sent_home)
{
    expect_setting_problem("§tcp_reset: 1s", "\"tcp_reset\" does not belong here", "it is a key of timeouts");
    expect_setting_problem("§backends: []", "\"backends\" does not belong here", "it is a key of a service");
    expect_setting_problem("§health: {type: http}", "\"health\" does not belong here", "");
}

TEST(ConfigKeys, of_a_later_version_are_not_called_unknown)
{
    for (const std::string key : {"return"}) {
        expect_problem(listening("\"*:80/tcp\"") + "    §" + key + ": 1\n",
            "this version does not support \"" + key + "\" yet",
            "a service may have: name, listen, algorithm, forward, measure, affinity, limits");
        expect_setting_problem("defaults: {§" + key + ": 1}", "this version does not support \"" + key + "\" yet",
            "defaults may have: algorithm, forward");
    }
    expect_problem(listening("\"*:80/tcp\"") + "    §retrun: 1\n", "unknown key \"retrun\"",
        "did you mean \"return\"? this version does not support it yet");
}

TEST(ConfigKeys, doubled_ones_are_refused)
{
    expect_setting_problem("flows: {max: 1}\nhash_seed: 1\n§flows: {max: 2}", "the key \"flows\" is there twice",
        "keep this one or the one in line 1");
    expect_setting_problem("flows: {max: 1, §max: 1}", "the key \"max\" is there twice", "line 1");
    expect_setting_problem("flows: {max: 1, §\"max\": 1}", "the key \"max\" is there twice", "line 1");
    expect_setting_problem("flows: {max: 1, ? §max : 1}", "the key \"max\" is there twice", "line 1");
}

TEST(ConfigKeys, without_a_value_are_refused)
{
    expect_setting_problem("§flows:", "\"flows\" has no value", "write a value, or remove the key");
    expect_setting_problem("flows: {§max: ~}", "\"max\" has no value", "write a value");
    expect_setting_problem("flows: {§max: null}", "\"max\" has no value", "write a value");
    expect_problem("§services:\n", "\"services\" has no value", "write a value");
}

TEST(ConfigKeys, that_are_needed_are_asked_for)
{
    expect_problem("§flows: {max: 1}\n", "the file has no \"services\"", "add at least one: services: [{name: web");
    expect_problem(
        "services:\n  - §listen: \"*:80/tcp\"\n    backends: [{dns: \"a:1\"}]\n", "has no \"name\"", "add name: web");
    expect_problem(
        "services:\n  - §name: a\n    backends: [{dns: \"a:1\"}]\n", "has no \"listen\"", "add listen: \"203");
    expect_problem(
        "services:\n  - §name: a\n    listen: \"*:80/tcp\"\n", "has no \"backends\"", "add backends: [{address");
    expect_setting_problem("interfaces:\n  - §{attach: xdp}", "has no \"name\"", "add name: eth0");
}

TEST(ConfigKinds, of_node_that_do_not_fit_are_named)
{
    expect_setting_problem("flows: §[1]", "flows must be a mapping, not a list", "write flows: {max: 262144}");
    expect_setting_problem("flows: §7", "flows must be a mapping, not \"7\"", "write flows: {max: 262144}");
    expect_setting_problem("admin: §/run/x", "admin must be a mapping", "write admin: {socket:");
    expect_setting_problem("snat: §auto", "snat must be a mapping", "write snat: {addresses: auto");
    expect_setting_problem("timeouts: §30s", "timeouts must be a mapping", "write timeouts: {tcp_established: 2h}");
    expect_setting_problem("defaults: §maglev", "defaults must be a mapping", "write defaults: {algorithm: maglev");
    expect_problem("services: §web\n", "services must be a list, not \"web\"", "write - {name: web");
    expect_problem("services:\n  §web: {}\n", "services must be a list, not a mapping", "write - {name: web");
    expect_problem("services: §[]\n", "services is an empty list", "write - {name: web");
    expect_problem("services: [§web]\n", "a service must be a mapping, not \"web\"", "write - {name: web");
    expect_problem(service_with("\"*:80/tcp\"", "§{}"), "backends must be a list, not a mapping", "write backends: [{");
    expect_problem(service_with("\"*:80/tcp\"", "§[]"), "backends is an empty list", "write backends: [{");
    expect_problem(service_with("\"*:80/tcp\"", "[§\"10.0.0.1:80\"]"),
        "a backend must be a mapping, not \"10.0.0.1:80\"", "write {address: ");
    expect_problem(
        service_with("\"*:80/tcp\"", "[§[]]"), "a backend must be a mapping, not a list", "write {address: ");
    expect_problem(listening("§[]"), "listen is an empty list", "write listen: [");
    expect_problem(listening("§{a: b}"), "an entry of listen must be text, not a mapping", "in quotes");
    expect_problem(listening("[§[a]]"), "an entry of listen must be text, not a list", "\"[2001:db8::10]:80/tcp\"");
}

TEST(ConfigKinds, list_entries_without_a_value_are_refused)
{
    expect_setting_problem("interfaces: [eth0, §~]", "an entry of interfaces has no value", "remove the entry");
    expect_setting_problem("interfaces: [eth0,§, eth1]", "an entry of interfaces has no value", "remove the entry");
    expect_problem(service_with("\"*:80/tcp\"", "[{dns: \"a:1\"}, §null]"), "an entry of backends has no value", "");
}

TEST(ConfigText, is_never_guessed_from_booleans_and_numbers)
{
    const auto named = [](const std::string& name) {
        return "services: [{name: " + name + R"(, listen: "*:80/tcp", backends: [{dns: "a:1"}]}])";
    };
    for (const std::string word : {"yes", "No", "TRUE", "off"})
        expect_problem(named("§" + word), "a service's name must be text, not the boolean " + word,
            "put it in quotes: \"" + word + "\"");
    for (const std::string number : {"80", "010", "0x10", "0o17", "1e3", "-1", "1.5", "+1"})
        expect_problem(named("§" + number), "a service's name must be text, not the number " + number,
            "put it in quotes: \"" + number + "\"");
    EXPECT_EQ(problems_of(named("\"80\"")), "");
    EXPECT_EQ(problems_of(named("\"yes\"")), "");
    EXPECT_EQ(problems_of(named("inf")), "") << "a word, whatever strtod thinks";
    expect_problem(named("§\"\""), "a service's name must be text, not an empty text", "write a value");
    expect_problem(named("§[a]"), "a service's name must be text, not a list", "write one value");
}

TEST(ConfigNames, are_short_and_plain)
{
    const auto named = [](const std::string& name) {
        return "services: [{name: " + name + R"(, listen: "*:80/tcp", backends: [{dns: "a:1"}]}])";
    };
    expect_problem(named("§my web"), "has a character that is not allowed: \"my web\"", "use letters, digits, '.'");
    expect_problem(named("§web/1"), "not allowed", "use letters");
    expect_problem(named("§\"web\\e[2J\""), "not allowed: \"web\\x1b[2J\"", "use letters");
    expect_problem(named("§wéb"), "not allowed: \"wéb\"", "use letters");
    EXPECT_EQ(problems_of(named(std::string(63, 'x'))), "");
    expect_problem(named("§" + std::string(64, 'x')), "is 64 bytes long", "use at most 63");
    expect_problem(
        with_backend("{address: \"10.0.0.1:80\", name: §a b}"), "a backend's name has a character", "use letters");
}

TEST(ConfigNumbers, are_decimal_digits_only)
{
    const auto max = [](const std::string& text) { return "flows: {max: §" + text + "}"; };
    expect_setting_problem(max("010"), "must be a whole number in decimal digits, not \"010\"", "write 10");
    expect_setting_problem(max("0x10"), "not \"0x10\"", "write 16");
    expect_setting_problem(max("1e3"), "not \"1e3\"", "write 1000");
    expect_setting_problem(max("+1"), "not \"+1\"", "write 1");
    expect_setting_problem(max("1.0"), "not \"1.0\"", "write 1");
    expect_setting_problem(max("1.5"), "not \"1.5\"", "write a decimal number from 1 to 16777216");
    expect_setting_problem(max("1_000"), "not \"1_000\"", "write a decimal number from 1 to 16777216");
    expect_setting_problem(max("many"), "not \"many\"", "write a decimal number from 1 to 16777216");
    expect_setting_problem(max("true"), "not \"true\"", "write a decimal number");
    expect_setting_problem(max("-1"), "not \"-1\"", "write a decimal number from 1 to 16777216");
    expect_setting_problem(max("\"16\""), "must be a number, not the text \"16\"", "write 16 without quotes");
    expect_setting_problem(max("[1]"), "must be a whole number, not a list", "write a decimal number");
}

TEST(ConfigNumbers, lie_within_their_bounds)
{
    expect_setting_problem("flows: {max: §0}", "flows.max must be from 1 to 16777216, not \"0\"", "from 1 to 16777216");
    expect_setting_problem("flows: {max: §16777217}", "flows.max must be from 1 to 16777216", "from 1 to 16777216");
    expect_setting_problem("flows: {max: §99999999999999999999999}", "flows.max must be from 1", "from 1 to 16777216");
    expect_setting_problem("hash_seed: §18446744073709551616", "hash_seed must be from 0 to 18446744073709551615", "");
    expect_setting_problem("hash_seed: §\"07\"", "hash_seed must be a whole number in decimal digits", "write 7");
    expect_problem(
        with_backend("{address: \"10.0.0.1:80\", weight: §1001}"), "weight must be from 0 to 1000", "0 to 1000");
    expect_problem(
        with_backend("{address: \"10.0.0.1:80\", weight: §-3}"), "weight must be a whole number", "0 to 1000");
}

TEST(ConfigDurations, have_a_number_and_a_unit)
{
    const auto reset = [](const std::string& text) { return "timeouts: {tcp_reset: §" + text + "}"; };
    expect_setting_problem(reset("30"), "timeouts.tcp_reset has no unit: \"30\"", "write 30s");
    expect_setting_problem(reset("30S"), "is not a duration: \"30S\"", "write 30s");
    expect_setting_problem(reset("5min"), "is not a duration: \"5min\"", "write 5m");
    expect_setting_problem(reset("5 minutes"), "is not a duration", "write 5m");
    expect_setting_problem(reset("010s"), "is not a duration: \"010s\"", "write 10s");
    expect_setting_problem(reset("1.5s"), "is not a duration: \"1.5s\"", "such as 30s, 10m or 2h");
    expect_setting_problem(reset("1h30m"), "is not a duration: \"1h30m\"", "such as 30s, 10m or 2h");
    expect_setting_problem(reset("-1s"), "is not a duration: \"-1s\"", "such as 30s");
    expect_setting_problem(reset("soon"), "is not a duration: \"soon\"", "such as 30s");
    expect_setting_problem(reset("\"\""), "is not a duration: \"\"", "such as 30s");
    expect_setting_problem(reset("{s: 30}"), "must be a duration, not a mapping", "such as 30s");
}

TEST(ConfigDurations, are_whole_seconds_from_one_to_thirty_days)
{
    const auto reset = [](const std::string& text) { return "timeouts: {tcp_reset: §" + text + "}"; };
    expect_setting_problem(reset("0s"), "must be from 1s to 30d, not \"0s\"", "such as 30s");
    expect_setting_problem(reset("500ms"), "must be from 1s to 30d, not \"500ms\"", "such as 30s");
    expect_setting_problem(reset("1500ms"), "must be whole seconds, not \"1500ms\"", "write 1s or 2s");
    expect_setting_problem(reset("31d"), "must be from 1s to 30d", "such as 30s");
    expect_setting_problem(reset("2592001s"), "must be from 1s to 30d", "such as 30s");
    expect_setting_problem(reset("18446744073709551615d"), "must be from 1s to 30d", "such as 30s");
    expect_setting_problem(reset("99999999999999999999999s"), "must be from 1s to 30d", "such as 30s");
}

TEST(ConfigPorts, of_snat_are_a_range)
{
    const auto ports = [](const std::string& text) { return "snat: {ports: §" + text + "}"; };
    expect_setting_problem(ports("5000"), "snat.ports must be a range FIRST-LAST, not \"5000\"", "such as 1024-32767");
    expect_setting_problem(ports("2000-1000"), "begins behind its end: \"2000-1000\"", "write 1000-2000");
    expect_setting_problem(ports("0-1000"), "must lie within 1 and 65535, not \"0-1000\"", "1024-32767");
    expect_setting_problem(ports("1024-65536"), "must lie within 1 and 65535", "1024-32767");
    expect_setting_problem(ports("1024-99999999999999999999"), "must lie within 1 and 65535", "1024-32767");
    expect_setting_problem(ports("01024-2000"), "of decimal numbers, not \"01024-2000\"", "1024-32767");
    expect_setting_problem(ports("1024 - 2000"), "of decimal numbers", "1024-32767");
    expect_setting_problem(ports("1024-"), "of decimal numbers", "1024-32767");
    expect_setting_problem(ports("a-b"), "of decimal numbers", "1024-32767");
    expect_setting_problem(ports("[1024, 2000]"), "must be a range of ports, not a list", "1024-32767");
}

TEST(ConfigWords, of_a_choice_are_answered_with_the_choice)
{
    const std::string all = "supported: round-robin, weighted-round-robin, random, ip-hash, maglev, least-connections, "
                            "weighted-least-connections, power-of-two, weighted-response-time, resource-based";
    expect_setting_problem(
        "defaults: {algorithm: §magelv}", "unknown algorithm \"magelv\"", "did you mean \"maglev\"? " + all);
    expect_setting_problem("defaults: {algorithm: §Round_Robin}", "unknown algorithm", "did you mean \"round-robin\"?");
    expect_setting_problem("defaults: {algorithm: §fastest}", "unknown algorithm \"fastest\"", all);
    expect_setting_problem("defaults: {algorithm: §[maglev]}", "algorithm must be one word, not a list", all);
    expect_setting_problem("defaults: {forward: §nat}", "unknown forward \"nat\"",
        "did you mean \"snat\"? supported: snat, dnat, dsr, ipip");
    expect_setting_problem("interfaces: [{name: eth0, attach: §xpd}]", "unknown attach \"xpd\"",
        "did you mean \"xdp\"? supported: auto, xdp, xdp-generic, tc");
}

TEST(ConfigInterfaces, are_auto_or_a_list_of_names)
{
    expect_setting_problem("interfaces: §eth0", "interfaces must be a list, not \"eth0\"", "write auto or [eth0]");
    expect_setting_problem("interfaces: §{name: eth0}", "interfaces must be a list, not a mapping", "auto or [eth0]");
    expect_setting_problem("interfaces: §[]", "interfaces is an empty list", "write auto or [eth0]");
    expect_setting_problem("interfaces: [§auto]", "auto is not one interface among others", "write interfaces: auto");
    expect_setting_problem("interfaces: [eth0, §eth0]", "the interface \"eth0\" is there twice", "line 1");
    expect_setting_problem("interfaces: [eth0, {name: §eth0}]", "the interface \"eth0\" is there twice", "line 1");
    expect_setting_problem("interfaces: [§1]", "must be text, not the number 1", "put it in quotes");
    expect_setting_problem(
        "interfaces: [§abcdefghijklmnop]", "cannot be the name of an interface", "at most 15 characters");
    for (const std::string name : {"a/b", "a b", "..", "\"a:b\"", "é"})
        expect_setting_problem("interfaces: [§" + name + "]", "cannot be the name of an interface", "at most 15");
}

TEST(ConfigAdmin, socket_is_an_absolute_path)
{
    expect_setting_problem(
        "admin: {socket: §run/x.sock}", "is not the absolute path of a file: \"run/x.sock\"", "/run/");
    expect_setting_problem(
        "admin: {socket: §/run/}", "is not the absolute path of a file", "/run/featherlb/admin.sock");
    expect_setting_problem("admin: {socket: §\"/run/\\0x\"}", "is not the absolute path of a file", "/run/");
    expect_setting_problem("admin: {socket: §/" + std::string(107, 'x') + "}", "is 108 bytes long", "at most 107");
    EXPECT_EQ(problems_of("admin: {socket: /" + std::string(106, 'x') + "}\n" + web), "");
}

} // namespace
} // namespace featherlb
