// SPDX-License-Identifier: Apache-2.0
#include "kernel/decap.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include "decap.skel.h"
#include "kernel/dataplane_choice.h"
#include "kernel/dataplane_hooks.h"
#include "kernel/dataplane_programs.h"
#include "kernel/map.h"
#include "kernel/tc_program.h"

namespace featherlb {

namespace {

constexpr std::uint32_t filter_handle = 0xf1d;
constexpr std::uint32_t filter_priority = 20;

flb_decap_key key_of(const IpAddress& address)
{
    flb_decap_key key{};
    key.address = address.to_abi();
    key.family = static_cast<std::uint32_t>(address.family());
    return key;
}

} // namespace

const std::vector<DecapCounterText>& decap_counter_texts()
{
    static const std::vector<DecapCounterText> texts = {
#define X(name, text) {#name, text},
        FLB_DECAP_COUNTERS(X)
#undef X
    };
    return texts;
}

DecapRoles decap_roles(const std::vector<Interface>& interfaces, const std::vector<InterfaceAddress>& addresses,
    const std::vector<IpAddress>& services)
{
    DecapRoles roles;
    for (const InterfaceAddress& here : addresses) {
        if (here.address.is_loopback())
            continue;
        const Interface* device = find_interface(interfaces, here.ifindex);
        const bool on_loopback = device != nullptr && device->loopback;
        const bool is_service = services.empty()
                                    ? on_loopback
                                    : std::find(services.begin(), services.end(), here.address) != services.end();
        roles[here.address] |= is_service ? FLB_DECAP_SERVICE : FLB_DECAP_OUTER;
    }
    // The same address on two devices: the service wins.
    for (auto& [address, role] : roles)
        if ((role & FLB_DECAP_SERVICE) != 0)
            role = FLB_DECAP_SERVICE;
    return roles;
}

struct Decapsulator::State {
    struct Destroy {
        void operator()(decap_bpf* skeleton) const { decap_bpf::destroy(skeleton); }
    };
    struct Attached {
        Fd xdp;
        TcPrograms tc;
    };
    std::unique_ptr<decap_bpf, Destroy> skeleton;
    DecapRoles roles;
    bool crosses = false;
    std::map<std::uint32_t, Attached> attached; // goes before the programs

    [[nodiscard]] static int fd(const bpf_map* map) { return bpf_map__fd(map); }
};

Decapsulator::Decapsulator(std::unique_ptr<State> state) : state_(std::move(state))
{
}
Decapsulator::~Decapsulator()
{
    if (!state_)
        return;
    while (!state_->attached.empty())
        detach(state_->attached.begin()->first);
}
Decapsulator::Decapsulator(Decapsulator&&) noexcept = default;
Decapsulator& Decapsulator::operator=(Decapsulator&& other) noexcept
{
    std::swap(state_, other.state_);
    return *this;
}

int Decapsulator::tc_fd() const
{
    return bpf_program__fd(state_->skeleton->progs.flb_decap_tc);
}
int Decapsulator::xdp_fd() const
{
    return bpf_program__fd(state_->skeleton->progs.flb_decap_xdp);
}
int Decapsulator::mss_fd() const
{
    return bpf_program__fd(state_->skeleton->progs.flb_decap_mss);
}

namespace {

// An IPv6 packet in which an IPv4 header would fit, given to the program that tries.
bool try_to_cross(int program)
{
    std::array<std::uint8_t, 14 + 40 + 40> frame{};
    frame[12] = 0x86;
    frame[13] = 0xdd;
    frame[14] = 0x60;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = frame.size());
    return bpf_prog_test_run_opts(program, &options) == 0 && options.retval == 0;
}

} // namespace

Result<Decapsulator> Decapsulator::load(const std::vector<NetworkPrefix>& from)
{
    route_libbpf_messages();
    auto state = std::make_unique<State>();
    state->skeleton.reset(decap_bpf::open());
    if (!state->skeleton)
        return fail(bpf_error("reading the decapsulation programs", errno));
    state->skeleton->rodata->any_source = from.empty() ? 1 : 0;
    if (const int error = decap_bpf::load(state->skeleton.get()); error < 0)
        return fail(bpf_error("loading the decapsulation programs", -error));
    for (const NetworkPrefix& network : from) {
        flb_decap_source key{};
        key.bits = 32 + network.bits;
        key.family = static_cast<std::uint32_t>(network.address.family());
        key.address = network.address.to_abi();
        const std::uint32_t yes = 1;
        if (bpf_map_update_elem(State::fd(state->skeleton->maps.decap_sources), &key, &yes, BPF_ANY) < 0)
            return fail(bpf_error("storing the network " + network.to_string(), errno));
    }
    state->crosses = try_to_cross(bpf_program__fd(state->skeleton->progs.flb_decap_ability));
    return Decapsulator(std::move(state));
}

bool Decapsulator::tc_crosses_families() const
{
    return state_->crosses;
}

Result<Hook> Decapsulator::attach(const Interface& interface, Attach how)
{
    State::Attached attached;
    Hook hook = Hook::tcx;
    const auto place = [&interface](TcSide side) {
        return TcPlace{.ifindex = interface.index,
            .interface = interface.name,
            .side = side,
            .handle = filter_handle,
            .priority = filter_priority};
    };
    if (how == Attach::xdp || how == Attach::xdp_generic) {
        hook = how == Attach::xdp ? Hook::xdp : Hook::xdp_generic;
        if (!hooks::xdp_programs(interface.index).empty())
            return fail(fmt::format("{} has an XDP program already", interface.name),
                fmt::format("stop what attached it or remove it (`ip link set dev {} xdp off`), or use --attach tc",
                    interface.name));
        if (const int error = hooks::create_link(hook, interface.index, xdp_fd(), attached.xdp)) {
            Error failure = bpf_error({}, error);
            failure.message = fmt::format("attaching {} to {}: {}", to_string(hook), interface.name,
                explain_attach_error(hook, interface.name, interface.driver, error));
            if (failure.remedy.empty())
                failure.remedy = "use --attach tc";
            return fail(std::move(failure));
        }
    } else {
        auto ingress = attached.tc.attach(place(TcSide::ingress), tc_fd());
        if (!ingress)
            return ingress;
        hook = *ingress;
    }
    if (auto egress = attached.tc.attach(place(TcSide::egress), mss_fd()); !egress) {
        if (attached.xdp.valid())
            (void)hooks::detach_link(attached.xdp);
        return egress;
    }
    detach(interface.index);
    state_->attached.emplace(interface.index, std::move(attached));
    return hook;
}

void Decapsulator::detach(std::uint32_t ifindex)
{
    const auto found = state_->attached.find(ifindex);
    if (found == state_->attached.end())
        return;
    if (found->second.xdp.valid())
        (void)hooks::detach_link(found->second.xdp);
    state_->attached.erase(found);
    bpf_map_delete_elem(State::fd(state_->skeleton->maps.decap_interfaces), &ifindex);
}

Result<void> Decapsulator::set_mtu(const Interface& interface, std::uint32_t mtu)
{
    flb_decap_interface value{};
    value.mtu = mtu;
    std::copy(interface.mac.begin(), interface.mac.end(), value.mac);
    if (bpf_map_update_elem(State::fd(state_->skeleton->maps.decap_interfaces), &interface.index, &value, BPF_ANY) < 0)
        return fail(bpf_error("storing what is known of " + interface.name, errno));
    return {};
}

// A service that stays keeps what its SYNs have told.
Result<void> Decapsulator::set_roles(const DecapRoles& roles)
{
    const int map = State::fd(state_->skeleton->maps.decap_addresses);
    for (const auto& [address, role] : state_->roles) {
        const flb_decap_key key = key_of(address);
        if (!roles.contains(address))
            bpf_map_delete_elem(map, &key);
    }
    for (const auto& [address, role] : roles) {
        const auto before = state_->roles.find(address);
        if (before != state_->roles.end() && before->second == role)
            continue;
        const flb_decap_key key = key_of(address);
        const flb_decap_address value{.roles = role, .header = 0};
        if (bpf_map_update_elem(map, &key, &value, BPF_ANY) < 0)
            return fail(bpf_error("storing the address " + address.to_string(), errno));
    }
    state_->roles = roles;
    return {};
}

Result<DecapCounts> Decapsulator::counts() const
{
    const int processors = libbpf_num_possible_cpus();
    if (processors <= 0)
        return fail(bpf_error("counting the processors", -processors));
    std::vector<flb_decap_counts> each(static_cast<std::size_t>(processors));
    const std::uint32_t zero = 0;
    if (bpf_map_lookup_elem(State::fd(state_->skeleton->maps.decap_counters), &zero, each.data()) < 0)
        return fail(bpf_error("reading the counters", errno));
    DecapCounts sum{};
    for (const flb_decap_counts& processor : each)
        for (std::size_t i = 0; i < sum.size(); i++)
            sum[i] += processor.packets[i];
    return sum;
}

} // namespace featherlb
