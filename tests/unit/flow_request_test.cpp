// SPDX-License-Identifier: Apache-2.0
// Which connections are meant, in the words of the command line and of the admin API, and what the API answers.
#include "daemon/flow_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "daemon/api.h"
#include "observe/flow_list.h"
#include "unit/daemon_fakes.h"
#include "unit/flow_tables.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

FlowBackends two_services()
{
    FlowBackends all;
    all.services = {"web", "dns", "empty"};
    all.rows[1] = {"web", "web1", {*IpAddress::parse("10.3.0.1"), 8080}, Forward::snat};
    all.rows[2] = {"web", "web2", {*IpAddress::parse("10.3.0.2"), 8080}, Forward::snat};
    all.rows[4] = {"dns", "web1", {*IpAddress::parse("10.3.0.1"), 53}, Forward::dnat};
    return all;
}

std::string chosen(const FlowRequest& request)
{
    const auto backends = select_backends(request, two_services());
    if (!backends)
        return backends.error().message + "; " + backends.error().remedy;
    if (!*backends)
        return "any";
    std::string ids;
    for (std::size_t id = 0; id < (*backends)->size(); id++)
        if ((**backends)[id])
            ids += std::to_string(id);
    return ids;
}

TEST(FlowRequest, ServicesAndBackendsAreNamed)
{
    EXPECT_EQ(chosen({}), "any");
    EXPECT_EQ(chosen({.service = "web"}), "12");
    EXPECT_EQ(chosen({.service = "empty"}), "");
    EXPECT_EQ(chosen({.backend = "web1"}), "14");
    EXPECT_EQ(chosen({.service = "web", .backend = "web1"}), "1");
    EXPECT_EQ(chosen({.backend = "10.3.0.2:8080"}), "2");
    EXPECT_EQ(chosen({.service = "wbe"}), "there is no service \"wbe\"; did you mean \"web\"?");
    EXPECT_EQ(chosen({.service = "zzz"}), "there is no service \"zzz\"; there is dns, empty, web");
    EXPECT_EQ(
        chosen({.service = "dns", .backend = "web2"}), "service dns has no backend \"web2\"; did you mean \"web1\"?");
    EXPECT_EQ(chosen({.backend = "10.3.0.9:1"}), "no service has a backend \"10.3.0.9:1\"; there is web1, web2");
    EXPECT_EQ(chosen({.service = "empty", .backend = "x"}), "service empty has no backend \"x\"; there is none");
}

std::string wrong(const FlowRequest& request)
{
    const auto filter = read_filter(request);
    return filter ? "" : filter.error().message + "; " + filter.error().remedy;
}

TEST(FlowRequest, ClientsStatesAndProtocols)
{
    EXPECT_EQ(read_filter({.client = "10.0.0.1"})->client->to_string(), "10.0.0.1/32");
    EXPECT_EQ(read_filter({.client = "fd00::1"})->client->to_string(), "fd00::1/128");
    EXPECT_EQ(read_filter({.client = "10.0.0.0/8"})->client->to_string(), "10.0.0.0/8");
    EXPECT_EQ(read_filter({.protocol = "udp"})->protocol, Protocol::udp);
    EXPECT_EQ(read_filter({.state = "established"})->states, 1u << FLB_FLOW_ESTABLISHED);
    EXPECT_EQ(read_filter({.state = "over"})->states, states_over);
    const FlowStates open = read_filter({.state = "open"})->states;
    EXPECT_TRUE(open & 1u << FLB_FLOW_UDP_STREAM && open & 1u << FLB_FLOW_FIN_CLIENT);
    EXPECT_FALSE(open & states_over);
    EXPECT_EQ(read_filter({})->states, all_states);
    EXPECT_THAT(wrong({.state = "establised"}), HasSubstr("state: \"establised\" is no state"));
    EXPECT_THAT(wrong({.state = "establised"}), HasSubstr("did you mean \"established\"?"));
    EXPECT_THAT(wrong({.state = "superseded"}), HasSubstr("no state")) << "a reply's";
    EXPECT_THAT(wrong({.client = "10.0.0.300"}), HasSubstr("client: "));
    EXPECT_THAT(wrong({.client = "10.0.0.1/8"}), HasSubstr("write 10.0.0.0/8"));
    EXPECT_THAT(wrong({.client = "10.0.0.0/33"}), HasSubstr("no prefix length"));
    EXPECT_EQ(wrong({.protocol = "sctp"}), "protocol: \"sctp\" is no protocol; use tcp or udp");
    EXPECT_TRUE(check_killable({}, *read_filter({})));
    EXPECT_FALSE(check_killable({.state = "over"}, *read_filter({.state = "over"})));
    EXPECT_EQ(*read_limit("0"), 0u);
    EXPECT_EQ(*read_limit("100000"), 100000u);
    for (const char* limit : {"", "-1", "1.5", "many", "100001", "99999999999999999999"})
        EXPECT_FALSE(read_limit(limit)) << limit;
}

// ---- the API, over a table in memory

class FlowsApi : public testing::Test {
protected:
    FlowsApi()
    {
        FlowTables table(4);
        table.put4(0, 0, {.state = FLB_FLOW_ESTABLISHED, .port = 1, .backend = 1});
        table.put4(0, 1, {.state = FLB_FLOW_SYN, .port = 2, .backend = 2});
        table.put4(0, 2, {.state = FLB_FLOW_UDP_STREAM, .port = 3, .backend = 4, .protocol = IPPROTO_UDP});
        table.put6(1, 0, {.state = FLB_FLOW_RESET, .port = 4, .backend = 3}); // forgotten
        plane_.sets4 = table.sets4;
        plane_.sets6 = table.sets6;
    }
    AdminResponse ask(const std::string& method, const std::string& path, const HttpQuery& query, std::string body = {})
    {
        const AdminServer::Handler api = make_api({.status = {},
            .reload = {},
            .plan = {},
            .override_backend = {},
            .flow_backends = two_services,
            .tick_seconds = [] { return 1.024; },
            .list_flows =
                [this](FlowFilter filter, FlowTasks::Found found, std::function<void(Result<void>)> done) {
                    tasks_.list(std::move(filter), std::move(found), std::move(done));
                },
            .kill_flows =
                [this](FlowFilter filter, std::function<void(Result<FlowTasks::Outcome>)> done) {
                    tasks_.kill(std::move(filter), std::move(done));
                }});
        std::optional<AdminResponse> answer;
        api({method, path, std::move(body), query},
            [&answer](AdminResponse response) { answer = std::move(response); });
        loop_.advance(1s);
        EXPECT_TRUE(answer);
        return answer.value_or(AdminResponse{});
    }
    nlohmann::json get(const HttpQuery& query, unsigned code = 200)
    {
        const AdminResponse answer = ask("GET", "/v1/flows", query);
        EXPECT_EQ(answer.code, code);
        return nlohmann::json::parse(answer.shared ? *answer.shared : answer.body);
    }
    nlohmann::json kill(const std::string& body, unsigned code = 200)
    {
        const AdminResponse answer = ask("POST", "/v1/flows/kill", {}, body);
        EXPECT_EQ(answer.code, code) << answer.body;
        return nlohmann::json::parse(answer.body);
    }

    FakeLoop loop_;
    FakeLog log_;
    FakePlane plane_;
    FlowTasks tasks_{loop_, plane_, log_, {}, [](BackendId) { return flb_hop{}; }};
};

TEST_F(FlowsApi, ListsConnections)
{
    const nlohmann::json all = get({});
    EXPECT_EQ(all["result"], "ok");
    EXPECT_EQ(all["total"], 4);
    EXPECT_EQ(all["shown"], 4);
    EXPECT_EQ(all["flows"][0],
        nlohmann::json::parse(R"({"service": "web", "backend": "web1", "backend_address": "10.3.0.1:8080",
            "forward": "snat", "protocol": "tcp", "client": "10.0.0.1:1", "listener": "10.9.0.1:80",
            "source": "10.2.0.1:20000", "state": "established", "proven": true, "idle_seconds": 0})"));
    EXPECT_EQ(all["flows"][1]["proven"], false);
    EXPECT_EQ(all["flows"][2]["forward"], "dnat");
    EXPECT_EQ(all["flows"][3]["service"], "");
    EXPECT_EQ(all["flows"][3]["backend_address"], "[fd00:3::1]:8080") << "of a backend that is forgotten";
    EXPECT_EQ(get({{"service", "web"}})["total"], 2);
    EXPECT_EQ(get({{"service", "web"}, {"state", "syn"}})["flows"][0]["client"], "10.0.0.1:2");
    EXPECT_EQ(get({{"client", "fd00::/16"}})["total"], 1);
    const nlohmann::json some = get({{"limit", "1"}});
    EXPECT_EQ(some["total"], 4);
    EXPECT_EQ(some["shown"], 1);
    EXPECT_EQ(some["flows"].size(), 1u);
}

TEST_F(FlowsApi, CountsConnections)
{
    const nlohmann::json all = get({{"count", "1"}});
    EXPECT_EQ(all["total"], 4);
    EXPECT_EQ(all["by_service"], nlohmann::json::parse(R"({"": 1, "dns": 1, "web": 2})"));
    EXPECT_EQ(all["by_state"], nlohmann::json::parse(R"({"established": 1, "syn": 1, "udp_stream": 1, "reset": 1})"));
    EXPECT_EQ(all["by_protocol"], nlohmann::json::parse(R"({"tcp": 3, "udp": 1})"));
    EXPECT_EQ(all["by_backend"].size(), 4u);
    EXPECT_EQ(all["by_backend"][0],
        nlohmann::json::parse(
            R"({"service": "web", "backend": "web1", "address": "10.3.0.1:8080", "connections": 1})"));
    EXPECT_FALSE(all.contains("flows"));
}

TEST_F(FlowsApi, WrongQueriesAreToldWithWhatWouldBeRight)
{
    const auto error = [this](const HttpQuery& query) { return get(query, 400)["error"].get<std::string>(); };
    EXPECT_EQ(error({{"servce", "web"}}), "the query \"servce\" is unknown; did you mean \"service\"?");
    EXPECT_EQ(error({{"service", ""}}), "service is empty; leave it out for any");
    EXPECT_EQ(error({{"service", "web"}, {"service", "dns"}}), "service is there twice; name one");
    EXPECT_THAT(error({{"limit", "x"}}), HasSubstr("limit: \"x\" is no number from 0 to 100000"));
    EXPECT_THAT(error({{"count", "state"}}), HasSubstr("count=1 counts"));
    EXPECT_THAT(error({{"state", "opne"}}), HasSubstr("did you mean \"open\"?"));
    const nlohmann::json unknown = get({{"service", "wbe"}}, 404);
    EXPECT_EQ(unknown["result"], "unknown");
    EXPECT_EQ(unknown["error"]["remedy"], "did you mean \"web\"?");
    plane_.table_failure = "no clock";
    EXPECT_EQ(get({}, 500)["error"]["message"], "no clock");
}

TEST_F(FlowsApi, EndsWhatIsNamed)
{
    EXPECT_EQ(kill(R"({"service": "web", "state": "established"})")["killed"], 1);
    EXPECT_EQ(get({{"state", "killed"}})["flows"][0]["client"], "10.0.0.1:1");
    const nlohmann::json rest = kill(R"({"all": true})");
    EXPECT_EQ(rest["result"], "ok");
    EXPECT_EQ(rest["killed"], 2) << "what is reset or killed already is not";
    EXPECT_EQ(rest["warnings"].size(), 1u) << "there is no sender here";
    EXPECT_EQ(get({{"state", "open"}})["total"], 0);
}

TEST_F(FlowsApi, DoesNotGuessWhatIsToBeEnded)
{
    const auto error = [this](const std::string& body) { return kill(body, 400)["error"].get<std::string>(); };
    for (const char* body : {"{}", R"({"all": false})"})
        EXPECT_THAT(error(body), HasSubstr("name at least one of service, backend, client, state, protocol"));
    EXPECT_THAT(error(""), HasSubstr("no JSON object"));
    EXPECT_THAT(error("[]"), HasSubstr("no JSON object"));
    EXPECT_THAT(error(R"({"all": true, "service": "web"})"), HasSubstr("contradict"));
    EXPECT_THAT(error(R"({"all": "yes"})"), HasSubstr("all is no boolean"));
    EXPECT_THAT(error(R"({"service": 3})"), HasSubstr("service is no text"));
    EXPECT_THAT(error(R"({"services": "web"})"), HasSubstr("did you mean \"service\"?"));
    EXPECT_THAT(error(R"({"state": "reset"})"), HasSubstr("over already"));
    EXPECT_EQ(kill(R"({"backend": "web9"})", 404)["result"], "unknown");
    EXPECT_EQ(get({{"state", "open"}})["total"], 3) << "nothing was ended";
}

// ---- as text

FlowRow row(const std::string& client, const std::string& listener, const std::string& state)
{
    return {.service = "web",
        .backend = "web1",
        .backend_address = "10.3.0.1:8080",
        .forward = "snat",
        .protocol = "tcp",
        .client = client,
        .listener = listener,
        .source = "",
        .state = state,
        .proven = true,
        .idle_seconds = 75};
}

TEST(FlowText, IsATableOfOneLineEach)
{
    const FlowList list{.total = 2,
        .flows = {row("10.0.0.1:40000", "10.9.0.1:80", "established"), row("10.0.0.2:4", "10.9.0.1:80", "syn")}};
    EXPECT_EQ(format_flows(list), "PROTO  CLIENT          LISTENER     BACKEND   STATE              IDLE\n"
                                  "tcp    10.0.0.1:40000  10.9.0.1:80  web/web1  established  1 min 15 s\n"
                                  "tcp    10.0.0.2:4      10.9.0.1:80  web/web1  syn          1 min 15 s\n"
                                  "2 connections\n");
    EXPECT_EQ(format_flows({}), "0 connections\n");
}

TEST(FlowText, FitsLongAddressesInTwoLines)
{
    const std::string longest = "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535";
    const std::string text = format_flows({.total = 5, .flows = {row(longest, longest, "awaiting_response")}});
    EXPECT_EQ(text, "PROTO  CLIENT                                          STATE                    IDLE\n"
                    "tcp    " +
                        longest +
                        "  awaiting_response  1 min 15 s\n"
                        "  " +
                        longest +
                        " -> web/web1\n"
                        "5 connections, 1 of them shown; --limit shows more\n");
}

TEST(FlowText, CountsInTables)
{
    FlowTally tally{.total = 3, .services = {{"web", 3}}, .backends = {}, .states = {{"syn", 3}}, .protocols = {}};
    tally.backends.push_back({"web", "web1", "10.3.0.1:8080", 3});
    EXPECT_EQ(format_tally(tally), "3 connections\n\n"
                                   "SERVICE  CONNECTIONS\nweb                3\n\n"
                                   "BACKEND   ADDRESS        CONNECTIONS\nweb/web1  10.3.0.1:8080            3\n\n"
                                   "STATE  CONNECTIONS\nsyn              3\n");
}

TEST(FlowText, ComesBackFromJson)
{
    const FlowList list{.total = 9, .flows = {row("a", "b", "syn")}};
    const auto back = nlohmann::json(list).get<FlowList>();
    EXPECT_EQ(back.total, 9u);
    EXPECT_EQ(format_flows(back), format_flows(list));
    FlowTally tally{.total = 3, .services = {{"web", 3}}, .backends = {}, .states = {}, .protocols = {}};
    EXPECT_EQ(format_tally(nlohmann::json(tally).get<FlowTally>()), format_tally(tally));
}

} // namespace
} // namespace featherlb
