// SPDX-License-Identifier: Apache-2.0
// A million random packets through both hooks, and what the model says of each: verdict, drop reason, every byte, and
// in between the whole flow table and the counters. FEATHERLB_MODEL_SEED repeats a run, FEATHERLB_MODEL_PACKETS makes
// it longer.
#include <cstdlib>
#include <iostream>

#include <fmt/format.h>

#include "harness.h"
#include "kernel/sweeper.h"
#include "model_traffic.h"

namespace featherlb::packet {
namespace {

constexpr unsigned default_packets = 250'000; // in each of the four runs
constexpr unsigned client_count = 40, ports_each = 5, listeners = 5;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise)
{
    const char* text = std::getenv(variable);
    return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

class ModelTest : public Harness {
protected:
    Model model_;
    std::uint64_t seed_ = number_from("FEATHERLB_MODEL_SEED", std::random_device{}());
    Traffic traffic_{model_, seed_ + static_cast<std::uint64_t>(GetParam().hook == Hook::tc) * 2 + (v6() ? 1 : 0)};
    std::array<std::uint64_t, FLB_MAX_REASONS> drops_{};  // by reason, that the model has seen
    std::array<std::uint64_t, FLB_FLOW_STATES> states_{}; // of connections, after each of their packets
    std::uint32_t tick_ = 0;                              // the programs' clock, which stands still
    struct Event {
        unsigned number;
        std::uint32_t tick;
        Hook by;
        Arriving packet;
        Expected expected;
    };
    std::deque<Event> history_;

    void SetUp() override
    {
        use({65536, 65536}); // thin: nothing is ever replaced for want of room
        serve(1);
        (void)run(Connection{*this}.syn());
        tick_ = find(Connection{*this}.syn()).age();
        model_.world.clock = tick_;
        use({65536, 65536});
        build_world();
        for (unsigned client_number = 0; client_number < client_count; client_number++)
            for (unsigned port = 0; port < ports_each; port++)
                for (unsigned listener = 1; listener <= listeners; listener++)
                    for (const std::uint8_t protocol : {protocol_tcp, protocol_tcp, protocol_udp})
                        if (protocol == protocol_tcp || port < 2)
                            traffic_.add_talk({{client(client_number), service_address(listener),
                                                   static_cast<std::uint16_t>(40000 + port), service_port, protocol},
                                client_mac(), {}, &clients(), traffic_.below(1u << 31)});
        for (const IpAddress& address : {stranger(), address(1, 1), address(2, 200), address(3, 200)})
            traffic_.add_stranger(address);
    }

    // ---- the world: services 1 and 2 are snat, 3 and 4 dnat; service 4 has two addresses
    void build_world()
    {
        World& world = model_.world;
        for (unsigned state = 0; state < FLB_FLOW_STATES; state++)
            world.timeout[state] = plane().settings().timeout[state];
        world.first_port = first_snat_port;
        world.ports = 24; // few, so that they run out and come again
        world.stride = 7;
        set_ports(world.first_port, world.ports, world.stride);
        for (const Interface* interface : {&clients(), &backends()})
            world.interfaces[interface->index] = {interface->mac, 1500};
        for (unsigned n = 0; n < client_count; n++)
            world.on_link.insert(client(n));
        world.neighbours[client(0)] = {client_mac(), clients().index, {}};
        add_service(1, FLB_SNAT, FLB_PICK_TURN, {11, 12, 13}, 1);
        add_service(2, FLB_SNAT, FLB_PICK_HASH_5TUPLE, {21, 22, 23, 24}, 3);
        add_service(3, FLB_DNAT, FLB_PICK_TURN, {31, 32}, 0);
        add_service(4, FLB_DNAT, FLB_PICK_HASH_ADDRESSES, {41, 42, 43}, 0);
        add_listener(5, 4);
        admit();
    }

    // Service 1 has a limit, services 2 and 4 affinity, service 3 lists.
    void admit()
    {
        std::map<unsigned, ModelService>& known = model_.world.services;
        known[1].source_connections = service(1).source_connections = v6() ? 25 : 3; // IPv6: all are one source
        known[2].affinity_ticks = service(2).affinity_ticks = 40;
        known[2].affinity_prefix = service(2).affinity_prefix = v6() ? 126 : 32;
        known[4].affinity_ticks = service(4).affinity_ticks = 100;
        known[4].affinity_prefix = service(4).affinity_prefix = v6() ? 128 : 32;
        service(3).flags |= FLB_SERVICE_LISTS;
        const auto rule = [&](const IpAddress& address, unsigned bits, bool allow) {
            const NetworkPrefix network = NetworkPrefix::of(address, static_cast<std::uint8_t>(bits));
            known[3].lists[network] = allow;
            flb_prefix_key key{};
            key.bits = 32 + bits;
            key.service = 3;
            key.address = network.address.to_abi();
            plane().put_prefix(key, allow);
        };
        const unsigned all = v6() ? 128 : 32;
        rule(client(8), all - 4, false);
        rule(client(9), all - 1, true);
        rule(client(9), all, false);
        rule(client(30), all - 2, false);
        rule(client(1), 0, true);
    }

    void add_listener(unsigned address_number, unsigned service)
    {
        for (const std::uint8_t protocol : {protocol_tcp, protocol_udp}) {
            listen(service_address(address_number), service_port, protocol, service);
            model_.world.listeners[{service_address(address_number), service_port, protocol}] = service;
        }
    }

    void add_service(
        unsigned n, flb_forward forward, flb_pick pick, const std::vector<unsigned>& numbers, unsigned pool)
    {
        serve(n, {.forward = forward, .pick = pick, .backends = numbers, .pick_seed = seed_});
        model_.world.services[n] = {forward, pick, seed_, numbers, 0};
        add_listener(n, n);
        for (const unsigned number : numbers) {
            ModelBackend& b = model_.world.backends[number];
            b.service = n;
            b.address = backend_address(number);
            b.port = backend_port;
            b.hop = Hop{backend_mac(number), backends().index, {}};
            if (forward == FLB_SNAT)
                put_snat_addresses(number, n * 4, pool);
            for (unsigned i = 0; i < pool; i++)
                b.pool.push_back(snat_address(n * 4 + i));
            if (forward == FLB_DNAT)
                for (const std::uint8_t protocol : {protocol_tcp, protocol_udp})
                    model_.world.sources[{b.address, b.port, protocol}] = {service_address(n), service_port, number};
        }
        change_slots(n);
    }

    // ---- what moves
    void change_slots(unsigned n)
    {
        ModelService& service = model_.world.services[n];
        std::vector<unsigned> all;
        for (const auto& [number, b] : model_.world.backends)
            if (number / 10 == n)
                all.push_back(number);
        const std::size_t size = traffic_.one_in(40) ? 0 : 1 + traffic_.below(59);
        const std::size_t up = 1 + traffic_.below(static_cast<std::uint32_t>(all.size()));
        service.slots.clear();
        for (std::size_t i = 0; i < size; i++)
            service.slots.push_back(all[traffic_.below(static_cast<std::uint32_t>(up))]);
        put_slots(n, service.slots);
    }

    std::vector<Tag> some_tags()
    {
        switch (traffic_.below(4)) {
        case 0:
            return {{.tci = static_cast<std::uint16_t>(1 + traffic_.below(4000))}};
        case 1:
            return {{.tci = 7, .protocol = tag_ad}, {.tci = static_cast<std::uint16_t>(traffic_.below(65536))}};
        default:
            return {};
        }
    }

    void change_backend()
    {
        auto at = model_.world.backends.begin();
        std::advance(at, traffic_.below(static_cast<std::uint32_t>(model_.world.backends.size())));
        ModelBackend& b = at->second;
        flb_backend& record = backend(at->first);
        const Interface& side = traffic_.one_in(4) ? clients() : backends();
        b.hop = Hop{backend_mac(traffic_.below(250)), side.index, some_tags()};
        b.mtu = traffic_.one_in(4) ? 1400 : 1500;
        b.valid = !traffic_.one_in(40);
        if (traffic_.one_in(12))
            b.hop.reset();
        record.hop = b.hop ? hop(b.hop->mac, side, b.hop->tags) : flb_hop{};
        record.mtu = static_cast<std::uint16_t>(b.mtu);
        static constexpr std::array<std::uint32_t, 8> downs = {
            0, 0, 0, 0, 0, FLB_BACKEND_RESET, FLB_BACKEND_REHASH_UDP, FLB_BACKEND_REHASH_TCP | FLB_BACKEND_REHASH_UDP};
        b.down = traffic_.any(downs);
        record.flags = b.down | (b.down ? 0 : FLB_BACKEND_UP) | (b.valid ? FLB_BACKEND_VALID : 0);
    }

    void change_interface()
    {
        const Interface& side = traffic_.one_in(2) ? clients() : backends();
        ModelInterface& known = model_.world.interfaces[side.index];
        known.mtu = traffic_.one_in(2) ? 1500 : 1450;
        iface(side).mtu = static_cast<std::uint16_t>(known.mtu);
    }

    void move_client()
    {
        const Interface& side = traffic_.one_in(4) ? backends() : clients();
        const Mac mac = {2, 0, 0, 1, 0, static_cast<std::uint8_t>(traffic_.below(256))};
        traffic_.move_client(side, mac, some_tags());
    }

    // Time passes: every entry is that much older. The daemon's sweeper runs now and then.
    void pass_time()
    {
        static constexpr std::array<std::uint32_t, 12> steps = {1, 1, 1, 2, 2, 5, 9, 12, 29, 33, 119, 7201};
        const std::uint32_t ticks = traffic_.any(steps);
        model_.world.now += ticks;
        if (v6())
            for (flb_flow6& flow : plane().flows6())
                grow_old(flow.f, ticks);
        else
            for (flb_flow4& flow : plane().flows4())
                grow_old(flow.f, ticks);
        for (const auto& [bytes, value] : plane().pins()) {
            flb_pin_key key{};
            std::memcpy(&key, bytes.data(), sizeof(key));
            const auto tick = static_cast<std::uint32_t>(static_cast<std::uint32_t>(value) - ticks);
            plane().put_pin(key, (value & ~0xffffffffULL) | tick);
        }
        if (traffic_.one_in(3))
            sweep();
    }
    static void grow_old(flb_flow& flow, std::uint32_t ticks)
    {
        if (flow.ctl & FLB_CTL_STATE)
            flow.ctl = (flow.ctl & ~0xffffffffULL) | static_cast<std::uint32_t>(flow.ctl - ticks);
    }
    void sweep()
    {
        const auto flows4 = plane().flows4();
        const auto flows6 = plane().flows6();
        Sweeper sweeper({reinterpret_cast<flb_set4*>(flows4.data()), v6() ? 0 : flows4.size() / FLB_WAYS},
            {reinterpret_cast<flb_set6*>(flows6.data()), v6() ? flows6.size() / FLB_WAYS : 0}, Plane::max_backends,
            [this](std::uint32_t number, std::uint64_t source) {
                EXPECT_TRUE(plane().source_counts().give_back(backend(number).service, source));
            });
        sweeper.step(0xffffffff, tick_, plane().settings().timeout);
        model_.sweep();
    }
    void change_the_world(unsigned packet)
    {
        if (packet % 500 == 0)
            pass_time();
        if (traffic_.one_in(100))
            move_client();
        if (traffic_.one_in(400))
            change_backend();
        if (traffic_.one_in(1000))
            change_slots(1 + traffic_.below(4));
        if (traffic_.one_in(2000))
            change_interface();
    }

    // ---- comparing
    void remember(Event event)
    {
        history_.push_back(std::move(event));
        if (history_.size() > 20'000)
            history_.pop_front();
    }

    // The last packets of a client's tuple, and what the model says of each.
    [[nodiscard]] std::string story(std::size_t talk) const
    {
        std::deque<const Event*> last;
        for (const Event& event : history_)
            if (event.packet.talk == talk || &event == &history_.back())
                last.push_back(&event);
        while (last.size() > 30)
            last.pop_front();
        std::string out;
        for (const Event* e : last)
            out += fmt::format("  {} tick {} {} {}: {}\n      -> {}, reason {}\n", e->number, e->tick,
                e->by == Hook::xdp ? "xdp" : "tc", e->packet.in->name, to_string(e->packet.frame),
                e->expected.kind == Expected::send   ? to_string(e->expected.out)
                : e->expected.kind == Expected::drop ? "drop"
                                                     : "pass",
                static_cast<unsigned>(e->expected.reason));
        return out;
    }

    void compare(unsigned number, const Arriving& packet, const Expected& expected, Hook by)
    {
        const Outcome got = plane().run(by, to_bytes(packet.frame), {packet.in->index, 0});
        if (expected.reason)
            drops_[expected.reason]++;
        Verdict verdict = Verdict::drop;
        if (expected.kind == Expected::pass)
            verdict = Verdict::pass;
        else if (expected.kind == Expected::send)
            verdict = by == Hook::xdp && expected.ifindex == packet.in->index ? Verdict::transmit : Verdict::redirect;
        // Dropped, and answered by an ICMP error unless there were too many: its bytes are icmp_test.cpp's.
        const bool answered = (expected.reason == FLB_DROP_ttl_exceeded || expected.reason == FLB_DROP_too_big) &&
                              got.verdict == (by == Hook::xdp ? Verdict::transmit : Verdict::redirect);
        ASSERT_TRUE(answered || got.verdict == verdict) << "packet " << number << ": returned " << got.code;
        if (expected.kind != Expected::drop) {
            const Frame& out = expected.kind == Expected::send ? expected.out : packet.frame;
            ASSERT_TRUE(same(to_bytes(out), got.bytes)) << "packet " << number;
        }
        for (const std::uint32_t reason : {static_cast<std::uint32_t>(expected.reason), number % FLB_MAX_REASONS})
            ASSERT_EQ(plane().drops(reason), drops_[reason]) << "packet " << number << ": reason " << reason;
    }

    // Every connection of the model is in the table as it should be, and nobody else is alive there.
    void compare_tables()
    {
        std::map<Key, Entry> live;
        for (const Entry& entry : entries())
            live[{entry.source, entry.destination, entry.sport, entry.dport, entry.protocol}] = entry;
        for (const auto& [key, owner] : model_.owners()) {
            if (!model_.find(key))
                continue;
            ASSERT_TRUE(live.contains(key)) << to_string(key) << " state " << owner.state;
            EXPECT_EQ(live.at(key).state(), owner.state) << to_string(key);
            EXPECT_EQ(tick_ - live.at(key).age(), model_.world.now - owner.seen) << to_string(key);
        }
        for (const auto& [key, entry] : live) {
            const bool expired = tick_ - entry.age() > model_.world.timeout.at(entry.state());
            EXPECT_TRUE(entry.is_reply() || expired || model_.find(key)) << to_string(key) << " lives";
        }
        for (const auto& [source, count] : model_.counts())
            EXPECT_EQ(plane().counted(source.first, source.second.address), count) << source.second.to_string();
        const auto pins = plane().pins();
        EXPECT_EQ(pins.size(), model_.pins().size());
        for (const auto& [source, pin] : model_.pins()) {
            flb_pin_key key{};
            key.service = source.first;
            key.address = source.second.address.to_abi();
            const auto found = pins.find(std::string(reinterpret_cast<const char*>(&key), sizeof(key)));
            ASSERT_NE(found, pins.end()) << source.second.to_string();
            EXPECT_EQ(found->second >> 32, pin.backend) << source.second.to_string();
            EXPECT_EQ(tick_ - static_cast<std::uint32_t>(found->second), model_.world.now - pin.seen)
                << source.second.to_string();
        }
        for (const auto& [number, b] : model_.world.backends) {
            const flb_backend_counters counted = plane().counters(number);
            EXPECT_EQ(counted.connections, b.connections);
            for (int direction = 0; direction < 2; direction++) {
                EXPECT_EQ(counted.packets[direction], b.packets[direction]);
                EXPECT_EQ(counted.bytes[direction], b.bytes[direction]);
            }
        }
    }

    void run_all(unsigned packets)
    {
        for (unsigned number = 0; number < packets && !HasFailure(); number++) {
            change_the_world(number);
            const Arriving packet = traffic_.next();
            const Expected expected = model_.answer(packet.frame, packet.in->index);
            const Hook by = traffic_.one_in(8) ? (hook() == Hook::xdp ? Hook::tc : Hook::xdp) : hook();
            remember({number, model_.world.now, by, packet, expected});
            compare(number, packet, expected, by);
            traffic_.left(packet, expected);
            const Owner* owner = model_.find(key_of(packet.frame));
            if (!owner)
                owner = model_.find_by_reply(key_of(packet.frame));
            if (owner)
                states_[owner->state]++;
            if (number % 10'000 == 9'999)
                compare_tables();
            if (HasFailure())
                ADD_FAILURE() << "the last packets of this connection, with what the model says:\n"
                              << story(packet.talk);
        }
    }
};
INSTANTIATE_TEST_SUITE_P(hooks, ModelTest, every_way, name_of);

TEST_P(ModelTest, predicts_every_packet)
{
    const unsigned packets = static_cast<unsigned>(number_from("FEATHERLB_MODEL_PACKETS", default_packets));
    std::cout << "seed " << seed_ << "; to repeat: FEATHERLB_MODEL_SEED=" << seed_ << "\n";
    run_all(packets);
    if (!HasFailure())
        compare_tables();
    if (HasFailure() || packets < default_packets)
        return;
    // And the traffic was such that every rule was asked for.
    for (const flb_flow_state state : {FLB_FLOW_SYN, FLB_FLOW_SYN_ACK, FLB_FLOW_MIDSTREAM, FLB_FLOW_UDP_NEW,
             FLB_FLOW_UDP_REPLIED, FLB_FLOW_ESTABLISHED, FLB_FLOW_FIN_CLIENT, FLB_FLOW_FIN_BACKEND, FLB_FLOW_UDP_STREAM,
             FLB_FLOW_CLOSED_CLIENT, FLB_FLOW_CLOSED_BACKEND, FLB_FLOW_RESET})
        EXPECT_GT(states_[state], packets / 5000) << "state " << state;
    for (const flb_drop_reason reason : {FLB_DROP_bad_tcp_flags, FLB_DROP_ttl_exceeded, FLB_DROP_no_flow,
             FLB_DROP_no_backend, FLB_DROP_backend_unresolved, FLB_DROP_no_return_path, FLB_DROP_ports_exhausted,
             FLB_DROP_tuple_in_use, FLB_DROP_too_big, FLB_DROP_not_configured, FLB_DROP_denied,
             FLB_DROP_source_connections, FLB_DROP_backend_down, FLB_DROP_superseded})
        EXPECT_GT(drops_[reason], 0u) << "reason " << reason;
}

} // namespace
} // namespace featherlb::packet
