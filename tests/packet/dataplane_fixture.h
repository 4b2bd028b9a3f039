// SPDX-License-Identifier: Apache-2.0
/*
 * What the tests of the data plane against the real kernel share. Needs root. Each suite has a network and a mount
 * namespace of its own, with a BPF file system in a temporary directory, so nothing of it touches the machine.
 */
#ifndef FEATHERLB_TESTS_DATAPLANE_FIXTURE_H
#define FEATHERLB_TESTS_DATAPLANE_FIXTURE_H

#include "kernel/dataplane.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/clock.h"
#include "kernel/dataplane_hooks.h"
#include "kernel/map.h"
#include "kernel/slot_allocator.h"

namespace featherlb {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

inline void run(const std::string& command)
{
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

class DataPlaneTest : public testing::Test {
protected:
    static void SetUpTestSuite()
    {
        if (::geteuid() != 0)
            GTEST_FAIL() << "these tests need root";
        network_ = Fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
        mounts_ = Fd(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
        root_ = Fd(::open("/", O_PATH | O_CLOEXEC));
        here_ = Fd(::open(".", O_PATH | O_CLOEXEC));
        ASSERT_EQ(::unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
        ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
        char pattern[] = "/tmp/featherlb-test-XXXXXX";
        directory_ = ::mkdtemp(pattern);
        ASSERT_EQ(::mount("bpf", directory_.c_str(), "bpf", 0, nullptr), 0);
        run_directory_ = directory_ + "-run";
        run("ip link set lo up");
    }

    static void TearDownTestSuite()
    {
        ::umount2(directory_.c_str(), MNT_DETACH);
        std::filesystem::remove_all(run_directory_);
        ASSERT_EQ(::setns(mounts_.get(), CLONE_NEWNS), 0); // which leaves a chroot
        ASSERT_EQ(::fchdir(root_.get()), 0);
        ASSERT_EQ(::chroot("."), 0);
        ASSERT_EQ(::fchdir(here_.get()), 0);
        ASSERT_EQ(::setns(network_.get(), CLONE_NEWNET), 0);
        std::filesystem::remove_all(directory_);
    }

    void SetUp() override
    {
        run("ip link add east0 type veth peer name east1 && ip link set east0 up && ip link set east1 up");
        east_ = ::if_nametoindex("east0");
    }

    void TearDown() override
    {
        ::unsetenv("FEATHERLB_NO_TCX");
        auto removed = DataPlane::detach(options().pins, run_directory_);
        EXPECT_TRUE(removed) << removed.error().message;
        if (::if_nametoindex("east0") != 0)
            run("ip link del east0");
        EXPECT_FALSE(std::filesystem::exists(options().pins));
    }

    // Programs are loaded when they are first attached: the verifier is what takes most of the time here.
    static DataPlaneOptions options()
    {
        return {.pins = directory_ + "/featherlb",
            .runtime_directory = run_directory_,
            .sizes = {.flows_max = 1024, .services = 64, .backends = 256, .slots = 4096, .snat_addresses = 64},
            .programs = {.xdp = false, .tc = false}};
    }

    static DataPlaneOptions ephemeral()
    {
        auto result = options();
        result.pins.clear();
        return result;
    }

    // The program of a name, which is loaded.
    static ProgramInfo program(const DataPlane& plane, std::string_view name)
    {
        for (const ProgramInfo& one : plane.programs())
            if (one.name == name)
                return one;
        throw std::runtime_error(fmt::format("{} is not loaded", name));
    }

    static DataPlane open(const DataPlaneOptions& what)
    {
        auto plane = DataPlane::open(what);
        if (!plane)
            throw std::runtime_error(plane.error().message);
        return std::move(*plane);
    }

    AttachOutcome attach(DataPlane& plane, Attach mode) const
    {
        auto set = plane.set_interface({.ifindex = east_, .name = "east0", .mac = {2, 0, 0, 0, 0, 1}, .mtu = 1500});
        if (!set)
            throw std::runtime_error(set.error().message);
        auto outcome = plane.attach({.ifindex = east_, .name = "east0", .mode = mode});
        if (!outcome)
            throw std::runtime_error(outcome.error().message);
        return *outcome;
    }

    // Runs `body` in a process of its own, kills that when it is done, and returns when it is gone.
    static void in_killed_process(const std::function<void()>& body)
    {
        int ready[2];
        ASSERT_EQ(::pipe(ready), 0);
        const pid_t child = ::fork();
        if (child == 0) {
            try {
                body();
                (void)!::write(ready[1], "+", 1);
            } catch (const std::exception& error) {
                fmt::print(stderr, "child: {}\n", error.what());
                ::_exit(1);
            }
            for (;;)
                ::pause();
        }
        ::close(ready[1]);
        char answer = 0;
        const bool worked = ::read(ready[0], &answer, 1) == 1;
        ::close(ready[0]);
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        ASSERT_TRUE(worked);
    }

    static flb_iface interface_record(const DataPlane& plane, std::uint32_t ifindex)
    {
        flb_iface record{};
        const std::uint32_t slot = ifindex % FLB_IFACE_SLOTS;
        EXPECT_EQ(bpf_map_lookup_elem(plane.map_fd("ifaces"), &slot, &record), 0);
        return record;
    }
    static std::uint32_t flags_of(const DataPlane& plane, std::uint32_t ifindex)
    {
        const flb_iface record = interface_record(plane, ifindex);
        return record.ifindex == ifindex ? record.flags : 0;
    }

    static inline Fd network_;
    static inline Fd mounts_, root_, here_;
    static inline std::string directory_;
    static inline std::string run_directory_;
    std::uint32_t east_ = 0;
};

inline IpAddress ip(const char* text)
{
    return IpAddress::parse(text).value();
}

inline Tables example()
{
    Tables tables;
    tables.snat_ports = {.first = 1024, .last = 32767};
    tables.services[3] = {.name = "web",
        .family = Family::ipv4,
        .forward = Forward::snat,
        .pick = FLB_PICK_TURN,
        .pick_seed = 7,
        .slots = {1, 2, 1}};
    tables.services[4] = {.name = "web",
        .family = Family::ipv6,
        .forward = Forward::dnat,
        .pick = FLB_PICK_HASH_5TUPLE,
        .pick_seed = 7,
        .slots = {3}};
    const std::vector<IpAddress> pool = {ip("10.0.0.5"), ip("10.0.0.6")};
    tables.backends[1] = {.service = 3,
        .endpoint = {ip("10.0.1.1"), 8080},
        .hop = {.mac = {2, 0, 0, 0, 1, 1}, .link = 0x1005, .vlan = {7, 0}},
        .mtu = 1500,
        .snat_addresses = pool};
    tables.backends[2] = {.service = 3, .endpoint = {ip("10.0.1.2"), 8080}, .mtu = 1400, .snat_addresses = pool};
    tables.backends[3] = {.service = 4, .endpoint = {ip("fd00::3"), 80}, .up = true, .hop = {}, .snat_addresses = {}};
    tables.services[5] = {
        .name = "tunnelled", .family = Family::ipv6, .forward = Forward::ipip, .pick = FLB_PICK_TURN, .slots = {4, 5}};
    tables.backends[4] = {.service = 5,
        .endpoint = {ip("10.0.1.4"), 80},
        .one_way = Forward::ipip,
        .hop = {.mac = {2, 0, 0, 0, 1, 4}, .link = 0x0005, .vlan = {0, 0}},
        .mtu = 1500,
        .snat_addresses = {ip("10.127.0.0")},
        .source_bits = 16};
    tables.backends[5] = {
        .service = 5, .endpoint = {ip("fd00::5"), 80}, .one_way = Forward::dsr, .hop = {}, .snat_addresses = {}};
    tables.listeners[{ip("10.9.0.1"), 80, Protocol::tcp}] = 3;
    tables.listeners[{ip("fd00:9::1"), 80, Protocol::tcp}] = 4;
    tables.sources[{ip("fd00::3"), 80, Protocol::tcp}] = {.service = {ip("fd00:9::1"), 80}, .backend = 3};
    return tables;
}

inline void apply(DataPlane& plane, const Tables& want)
{
    auto have = plane.read();
    ASSERT_TRUE(have) << have.error().message;
    auto done = plane.apply(want, diff(*have, want));
    ASSERT_TRUE(done) << done.error().message;
}

} // namespace featherlb

#endif
