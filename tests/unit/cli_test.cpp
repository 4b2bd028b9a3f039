// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <limits>
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

TEST(Arguments, EventsAreFilteredAndEnd)
{
    const Arguments all = accepted({"events"});
    EXPECT_EQ(all.command, Command::events);
    EXPECT_EQ(all.filter, EventFilter{});
    EXPECT_FALSE(all.count || all.how_long);
    const Arguments some = accepted({"events", "--kind", "drop", "--reason", "denied", "--service", "web", "--client",
        "10.0.0.0/8", "--count", "3", "--for", "5m", "--json"});
    EXPECT_EQ(some.filter.reason, "denied");
    EXPECT_EQ(some.filter.client->to_string(), "10.0.0.0/8");
    EXPECT_EQ(some.count, 3u);
    EXPECT_EQ(some.how_long, std::chrono::minutes(5));
    EXPECT_TRUE(some.json);
    EXPECT_THAT(refused({"events", "--reason", "denyed"}), HasSubstr("did you mean \"denied\"?"));
    EXPECT_THAT(refused({"events", "--count", "many"}), HasSubstr("from 1 on"));
    EXPECT_THAT(refused({"events", "--for", "soon"}), HasSubstr("no duration"));
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
    EXPECT_THAT(refused({}), HasSubstr("a command is missing: run, check, plan, reload"));
    EXPECT_THAT(refused({"-c", "f", "run"}), HasSubstr("\"-c\" belongs after the command"));
    EXPECT_THAT(refused({"status", "now"}), HasSubstr("status takes no \"now\""));
    EXPECT_NE(refused({"run", "-c"}), "accepted");
    EXPECT_NE(refused({"run", "-c", "a", "-c", "b"}), "accepted");
    EXPECT_NE(refused({"version", "--ephemeral"}), "accepted");
    for (const std::vector<std::string>& words :
        std::vector<std::vector<std::string>>{{}, {"relod"}, {"run", "-c"}, {"check", "--pins", "x"}})
        EXPECT_EQ(refused(words).find('\n'), std::string::npos);
}

TEST(Arguments, OfDrainAndWeight)
{
    const Arguments drain = accepted({"drain", "web/web1", "--deadline", "5m", "--wait", "--timeout", "90s"});
    EXPECT_EQ(drain.service, "web");
    EXPECT_EQ(drain.backend, "web1");
    EXPECT_EQ(drain.deadline, std::chrono::minutes(5));
    EXPECT_EQ(drain.timeout, std::chrono::seconds(90));
    EXPECT_TRUE(drain.wait);
    EXPECT_EQ(accepted({"undrain", "web/[fd00::1]:80"}).backend, "[fd00::1]:80");
    EXPECT_EQ(accepted({"undrain", "web/web1", "--wait", "--timeout", "9s"}).timeout, std::chrono::seconds(9));
    EXPECT_TRUE(accepted({"weight", "web/web1", "7", "--wait"}).wait);
    EXPECT_NE(refused({"undrain", "web/web1", "--deadline", "5m"}), "accepted");
    EXPECT_EQ(accepted({"weight", "web/web1", "file"}).weight, "file");
    EXPECT_EQ(accepted({"weight", "web/web1", "1000"}).weight, "1000");
    for (const char* target : {"web", "/web1", "web/", ""})
        EXPECT_NE(refused({"drain", target}), "accepted") << target;
    EXPECT_THAT(refused({"drain", "web"}), HasSubstr("\"web\" is not SERVICE/BACKEND, such as web/web1"));
    for (const char* weight : {"1001", "-1", "1.5", "many", "99999999999"})
        EXPECT_NE(refused({"weight", "web/web1", weight}), "accepted") << weight;
    EXPECT_NE(refused({"weight", "web/web1"}), "accepted");
    EXPECT_THAT(refused({"drain", "web/web1", "--deadline", "5"}), HasSubstr("--deadline \"5\" is no duration"));
    EXPECT_THAT(refused({"drain", "web/web1", "--timeout", "5s"}), HasSubstr("--timeout goes with --wait"));
}

TEST(Arguments, OfFlows)
{
    const Arguments list = accepted({"flows", "--service", "web", "--backend=web1", "--client", "10.0.0.0/8", "--state",
        "open", "--protocol", "tcp", "--limit", "5", "--json"});
    EXPECT_EQ(list.flows.which.service, "web");
    EXPECT_EQ(list.flows.which.backend, "web1");
    EXPECT_EQ(list.flows.which.client, "10.0.0.0/8");
    EXPECT_EQ(list.flows.limit, 5u);
    EXPECT_FALSE(accepted({"flows"}).flows.which.has_filter());
    EXPECT_TRUE(accepted({"flows", "--count"}).flows.count);
    EXPECT_TRUE(accepted({"flows", "--kill", "--all", "--yes"}).flows.all);
    EXPECT_TRUE(accepted({"flows", "--kill", "--protocol", "udp"}).flows.kill);
    EXPECT_THAT(refused({"flows", "--kill"}), HasSubstr("--kill needs to know which: --service, --backend"));
    EXPECT_THAT(refused({"flows", "--kill", "--yes"}), HasSubstr("--kill needs to know which"));
    EXPECT_THAT(refused({"flows", "--kill", "--all", "--service", "web"}), HasSubstr("contradict"));
    EXPECT_THAT(refused({"flows", "--kill", "--count", "--all"}), HasSubstr("contradict"));
    EXPECT_THAT(refused({"flows", "--kill", "--limit", "3", "--all"}), HasSubstr("--limit does not go with it"));
    EXPECT_THAT(refused({"flows", "--kill", "--state", "over"}), HasSubstr("over already"));
    EXPECT_THAT(refused({"flows", "--all"}), HasSubstr("--all goes with --kill"));
    EXPECT_THAT(refused({"flows", "--yes"}), HasSubstr("--yes goes with --kill"));
    EXPECT_THAT(refused({"flows", "--client", "10.0.0.1/8"}), HasSubstr("--client: "));
    EXPECT_THAT(refused({"flows", "--state", "establised"}), HasSubstr("did you mean \"established\"?"));
    EXPECT_THAT(refused({"flows", "--limit", "-1"}), HasSubstr("--limit: \"-1\" is no number"));
    EXPECT_THAT(refused({"flows", "--servce", "web"}), HasSubstr("did you mean \"--service\"?"));
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

TEST_F(CliFiles, BackendSetupPrintsWhatABackendNeeds)
{
    write("services:\n- name: web\n  listen: [\"192.0.2.1:80/tcp\"]\n  forward: dsr\n  backends: [{name: b1, address: "
          "\"192.0.2.2:80\"}, {name: b2, address: \"192.0.2.3:80\"}]\n");
    const Ran ran = run_command({"backend-setup", "web", "-c", file_});
    EXPECT_EQ(ran.code, exit_ok) << ran.err;
    EXPECT_THAT(ran.out, HasSubstr("ip -4 addr replace 192.0.2.1/32 dev lo\n"));
    EXPECT_THAT(ran.out, HasSubstr("on backend b2 (192.0.2.3)"));
    const Ran one = run_command({"backend-setup", "web", "--backend", "b1", "--json", "-c", file_});
    const auto json = nlohmann::json::parse(one.out);
    EXPECT_EQ(json["forward"], "dsr");
    ASSERT_EQ(json["backends"].size(), 1u);
    EXPECT_EQ(json["backends"][0]["name"], "b1");
}

TEST_F(CliFiles, BackendSetupRefusesWhatItDoesNotKnow)
{
    EXPECT_THAT(refused({"backend-setup"}), HasSubstr("service is required"));
    EXPECT_EQ(run_command({"backend-setup", "web", "-c", directory_ + "/none.yaml"}).code, exit_invalid);
    write("services:\n- name: web\n  listen: [\"192.0.2.1:80/tcp\"]\n  backends: [{name: b1, address: "
          "\"192.0.2.2:80\"}]\n");
    const Ran service = run_command({"backend-setup", "wev", "-c", file_});
    EXPECT_EQ(service.code, exit_usage);
    EXPECT_THAT(service.err, HasSubstr("there is no service \"wev\"; did you mean \"web\"?"));
    const Ran backend = run_command({"backend-setup", "web", "--backend", "b2", "-c", file_});
    EXPECT_EQ(backend.code, exit_usage);
    EXPECT_THAT(backend.err, HasSubstr("there is no backend \"b2\"; did you mean \"b1\"?"));
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
    const std::string text = write_json(example());
    const auto json = nlohmann::json::parse(text);
    EXPECT_EQ(json["services"][0]["backends"][0]["state"], "unresolved");
    EXPECT_EQ(json["services"][0]["backends"][0]["bytes_in"], 18446744073709551615u);
    EXPECT_EQ(write_json(json.get<Status>()), text);
}

TEST(StatusJson, IsJsonWhateverStandsInIt)
{
    Status status = example();
    status.interfaces[0].name = "a\"b\\c\n\x01\xff\xc3\xa9";
    status.uptime_seconds = std::numeric_limits<double>::infinity();
    status.flows.by_state = {{"syn", 1}, {"reset", 2}};
    status.services.clear();
    status.services.resize(2);
    const auto json = nlohmann::json::parse(write_json(status));
    EXPECT_EQ(json["interfaces"][0]["name"], "a\"b\\c\n\x01\xef\xbf\xbd\xc3\xa9");
    EXPECT_TRUE(json["uptime_seconds"].is_null());
    EXPECT_EQ(json["flows"]["by_state"]["reset"], 2);
    EXPECT_EQ(json["services"][1]["backends"], nlohmann::json::array());
}

TEST(StatusJson, OfAWrongKindIsAnError)
{
    for (const char* wrong : {"[]", R"({"services": {}})", R"({"services": [1]})", R"({"pid": "x"})"})
        EXPECT_THROW((void)nlohmann::json::parse(wrong).get<Status>(), nlohmann::json::exception) << wrong;
}

// `status --json` lays out the daemon's answer without reading it.
TEST(StatusJson, IsLaidOutAsOtherJson)
{
    const auto json = nlohmann::json::parse(write_json(example()));
    EXPECT_EQ(indent(json.dump() + "\n"), json.dump(2) + "\n");
    for (const char* text : {"{}", "[]", R"({"a":[],"b":{},"c":[[1,2],{}],"d":"[,{:\"\\"})", R"(["]","}",","])"})
        EXPECT_EQ(indent(text), nlohmann::json::parse(text).dump(2)) << text;
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
