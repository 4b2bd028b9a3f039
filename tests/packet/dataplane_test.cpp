// SPDX-License-Identifier: Apache-2.0
// The data plane against the real kernel: maps, adoption, what is missing, sweeping.
#include "dataplane_fixture.h"

namespace featherlb {
namespace {

TEST_F(DataPlaneTest, FreshMapsHoldNothing)
{
    const auto plane = open(options());
    EXPECT_FALSE(plane.adopted());
    EXPECT_THAT(plane.warnings(), IsEmpty());
    EXPECT_EQ(plane.sizes(), options().sizes);
    const auto tables = plane.read();
    ASSERT_TRUE(tables);
    EXPECT_THAT(tables->services, IsEmpty());
    EXPECT_THAT(tables->backends, IsEmpty());
    EXPECT_THAT(tables->listeners, IsEmpty());
    EXPECT_THAT(plane.programs(), IsEmpty());
}

TEST_F(DataPlaneTest, ProgramsAreLoadedAtOnceOrWhenTheyAreFirstAttached)
{
    auto both = ephemeral();
    both.programs = {};
    {
        const auto plane = open(both);
        ASSERT_THAT(plane.programs(), SizeIs(2));
        EXPECT_EQ(plane.programs()[0].name, "flb_xdp");
        EXPECT_EQ(plane.programs()[1].name, "flb_tc");
        EXPECT_THAT(plane.programs()[1].tag, SizeIs(16));
    }
    auto one = ephemeral();
    one.programs.tc = true;
    auto plane = open(one);
    ASSERT_THAT(plane.programs(), SizeIs(1));
    const ProgramInfo tc = plane.programs()[0];
    EXPECT_EQ(tc.name, "flb_tc");
    attach(plane, Attach::tc);
    EXPECT_THAT(plane.programs(), SizeIs(1));
    attach(plane, Attach::xdp_generic);
    ASSERT_THAT(plane.programs(), SizeIs(2));
    EXPECT_EQ(plane.programs()[0].name, "flb_xdp");
    EXPECT_EQ(plane.programs()[1].id, tc.id) << "loaded once";
}

TEST_F(DataPlaneTest, WhatIsAppliedIsReadBack)
{
    auto plane = open(ephemeral());
    const Tables want = example();
    apply(plane, want);
    EXPECT_EQ(plane.read().value(), want);
    EXPECT_THAT(diff(plane.read().value(), want), IsEmpty());

    Tables less = want;
    less.services.erase(4);
    less.listeners.erase({ip("fd00:9::1"), 80, Protocol::tcp});
    less.sources.clear();
    less.backends.at(3).draining = true;
    less.services.at(3).slots = {2, 2, 2, 1};
    less.backends.at(1).snat_addresses = {ip("10.0.0.7")};
    less.backends.at(2).hop.mac[5] = 9;
    less.snat_ports = {.first = 2000, .last = 2000};
    less.backends.at(2).up = false;
    less.backends.at(2).down = true;
    less.backends.at(2).reset = true;
    less.backends.at(2).rehash_udp = true;
    less.services.at(3).refuse = true;
    less.services.at(3).syn_failover = false;
    less.services.at(3).avoid_refused = std::chrono::seconds{5};
    less.services.at(3).affinity = std::chrono::seconds{600};
    less.services.at(3).affinity_prefix = 32;
    less.services.at(3).limits = {.new_a_minute = 600, .burst = 20, .connections = 7};
    less.services.at(3).lists = true;
    less.access.emplace(
        3, std::make_shared<const AccessRules>(AccessRules{{{ip("0.0.0.0"), 0}, false}, {{ip("10.0.0.0"), 8}, true}}));
    apply(plane, less);
    EXPECT_EQ(plane.read().value(), less);

    apply(plane, Tables{});
    EXPECT_THAT(plane.read()->backends, IsEmpty());
    EXPECT_THAT(plane.read()->services, IsEmpty());
}

// A daemon that died between the rules of a new service and the service itself.
TEST_F(DataPlaneTest, RulesWithoutTheirServiceAreReadBackAsTheyWere)
{
    auto plane = open(ephemeral());
    Tables half;
    half.access.emplace(4, std::make_shared<const AccessRules>(AccessRules{
                               {{ip("::"), 0}, false}, {{ip("fd00::"), 8}, true}, {{ip("fd00:1:2:3::"), 64}, false}}));
    half.access.emplace(5, std::make_shared<const AccessRules>(AccessRules{{{ip("10.0.0.0"), 8}, true}}));
    apply(plane, half);
    EXPECT_EQ(plane.read().value(), half);
    apply(plane, Tables{});
    EXPECT_THAT(plane.read()->access, IsEmpty());
}

// Whose number may be another one's by the next change.
TEST_F(DataPlaneTest, PinsToARemovedBackendGoWithIt)
{
    auto plane = open(ephemeral());
    Tables want = example();
    apply(plane, want);
    const int pins = plane.map_fd("pins");
    const std::uint32_t now = 1000;
    for (std::uint32_t n = 0; n < 300; n++) {
        flb_pin_key key{};
        key.service = 3;
        std::memcpy(key.address.bytes, &n, sizeof(n));
        const std::uint64_t pin = std::uint64_t{1 + n % 3} << 32 | now;
        ASSERT_EQ(bpf_map_update_elem(pins, &key, &pin, BPF_ANY), 0);
    }
    const BackendId gone = 3;
    want.backends.erase(gone);
    want.sources.clear();
    for (auto& [id, service] : want.services)
        if (auto ids = service.slots.ids(); std::erase(ids, gone) > 0)
            service.slots = std::move(ids);
    apply(plane, want);
    std::map<std::uint64_t, unsigned> left; // by backend
    flb_pin_key key{}, next{};
    for (void* last = nullptr; bpf_map_get_next_key(pins, last, &next) == 0; last = &key) {
        key = next;
        std::uint64_t pin = 0;
        ASSERT_EQ(bpf_map_lookup_elem(pins, &key, &pin), 0);
        left[pin >> 32]++;
    }
    EXPECT_EQ(left, (std::map<std::uint64_t, unsigned>{{1, 100}, {2, 100}}));
}

TEST_F(DataPlaneTest, SlotTablesAreReplacedAgainAndAgainInARoomForTwo)
{
    auto plane = open(ephemeral());
    Tables want = example();
    apply(plane, want);
    const auto begun = std::chrono::steady_clock::now();
    for (std::uint32_t i = 0; i < 4; i++) {
        want.services.at(3).slots = std::vector<BackendId>(1500, 1 + i % 2);
        apply(plane, want);
        ASSERT_EQ(plane.read()->services.at(3).slots, want.services.at(3).slots);
    }
    // A slice rests before it is used again, so that no program reads another table's slots.
    EXPECT_GE(std::chrono::steady_clock::now() - begun, SlotAllocator::rest);
    want.services.at(3).slots = std::vector<BackendId>(5000, 1);
    auto done = plane.apply(want, diff(plane.read().value(), want));
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message, HasSubstr("service 3: there is no room for a slot table of 5000 entries"));
    want.services.at(3).slots = std::vector<BackendId>(20, 2);
    apply(plane, want);
    EXPECT_EQ(plane.read().value(), want);
}

TEST_F(DataPlaneTest, ThePrefilterFollowsTheTables)
{
    auto plane = open(ephemeral());
    const auto contents = [&] {
        flb_prefilter filter{};
        const std::uint32_t zero = 0;
        EXPECT_EQ(bpf_map_lookup_elem(plane.map_fd("prefilter"), &zero, &filter), 0);
        return filter;
    };
    apply(plane, example());
    const auto index = flb_prefilter_index(ip("10.9.0.1").folded());
    EXPECT_TRUE(contents().kinds[index] & FLB_KIND_LISTENER);
    apply(plane, Tables{});
    const auto empty = contents();
    EXPECT_TRUE(std::ranges::all_of(empty.kinds, [](auto kinds) { return kinds == 0; }));
}

TEST_F(DataPlaneTest, WhatABackendRefusedIsCountedUntilItsNumberStandsForAnother)
{
    auto plane = open(ephemeral());
    Tables want = example();
    apply(plane, want);
    for (const std::uint32_t id : {2u, 3u}) {
        const flb_backend_mark mark{.avoid_until = ~0ULL, .refused = 5 + id};
        ASSERT_EQ(bpf_map_update_elem(plane.map_fd("backend_marks"), &id, &mark, BPF_ANY), 0);
        EXPECT_EQ(plane.backend_counts(id).refused, 5 + id);
    }
    want.backends.at(2).endpoint.port++;
    want.backends.at(3).mtu = 1300;
    apply(plane, want);
    EXPECT_EQ(plane.backend_counts(2).refused, 0u);
    EXPECT_EQ(plane.backend_counts(3).refused, 8u);
}

TEST_F(DataPlaneTest, BackendsUnderResetAreTold)
{
    auto plane = open(ephemeral());
    Tables want = example();
    want.backends.at(2).reset = true;
    apply(plane, want);
    EXPECT_THAT(plane.resetting(), ElementsAre(2u));
    apply(plane, example());
    EXPECT_THAT(plane.resetting(), IsEmpty());
}

TEST_F(DataPlaneTest, TheClockCountsJiffies)
{
    const auto clock = Clock::open();
    ASSERT_TRUE(clock) << clock.error().message;
    const auto begun = std::chrono::steady_clock::now();
    const auto first = clock->jiffies().value();
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    const auto passed = clock->jiffies().value() - first;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
    EXPECT_NEAR(static_cast<double>(passed) / seconds.count(), clock->hz(), clock->hz() * 0.1);
}

// ---- adoption ---------------------------------------------------------------------------------------------

TEST_F(DataPlaneTest, AKilledDaemonsDataPlaneIsAdoptedWithoutDetaching)
{
    for (const auto& [mode, no_tcx] : {std::pair{Attach::xdp, false}, std::pair{Attach::xdp_generic, false},
             std::pair{Attach::tc, false}, std::pair{Attach::tc, true}}) {
        if (no_tcx)
            ::setenv("FEATHERLB_NO_TCX", "1", 1);
        in_killed_process([this, mode = mode] {
            static auto plane = open(options());
            attach(plane, mode);
            apply(plane, example());
        });
        auto plane = open(options());
        EXPECT_TRUE(plane.adopted());
        EXPECT_THAT(plane.warnings(), IsEmpty());
        EXPECT_EQ(plane.read().value(), example());
        EXPECT_THAT(plane.interfaces(), ElementsAre(east_));
        const auto outcome = attach(plane, mode);
        EXPECT_TRUE(outcome.adopted) << to_string(outcome.hook);
        ASSERT_THAT(plane.attachments(), SizeIs(1));
        EXPECT_EQ(plane.attachments()[0].program_id, program(plane, mode == Attach::tc ? "flb_tc" : "flb_xdp").id);
        apply(plane, Tables{}); // slices were found again
        EXPECT_THAT(plane.detach_others({}).value(), testing::Not(IsEmpty()));
        EXPECT_THAT(hooks::xdp_programs(east_), IsEmpty());
        EXPECT_THAT(hooks::tcx_programs(east_), IsEmpty());
        EXPECT_EQ(hooks::filter_program(east_), 0u);
        EXPECT_EQ(flags_of(plane, east_), 0u);
        ::unsetenv("FEATHERLB_NO_TCX");
    }
}

TEST_F(DataPlaneTest, AnInterfaceThatVanishedIsForgottenAndOneThatCameBackIsAttached)
{
    {
        auto plane = open(options());
        attach(plane, Attach::xdp);
        run("ip link del east0");
        EXPECT_THAT(plane.attachments(), IsEmpty());
    }
    auto plane = open(options());
    EXPECT_THAT(plane.detach_others({}).value(), SizeIs(1));
    EXPECT_TRUE(std::filesystem::is_empty(options().pins + "/links"));
    ASSERT_TRUE(plane.remove_interface(east_));
    SetUp();
    EXPECT_FALSE(attach(plane, Attach::xdp).adopted);
    EXPECT_THAT(plane.attachments(), SizeIs(1));
}

TEST_F(DataPlaneTest, NothingFitsThroughAnInterfaceThatIsGone)
{
    {
        auto plane = open(options());
        attach(plane, Attach::xdp);
        EXPECT_GT(interface_record(plane, east_).mtu, 0);
        ASSERT_TRUE(plane.remove_interface(east_));
        EXPECT_EQ(interface_record(plane, east_).mtu, 0);
        flb_iface left{}; // as an earlier version did
        left.mtu = 1500;
        const std::uint32_t slot = east_ % FLB_IFACE_SLOTS;
        ASSERT_EQ(bpf_map_update_elem(plane.map_fd("ifaces"), &slot, &left, BPF_ANY), 0);
    }
    EXPECT_EQ(interface_record(open(options()), east_).mtu, 0);
}

TEST_F(DataPlaneTest, DifferentSizesKeepThePinnedOnesWithAWarning)
{
    {
        const auto first = open(options());
    }
    auto wanted = options();
    wanted.sizes.backends = 2048;
    const auto plane = open(wanted);
    EXPECT_EQ(plane.sizes().backends, options().sizes.backends);
    EXPECT_THAT(plane.warnings(), ElementsAre(HasSubstr("the room for backends stays 256 instead of 2048")));
}

TEST_F(DataPlaneTest, AnotherVersionThatDoesNotSayHowItIsLaidOutIsRefusedWithTheWayOut)
{
    {
        const auto plane = open(options());
        flb_settings settings{};
        const std::uint32_t zero = 0;
        ASSERT_EQ(bpf_map_lookup_elem(plane.map_fd("settings"), &zero, &settings), 0);
        settings.abi = FLB_ABI + 1;
        ASSERT_EQ(bpf_map_update_elem(plane.map_fd("settings"), &zero, &settings, BPF_ANY), 0);
    }
    ASSERT_TRUE(std::filesystem::remove(options().pins + "/maps/layout"));
    const auto plane = DataPlane::open(options());
    ASSERT_FALSE(plane);
    EXPECT_THAT(plane.error().message, HasSubstr("made by another version of featherlb"));
    EXPECT_THAT(plane.error().remedy, HasSubstr("featherlb detach"));
}

TEST_F(DataPlaneTest, AnInterruptedStartIsBegunAnewAndAMissingMapIsNot)
{
    {
        const auto plane = open(options());
    }
    std::filesystem::remove(options().pins + "/maps/settings");
    std::filesystem::remove(options().pins + "/maps/flows4");
    {
        EXPECT_FALSE(open(options()).adopted());
    }
    std::filesystem::remove(options().pins + "/maps/flows4");
    const auto plane = DataPlane::open(options());
    ASSERT_FALSE(plane);
    EXPECT_THAT(plane.error().message, HasSubstr("the map flows4 is missing"));
}

TEST_F(DataPlaneTest, WhatAnEarlierVersionHasNotPinnedIsMadeWhereItHoldsNothing)
{
    {
        auto plane = open(options());
        apply(plane, example());
    }
    for (const char* name : {"samples", "sample_budgets", "layout"})
        EXPECT_TRUE(std::filesystem::remove(options().pins + "/maps/" + name)) << name;
    {
        auto plane = open(options());
        EXPECT_TRUE(plane.adopted());
        EXPECT_EQ(plane.read().value(), example());
        EXPECT_TRUE(plane.ask_samples(1));
    }
    auto plane = open(options()); // with what the last one pinned
    EXPECT_TRUE(plane.adopted());
    std::vector<flb_sample> samples;
    plane.read_samples(samples);
    EXPECT_THAT(samples, IsEmpty());
    EXPECT_EQ(plane.samples_left_out()[FLB_DROP_denied], 0u);
}

TEST_F(DataPlaneTest, TwoDaemonsDoNotShareAPinsDirectory)
{
    const auto first = open(options());
    const auto second = DataPlane::open(options());
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr(fmt::format("another featherlb (process {})", ::getpid())));
    EXPECT_FALSE(DataPlane::detach(options().pins, run_directory_));
}

TEST_F(DataPlaneTest, PinsOfAnotherLivingNetworkNamespaceAreRefused)
{
    const Fd here(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    {
        auto plane = open(options());
        attach(plane, Attach::xdp);
    }
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    const auto elsewhere = DataPlane::open(options());
    ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
    ASSERT_FALSE(elsewhere);
    EXPECT_THAT(elsewhere.error().message, HasSubstr("another network namespace"));
}

TEST_F(DataPlaneTest, DetachSaysWhatItRemovedAndFindsNothingTheSecondTime)
{
    ::setenv("FEATHERLB_NO_TCX", "1", 1);
    {
        auto plane = open(options());
        attach(plane, Attach::tc);
    }
    const auto removed = DataPlane::detach(options().pins, run_directory_);
    ASSERT_TRUE(removed);
    EXPECT_THAT(*removed, testing::Contains("clsact filter on east0"));
    EXPECT_THAT(*removed, testing::Contains("clsact qdisc on east0"));
    EXPECT_EQ(hooks::filter_program(east_), 0u);
    EXPECT_THAT(DataPlane::detach(options().pins, run_directory_).value(), IsEmpty());
}

// ---- what is missing --------------------------------------------------------------------------------------

TEST_F(DataPlaneTest, WithoutABpfFileSystemTheRemedyIsNamed)
{
    auto wrong = options();
    wrong.pins = run_directory_ + "/not-bpf/featherlb";
    const auto plane = DataPlane::open(wrong);
    ASSERT_FALSE(plane);
    EXPECT_THAT(plane.error().message, HasSubstr("is not on a BPF file system"));
    EXPECT_THAT(plane.error().remedy, HasSubstr("mount -t bpf bpf /sys/fs/bpf"));
}

TEST_F(DataPlaneTest, WithoutCapabilitiesTheMissingOnesAreNamed)
{
    const pid_t child = ::fork();
    if (child == 0) {
        __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
        std::array<__user_cap_data_struct, 2> none{};
        ::syscall(SYS_capset, &header, none.data());
        const auto plane = DataPlane::open(ephemeral());
        const bool right = !plane && plane.error().message.find("CAP_NET_ADMIN CAP_BPF") != std::string::npos &&
                           plane.error().remedy.find("run as root") != std::string::npos;
        ::_exit(right ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

TEST_F(DataPlaneTest, TheDocumentedCapabilitiesAreEnough)
{
    using Set = std::vector<unsigned>;
    // Each start loads the programs, which takes long where a processor is emulated; Linux 6.1 has no TCX anyway.
    const std::vector<const char*> without_tcx =
        std::getenv("FEATHERLB_GUEST") != nullptr ? std::vector{"0"} : std::vector{"0", "1", "1"};
    for (const Set& set : {Set{CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON}, Set{CAP_NET_ADMIN, CAP_SYS_ADMIN}}) {
        const pid_t child = ::fork();
        if (child == 0) {
            __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
            std::array<__user_cap_data_struct, 2> data{};
            for (const unsigned capability : set)
                data[capability / 32].effective = data[capability / 32].permitted |= 1u << capability % 32;
            ::syscall(SYS_capset, &header, data.data());
            try {
                for (const char* no_tcx : without_tcx) {
                    ::setenv("FEATHERLB_NO_TCX", no_tcx, 1);
                    for (const Attach mode : {Attach::tc, Attach::xdp, Attach::tc}) {
                        auto plane = open(options());
                        attach(plane, mode);
                        (void)plane.sweep(64).value();
                    }
                }
                ::_exit(DataPlane::detach(options().pins, run_directory_) ? 0 : 2);
            } catch (const std::exception& error) {
                fmt::print(stderr, "{}\n", error.what());
                ::_exit(1);
            }
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        EXPECT_EQ(status, 0);
    }
}

TEST_F(DataPlaneTest, InterfacesThatShareASlotAreRefused)
{
    auto plane = open(ephemeral());
    ASSERT_TRUE(plane.set_interface({.ifindex = 5, .name = "a"}));
    const auto refused = plane.set_interface({.ifindex = 5 + FLB_IFACE_SLOTS, .name = "b"});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("modulo 4096"));
}

// ---- sweeping ---------------------------------------------------------------------------------------------

TEST_F(DataPlaneTest, SweepingFreesWhatExpiredInTheMapItself)
{
    auto plane = open(ephemeral());
    apply(plane, example());
    const auto clock = Clock::open();
    const auto shift = tick_shift_for(clock->hz());
    const auto now = static_cast<std::uint32_t>(clock->jiffies().value() >> shift);
    flb_set4 set{};
    set.way[0].f.ctl = std::uint64_t{FLB_FLOW_ESTABLISHED} << FLB_CTL_STATE_SHIFT | now;
    set.way[0].f.backend = 1;
    set.way[2].f.ctl = std::uint64_t{FLB_FLOW_SYN} << FLB_CTL_STATE_SHIFT | (now - 1000);
    const std::uint32_t index = 77;
    ASSERT_EQ(bpf_map_update_elem(plane.map_fd("flows4"), &index, &set, BPF_ANY), 0);
    EXPECT_FALSE(plane.sweep(1024).value());
    EXPECT_TRUE(plane.sweep(1024).value());
    EXPECT_EQ(plane.flow_counts().connections, 1u);
    EXPECT_EQ(plane.flow_counts().by_backend[1], 1u);
    EXPECT_EQ(plane.sweep_totals().expired, 1u);
}

} // namespace
} // namespace featherlb
