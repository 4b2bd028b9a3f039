// SPDX-License-Identifier: Apache-2.0
// Connections go with the data plane when its flow table gets another size, or another version takes over.
#include <algorithm>
#include <map>

#include "dataplane_fixture.h"
#include "featherlb/layout.h"

namespace featherlb {
namespace {

class DataPlaneCopyTest : public DataPlaneTest {
protected:
    static constexpr std::uint32_t v4_flows = 300, v6_flows = 200;

    static std::uint32_t now()
    {
        const auto clock = Clock::open();
        return static_cast<std::uint32_t>(clock->jiffies().value() >> tick_shift_for(clock->hz()));
    }
    static DataPlaneOptions larger(std::uint32_t flows_max = 4096)
    {
        auto result = options();
        result.sizes.flows_max = flows_max;
        return result;
    }
    static Tables tables()
    {
        Tables result;
        result.services[1] = {.name = "a", .family = Family::ipv4};
        result.services[2] = {.name = "b", .family = Family::ipv6};
        result.backends[3] = {.service = 1, .endpoint = {*IpAddress::parse("10.3.0.1"), 8080}};
        result.backends[4] = {.service = 2, .endpoint = {*IpAddress::parse("fd00:3::1"), 8080}};
        return result;
    }

    template <typename T>
    static void put(int map, std::uint32_t set, const T& value)
    {
        ASSERT_EQ(bpf_map_update_elem(map, &set, &value, BPF_ANY), 0);
    }

    // Owner in way 0, reply in way 1 of the same set, wherever the hash would have it: copying does not care.
    static flb_set4 pair4(std::uint32_t set, std::uint16_t port, flb_flow_state state = FLB_FLOW_ESTABLISHED,
        std::uint32_t generation = 1)
    {
        flb_set4 value{};
        flb_flow4& owner = value.way[0];
        flb_flow4& reply = value.way[1];
        const auto word = [](const char* text) {
            in_addr address{};
            ::inet_pton(AF_INET, text, &address);
            return address.s_addr;
        };
        owner.key = {.saddr = word("10.1.0.1"),
            .daddr = word("10.9.0.1"),
            .sport = htons(port),
            .dport = htons(80),
            .protocol = 6};
        owner.saddr = word("10.2.0.1");
        owner.daddr = word("10.3.0.1");
        owner.f.sport = htons(static_cast<std::uint16_t>(port + 20000));
        owner.f.dport = htons(8080);
        reply.key = {
            .saddr = owner.daddr, .daddr = owner.saddr, .sport = owner.f.dport, .dport = owner.f.sport, .protocol = 6};
        reply.saddr = owner.key.daddr;
        reply.daddr = owner.key.saddr;
        reply.f.sport = owner.key.dport;
        reply.f.dport = owner.key.sport;
        fill(owner.f, reply.f, set, 3, state, generation);
        return value;
    }
    static flb_set6 pair6(std::uint32_t set, std::uint16_t port)
    {
        flb_set6 value{};
        flb_flow6& owner = value.way[0];
        flb_flow6& reply = value.way[1];
        const auto bytes = [](const char* text) { return IpAddress::parse(text)->to_abi(); };
        owner.key = {.sport = htons(port),
            .dport = htons(80),
            .protocol = 6,
            .saddr = bytes("fd00:1::1"),
            .daddr = bytes("fd00:9::1")};
        owner.saddr = bytes("fd00:2::1");
        owner.daddr = bytes("fd00:3::1");
        owner.f.sport = htons(static_cast<std::uint16_t>(port + 20000));
        owner.f.dport = htons(8080);
        reply.key = {
            .sport = owner.f.dport, .dport = owner.f.sport, .protocol = 6, .saddr = owner.daddr, .daddr = owner.saddr};
        reply.saddr = owner.key.daddr;
        reply.daddr = owner.key.saddr;
        reply.f.sport = owner.key.dport;
        reply.f.dport = owner.key.sport;
        fill(owner.f, reply.f, set, 4, FLB_FLOW_ESTABLISHED, 1);
        return value;
    }
    static void fill(flb_flow& owner, flb_flow& reply, std::uint32_t set, BackendId backend, flb_flow_state state,
        std::uint32_t generation)
    {
        const auto word = [generation](flb_flow_state which) {
            return std::uint64_t{generation} << FLB_CTL_GENERATION_SHIFT | std::uint64_t(which) << FLB_CTL_STATE_SHIFT |
                   now();
        };
        owner.ctl = word(state);
        reply.ctl = word(state < FLB_FLOW_ESTABLISHED ? FLB_FLOW_REPLY_NEW : FLB_FLOW_REPLY);
        owner.backend = reply.backend = backend;
        owner.pair = set * FLB_WAYS + 1;
        reply.pair = set * FLB_WAYS;
        reply.aux = generation;
    }

    static void put_flows(const DataPlane& plane)
    {
        for (std::uint32_t i = 0; i < v4_flows; i++)
            put(plane.map_fd("flows4"), i, pair4(i, static_cast<std::uint16_t>(1000 + i)));
        for (std::uint32_t i = 0; i < v6_flows; i++)
            put(plane.map_fd("flows6"), i, pair6(i, static_cast<std::uint16_t>(1000 + i)));
    }

    // By the client's endpoint: state, and as whom the backend sees it.
    static std::map<std::string, std::pair<std::uint32_t, std::string>> flows(const DataPlane& plane)
    {
        std::vector<Flow> found;
        std::size_t position = 0;
        EXPECT_TRUE(plane.list_flows(position, 1u << 20, 1u << 20, {}, found).value());
        std::map<std::string, std::pair<std::uint32_t, std::string>> result;
        for (const Flow& flow : found)
            EXPECT_TRUE(result.emplace(flow.client.to_string(), std::pair(flow.state, flow.source.to_string())).second);
        return result;
    }
    static std::set<std::string> pinned()
    {
        std::set<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(options().pins))
            if (entry.path().filename().string().starts_with("maps"))
                names.insert(entry.path().filename());
        return names;
    }
    static std::uint32_t copying_until(const DataPlane& plane)
    {
        flb_settings settings{};
        const std::uint32_t zero = 0;
        EXPECT_EQ(bpf_map_lookup_elem(plane.map_fd("settings"), &zero, &settings), 0);
        return settings.copying_until;
    }
    // A pass over a table that was filled by hand finds the counts right.
    static void expect_sound(DataPlane& plane)
    {
        for (int pass = 0; pass < 4; pass++)
            while (!plane.sweep(1u << 20).value())
                ;
        EXPECT_EQ(plane.sweep_totals().corrected, 0u);
        EXPECT_EQ(plane.sweep_totals().orphans, 0u);
    }
};

TEST_F(DataPlaneCopyTest, ConnectionsGoWithATableOfAnotherSize)
{
    std::map<std::string, std::pair<std::uint32_t, std::string>> before;
    {
        auto plane = open(options());
        EXPECT_FALSE(plane.copying());
        apply(plane, tables());
        put_flows(plane);
        attach(plane, Attach::tc);
        before = flows(plane);
        EXPECT_THAT(before, SizeIs(v4_flows + v6_flows));
    }
    // Large enough that no connection finds both its sets full, wherever the seed puts it.
    for (const std::uint32_t size : {4096u, 2048u}) {
        auto plane = open(larger(size));
        EXPECT_THAT(plane.warnings(), IsEmpty());
        EXPECT_EQ(plane.sizes().flows_max, size);
        EXPECT_TRUE(plane.adopted());
        EXPECT_EQ(plane.read().value(), tables());
        ASSERT_TRUE(plane.copying());
        EXPECT_EQ(plane.copying()->connections, v4_flows + v6_flows);
        EXPECT_EQ(pinned(), (std::set<std::string>{"maps", "maps-next"}));
        EXPECT_EQ(copying_until(plane), 0u);
        attach(plane, Attach::tc);
        EXPECT_EQ(pinned(), (std::set<std::string>{"maps", "maps-old", "maps-in-use"}));
        EXPECT_NE(copying_until(plane), 0u);
        const auto report = plane.finish_copy();
        ASSERT_TRUE(report);
        EXPECT_EQ(report->connections, v4_flows + v6_flows);
        EXPECT_EQ(report->lost, 0u);
        EXPECT_THAT(report->why, HasSubstr(fmt::format("and is {}", size)));
        EXPECT_EQ(pinned(), (std::set<std::string>{"maps"}));
        EXPECT_EQ(copying_until(plane), 0u);
        EXPECT_FALSE(plane.copying());
        EXPECT_EQ(flows(plane), before);
        EXPECT_EQ(plane.backend_counts(3).open, v4_flows);
        EXPECT_EQ(plane.backend_counts(4).open, v6_flows);
        expect_sound(plane);
    }
    auto again = open(larger(2048));
    EXPECT_FALSE(again.copying());
    EXPECT_EQ(flows(again), before);
}

TEST_F(DataPlaneCopyTest, WhatChangesMeanwhileIsCopiedAtTheEnd)
{
    auto first = std::make_unique<DataPlane>(open(options()));
    apply(*first, tables());
    put_flows(*first);
    attach(*first, Attach::tc);
    const Fd old(::fcntl(first->map_fd("flows4"), F_DUPFD_CLOEXEC, 0));
    first.reset();
    auto plane = open(larger());
    put(old.get(), 0, pair4(0, 1000, FLB_FLOW_FIN_BACKEND)); // goes on
    put(old.get(), 1, flb_set4{});                           // ends
    put(old.get(), 2, pair4(2, 9002, FLB_FLOW_SYN, 2));      // gives way to another one
    put(old.get(), 500, pair4(500, 9500, FLB_FLOW_SYN_ACK)); // is new
    attach(plane, Attach::tc);
    put(old.get(), 501, pair4(501, 9501, FLB_FLOW_ESTABLISHED)); // as a program that is still there does
    put(old.get(), 500, pair4(500, 9500, FLB_FLOW_CLOSED_CLIENT));
    ASSERT_TRUE(plane.finish_copy());
    const auto found = flows(plane);
    EXPECT_THAT(found, SizeIs(v4_flows + v6_flows + 1));
    EXPECT_EQ(found.at("10.1.0.1:1000").first, std::uint32_t{FLB_FLOW_FIN_BACKEND});
    EXPECT_FALSE(found.contains("10.1.0.1:1001"));
    EXPECT_FALSE(found.contains("10.1.0.1:1002"));
    EXPECT_EQ(found.at("10.1.0.1:9002").first, std::uint32_t{FLB_FLOW_SYN});
    EXPECT_EQ(found.at("10.1.0.1:9500").first, std::uint32_t{FLB_FLOW_CLOSED_CLIENT});
    EXPECT_EQ(found.at("10.1.0.1:9501").first, std::uint32_t{FLB_FLOW_ESTABLISHED});
    EXPECT_EQ(plane.backend_counts(3).open, v4_flows); // less the one that ended, and the new one that has closed
    expect_sound(plane);
}

TEST_F(DataPlaneCopyTest, AStartThatEndedInBetweenIsTakenUpWhereItWas)
{
    std::map<std::string, std::pair<std::uint32_t, std::string>> before;
    {
        auto plane = open(options());
        apply(plane, tables());
        put_flows(plane);
        attach(plane, Attach::tc);
        before = flows(plane);
    }
    in_killed_process([] { static auto plane = open(larger()); });
    EXPECT_EQ(pinned(), (std::set<std::string>{"maps", "maps-next"}));
    { // nothing had been changed over: as if it had not been
        auto plane = open(options());
        EXPECT_EQ(pinned(), (std::set<std::string>{"maps"}));
        EXPECT_EQ(flows(plane), before);
    }
    in_killed_process([this] {
        static auto plane = open(larger());
        attach(plane, Attach::tc);
        // A program that is still there goes on with the old table.
        auto old = Map::open_pinned(options().pins + "/maps-old/flows4");
        old->values<flb_set4>()[500] = pair4(500, 9500);
    });
    EXPECT_EQ(pinned(), (std::set<std::string>{"maps", "maps-old", "maps-in-use"}));
    {
        auto plane = open(larger());
        ASSERT_TRUE(plane.copying());
        EXPECT_THAT(plane.copying()->why, HasSubstr("interrupted"));
        EXPECT_NE(copying_until(plane), 0u) << "programs run already";
        attach(plane, Attach::tc);
        ASSERT_TRUE(plane.finish_copy());
        EXPECT_EQ(pinned(), (std::set<std::string>{"maps"}));
        EXPECT_THAT(flows(plane), SizeIs(v4_flows + v6_flows + 1));
    }
    // between the two renamings, and after both, but before a program has taken its place
    for (const bool both : {false, true}) {
        in_killed_process([] { static auto plane = open(larger(8192)); });
        std::filesystem::rename(options().pins + "/maps", options().pins + "/maps-old");
        if (both)
            std::filesystem::rename(options().pins + "/maps-next", options().pins + "/maps");
        auto plane = open(larger());
        EXPECT_EQ(pinned(), (std::set<std::string>{"maps"}));
        EXPECT_EQ(plane.sizes().flows_max, 4096u);
        EXPECT_FALSE(plane.copying());
        EXPECT_THAT(flows(plane), SizeIs(v4_flows + v6_flows + 1));
    }
}

// What had ended since the change-over is not begun anew by the one who takes up the copying.
TEST_F(DataPlaneCopyTest, WhatEndedInTheNewTableStaysEnded)
{
    const auto earlier = [](std::uint32_t set, std::uint16_t port) {
        flb_set4 value = pair4(set, port);
        value.way[0].f.ctl -= 60;
        value.way[1].f.ctl -= 60;
        return value;
    };
    {
        auto plane = open(options());
        apply(plane, tables());
        put(plane.map_fd("flows4"), 0, earlier(0, 1000));
        put(plane.map_fd("flows4"), 1, earlier(1, 1001));
        attach(plane, Attach::tc);
    }
    in_killed_process([this] {
        static auto plane = open(larger());
        attach(plane, Attach::tc);
        std::size_t position = 0, killed = 0;
        FlowFilter one;
        one.client = NetworkPrefix{*IpAddress::parse("10.1.0.1"), 32};
        plane.kill_flows(position, 1u << 20, one, killed).value();
        const auto table = Map::open_pinned(options().pins + "/maps/flows4");
        for (flb_set4& set : table->values<flb_set4>())
            set = {}; // and forgotten
    });
    auto plane = open(larger());
    ASSERT_TRUE(plane.finish_copy());
    EXPECT_THAT(flows(plane), IsEmpty());
}

TEST_F(DataPlaneCopyTest, WhereNoProgramCanTakeItsPlaceAllIsAsItWas)
{
    {
        auto plane = open(options());
        apply(plane, tables());
        put_flows(plane);
    }
    {
        auto plane = open(larger());
        EXPECT_FALSE(plane.attach({.ifindex = 999999, .name = "nowhere", .mode = Attach::tc}));
        EXPECT_EQ(pinned(), (std::set<std::string>{"maps", "maps-next"}));
    }
    EXPECT_EQ(pinned(), (std::set<std::string>{"maps"}));
    auto plane = open(options());
    EXPECT_EQ(plane.sizes().flows_max, options().sizes.flows_max);
    EXPECT_THAT(flows(plane), SizeIs(v4_flows + v6_flows));
}

TEST_F(DataPlaneCopyTest, ACopyIsAsOldAsItsConnection)
{
    auto first = std::make_unique<DataPlane>(open(options()));
    apply(*first, tables());
    flb_set4 idle = pair4(0, 1000);
    idle.way[0].f.ctl -= 500;
    idle.way[1].f.ctl -= 500;
    put(first->map_fd("flows4"), 0, idle);
    const Fd old(::fcntl(first->map_fd("flows4"), F_DUPFD_CLOEXEC, 0));
    first.reset();
    auto plane = open(larger());
    const auto idle_ticks = [&] {
        std::vector<Flow> found;
        std::size_t position = 0;
        EXPECT_TRUE(plane.list_flows(position, 1u << 20, 10, {}, found).value());
        return found.at(0).idle;
    };
    // An emulated machine takes half a minute to load programs, by which connections grow older.
    EXPECT_THAT(idle_ticks(), testing::AllOf(testing::Ge(500u), testing::Lt(700u)));
    put(old.get(), 0, pair4(0, 1000)); // a packet came
    ASSERT_TRUE(plane.finish_copy());
    EXPECT_LT(idle_ticks(), 200u);
}

TEST_F(DataPlaneCopyTest, OnesWithoutAReplyToo)
{
    {
        auto plane = open(options());
        apply(plane, tables());
        flb_set4 one_way = pair4(7, 1000, FLB_FLOW_MIDSTREAM);
        one_way.way[0].f.pair = FLB_NO_PAIR;
        one_way.way[1] = {};
        put(plane.map_fd("flows4"), 7, one_way);
    }
    auto plane = open(larger());
    ASSERT_TRUE(plane.finish_copy());
    std::vector<Flow> found;
    std::size_t position = 0;
    EXPECT_TRUE(plane.list_flows(position, 1u << 20, 10, {}, found).value());
    ASSERT_THAT(found, SizeIs(1));
    EXPECT_TRUE(found[0].one_way);
    EXPECT_EQ(found[0].state, std::uint32_t{FLB_FLOW_MIDSTREAM});
    EXPECT_EQ(plane.backend_counts(3).open, 1u);
    expect_sound(plane);
}

TEST_F(DataPlaneCopyTest, OpenConnectionsOfASourceAreCountedAnew)
{
    auto limited = tables();
    limited.services[1].limits.connections = 5;
    {
        auto plane = open(options());
        apply(plane, limited);
        flb_set4 counted = pair4(0, 1000);
        counted.way[0].f.ctl |= FLB_CTL_COUNTED;
        put(plane.map_fd("flows4"), 0, counted);
        put(plane.map_fd("flows4"), 1, pair4(1, 1001, FLB_FLOW_SYN_ACK));
    }
    auto old = Map::open_pinned(options().pins + "/maps/flows4");
    auto plane = open(larger());
    old->values<flb_set4>()[1] = pair4(1, 1001);
    old->values<flb_set4>()[1].way[0].f.ctl |= FLB_CTL_COUNTED;
    ASSERT_TRUE(plane.finish_copy());
    std::uint64_t total = 0;
    const auto counts = Map::open_pinned(options().pins + "/maps/limit_counts");
    for (const flb_limit_set& set : counts->values<flb_limit_set>())
        for (const flb_limit_count& way : set.way)
            total += way.ctl & 0xffffff;
    EXPECT_EQ(total, 2u);
    expect_sound(plane);
}

TEST_F(DataPlaneCopyTest, AStartThatFailsLeavesNothingBehind)
{
    {
        auto plane = open(options());
        apply(plane, tables());
    }
    {
        auto plane = open(larger());
        EXPECT_EQ(pinned(), (std::set<std::string>{"maps", "maps-next"}));
    }
    EXPECT_EQ(pinned(), (std::set<std::string>{"maps"}));
    EXPECT_EQ(open(options()).read().value(), tables());
}

TEST_F(DataPlaneCopyTest, DetachRemovesThePredecessorToo)
{
    {
        auto plane = open(options());
        apply(plane, tables());
        attach(plane, Attach::tc);
    }
    in_killed_process([this] {
        static auto plane = open(larger());
        attach(plane, Attach::tc);
    });
    EXPECT_EQ(pinned(), (std::set<std::string>{"maps", "maps-old", "maps-in-use"}));
    ASSERT_TRUE(DataPlane::detach(options().pins, run_directory_));
    EXPECT_FALSE(std::filesystem::exists(options().pins));
}

TEST_F(DataPlaneCopyTest, ATableStaysAsLargeAsItsConnectionsNeed)
{
    {
        auto plane = open(options());
        apply(plane, tables());
        put_flows(plane);
    }
    auto plane = open(larger(v4_flows - 1));
    EXPECT_EQ(plane.sizes().flows_max, options().sizes.flows_max);
    EXPECT_FALSE(plane.copying());
    EXPECT_THAT(
        plane.warnings(), ElementsAre(HasSubstr(fmt::format("flows.max stays 1024 instead of {}", v4_flows - 1))));
}

TEST_F(DataPlaneCopyTest, AnotherVersionsRecordsAreConvertedAndItsOwnStayAsTheyAre)
{
    {
        auto plane = open(options());
        apply(plane, tables());
        put_flows(plane);
        // Another number and, in name, another field: what stands there is not taken for ours.
        flb_settings settings{};
        std::uint32_t zero = 0;
        ASSERT_EQ(bpf_map_lookup_elem(plane.map_fd("settings"), &zero, &settings), 0);
        settings.abi = FLB_ABI + 1;
        put(plane.map_fd("settings"), 0, settings);
        for (std::uint32_t i = 0; i < FLB_MAX_FIELDS; i++) {
            flb_field field{};
            ASSERT_EQ(bpf_map_lookup_elem(plane.map_fd("layout"), &i, &field), 0);
            if (std::string(field.name) == "flb_backend.mtu") {
                std::snprintf(field.name, sizeof(field.name), "flb_backend.something");
                put(plane.map_fd("layout"), i, field);
            }
        }
        flb_backend backend{};
        zero = 3;
        ASSERT_EQ(bpf_map_lookup_elem(plane.map_fd("backends"), &zero, &backend), 0);
        backend.mtu = 9000;
        put(plane.map_fd("backends"), 3, backend);
    }
    {
        auto plane = open(options());
        ASSERT_TRUE(plane.copying());
        EXPECT_THAT(plane.copying()->why, HasSubstr("another version"));
        Tables read = plane.read().value();
        EXPECT_EQ(read.backends.at(3).mtu, 0);
        EXPECT_EQ(read.backends.at(3).endpoint, tables().backends.at(3).endpoint);
        EXPECT_THAT(flows(plane), SizeIs(v4_flows + v6_flows));
    } // gives up: the other version's is still there
    auto other = Map::open_pinned(options().pins + "/maps/settings");
    ASSERT_TRUE(other);
    EXPECT_EQ(other->values<flb_settings>()[0].abi, std::uint32_t{FLB_ABI + 1});
    other = Map::open_pinned(options().pins + "/maps/backends");
    ASSERT_TRUE(other);
    EXPECT_EQ(other->values<flb_backend>()[3].mtu, 9000);
}

} // namespace
} // namespace featherlb
