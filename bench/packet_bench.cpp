// SPDX-License-Identifier: Apache-2.0
// Nanoseconds a packet: the real XDP program, run by BPF_PROG_TEST_RUN behind harness.bpf.c, beside an empty
// program behind the same harness. Every row's output is checked byte by byte where it is known, and by its
// checksums everywhere. Rounds are interleaved; medians are reported, as nanoseconds and as ratios to the empty
// program. Needs root; touches no interface: it works in a network namespace of its own.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "harness.h"
#include "harness.skel.h"
#include "kernel/dataplane.h"

namespace {

using namespace featherlb;

constexpr std::size_t frame_bytes = 98;
constexpr std::uint32_t loopback = 1; // where BPF_PROG_TEST_RUN says that packets come in by
constexpr int backend_count = 10;
constexpr std::uint8_t tcp_syn = 0x02, tcp_ack = 0x10;
using Frame = std::array<std::uint8_t, frame_bytes>;

[[noreturn]] void die(const std::string& what)
{
    fmt::print(stderr, "packet_bench: {}\n", what);
    std::exit(1);
}

template <typename T>
T need(Result<T> result)
{
    if (!result)
        die(result.error().message + (result.error().remedy.empty() ? "" : "; " + result.error().remedy));
    if constexpr (!std::is_void_v<T>)
        return std::move(*result);
}

IpAddress address(const std::string& text)
{
    return *IpAddress::parse(text);
}

void put16(std::uint8_t* at, unsigned value)
{
    at[0] = static_cast<std::uint8_t>(value >> 8);
    at[1] = static_cast<std::uint8_t>(value);
}

std::uint32_t sum16(const std::uint8_t* data, std::size_t bytes)
{
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes; i += 2)
        sum += static_cast<std::uint32_t>(data[i] << 8 | (i + 1 < bytes ? data[i + 1] : 0));
    return sum;
}

std::uint16_t folded(std::uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

std::size_t network_bytes(bool v6)
{
    return v6 ? 40 : 20;
}

// Sum of the transport's bytes and its pseudo header; 0xffff when the checksum in it is right.
std::uint16_t transport_sum(const Frame& frame, bool v6)
{
    const std::size_t l4 = 14 + network_bytes(v6), bytes = frame_bytes - l4;
    const std::uint8_t* addresses = frame.data() + 14 + (v6 ? 8 : 12);
    const std::uint8_t protocol = v6 ? frame[20] : frame[23];
    return folded(
        sum16(addresses, v6 ? 32 : 8) + protocol + static_cast<std::uint32_t>(bytes) + sum16(frame.data() + l4, bytes));
}

struct Tuple {
    IpAddress source, destination;
    std::uint16_t source_port = 0, destination_port = 0;
};

Frame make_frame(const Tuple& tuple, std::uint8_t protocol, std::uint8_t flags)
{
    const bool v6 = !tuple.source.is_ipv4();
    Frame frame{};
    const std::array<std::uint8_t, 12> macs{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    std::copy(macs.begin(), macs.end(), frame.begin());
    put16(&frame[12], v6 ? 0x86dd : 0x0800);
    std::uint8_t* ip = &frame[14];
    const flb_addr source = tuple.source.to_abi(), destination = tuple.destination.to_abi();
    if (v6) {
        ip[0] = 0x60;
        put16(&ip[4], frame_bytes - 54);
        ip[6] = protocol;
        ip[7] = 64;
        std::memcpy(&ip[8], source.bytes, 16);
        std::memcpy(&ip[24], destination.bytes, 16);
    } else {
        ip[0] = 0x45;
        put16(&ip[2], frame_bytes - 14);
        ip[8] = 64;
        ip[9] = protocol;
        std::memcpy(&ip[12], source.bytes, 4);
        std::memcpy(&ip[16], destination.bytes, 4);
        put16(&ip[10], static_cast<std::uint16_t>(~folded(sum16(ip, 20))));
    }
    std::uint8_t* l4 = ip + network_bytes(v6);
    put16(&l4[0], tuple.source_port);
    put16(&l4[2], tuple.destination_port);
    if (protocol == IPPROTO_TCP) {
        l4[12] = 5 << 4;
        l4[13] = flags;
        put16(&l4[16], static_cast<std::uint16_t>(~transport_sum(frame, v6)));
    } else {
        put16(&l4[4], static_cast<unsigned>(frame_bytes - 14 - network_bytes(v6)));
        put16(&l4[6], static_cast<std::uint16_t>(~transport_sum(frame, v6)));
    }
    return frame;
}

// The measured program behind the harness.
class Bench {
public:
    Bench() : skeleton_(harness_bpf__open_and_load())
    {
        if (!skeleton_)
            die("cannot load the harness");
        state_ = static_cast<harness_state*>(
            mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(skeleton_->maps.state), 0));
        if (state_ == MAP_FAILED)
            die("cannot map the harness's state");
    }
    ~Bench() { harness_bpf__destroy(skeleton_); }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    int empty_fd() const { return bpf_program__fd(skeleton_->progs.empty); }

    // Runs `repeat` packets of a rotation over `flows` clients through the program; nanoseconds a packet.
    double run(int program, const Frame& frame, std::uint32_t flows, std::uint32_t repeat, Frame* out = nullptr,
        std::uint32_t* verdict = nullptr, std::uint32_t first = 0)
    {
        const std::uint32_t zero = 0;
        if (bpf_map_update_elem(bpf_map__fd(skeleton_->maps.measured), &zero, &program, BPF_ANY))
            die("cannot set the measured program");
        const bool v6 = frame[12] == 0x86;
        std::memcpy(state_->template_words, frame.data(), HARNESS_TEMPLATE_BYTES);
        state_->frame_bytes = frame_bytes;
        state_->flows = flows;
        state_->next = first;
        state_->address_offset = v6 ? 14 + 8 + 12 : 14 + 12;
        state_->address_base = 0x0a400000; // 10.64.0.0, or the end of an IPv6 address
        state_->port_offset = static_cast<std::uint32_t>(14 + network_bytes(v6));
        state_->port_base = 1024;
        std::array<std::uint8_t, 256> buffer{};
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = buffer.data(),
            .data_size_in = frame_bytes, .data_size_out = buffer.size(), .repeat = static_cast<int>(repeat));
        if (bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.harness), &options))
            die(fmt::format("test run failed: {}", std::strerror(errno)));
        if (out)
            std::copy_n(buffer.begin(), frame_bytes, out->begin());
        if (verdict)
            *verdict = options.retval;
        return options.duration;
    }

private:
    harness_bpf* skeleton_;
    harness_state* state_ = nullptr;
};

// A data plane with one service of ten backends for each of {IPv4, IPv6} x {snat, dnat}.
struct World4 {
    DataPlane plane;
    explicit World4(std::uint32_t flows_max) : plane(open(flows_max))
    {
        need(plane.set_interface({.ifindex = loopback, .name = "lo", .mac = {2, 0, 0, 0, 0, 1}, .mtu = 1500}));
        const Tables have = need(plane.read());
        const Tables want = tables();
        need(plane.apply(want, diff(have, want)));
    }

    static DataPlane open(std::uint32_t flows_max)
    {
        DataPlaneOptions options;
        options.pins.clear();
        options.sizes.flows_max = flows_max;
        return need(DataPlane::open(options));
    }

    static Tables tables()
    {
        Tables tables;
        ServiceId service = 1;
        BackendId backend = 1;
        for (const bool v6 : {false, true})
            for (const Forward forward : {Forward::snat, Forward::dnat}) {
                ServiceRow row{.name = fmt::format("bench-{}-{}", v6 ? 6 : 4, to_string(forward)),
                    .family = v6 ? Family::ipv6 : Family::ipv4,
                    .forward = forward,
                    .pick = FLB_PICK_HASH_5TUPLE};
                std::vector<WeightedBackend> weighted;
                for (int i = 0; i < backend_count; i++, backend++) {
                    BackendRow b{.service = service};
                    b.endpoint = {address(fmt::format(fmt::runtime(v6 ? "fd00:2::{}" : "10.2.0.{}"), backend)), 8080};
                    b.hop.mac[0] = 2;
                    b.hop.mac[5] = static_cast<std::uint8_t>(0x10 + i);
                    b.hop.link = loopback;
                    b.mtu = 1500;
                    if (forward == Forward::snat)
                        for (int s = 1; s <= 8; s++)
                            b.snat_addresses.push_back(
                                address(fmt::format(fmt::runtime(v6 ? "fd00:3::{}" : "10.3.0.{}"), s)));
                    weighted.push_back({.endpoint = b.endpoint, .id = backend});
                    tables.backends[backend] = std::move(b);
                }
                row.slots = make_slots(Algorithm::maglev, weighted);
                tables.services[service] = std::move(row);
                tables.listeners[{virtual_address(v6, forward), 80, Protocol::tcp}] = service;
                tables.listeners[{virtual_address(v6, forward), 80, Protocol::udp}] = service;
                service++;
            }
        return tables;
    }

    static IpAddress virtual_address(bool v6, Forward forward)
    {
        return address(fmt::format(fmt::runtime(v6 ? "fd00:1::{}" : "10.1.0.{}"), forward == Forward::snat ? 1 : 2));
    }

    // Marks every connection in the table established, as after its handshake.
    void establish()
    {
        promote<flb_set4>("flows4");
        promote<flb_set6>("flows6");
    }

private:
    template <typename Set>
    void promote(const char* map)
    {
        const std::size_t bytes = sizeof(Set) * plane.sizes().flows_max;
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, plane.map_fd(map), 0);
        if (memory == MAP_FAILED)
            die("cannot map the flow table");
        const std::span<Set> sets{static_cast<Set*>(memory), plane.sizes().flows_max};
        for (Set& set : sets)
            for (auto& way : set.way)
                way.f.ctl = promoted(way.f.ctl);
        munmap(memory, bytes);
    }
    static __u64 promoted(__u64 ctl)
    {
        const auto with = [ctl](flb_flow_state state) {
            return (ctl & ~FLB_CTL_STATE) | static_cast<__u64>(state) << FLB_CTL_STATE_SHIFT;
        };
        switch ((ctl & FLB_CTL_STATE) >> FLB_CTL_STATE_SHIFT) {
        case FLB_FLOW_SYN:
            return with(FLB_FLOW_ESTABLISHED);
        case FLB_FLOW_UDP_NEW:
            return with(FLB_FLOW_UDP_STREAM);
        case FLB_FLOW_REPLY_NEW:
            return with(FLB_FLOW_REPLY);
        default:
            return ctl;
        }
    }
};

struct Row {
    std::string name;
    int program = 0;
    Frame frame{};
    std::uint32_t flows = 1;
    std::uint32_t verdict = 3; // XDP_TX
    std::uint32_t repeat = 0;
    std::shared_ptr<World4> world; // kept alive
    std::vector<double> rounds;
};

// Opens `flows` connections by their first packets and establishes them; the frame of a later packet.
Frame open_flows(Bench& bench, World4& world, const Tuple& tuple, std::uint8_t protocol, std::uint32_t flows)
{
    const Frame first = make_frame(tuple, protocol, tcp_syn);
    bench.run(world.plane.xdp_program_fd(), first, flows, flows);
    world.establish();
    return make_frame(tuple, protocol, tcp_ack);
}

// The answer to what `frame` became: the client's packet with everything turned round.
Frame reply_to(const Frame& sent, std::uint8_t protocol)
{
    const bool v6 = sent[12] == 0x86;
    const Family family = v6 ? Family::ipv6 : Family::ipv4;
    flb_addr source{}, destination{};
    const std::size_t at = 14 + (v6 ? 8 : 12), bytes = v6 ? 16 : 4, l4 = 14 + network_bytes(v6);
    std::memcpy(source.bytes, &sent[at + bytes], bytes);
    std::memcpy(destination.bytes, &sent[at], bytes);
    const auto port = [&](std::size_t offset) {
        return static_cast<std::uint16_t>(sent[offset] << 8 | sent[offset + 1]);
    };
    return make_frame(
        {IpAddress::from_abi(source, family), IpAddress::from_abi(destination, family), port(l4 + 2), port(l4)},
        protocol, tcp_ack);
}

// A packet that came out must have right checksums, a smaller TTL and our addresses on layer 2.
void verify(Bench& bench, const Row& row)
{
    Frame out{};
    std::uint32_t verdict = 0;
    bench.run(row.program, row.frame, row.flows, 1, &out, &verdict, row.flows / 2);
    if (verdict != row.verdict)
        die(fmt::format("{}: verdict {} instead of {}", row.name, verdict, row.verdict));
    if (verdict != 3 || row.program == bench.empty_fd())
        return;
    const bool v6 = out[12] == 0x86;
    if (out[6 + 5] != 1 || out[v6 ? 21 : 22] != 63)
        die(row.name + ": MAC or TTL of the output is wrong");
    if (row.flows > 1)
        return; // the rotation does not keep checksums right; a single flow of the same kind shows them
    if (transport_sum(out, v6) != 0xffff || (!v6 && folded(sum16(&out[14], 20)) != 0xffff))
        die(row.name + ": a checksum of the output is wrong");
    const std::size_t payload = 14 + network_bytes(v6) + 20;
    if (!std::equal(
            out.begin() + static_cast<long>(payload), out.end(), row.frame.begin() + static_cast<long>(payload)))
        die(row.name + ": the payload has changed");
}

Tuple client_tuple(bool v6, Forward forward)
{
    return {address(v6 ? "fd00:4::a40:0" : "10.64.0.0"), World4::virtual_address(v6, forward), 1024, 80};
}

std::vector<Row> make_rows(Bench& bench, bool quick)
{
    std::vector<Row> rows;
    const auto small = std::make_shared<World4>(262144);
    const int program = small->plane.xdp_program_fd();
    const Frame plain = make_frame(client_tuple(false, Forward::snat), IPPROTO_TCP, tcp_ack);
    rows.push_back({.name = "empty program", .program = bench.empty_fd(), .frame = plain});
    rows.push_back({.name = "not ours",
        .program = program,
        .frame = make_frame({address("10.9.0.1"), address("10.9.0.2"), 1, 2}, IPPROTO_TCP, tcp_ack),
        .verdict = 2});
    for (const bool v6 : {false, true})
        for (const Forward forward : {Forward::snat, Forward::dnat}) {
            const std::string name = fmt::format("{} {}", v6 ? "IPv6" : "IPv4", to_string(forward));
            const Frame frame = open_flows(bench, *small, client_tuple(v6, forward), IPPROTO_TCP, 1);
            Frame sent{};
            bench.run(program, frame, 1, 1, &sent);
            rows.push_back({.name = "established, 1 flow, TCP " + name + ", to the backend",
                .program = program,
                .frame = frame,
                .world = small});
            rows.push_back({.name = "established, 1 flow, TCP " + name + ", to the client",
                .program = program,
                .frame = reply_to(sent, IPPROTO_TCP),
                .world = small});
        }
    rows.push_back({.name = "established, 1 flow, UDP IPv4 snat, to the backend",
        .program = program,
        .frame = open_flows(bench, *small, client_tuple(false, Forward::snat), IPPROTO_UDP, 1),
        .world = small});
    for (const std::uint32_t flows : {4000u, 64000u, 1000000u}) {
        if (quick && flows > 64000)
            continue;
        const auto world = std::make_shared<World4>(std::bit_ceil(2 * flows));
        const Frame frame = open_flows(bench, *world, client_tuple(false, Forward::snat), IPPROTO_TCP, flows);
        rows.push_back({.name = fmt::format("established, {} flows in turn, TCP IPv4 snat", flows),
            .program = world->plane.xdp_program_fd(),
            .frame = frame,
            .flows = flows,
            .world = world});
    }
    for (const Forward forward : {Forward::snat, Forward::dnat}) {
        const auto world = std::make_shared<World4>(262144);
        const std::string name(to_string(forward));
        const Frame syn = make_frame(client_tuple(false, forward), IPPROTO_TCP, tcp_syn);
        rows.push_back({.name = "new flow, table emptied before each round, TCP IPv4 " + name,
            .program = world->plane.xdp_program_fd(),
            .frame = syn,
            .flows = 100000,
            .repeat = 100000,
            .world = world});
        const auto full = std::make_shared<World4>(16384);
        rows.push_back({.name = "new flow, table full of unproven ones (a SYN flood), TCP IPv4 " + name,
            .program = full->plane.xdp_program_fd(),
            .frame = syn,
            .flows = 4000000,
            .repeat = 200000,
            .world = full});
    }
    return rows;
}

void clear_flows(World4& world)
{
    const std::size_t bytes = sizeof(flb_set4) * world.plane.sizes().flows_max;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, world.plane.map_fd("flows4"), 0);
    if (memory == MAP_FAILED)
        die("cannot map the flow table");
    std::memset(memory, 0, bytes);
    munmap(memory, bytes);
}

double median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

} // namespace

int main(int argc, char** argv)
{
    CLI::App app{"Nanoseconds a packet, beside an empty program"};
    bool quick = false;
    std::string json_file;
    int rounds = 9;
    app.add_flag("--quick", quick, "fewer packets a round, no row with a million flows");
    app.add_option("--json", json_file, "write the figures there");
    app.add_option("--rounds", rounds, "interleaved rounds; the median is reported");
    CLI11_PARSE(app, argc, argv);
    if (unshare(CLONE_NEWNET))
        die("cannot make a network namespace: run as root");

    Bench bench;
    std::vector<Row> rows = make_rows(bench, quick);
    for (const Row& row : rows)
        verify(bench, row);
    const std::uint32_t repeat = quick ? 300000 : 1000000;
    std::map<World4*, std::uint32_t> continued; // where the rotation of a full table goes on
    for (int round = 0; round < rounds; round++)
        for (Row& row : rows) {
            const bool emptied = row.repeat == 100000;
            if (emptied)
                clear_flows(*row.world);
            std::uint32_t first = 0;
            if (row.repeat && !emptied) {
                first = continued[row.world.get()];
                continued[row.world.get()] = (first + row.repeat) % row.flows;
            }
            row.rounds.push_back(bench.run(
                row.program, row.frame, row.flows, row.repeat ? row.repeat : repeat, nullptr, nullptr, first));
        }

    const double floor = median(rows.front().rounds);
    nlohmann::json json = nlohmann::json::array();
    fmt::print("{:<76} {:>8} {:>8}\n", "ns a packet (medians of interleaved rounds)", "ns", "x empty");
    for (const Row& row : rows) {
        const double ns = median(row.rounds);
        fmt::print("{:<76} {:>8.0f} {:>8.2f}\n", row.name, ns, ns / floor);
        json.push_back({{"name", row.name}, {"ns", ns}, {"ratio", ns / floor}, {"rounds", row.rounds}});
    }
    if (!json_file.empty()) {
        std::FILE* file = std::fopen(json_file.c_str(), "w");
        if (!file)
            die("cannot write " + json_file);
        fmt::print(file, "{}\n", json.dump(2));
        std::fclose(file);
    }
}
