// SPDX-License-Identifier: Apache-2.0
// Files that are wrong before their meaning is looked at: bytes, YAML's syntax, features that are not used, bombs.
#include "unit/config_cases.h"

namespace featherlb {
namespace {

using config_test::expect_problem;
using config_test::problems_of;
using config_test::web;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(ConfigBytes, are_utf8)
{
    using namespace std::string_literals;
    const std::string start = "# gr\u00fc\u00dfe\nflows: ";
    for (const std::string& bad :
        {"\xff"s, "\xc3"s, "\xc3("s, "\xc0\x80"s, "\xed\xa0\x80"s, "\xf4\x90\x80\x80"s, "\x80"s, "\xe2\x82"s})
        EXPECT_THAT(problems_of(start + bad), StartsWith("f:2:8: the byte 0x")) << bad;
    EXPECT_THAT(problems_of(start + "\xff"), HasSubstr("the byte 0xff is not UTF-8; save the file as UTF-8"));
    EXPECT_THAT(problems_of("\xff\xfe"
                            "a\0"s),
        StartsWith("f:1:1: the file is UTF-16, not UTF-8; save"));
    EXPECT_THAT(problems_of("\xfe\xff\0a"s), StartsWith("f:1:1: the file is UTF-16"));
    EXPECT_THAT(problems_of("a\0:\0"s), StartsWith("f:1:1: the file is UTF-16"));
}

TEST(ConfigBytes, are_text)
{
    using namespace std::string_literals;
    EXPECT_THAT(problems_of("flows: \0"s + web), StartsWith("f:1:8: a NUL byte; this is not a text file"));
    EXPECT_THAT(problems_of(web + "\x04" + web), StartsWith("f:2:1: the control character U+0004; remove it"))
        << "yaml-cpp takes it for the end of the file";
    EXPECT_THAT(problems_of("a\x7f: 1\n"), StartsWith("f:1:2: the control character U+007F"));
    EXPECT_THAT(problems_of("a\u0085: 1\n"), StartsWith("f:1:2: the control character U+0085"));
    EXPECT_THAT(problems_of("a\ufeff: 1\n"), StartsWith("f:1:2: the control character U+FEFF"));
    EXPECT_THAT(
        problems_of("flows: {max: 1}\r" + web), StartsWith("f:1:16: a carriage return without a line feed; end lines"));
}

TEST(ConfigBytes, have_no_tabs_as_indentation)
{
    expect_problem("flows:\n§\tmax: 1\n" + web, "a tab in the indentation", "indent with spaces only");
    expect_problem("flows:\n  §\tmax: 1\n" + web, "a tab in the indentation", "indent with spaces only");
    EXPECT_EQ(problems_of("flows:\t{max:\t1}\t# here they do no harm\n" + web), "");
}

TEST(ConfigBytes, that_do_not_show_are_spelled_out_in_messages)
{
    expect_problem("§flows\u00a0: {max: 1}\n" + web, "unknown key \"flows\\u{a0}\"", "the file may have: interfaces");
    expect_problem("§fl\u200bows: {max: 1}\n" + web, "unknown key \"fl\\u{200b}ows\"", "");
}

TEST(ConfigDocument, is_there)
{
    for (const auto* text : {"", "\n\n", "# nothing yet\n", "---\n", "---\n...\n", "~\n", "\xef\xbb\xbf"})
        EXPECT_THAT(
            problems_of(text), StartsWith("f:1:1: the file is empty; write at least one service: services: [{"));
    expect_problem("§hello\n", "the file must consist of settings (key: value)", "begin with services:");
    expect_problem("§- a\n- b\n", "the file must consist of settings (key: value)", "begin with services:");
    EXPECT_EQ(problems_of("services: [{name: web, listen: \"*:80/tcp\", backends: [{address: \"10.0.0.1:80\"}]}]"), "")
        << "what the message says to write";
}

TEST(ConfigDocument, is_the_only_one)
{
    expect_problem(web + "§---\n" + web, "a second document begins here", "keep everything in one document");
    expect_problem(web + "...\n§flows: {max: 1}\n", "a second document begins here", "one document");
}

TEST(ConfigYaml, features_that_are_not_used_are_refused_by_name)
{
    expect_problem("flows: §&f {max: 1}\n" + web, "YAML anchors (&name) are not used here", "remove it");
    expect_problem("flows: {max: §&n 1}\n" + web, "YAML anchors (&name) are not used here", "remove it");
    expect_problem("flows: §!!map {max: 1}\n" + web, "YAML tags (!name) are not used here", "remove it");
    expect_problem("flows: {max: §!!int 1}\n" + web, "YAML tags (!name) are not used here", "remove it");
    expect_problem("flows: {max: §! 1}\n" + web, "YAML tags (!name) are not used here", "remove it");
    expect_problem("§<<: {flows: {max: 1}}\n" + web, "YAML merge keys (<<) are not used here", "write the keys out");
    expect_problem("admin:\n  socket: §|\n    /run/x\n" + web, "block text (| and >) is not used here", "on one line");
    expect_problem("§[a, b]: 1\n" + web, "a list or mapping where a key should be", "put addresses in quotes");
    EXPECT_THAT(problems_of("a: &x 1\nb: *x\n"),
        HasSubstr("f:2:4: YAML aliases (*name) are not used here; write the value out"));
}

TEST(ConfigYaml, a_star_without_quotes_is_explained)
{
    expect_problem("services:\n  - name: web\n    listen: §*:80/tcp\n",
        "* begins a YAML alias when it is not in quotes", "write \"*:80/tcp\"");
    expect_problem(
        "services:\n  - name: web\n    listen: [§*:80/tcp, x]\n", "* begins a YAML alias", "write \"*:80/tcp\"");
}

TEST(ConfigYaml, brackets_without_quotes_are_explained)
{
    expect_problem(
        "services:\n  - listen: [fd00::1]§:80/tcp\n", "[...] without quotes is a list", "\"[2001:db8::1]:80/tcp\"");
    expect_problem("services:\n  - listen: [§[fd00::1]:80/tcp]\n", "a list or mapping where a key should be",
        "\"[2001:db8::1]:80/tcp\"");
}

TEST(ConfigYaml, values_stand_on_one_line)
{
    EXPECT_THAT(problems_of("admin: {socket: \"/run/x}\nflows: {}\n"),
        StartsWith("f:1:17: a quote is opened here and never closed; close it with \""));
    expect_problem("admin:\n  socket: §'/run/x\n", "a quote is opened here and never closed", "close it with '");
    expect_problem(
        "admin:\n  socket: §\"/run/\n    x\"\n" + web, "a text in quotes goes over several lines", "close it with \"");
    expect_problem(
        "admin:\n  socket: §/run/\n    x\n" + web, "\"/run/ x\" goes over several lines", "check the indentation");
    EXPECT_EQ(problems_of("admin: {socket: '/run/it''s'}\n" + web), "");
    EXPECT_EQ(problems_of("admin: {socket: \"/run/\\\"x\\\"\"}\n" + web), "");
}

TEST(ConfigYaml, mistakes_of_syntax_say_what_was_probably_meant)
{
    expect_problem("§flows:1\nhash_seed: 1\n", "no space behind the colon of \"flows\"", "write flows: and a space");
    expect_problem("flows: {§max:1}\n" + web, "unknown key \"max:1\"", "write a space behind the colon: max: ...");
    expect_problem("admin: a§: b\n" + web, "a key and value are not allowed here", "in it in quotes");
    expect_problem("flows: {max: 1}§}\n" + web, "a closing bracket that does not fit", "remove it");
    expect_problem("flows: {max: 1§]\n" + web, "a closing bracket that does not fit", "close the inner one first");
    expect_problem("admin: §@x\n" + web, "a value cannot begin with \"@\"", "put the text in quotes");
    expect_problem("admin: §`x\n" + web, "a value cannot begin with \"`\"", "put the text in quotes");
    expect_problem("admin: §- x\n" + web, "a list entry (- ) is not allowed here", "a line of its own");
    expect_problem("flows: {max: 1, §, a: 1}\n" + web, "a key is missing here", "check commas and colons");
    expect_problem(
        "services:\n  - name: x\n   §listen: y\n", "this fits neither the list before it", "the same indentation");
    expect_problem(
        "services:\n  - a\n §- b\n", "this does not continue the settings before it", "check the indentation");
    expect_problem("interfaces: [{name: x}\n§", "a [ is not closed before this", "add ]");
    EXPECT_THAT(
        problems_of("admin: {socket: \"\\q\"}\n"), HasSubstr("unknown \\ escape in double quotes; use single quotes"));
    EXPECT_THAT(problems_of("%YAML 3.0\n---\n" + web),
        StartsWith("f:1:1: a YAML version that is not known; remove the %YAML line"));
}

std::string repeat(std::string_view text, std::size_t times)
{
    std::string result;
    result.reserve(text.size() * times);
    for (std::size_t i = 0; i < times; ++i)
        result += text;
    return result;
}

TEST(ConfigBombs, of_depth_are_stopped_early)
{
    EXPECT_THAT(problems_of(repeat("[", 100'000)),
        HasSubstr("nested more than 16 levels deep; nothing in this file needs so many"));
    EXPECT_THAT(problems_of(repeat("{a: ", 100'000)), HasSubstr("nested more than 16 levels deep"));
    EXPECT_THAT(problems_of(repeat("- ", 100'000)), HasSubstr("nested more than 16 levels deep"));
    EXPECT_THAT(problems_of(repeat("? ", 100'000)), HasSubstr("nested more than 16 levels deep"));
}

TEST(ConfigBombs, of_many_values_are_stopped)
{
    EXPECT_THAT(problems_of("a: [" + repeat(",", 500'001)), HasSubstr("more than 500000 values; split the load"));
    EXPECT_THAT(problems_of(repeat("-\n", 500'000)), HasSubstr(": more than 500000 values"));
}

TEST(ConfigBombs, of_aliases_do_not_expand)
{
    std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 10; ++i) {
        const std::string previous = "*a" + std::to_string(i - 1) + ", ";
        text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + repeat(previous, 9) + "x]\n";
    }
    EXPECT_THAT(problems_of(text), StartsWith("f:1:5: YAML anchors (&name) are not used here"));
}

} // namespace
} // namespace featherlb
