// SPDX-License-Identifier: Apache-2.0
// Files: those that cannot be read, the examples that must be right, and the list of wrong ones that the lab uses.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/file.h"
#include "config/keys.h"
#include "fuzz/config_invariants.h"
#include "unit/config_cases.h"

namespace featherlb {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path root = fs::path(FEATHERLB_SOURCE_DIR);

std::string problems_of_file(const fs::path& path)
{
    const auto config = load_config(path);
    return config ? "" : config.error().format();
}

// A directory that is gone afterwards.
class ConfigFiles : public ::testing::Test {
public:
    ConfigFiles()
    {
        std::string name = (fs::temp_directory_path() / "featherlb-config-XXXXXX").string();
        directory_ = ::mkdtemp(name.data()) == nullptr ? "" : name;
        fs::permissions(directory_, fs::perms(0755));
    }
    ~ConfigFiles() override { fs::remove_all(directory_); }

    fs::path write(const std::string& name, std::string_view text)
    {
        std::ofstream(directory_ / name, std::ios::binary) << text;
        return directory_ / name;
    }

    fs::path directory_;
};

// What the kernel checks file permissions against, for this thread: root loses its override of them.
class AsNobody {
public:
    AsNobody() : before_(::setfsuid(65534)) {}
    ~AsNobody() { ::setfsuid(static_cast<uid_t>(before_)); }
    AsNobody(const AsNobody&) = delete;
    AsNobody& operator=(const AsNobody&) = delete;

private:
    int before_;
};

std::string unhex(const std::string& hex)
{
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    return bytes;
}

void make_file(const fs::path& path, const nlohmann::json& how)
{
    const std::string kind = how["kind"];
    std::string text = how.value("text", "");
    if (kind == "missing")
        return;
    if (kind == "directory") {
        fs::create_directory(path);
        return;
    }
    if (kind == "pipe") {
        ASSERT_EQ(::mkfifo(path.c_str(), 0644), 0);
        return;
    }
    if (kind == "hex")
        text = unhex(how["hex"]);
    if (kind == "repeat") {
        const std::string unit = text;
        while (text.size() < how["bytes"])
            text += unit;
        text.resize(how["bytes"]);
    }
    std::ofstream(path, std::ios::binary) << text;
    if (kind == "unreadable")
        fs::permissions(path, fs::perms::none);
}

TEST_F(ConfigFiles, of_the_list_are_answered_as_it_says)
{
    const fs::path wrong = root / "tests/lab/bad_configs";
    const auto list = nlohmann::json::parse(std::ifstream(wrong / "expected.json"));
    ASSERT_GE(list.size(), 45u);
    for (const auto& [name, expected] : list.items()) {
        SCOPED_TRACE(name);
        fs::path path = wrong / name;
        std::string kind;
        if (expected.contains("make")) {
            path = directory_ / name;
            kind = expected["make"]["kind"];
            make_file(path, expected["make"]);
        }
        std::string text;
        if (kind == "unreadable") {
            const AsNobody nobody;
            text = problems_of_file(path);
        } else {
            text = problems_of_file(path);
        }
        const auto start = path.string() + ":" + std::to_string(expected["line"].get<int>()) + ":" +
                           std::to_string(expected["column"].get<int>()) + ": ";
        EXPECT_THAT(text, ::testing::StartsWith(start));
        EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
        for (const std::string part : expected["contains"])
            EXPECT_THAT(text, HasSubstr(part));
    }
}

TEST_F(ConfigFiles, that_are_wrong_are_all_in_the_list)
{
    const fs::path wrong = root / "tests/lab/bad_configs";
    const auto list = nlohmann::json::parse(std::ifstream(wrong / "expected.json"));
    for (const auto& entry : fs::directory_iterator(wrong)) {
        if (entry.path().extension() == ".yaml") {
            EXPECT_TRUE(list.contains(entry.path().filename().string())) << entry.path();
        }
    }
}

TEST_F(ConfigFiles, that_are_examples_are_right)
{
    std::size_t count = 0;
    for (const fs::path& directory : {root / "deploy/examples", root / "deploy/compose"}) {
        for (const auto& entry : fs::directory_iterator(directory)) {
            if (entry.path().extension() != ".yaml" || entry.path().stem() == "docker-compose")
                continue;
            EXPECT_EQ(problems_of_file(entry.path()), "");
            ++count;
        }
    }
    EXPECT_GE(count, 4u);
}

TEST_F(ConfigFiles, the_large_example_has_every_setting)
{
    std::stringstream text;
    text << std::ifstream(root / "deploy/examples/everything.yaml").rdbuf();
    for (const Keys* section : keys::all) {
        for (const std::string_view key : section->known)
            EXPECT_THAT(text.str(), HasSubstr(std::string(key) + ":")) << section->section;
    }
}

TEST_F(ConfigFiles, examples_in_the_documentation_are_right)
{
    std::ifstream file(root / "docs/configuration.md");
    std::string line;
    std::string block;
    bool inside = false;
    std::size_t count = 0;
    while (std::getline(file, line)) {
        if (line == "```yaml") {
            inside = true;
            block.clear();
        } else if (line == "```" && inside) {
            inside = false;
            ++count;
            // A fragment without services shows a setting.
            const bool whole = block.find("services:") != std::string::npos;
            EXPECT_EQ(config_test::problems_of(whole ? block : block + config_test::web), "") << block;
        } else if (inside) {
            block += line + "\n";
        }
    }
    EXPECT_GE(count, 5u);
}

TEST_F(ConfigFiles, that_the_fuzzer_found_interesting_break_no_invariant)
{
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(root / "tests/fuzz/corpus/config")) {
        std::stringstream text;
        text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
        EXPECT_EQ(fuzz::check_config(text.str()), "") << entry.path();
        ++count;
    }
    EXPECT_GE(count, 20u);
}

TEST_F(ConfigFiles, are_named_in_the_result)
{
    const fs::path path = write("a.yaml", config_test::web);
    const auto config = load_config(path);
    ASSERT_TRUE(config.has_value());
    EXPECT_EQ(config->file, path.string());
}

TEST_F(ConfigFiles, may_be_as_large_as_the_limit_and_no_larger)
{
    std::string text = config_test::web;
    text.resize(largest_file, '\n');
    EXPECT_EQ(problems_of_file(write("largest.yaml", text)), "");
    EXPECT_THAT(problems_of_file(write("larger.yaml", text + "\n")),
        HasSubstr(":1:1: the file is larger than 8 MiB (8388609 bytes)"));
    EXPECT_THAT(config_test::problems_of(text + "\n"), HasSubstr("f:1:1: the file is larger than 8 MiB"));
}

TEST_F(ConfigFiles, that_fail_while_they_are_read_say_so)
{
    EXPECT_THAT(problems_of_file("/proc/self/mem"), HasSubstr(":1:1: cannot read the file: "));
    EXPECT_THAT(
        problems_of_file("/dev/zero"), HasSubstr(":1:1: is a device, not a file; name another file with -c FILE"));
    fs::create_symlink("loop", directory_ / "loop");
    EXPECT_THAT(problems_of_file(directory_ / "loop"), HasSubstr(":1:1: cannot open the file: "));
    EXPECT_THAT(problems_of_file(""), HasSubstr(":1:1: there is no such file"));
}

} // namespace
} // namespace featherlb
