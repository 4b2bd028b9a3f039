// SPDX-License-Identifier: Apache-2.0
// The flow table (bpf/flow.h) on the host: against a model, and with threads. The same tests run under
// ThreadSanitizer (preset tsan).
#include <array>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "kernel/sweeper.h"
#include "unit/flow_table_memory.h"

namespace {

constexpr __u32 start_of_time = 1000;

flow_key key_of(int v6, __u64 number, __u64 kind = 0)
{
    flow_key key{};
    for (int i = 0; i < FLOW_KEY_WORDS(v6); i++)
        key.w[i] = (number + 1) * 0x9e3779b97f4a7c15ULL + kind * 0x51ed27f2bb1e03ULL + static_cast<__u64>(i);
    return key;
}

flow_key client(int v6, __u64 number)
{
    return key_of(v6, number, 1);
}

flow_key backend(int v6, __u64 number)
{
    return key_of(v6, number, 2);
}

flow_result reserve(int v6, const flow_key& key, flow_mode mode, __u32 now, flow_request* out)
{
    out->key = key;
    out->mode = mode;
    out->now = now;
    const flow_result result = flow_reserve(v6, out);
    flow_settle(out, result);
    return result;
}

// Inserts a connection as decide.h does; `number` stands in the recipes of both entries.
flow_result open_pair(int v6, const flow_key& from_client, const flow_key& from_backend, __u64 number, __u32 now,
    flow_mode mode = FLOW_REPLY_ANY)
{
    flow_request reply{}, owner{};
    if (const flow_result result = reserve(v6, from_backend, mode, now, &reply); result != FLOW_OK)
        return result;
    flb_flow* r = flow_at(v6, reply.index);
    if (const flow_result result = reserve(v6, from_client, FLOW_OWNER, now, &owner); result != FLOW_OK) {
        flow_cancel(r);
        return result;
    }
    flb_flow* o = flow_at(v6, owner.index);
    if (!r || !o)
        return FLOW_CONTENDED;
    atomic_store(&r->pair, owner.index);
    atomic_store(&r->aux, owner.generation);
    atomic_store(&o->pair, reply.index);
    const auto at = static_cast<__u32>(number % flow_most_backends);
    atomic_store(&o->backend, at);
    flow_moved(at, FLB_FLOW_BUSY, FLB_FLOW_SYN);
    for (int i = 0; i < FLOW_ADDRESS_WORDS(v6); i++) {
        atomic_store(&flow_words(o)[FLOW_KEY_WORDS(v6) + i], number);
        atomic_store(&flow_words(r)[FLOW_KEY_WORDS(v6) + i], number);
    }
    flow_publish(r, FLB_FLOW_REPLY_NEW);
    flow_publish(o, FLB_FLOW_SYN);
    return FLOW_OK;
}

void set_state(int v6, const flow_key& from_client, __u32 state, __u32 now)
{
    flow_ref owner{}, reply{};
    ASSERT_TRUE(flow_find(v6, &from_client, &owner));
    ASSERT_TRUE(flow_advance(&owner, state, now));
    if (flow_is_proven(state) && flow_reply(v6, &owner, &reply))
        flow_advance(&reply, FLB_FLOW_REPLY, now);
}

int copies(int v6, const flow_key& key)
{
    int found = 0;
    for (__u32 index = 0; index < flow_sets(v6) * FLB_WAYS; index++) {
        flb_flow* f = flow_at(v6, index);
        found += flow_is_live(f->ctl) && flow_key_equal(v6, f, &key);
    }
    return found;
}

// Rule 8. `open`: what the counts are off already.
void expect_loads_of_the_table(int v6, std::array<__u32, flow_most_backends> open = {})
{
    for (__u32 index = 0; index < flow_sets(v6) * FLB_WAYS; index++) {
        const flb_flow* f = flow_at(v6, index);
        open.at(f->backend) += flow_is_load(flow_state(f->ctl)) ? 1 : 0;
    }
    for (std::size_t backend = 0; backend < open.size(); backend++)
        EXPECT_EQ(flow_loads[backend].open, open[backend]) << "open connections of backend " << backend;
}

class FlowFamilies : public testing::TestWithParam<int> {
protected:
    int v6() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(families, FlowFamilies, testing::Values(0, 1),
    [](const auto& family) { return std::string(family.param ? "ipv6" : "ipv4"); });

TEST_P(FlowFamilies, a_pair_is_found_by_both_keys_and_names_each_other)
{
    FlowTable table(64);
    ASSERT_EQ(open_pair(v6(), client(v6(), 1), backend(v6(), 1), 7, start_of_time), FLOW_OK);
    flow_ref owner{}, reply{}, other{};
    const flow_key from_client = client(v6(), 1), from_backend = backend(v6(), 1);
    ASSERT_TRUE(flow_find(v6(), &from_client, &owner));
    ASSERT_TRUE(flow_find(v6(), &from_backend, &reply));
    ASSERT_TRUE(flow_owner(v6(), reply.f, &other));
    EXPECT_EQ(other.index, owner.index);
    ASSERT_TRUE(flow_reply(v6(), &owner, &other));
    EXPECT_EQ(other.index, reply.index);
}

TEST_P(FlowFamilies, a_taken_key_is_refused_and_a_released_one_is_free)
{
    FlowTable table(64);
    ASSERT_EQ(open_pair(v6(), client(v6(), 1), backend(v6(), 1), 1, start_of_time), FLOW_OK);
    EXPECT_EQ(open_pair(v6(), client(v6(), 1), backend(v6(), 2), 1, start_of_time), FLOW_EXISTS);
    EXPECT_EQ(copies(v6(), backend(v6(), 2)), 0) << "the reply's reservation is undone";
    EXPECT_EQ(open_pair(v6(), client(v6(), 2), backend(v6(), 1), 1, start_of_time), FLOW_EXISTS);
    flow_ref owner{};
    const flow_key from_client = client(v6(), 1);
    ASSERT_TRUE(flow_find(v6(), &from_client, &owner));
    flow_release(&owner);
    EXPECT_EQ(open_pair(v6(), client(v6(), 2), backend(v6(), 1), 1, start_of_time), FLOW_OK)
        << "an orphan's key may be taken";
}

TEST_P(FlowFamilies, a_port_whose_connection_has_just_closed_rests_unless_there_is_no_other)
{
    FlowTable table(64);
    ASSERT_EQ(open_pair(v6(), client(v6(), 1), backend(v6(), 1), 1, start_of_time), FLOW_OK);
    set_state(v6(), client(v6(), 1), FLB_FLOW_CLOSED_BACKEND, start_of_time);
    EXPECT_EQ(open_pair(v6(), client(v6(), 2), backend(v6(), 1), 1, start_of_time, FLOW_REPLY_FRESH), FLOW_RESTING);
    EXPECT_EQ(
        open_pair(v6(), client(v6(), 2), backend(v6(), 1), 1, start_of_time + 1, FLOW_REPLY_RESTED), FLOW_RESTING);
    EXPECT_EQ(open_pair(v6(), client(v6(), 2), backend(v6(), 1), 1, start_of_time + 2, FLOW_REPLY_FRESH), FLOW_RESTING);
    EXPECT_EQ(open_pair(v6(), client(v6(), 2), backend(v6(), 1), 1, start_of_time + 2, FLOW_REPLY_RESTED), FLOW_OK);
    set_state(v6(), client(v6(), 2), FLB_FLOW_CLOSED_BACKEND, start_of_time + 2);
    EXPECT_EQ(open_pair(v6(), client(v6(), 3), backend(v6(), 1), 1, start_of_time + 2, FLOW_REPLY_ANY), FLOW_OK);
    set_state(v6(), client(v6(), 3), FLB_FLOW_CLOSED_BACKEND, start_of_time + 2);
    EXPECT_EQ(open_pair(v6(), client(v6(), 4), backend(v6(), 1), 1, start_of_time + 13, FLOW_REPLY_FRESH), FLOW_OK);
}

TEST_P(FlowFamilies, the_oldest_unproven_gives_way_and_a_proven_one_never)
{
    FlowTable table(1); // four entries: two connections
    for (__u64 i = 0; i < 2; i++)
        ASSERT_EQ(
            open_pair(v6(), client(v6(), i), backend(v6(), i), i, start_of_time + static_cast<__u32>(i)), FLOW_OK);
    set_state(v6(), client(v6(), 0), FLB_FLOW_ESTABLISHED, start_of_time + 2);
    ASSERT_EQ(open_pair(v6(), client(v6(), 2), backend(v6(), 2), 2, start_of_time + 3), FLOW_OK);
    EXPECT_EQ(copies(v6(), client(v6(), 0)), 1);
    EXPECT_EQ(copies(v6(), client(v6(), 1)), 0);
    set_state(v6(), client(v6(), 2), FLB_FLOW_ESTABLISHED, start_of_time + 3);
    EXPECT_EQ(open_pair(v6(), client(v6(), 3), backend(v6(), 3), 3, start_of_time + 4), FLOW_FULL);
    EXPECT_EQ(open_pair(v6(), client(v6(), 3), backend(v6(), 3), 3, start_of_time + 2000), FLOW_OK) << "expired";
}

TEST_P(FlowFamilies, an_entry_is_whole_only_while_its_generation_stands)
{
    FlowTable table(1);
    ASSERT_EQ(open_pair(v6(), client(v6(), 0), backend(v6(), 0), 0, start_of_time), FLOW_OK);
    flow_ref seen{};
    const flow_key from_client = client(v6(), 0);
    ASSERT_TRUE(flow_find(v6(), &from_client, &seen));
    EXPECT_TRUE(flow_is_whole(&seen));
    flow_ref ref = seen;
    flow_release(&ref);
    EXPECT_FALSE(flow_is_whole(&seen));
    ASSERT_EQ(open_pair(v6(), client(v6(), 0), backend(v6(), 1), 1, start_of_time), FLOW_OK);
    EXPECT_FALSE(flow_is_whole(&seen));
}

TEST_P(FlowFamilies, a_counted_owner_is_given_back_once_by_whatever_ends_it)
{
    const auto counted = [&](flb_flow* f) { return (f->ctl & FLB_CTL_COUNTED) != 0; };
    for (const __u32 ending : {FLB_FLOW_EMPTY, FLB_FLOW_CLOSED_CLIENT, FLB_FLOW_CLOSED_BACKEND, FLB_FLOW_RESET}) {
        FlowTable table(1);
        ASSERT_EQ(open_pair(v6(), client(v6(), 0), backend(v6(), 0), 0, start_of_time), FLOW_OK);
        flow_ref owner{};
        const flow_key from_client = client(v6(), 0);
        ASSERT_TRUE(flow_find(v6(), &from_client, &owner));
        owner.f->backend = 7;
        ASSERT_TRUE(flow_advance_with(&owner, FLB_FLOW_ESTABLISHED, start_of_time, FLB_CTL_COUNTED));
        EXPECT_FALSE(flow_advance_with(&owner, FLB_FLOW_ESTABLISHED, start_of_time, FLB_CTL_COUNTED)) << "set already";
        ASSERT_TRUE(flow_advance(&owner, FLB_FLOW_FIN_CLIENT, start_of_time + 1));
        EXPECT_TRUE(counted(owner.f));
        EXPECT_TRUE(flow_uncounted.empty());
        ASSERT_TRUE(flow_advance(&owner, ending, start_of_time + 1));
        EXPECT_FALSE(counted(owner.f));
        flow_release(&owner);
        ASSERT_EQ(flow_uncounted.size(), 1u);
        EXPECT_EQ(flow_uncounted[0].backend, 7u);
        EXPECT_EQ(flow_uncounted[0].client, v6() ? from_client.w[1] : from_client.w[0] & 0xffffffff);
    }
    FlowTable table(1);
    ASSERT_EQ(open_pair(v6(), client(v6(), 0), backend(v6(), 0), 0, start_of_time), FLOW_OK);
    flow_ref owner{};
    const flow_key from_client = client(v6(), 0);
    ASSERT_TRUE(flow_find(v6(), &from_client, &owner));
    ASSERT_TRUE(flow_advance_with(&owner, FLB_FLOW_ESTABLISHED, start_of_time, FLB_CTL_COUNTED));
    for (__u64 n = 1; n < 4; n++)
        EXPECT_EQ(open_pair(v6(), client(v6(), n), backend(v6(), n), n, start_of_time + 2000), FLOW_OK);
    EXPECT_EQ(flow_uncounted.size(), 1u) << "replaced after it had expired";
}

// Closing, expiry and replacement at the same moment: each connection that was counted is given back once.
TEST_P(FlowFamilies, processors_that_end_the_same_connection_give_it_back_once)
{
    constexpr int rounds = 5000;
    FlowTable table(2);
    std::atomic<int> arrived = 0;
    std::atomic<__u64> counted = 0;
    std::vector<std::jthread> running;
    for (int t = 0; t < 2; t++)
        running.emplace_back([&, t] {
            for (int i = 0; i < rounds; i++) {
                const __u32 now = start_of_time + static_cast<__u32>(i) * 2000;
                const flow_key key = client(v6(), static_cast<__u64>(i));
                arrived++;
                while (arrived < i * 4 + 2) {
                }
                flow_ref ref{};
                if (t == 0) {
                    if (open_pair(v6(), key, backend(v6(), static_cast<__u64>(i)), 0, now) == FLOW_OK &&
                        flow_find(v6(), &key, &ref))
                        counted += flow_advance_with(&ref, FLB_FLOW_ESTABLISHED, now, FLB_CTL_COUNTED);
                }
                arrived++;
                while (arrived < (i + 1) * 4) {
                }
                if (flow_find(v6(), &key, &ref))
                    flow_advance(&ref, t == 0 ? FLB_FLOW_CLOSED_CLIENT : FLB_FLOW_RESET, now);
                if (t == 1)
                    open_pair(v6(), client(v6(), static_cast<__u64>(i) + 1000000),
                        backend(v6(), static_cast<__u64>(i) + 1000000), 0, now + 1500);
            }
        });
    running.clear();
    EXPECT_EQ(counted, static_cast<__u64>(rounds));
    __u64 left = 0;
    for (__u32 index = 0; index < flow_sets(v6()) * FLB_WAYS; index++)
        left += (flow_at(v6(), index)->ctl & FLB_CTL_COUNTED) != 0;
    EXPECT_EQ(flow_uncounted.size() + left, counted);
}

TEST_P(FlowFamilies, generations_wrap_without_touching_their_neighbours)
{
    FlowTable table(1);
    flb_flow* f = flow_at(v6(), 0);
    for (__u32 way = 0; way < FLB_WAYS; way++)
        flow_at(v6(), way)->ctl = ~0ULL << FLB_CTL_GENERATION_SHIFT | FLB_CTL_MARK;
    ASSERT_EQ(open_pair(v6(), client(v6(), 0), backend(v6(), 0), 0, start_of_time), FLOW_OK);
    EXPECT_TRUE(f->ctl & FLB_CTL_MARK);
    EXPECT_FALSE(f->ctl & FLB_CTL_LOCK);
    flow_ref ref{};
    const flow_key from_backend = backend(v6(), 0);
    ASSERT_TRUE(flow_find(v6(), &from_backend, &ref));
    EXPECT_TRUE(flow_owner(v6(), ref.f, &ref));
}

// At the rated load of a table (half of its entries) practically nothing is refused.
TEST_P(FlowFamilies, at_half_load_fewer_than_one_percent_of_proven_connections_are_refused)
{
    constexpr __u32 sets = 8192;
    FlowTable table(sets);
    __u32 refused = 0;
    for (__u64 i = 0; i < sets; i++) {
        if (open_pair(v6(), client(v6(), i), backend(v6(), i), i, start_of_time) == FLOW_OK)
            set_state(v6(), client(v6(), i), FLB_FLOW_ESTABLISHED, start_of_time);
        else
            refused++;
    }
    RecordProperty("refused_per_10000", static_cast<int>(refused * 10000 / sets));
    EXPECT_LT(refused, sets / 100);
}

// A slow, obvious table: what must be found, by key. Connections that are proven stay; the others may go.
TEST_P(FlowFamilies, random_sequences_agree_with_the_model)
{
    struct Model {
        __u64 port = 0, number = 0;
        bool proven = false;
        __u32 age = 0;
    };
    std::mt19937_64 random(20 + static_cast<unsigned>(v6()));
    for (const __u32 sets : {1u, 3u, 64u}) {
        FlowTable table(sets);
        std::map<__u64, Model> model; // by client
        __u32 now = start_of_time;
        for (int step = 0; step < 20000; step++) {
            const __u64 who = random() % (__u64{sets} * 4), port = random() % (__u64{sets} * 4);
            now += random() % 50 == 0;
            std::erase_if(model, [&](const auto& entry) { return now - entry.second.age > 1000; });
            const auto known = model.find(who);
            switch (random() % 4) {
            case 0: {
                const flow_result result =
                    open_pair(v6(), client(v6(), who), backend(v6(), port), static_cast<__u64>(step), now);
                if (known != model.end() && known->second.proven) {
                    ASSERT_NE(result, FLOW_OK) << "a live connection was replaced";
                }
                const bool port_in_use = std::any_of(model.begin(), model.end(),
                    [&](const auto& entry) { return entry.second.proven && entry.second.port == port; });
                if (port_in_use) {
                    ASSERT_NE(result, FLOW_OK) << "a reply's key was given away twice";
                }
                if (result == FLOW_OK)
                    model[who] = {port, static_cast<__u64>(step), false, now};
                break;
            }
            case 1:
                if (flow_ref ref{}; known != model.end()) {
                    const flow_key from_client = client(v6(), who);
                    flow_ref reply{};
                    if (!flow_find(v6(), &from_client, &ref) || !flow_reply(v6(), &ref, &reply))
                        break; // an unproven one that gave way, wholly or by half
                    set_state(v6(), from_client, FLB_FLOW_ESTABLISHED, now);
                    known->second.proven = true;
                    known->second.age = now;
                }
                break;
            case 2:
                if (known != model.end() && known->second.proven) {
                    set_state(v6(), client(v6(), who), FLB_FLOW_CLOSED_CLIENT, now);
                    model.erase(known);
                }
                break;
            default:
                break;
            }
            const auto check = model.find(random() % (__u64{sets} * 4));
            if (check == model.end() || !check->second.proven)
                continue;
            for (const flow_key& key : {client(v6(), check->first), backend(v6(), check->second.port)}) {
                flow_ref ref{};
                ASSERT_TRUE(flow_find(v6(), &key, &ref)) << "a proven connection is gone, step " << step;
                ASSERT_EQ(flow_words(ref.f)[FLOW_KEY_WORDS(v6())], check->second.number);
                ASSERT_EQ(copies(v6(), key), 1);
            }
        }
        expect_loads_of_the_table(v6());
    }
}

// Openings, closings, replacements, touches and the sweeper, all at once: afterwards the counts are those of the table.
TEST_P(FlowFamilies, open_connections_are_counted_right_whatever_happens_at_the_same_moment)
{
    constexpr __u32 sets = 8;
    constexpr int rounds = 30000;
    constexpr std::array<__u32, 6> states{FLB_FLOW_ESTABLISHED, FLB_FLOW_FIN_CLIENT, FLB_FLOW_CLOSED_BACKEND,
        FLB_FLOW_CLOSED_CLIENT, FLB_FLOW_RESET, FLB_FLOW_EMPTY};
    FlowTable table(sets);
    std::atomic<__u32> now = start_of_time;
    std::atomic<bool> over = false;
    std::atomic<__u64> expired = 0;
    featherlb::Sweeper sweeper({flow_memory.sets4, sets}, {flow_memory.sets6, sets}, flow_most_backends, {},
        featherlb::SweptLoads{.loads = flow_loads, .begun = {}});
    // A pass takes microseconds here: a thread that stands still between its swap and its count for three of them is
    // corrected wrongly. That is known of corrections, and taken into account.
    std::array<__u32, flow_most_backends> corrected{};
    std::jthread sweeping([&] {
        while (!over) {
            if (sweeper.step(sets, now, std::span<const __u32, FLB_FLOW_STATES>(flow_memory.settings.timeout)))
                for (const auto& correction : sweeper.counts().corrections)
                    corrected.at(correction.backend) += correction.found - correction.counted;
            expired = sweeper.totals().expired;
        }
    });
    std::vector<std::jthread> running;
    for (unsigned t = 0; t < 3; t++)
        running.emplace_back([&, t] {
            std::mt19937_64 random(7 + t);
            for (int i = 0; i < rounds || expired < 100; i++) {
                const __u64 who = random() % 64;
                const flow_key key = client(v6(), who);
                flow_ref ref{};
                if (random() % 8 == 0)
                    now += static_cast<__u32>(random() % 24);
                if (random() % 3 == 0)
                    open_pair(v6(), key, backend(v6(), random() % 64), who, now);
                else if (flow_find(v6(), &key, &ref))
                    random() % 3 == 0 ? flow_touch(&ref, now) : flow_advance(&ref, states[random() % 6], now);
            }
        });
    running.clear();
    over = true;
    sweeping.join();
    expect_loads_of_the_table(v6(), corrected);
}

TEST_P(FlowFamilies, processors_that_insert_the_same_key_end_with_one_entry)
{
    constexpr int threads = 2, keys = 60000; // in step, one key after another, or they hardly ever meet
    FlowTable table(32768);
    std::atomic<int> arrived = 0;
    std::array<std::atomic<int>, keys> winners{};
    std::vector<std::jthread> running;
    for (int t = 0; t < threads; t++)
        running.emplace_back([&, t] {
            for (int k = 0; k < keys; k++) {
                const __u64 port = static_cast<__u64>(k) * threads + static_cast<__u64>(t);
                arrived++;
                while (arrived < (k + 1) * threads) {
                }
                flow_result result = FLOW_CONTENDED;
                for (int tries = 0; tries < 10000 && result == FLOW_CONTENDED; tries++)
                    result = open_pair(v6(), client(v6(), static_cast<__u64>(k)), backend(v6(), port),
                        static_cast<__u64>(k), start_of_time);
                if (result == FLOW_OK)
                    winners[static_cast<std::size_t>(k)]++;
            }
        });
    running.clear();
    std::map<std::vector<__u64>, int> keys_in_table;
    for (__u32 index = 0; index < flow_sets(v6()) * FLB_WAYS; index++) {
        flb_flow* f = flow_at(v6(), index);
        if (flow_is_live(f->ctl)) {
            EXPECT_EQ(++keys_in_table[std::vector(flow_words(f), flow_words(f) + FLOW_KEY_WORDS(v6()))], 1);
        }
        EXPECT_NE(flow_state(flow_at(v6(), index)->ctl), FLB_FLOW_BUSY) << "a reservation was left behind";
        EXPECT_FALSE(flow_at(v6(), index)->ctl & FLB_CTL_LOCK) << "a lock was left behind";
    }
}

// Writers replace connections in a tiny table as fast as they can; a reader that got a whole recipe got the one of
// the key it asked for.
TEST_P(FlowFamilies, a_reader_never_gets_a_torn_recipe)
{
    constexpr int keys = 64, rounds = 20000;
    FlowTable table(2);
    std::atomic<bool> stop = false;
    std::atomic<__u64> read = 0;
    std::vector<std::jthread> running;
    for (int r = 0; r < 2; r++)
        running.emplace_back([&, r] {
            std::mt19937_64 random(static_cast<unsigned>(r));
            while (!stop) {
                const __u64 number = random() % keys;
                const flow_key key = client(v6(), number);
                flow_ref ref{};
                if (!flow_find(v6(), &key, &ref))
                    continue;
                std::array<__u64, 4> words{};
                for (int i = 0; i < FLOW_ADDRESS_WORDS(v6()); i++)
                    words[static_cast<std::size_t>(i)] = atomic_load(&flow_words(ref.f)[FLOW_KEY_WORDS(v6()) + i]);
                if (!flow_is_whole(&ref))
                    continue;
                for (int i = 0; i < FLOW_ADDRESS_WORDS(v6()); i++)
                    ASSERT_EQ(words[static_cast<std::size_t>(i)], number);
                read++;
            }
        });
    std::vector<std::jthread> writers;
    for (int w = 0; w < 2; w++)
        writers.emplace_back([&, w] {
            std::mt19937_64 random(100 + static_cast<unsigned>(w));
            for (int i = 0; i < rounds || read == 0; i++) { // on a busy machine the readers may come late
                const __u64 number = random() % keys;
                open_pair(
                    v6(), client(v6(), number), backend(v6(), number), number, start_of_time + static_cast<__u32>(i));
            }
        });
    writers.clear();
    stop = true;
    running.clear();
    EXPECT_GT(read, 0u);
}

} // namespace
