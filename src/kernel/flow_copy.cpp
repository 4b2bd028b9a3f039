// SPDX-License-Identifier: Apache-2.0
#include "kernel/flow_copy.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "kernel/flow_entry.h"

namespace featherlb {

namespace {

using namespace flow_entry;

constexpr int contended_tries = 8;
constexpr std::int32_t worth_telling = 2; // ticks, by which a copy is too old

RecordMove move_of(const Layout& layout, bool v6)
{
    auto move = layout.to_ours(v6 ? "flb_flow6" : "flb_flow4");
    if (!move)
        throw std::logic_error("a flow table of a layout that cannot be read");
    return std::move(*move);
}

template <typename T>
void fill(flb_copy_entry& to, const T& from)
{
    constexpr std::size_t key = sizeof(T::key);
    static_assert(key <= sizeof(to.key) && sizeof(from.saddr) * 2 <= sizeof(to.addresses));
    static_assert(
        offsetof(T, saddr) == sizeof(flb_flow) + key && offsetof(T, daddr) == offsetof(T, saddr) + sizeof(from.saddr));
    std::memcpy(to.key, &from.key, key);
    std::memcpy(to.addresses, &from.saddr, sizeof(from.saddr));
    std::memcpy(reinterpret_cast<std::byte*>(to.addresses) + sizeof(from.saddr), &from.daddr, sizeof(from.daddr));
    to.hop = from.f.hop;
    to.sport = from.f.sport;
    to.dport = from.f.dport;
    to.addresses_delta = from.f.addresses_delta;
    to.ports_delta = from.f.ports_delta;
}

} // namespace

ForeignFlows::ForeignFlows(std::span<std::byte> memory, const Layout& layout, bool v6)
    : memory_(memory), move_(move_of(layout, v6))
{
    record_ = move_.their_size();
    control_ = layout.find(v6 ? "flb_flow6.ctl" : "flb_flow4.ctl")->offset;
    entries_ = memory.size() / record_;
}

std::uint64_t ForeignFlows::control(std::size_t index) const
{
    return load(*reinterpret_cast<__u64*>(memory_.data() + index * record_ + control_));
}

template <typename T>
bool ForeignFlows::read(std::size_t index, T& entry) const
{
    alignas(8) std::array<std::byte, largest_record> seen{};
    const std::uint64_t before = control(index);
    std::byte* record = memory_.data() + index * record_;
    for (std::size_t at = 0; at + sizeof(std::uint64_t) <= record_ && at < seen.size(); at += sizeof(std::uint64_t)) {
        const std::uint64_t word = std::atomic_ref(*reinterpret_cast<std::uint64_t*>(record + at)).load();
        std::memcpy(seen.data() + at, &word, sizeof(word));
    }
    const std::uint64_t after = control(index);
    if (generation_of(before) != generation_of(after) || state_of(before) != state_of(after) ||
        state_of(after) <= FLB_FLOW_BUSY || record_ > seen.size())
        return false;
    move_.make(std::span(seen).first(record_), std::as_writable_bytes(std::span(&entry, 1)));
    entry.f.ctl = after;
    return true;
}

namespace {

// As read(), but for what only happens to be touched at this moment.
template <typename T>
bool read_settled(const ForeignFlows& flows, std::size_t index, T& entry)
{
    constexpr int tries = 16;
    for (int i = 0; i < tries; i++) {
        if (flows.read(index, entry))
            return true;
        if (state_of(flows.control(index)) <= FLB_FLOW_BUSY)
            return false;
    }
    return false;
}

} // namespace

FlowCopy::FlowCopy(ForeignFlows v4, ForeignFlows v6, Put put, std::optional<std::uint32_t> since)
    : v4_{.flows = std::move(v4), .known = {}, .copied = {}}, v6_{.flows = std::move(v6), .known = {}, .copied = {}},
      put_(std::move(put)), since_(since)
{
    v4_.known.resize(v4_.flows.size());
    v6_.known.resize(v6_.flows.size());
}

Result<void> FlowCopy::pass(const FlowClock& clock)
{
    totals_.known = totals_.no_room = 0;
    if (auto done = pass_over<flb_flow4>(v4_, false, clock); !done)
        return done;
    if (auto done = pass_over<flb_flow6>(v6_, true, clock); !done)
        return done;
    last_try_ = true;
    Result<void> done;
    for (const auto& [copy, asked] : std::exchange(known_again_, {})) {
        ask(copy, asked);
        if (batch_.size() == FLB_COPIES && done)
            done = flush();
        if (!done)
            break;
    }
    if (done)
        done = flush();
    last_try_ = false;
    return done;
}

template <typename T>
Result<void> FlowCopy::pass_over(Family& family, bool v6, const FlowClock& clock)
{
    for (std::uint32_t index = 0; index < family.flows.size(); index++) {
        const std::uint64_t control = family.flows.control(index);
        const std::uint32_t state = state_of(control);
        if (state == FLB_FLOW_BUSY)
            continue;
        const bool here = state != FLB_FLOW_EMPTY && state < FLB_FLOW_STATES && !is_reply(state) &&
                          idle_of(control, clock.now) <= static_cast<std::int32_t>(clock.timeouts[state]);
        if (here)
            look_at<T>(family, v6, index, control);
        else if (family.known[index])
            forget(family, v6, index);
        if (batch_.size() + 2 > FLB_COPIES)
            if (auto done = flush(); !done)
                return done;
    }
    return flush();
}

template <typename T>
void FlowCopy::look_at(Family& family, bool v6, std::uint32_t index, std::uint64_t control)
{
    const auto known = family.known[index] ? family.copied.find(index) : family.copied.end();
    const bool same = known != family.copied.end() && known->second.old_generation == generation_of(control);
    const auto age = static_cast<std::uint32_t>(control);
    const bool unchanged = same && known->second.state == state_of(control) &&
                           static_cast<std::int32_t>(age - known->second.age) < worth_telling;
    if (unchanged && state_of(control) >= FLB_FLOW_ESTABLISHED)
        return;
    if (known == family.copied.end() && since_ && static_cast<std::int32_t>(age - *since_) < 0)
        return;
    T owner{}, reply{};
    if (!family.flows.read(index, owner) || generation_of(owner.f.ctl) != generation_of(control))
        return; // it is being changed at this moment: the next pass
    const bool one_way = owner.f.pair == FLB_NO_PAIR;
    if (!one_way &&
        (owner.f.pair >= family.flows.size() || !read_settled(family.flows, owner.f.pair, reply) ||
            !is_reply(state_of(reply.f.ctl)) || reply.f.pair != index || reply.f.aux != generation_of(owner.f.ctl))) {
        if (known != family.copied.end())
            forget(family, v6, index); // it has lost its source port, as only one that is not proven may
        return;
    }
    if (unchanged)
        return;
    flb_copy copy{};
    copy.v6 = v6;
    copy.backend = owner.f.backend;
    copy.state = state_of(owner.f.ctl);
    copy.age = static_cast<std::uint32_t>(owner.f.ctl);
    copy.aux = owner.f.aux;
    copy.counted = (owner.f.ctl & FLB_CTL_COUNTED) != 0;
    fill(copy.owner, owner);
    if (!one_way) {
        copy.reply_state = state_of(reply.f.ctl);
        copy.reply_age = static_cast<std::uint32_t>(reply.f.ctl);
        fill(copy.reply, reply);
    }
    if (same) {
        copy.what = FLB_COPY_ADVANCE;
        copy.index = known->second.index;
        copy.generation = known->second.generation;
        copy.seen = known->second.state;
    } else {
        if (known != family.copied.end())
            forget(family, v6, index);
        copy.what = FLB_COPY_INSERT;
    }
    ask(copy, {.v6 = v6, .index = index, .old_generation = generation_of(control)});
}

void FlowCopy::forget(Family& family, bool v6, std::uint32_t index)
{
    const auto known = family.copied.find(index);
    if (known == family.copied.end())
        return;
    flb_copy copy{};
    copy.what = FLB_COPY_RELEASE;
    copy.v6 = v6;
    copy.index = known->second.index;
    copy.generation = known->second.generation;
    copy.seen = known->second.state;
    family.copied.erase(known);
    family.known[index] = false;
    ask(copy, {.v6 = v6, .index = index});
}

void FlowCopy::ask(const flb_copy& copy, const Asked& asked)
{
    batch_.push_back(copy);
    asked_.push_back(asked);
}

Result<void> FlowCopy::flush()
{
    for (int i = 0; i < contended_tries && !batch_.empty(); i++) {
        if (auto done = put_(batch_); !done)
            return done;
        std::size_t left = 0;
        for (std::size_t place = 0; place < batch_.size(); place++) {
            if (batch_[place].result == FLB_COPY_CONTENDED && i + 1 < contended_tries) {
                batch_[left] = batch_[place];
                asked_[left++] = asked_[place];
            } else {
                note(batch_[place], asked_[place]);
            }
        }
        batch_.resize(left);
        asked_.resize(left);
    }
    return {};
}

void FlowCopy::note(const flb_copy& copy, const Asked& asked)
{
    Family& family = asked.v6 ? v6_ : v4_;
    switch (copy.what) {
    case FLB_COPY_INSERT:
        if (copy.result == FLB_COPY_DONE) {
            family.known[asked.index] = true;
            family.copied[asked.index] = {.index = copy.index,
                .generation = copy.generation,
                .old_generation = asked.old_generation,
                .state = copy.state,
                .age = copy.age};
            totals_.copied++;
        } else if (copy.result == FLB_COPY_KNOWN && !last_try_) {
            known_again_.emplace_back(copy, asked);
        } else if (copy.result == FLB_COPY_KNOWN) {
            totals_.known++;
        } else {
            totals_.no_room++;
        }
        break;
    case FLB_COPY_ADVANCE:
        if (const auto known = family.copied.find(asked.index); known != family.copied.end()) {
            known->second.state = copy.state; // also where a packet has moved the copy on: that is not asked again
            known->second.age = copy.age;
        }
        totals_.moved += copy.result == FLB_COPY_DONE && copy.state != copy.seen;
        break;
    default:
        if (copy.result == FLB_COPY_DONE) {
            totals_.copied--;
            totals_.ended++;
        }
    }
}

} // namespace featherlb
