// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/commands.h"
#include "observe/status.h"

namespace featherlb::cli {
namespace {

using testing::HasSubstr;

Arguments accepted(const std::vector<std::string>& words)
{
    const auto parsed = parse_arguments(words);
    const auto* arguments = std::get_if<Arguments>(&parsed);
    EXPECT_NE(arguments, nullptr) << std::get<EarlyExit>(parsed).text;
    return arguments == nullptr ? Arguments{} : *arguments;
}

std::string refused(const std::vector<std::string>& words)
{
    const auto parsed = parse_arguments(words);
    const auto* early = std::get_if<EarlyExit>(&parsed);
    if (early == nullptr)
        return "accepted";
    EXPECT_EQ(early->code, exit_usage);
    return early->text;
}

struct Ran {
    int code = 0;
    std::string out;
    std::string err;
};
Ran run_command(const std::vector<std::string>& words)
{
    std::ostringstream out;
    std::ostringstream err;
    const int code = main(words, {out, err});
    return {code, out.str(), err.str()};
}

TEST(Arguments, DefaultsAreThoseOfTheDocumentation)
{
    const Arguments run = accepted({"run"});
    EXPECT_EQ(run.command, Command::run);
    EXPECT_EQ(run.config_file, "/etc/featherlb/featherlb.yaml");
    EXPECT_EQ(run.pins, "/sys/fs/bpf/featherlb");
    EXPECT_EQ(run.log_level, LogLevel::info);
    EXPECT_FALSE(run.ephemeral);
}

TEST(Arguments, OptionsAreTaken)
{
    const Arguments run =
        accepted({"run", "-c", "f.yaml", "--socket", "s", "--pins=p", "--ephemeral", "--log-level", "debug"});
    EXPECT_EQ(run.config_file, "f.yaml");
    EXPECT_EQ(run.socket, "s");
    EXPECT_EQ(run.pins, "p");
    EXPECT_TRUE(run.ephemeral);
    EXPECT_EQ(run.log_level, LogLevel::debug);
    EXPECT_TRUE(accepted({"check", "--offline", "--json", "--config=g.yaml"}).offline);
}

TEST(Arguments, TyposAreToldWithWhatWasMeant)
{
    EXPECT_THAT(refused({"relod"}), HasSubstr("unknown command \"relod\"; did you mean \"reload\"?"));
    EXPECT_THAT(refused({"status", "--jsn"}), HasSubstr("unknown option \"--jsn\"; did you mean \"--json\"?"));
    EXPECT_THAT(refused({"run", "--sockt=x"}), HasSubstr("did you mean \"--socket\"?"));
    EXPECT_THAT(refused({"run", "--log-level", "inof"}), HasSubstr("--log-level \"inof\""));
    EXPECT_THAT(refused({"xyzzy"}), testing::Not(HasSubstr("did you mean")));
}

TEST(Arguments, WrongUseIsToldInOneLine)
{
    EXPECT_THAT(refused({}), HasSubstr("a command is missing: run, check, reload"));
    EXPECT_THAT(refused({"-c", "f", "run"}), HasSubstr("\"-c\" belongs after the command"));
    EXPECT_THAT(refused({"status", "now"}), HasSubstr("status takes no \"now\""));
    EXPECT_NE(refused({"run", "-c"}), "accepted");
    EXPECT_NE(refused({"run", "-c", "a", "-c", "b"}), "accepted");
    EXPECT_NE(refused({"version", "--ephemeral"}), "accepted");
    for (const std::vector<std::string>& words :
        std::vector<std::vector<std::string>>{{}, {"relod"}, {"run", "-c"}, {"check", "--pins", "x"}})
        EXPECT_EQ(refused(words).find('\n'), std::string::npos);
}

TEST(Arguments, HelpIsNoError)
{
    const auto parsed = parse_arguments({"run", "--help"});
    ASSERT_TRUE(std::holds_alternative<EarlyExit>(parsed));
    EXPECT_EQ(std::get<EarlyExit>(parsed).code, exit_ok);
    EXPECT_THAT(std::get<EarlyExit>(parsed).text, HasSubstr("--ephemeral"));
    EXPECT_EQ(run_command({"--help"}).code, exit_ok);
}

class CliFiles : public testing::Test {
public:
    CliFiles()
    {
        char name[] = "/tmp/featherlb-cli-XXXXXX";
        directory_ = ::mkdtemp(name);
        file_ = directory_ + "/f.yaml";
    }
    ~CliFiles() override { std::filesystem::remove_all(directory_); }
    void write(std::string_view text) const { std::ofstream(file_) << text; }
    std::string directory_;
    std::string file_;
};

TEST_F(CliFiles, CheckSaysThatAFileIsValid)
{
    write("services:\n- name: web\n  listen: [\"10.0.0.1:80/tcp\"]\n  backends: [{address: \"10.0.0.2:80\"}]\n");
    const Ran ran = run_command({"check", "--offline", "-c", file_});
    EXPECT_EQ(ran.code, exit_ok) << ran.err;
    EXPECT_EQ(ran.out, file_ + ": valid: 1 service, 1 backend\n");
    const Ran json = run_command({"check", "--offline", "--json", "-c", file_});
    EXPECT_TRUE(nlohmann::json::parse(json.out)["valid"]);
}

TEST_F(CliFiles, CheckNamesPlaceProblemAndRemedy)
{
    write("services:\n- name: web\n  listne: []\n");
    const Ran ran = run_command({"check", "--offline", "-c", file_});
    EXPECT_EQ(ran.code, exit_invalid);
    EXPECT_THAT(ran.err, HasSubstr(file_ + ":3:3: "));
    EXPECT_EQ(ran.out, "");
    const Ran json = run_command({"check", "--offline", "--json", "-c", file_});
    EXPECT_EQ(json.code, exit_invalid);
    EXPECT_GE(nlohmann::json::parse(json.out)["problems"][0]["line"], 2);
}

TEST_F(CliFiles, WithoutADaemonTheExitCodeIsFour)
{
    for (const char* command : {"status", "reload"}) {
        const Ran ran = run_command({command, "--socket", directory_ + "/none.sock"});
        EXPECT_EQ(ran.code, exit_unreachable);
        EXPECT_THAT(ran.err, HasSubstr("none.sock"));
        EXPECT_EQ(ran.out, "");
    }
}

TEST(Cli, OutputThatCannotBeWrittenIsAnError)
{
    std::ofstream full("/dev/full");
    std::ostringstream err;
    EXPECT_EQ(main({"version"}, {full, err}), exit_failed);
    EXPECT_THAT(err.str(), HasSubstr("cannot be written"));
}

TEST(Cli, VersionInBothForms)
{
    EXPECT_THAT(run_command({"version"}).out, testing::StartsWith("featherlb "));
    EXPECT_EQ(nlohmann::json::parse(run_command({"version", "--json"}).out)["abi"], FLB_ABI);
}

Status example()
{
    Status status;
    status.version = "0.1.0";
    status.pid = 42;
    status.uptime_seconds = 3700;
    status.config_file = "/etc/featherlb/featherlb.yaml";
    status.last_reload = {"ok", "2026-01-31T12:00:00Z", ""};
    InterfaceStatus interface;
    interface.name = "eth0";
    interface.attached = true;
    interface.hook = "tcx";
    interface.attach = "auto";
    interface.driver = "veth";
    interface.chosen = "configured";
    status.interfaces = {interface};
    BackendStatus backend;
    backend.name = "web1";
    backend.address = "[2001:db8:1111:2222:3333:4444:5555:6666]:8080";
    backend.state = "unresolved";
    backend.reason = "it has not answered yet";
    backend.connections = backend.packets_in = backend.bytes_in = 18446744073709551615u;
    status.services = {{"web", "active", "maglev", "snat", {}, {backend}}};
    for (int i = 0; i < 30; ++i)
        status.services[0].listeners.push_back("203.0.113." + std::to_string(i) + ":80/tcp");
    status.drops = {{"no_flow", "TCP segment of a connection that is not known", 7}};
    status.data_plane.pins = "/sys/fs/bpf/featherlb";
    return status;
}

TEST(StatusText, FitsInAHundredColumnsAndNamesWhatMatters)
{
    const std::string text = format_status(example());
    EXPECT_THAT(text, HasSubstr("up 1 h 1 min"));
    EXPECT_THAT(text, HasSubstr("web1"));
    EXPECT_THAT(text, HasSubstr("it has not answered yet"));
    EXPECT_THAT(text, HasSubstr("no_flow"));
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        // The largest counters there can be, and the longest address, are more than a line holds.
        if (line.find("2001:db8") == std::string::npos && line.find("BACKEND") == std::string::npos) {
            EXPECT_LE(line.size(), 100u) << line;
        }
        EXPECT_TRUE(line.empty() || line.back() != ' ') << line;
    }
}

TEST(StatusJson, ComesBackAsItWas)
{
    const nlohmann::json json = example();
    EXPECT_EQ(json["services"][0]["backends"][0]["state"], "unresolved");
    EXPECT_EQ(nlohmann::json(json.get<Status>()), json);
}

TEST(StatusJson, WhatIsMissingOrUnknownIsNoError)
{
    const auto status = nlohmann::json::parse(R"({"version": "9", "news": [1]})").get<Status>();
    EXPECT_EQ(status.version, "9");
    EXPECT_TRUE(status.services.empty());
    EXPECT_FALSE(format_status(status).empty());
}

} // namespace
} // namespace featherlb::cli
