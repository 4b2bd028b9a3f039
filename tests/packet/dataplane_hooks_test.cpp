// SPDX-License-Identifier: Apache-2.0
// The data plane and the interfaces: what is attached where, what falls back, what others keep.
#include "dataplane_fixture.h"

namespace featherlb {
namespace {

using DataPlaneHooks = DataPlaneTest;

TEST_F(DataPlaneHooks, VethGetsTcxAndLosesItWithAnEphemeralDataPlane)
{
    if (!hooks::has_tcx(east_))
        GTEST_SKIP() << "this kernel has no TCX";
    {
        auto plane = open(ephemeral());
        const auto outcome = attach(plane, Attach::automatic);
        EXPECT_EQ(outcome.hook, Hook::tcx);
        EXPECT_EQ(outcome.driver, "veth");
        EXPECT_THAT(outcome.why, HasSubstr("veth"));
        EXPECT_EQ(flags_of(plane, east_), FLB_IFACE_ATTACHED);
        EXPECT_THAT(hooks::tcx_programs(east_), ElementsAre(program(plane, "flb_tc").id));
        ASSERT_THAT(plane.attachments(), SizeIs(1));
        EXPECT_EQ(plane.attachments()[0].program_id, program(plane, "flb_tc").id);
    }
    EXPECT_THAT(hooks::tcx_programs(east_), IsEmpty());
}

TEST_F(DataPlaneHooks, EachHookReplacesTheOneBefore)
{
    for (const bool pinned : {true, false}) {
        auto plane = open(pinned ? options() : ephemeral());
        const auto xdp = attach(plane, Attach::xdp);
        EXPECT_EQ(xdp.hook, Hook::xdp);
        EXPECT_THAT(xdp.warnings, testing::Contains(HasSubstr("east0: native XDP on veth forgets")));
        EXPECT_EQ(flags_of(plane, east_), FLB_IFACE_ATTACHED | FLB_IFACE_REDIRECT);
        EXPECT_THAT(hooks::xdp_programs(east_), ElementsAre(program(plane, "flb_xdp").id));

        EXPECT_EQ(attach(plane, Attach::xdp_generic).hook, Hook::xdp_generic);
        EXPECT_THAT(hooks::xdp_programs(east_), ElementsAre(program(plane, "flb_xdp").id));
        EXPECT_EQ(flags_of(plane, east_), FLB_IFACE_ATTACHED);

        ::setenv("FEATHERLB_NO_TCX", "1", 1);
        EXPECT_EQ(attach(plane, Attach::tc).hook, Hook::clsact);
        EXPECT_THAT(hooks::xdp_programs(east_), IsEmpty());
        EXPECT_EQ(hooks::filter_program(east_), program(plane, "flb_tc").id);
        ::unsetenv("FEATHERLB_NO_TCX");

        if (hooks::has_tcx(east_)) {
            EXPECT_EQ(attach(plane, Attach::tc).hook, Hook::tcx);
            EXPECT_EQ(hooks::filter_program(east_), 0u);
        }
        EXPECT_THAT(plane.attachments(), SizeIs(1));
        ASSERT_TRUE(plane.remove_interface(east_));
        EXPECT_THAT(plane.attachments(), IsEmpty());
        EXPECT_THAT(hooks::tcx_programs(east_), IsEmpty());
        EXPECT_THAT(plane.interfaces(), IsEmpty());
    }
}

TEST_F(DataPlaneHooks, AnotherProgramsFilterAndQdiscStay)
{
    ::setenv("FEATHERLB_NO_TCX", "1", 1);
    bpf_tc_hook egress{};
    egress.sz = sizeof(egress);
    egress.ifindex = static_cast<int>(east_);
    egress.attach_point = BPF_TC_EGRESS;
    bpf_tc_opts filter{};
    filter.sz = sizeof(filter);
    filter.handle = 1;
    filter.priority = 99;
    {
        auto plane = open(ephemeral());
        attach(plane, Attach::tc);
        filter.prog_fd = plane.tc_program_fd();
        ASSERT_EQ(bpf_tc_attach(&egress, &filter), 0);
    }
    EXPECT_EQ(hooks::filter_program(east_), 0u);
    filter.prog_fd = 0;
    filter.prog_id = 0;
    filter.flags = 0;
    EXPECT_EQ(bpf_tc_query(&egress, &filter), 0);
    run("tc qdisc del dev east0 clsact");
    {
        auto plane = open(ephemeral());
        attach(plane, Attach::tc);
    }
    run("! tc qdisc show dev east0 | grep -q clsact"); // ours, idle: gone
}

TEST_F(DataPlaneHooks, ALaterStartTakesOverAFilterThatAKilledProcessLeft)
{
    ::setenv("FEATHERLB_NO_TCX", "1", 1);
    in_killed_process([this] {
        static auto plane = open(ephemeral());
        attach(plane, Attach::tc);
    });
    const auto left = hooks::filter_program(east_);
    EXPECT_NE(left, 0u);
    {
        auto plane = open(ephemeral());
        EXPECT_TRUE(attach(plane, Attach::tc).adopted);
        EXPECT_NE(hooks::filter_program(east_), left);
        auto second = open(ephemeral());
        ASSERT_TRUE(second.set_interface({.ifindex = east_, .name = "east0"}));
        const auto refused = second.attach({.ifindex = east_, .name = "east0", .mode = Attach::tc});
        ASSERT_FALSE(refused);
        EXPECT_THAT(refused.error().message, HasSubstr("another featherlb handles east0"));
    }
    EXPECT_EQ(hooks::filter_program(east_), 0u);
}

TEST_F(DataPlaneHooks, AForeignXdpProgramIsNamedAndLeftAlone)
{
    auto foreign = open(ephemeral()); // any program will do
    ASSERT_EQ(bpf_xdp_attach(static_cast<int>(east_), foreign.xdp_program_fd(), XDP_FLAGS_SKB_MODE, nullptr), 0);
    auto plane = open(options());
    ASSERT_TRUE(plane.set_interface({.ifindex = east_, .name = "east0"}));
    const auto refused = plane.attach({.ifindex = east_, .name = "east0", .mode = Attach::xdp});
    ASSERT_FALSE(refused);
    EXPECT_EQ(
        refused.error().message, fmt::format("east0 has an XDP program that is not ours: program {} (\"flb_xdp\")",
                                     program(foreign, "flb_xdp").id));
    EXPECT_THAT(refused.error().remedy, HasSubstr("ip link set dev east0 xdp off"));
    EXPECT_EQ(flags_of(plane, east_), 0u);
    EXPECT_THAT(hooks::xdp_programs(east_), ElementsAre(program(foreign, "flb_xdp").id));
    run("ip link set dev east0 xdpgeneric off");
}

TEST_F(DataPlaneHooks, WhetherADeviceHandsOverIsKeptWhateverIsAttached)
{
    auto plane = open(ephemeral());
    InterfaceRecord record{
        .ifindex = east_, .name = "east0", .mac = {2, 0, 0, 0, 0, 1}, .mtu = 1500, .hands_over = true};
    ASSERT_TRUE(plane.set_interface(record));
    EXPECT_EQ(flags_of(plane, east_), FLB_IFACE_PEER);
    for (const Attach mode : {Attach::tc, Attach::xdp, Attach::tc})
        ASSERT_TRUE(plane.attach({.ifindex = east_, .name = "east0", .mode = mode}));
    EXPECT_EQ(flags_of(plane, east_), FLB_IFACE_ATTACHED | FLB_IFACE_PEER);
    record.hands_over = false; // its other end has come here
    ASSERT_TRUE(plane.set_interface(record));
    EXPECT_EQ(flags_of(plane, east_), FLB_IFACE_ATTACHED);
    ASSERT_TRUE(plane.remove_interface(east_));
    EXPECT_EQ(flags_of(plane, east_), 0u);
}

TEST_F(DataPlaneHooks, VethWithAPeerOfLargeMtuRefusesNativeXdpWithAReason)
{
    run("ip link set east0 mtu 9000 && ip link set east1 mtu 9000");
    auto plane = open(ephemeral());
    ASSERT_TRUE(plane.set_interface({.ifindex = east_, .name = "east0", .mtu = 9000}));
    const auto refused = plane.attach({.ifindex = east_, .name = "east0", .mode = Attach::xdp});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("peer's MTU"));
    EXPECT_THAT(refused.error().remedy, HasSubstr("attach: tc"));
}

} // namespace
} // namespace featherlb
