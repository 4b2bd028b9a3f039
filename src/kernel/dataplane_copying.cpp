// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_copying.h"

#include <utility>

#include <fmt/format.h>

namespace featherlb {

namespace {

// Longer than programs need to take their places.
constexpr std::uint32_t hold_ticks = 5;

Result<std::uint32_t> ticks(const MapSet& maps, const Clock& clock)
{
    const auto jiffies = clock.jiffies();
    if (!jiffies)
        return fail(jiffies.error());
    return static_cast<std::uint32_t>(*jiffies >> maps.settings().tick_shift);
}

// 0 would say: never.
std::uint32_t until_tick(std::uint32_t now)
{
    return now + hold_ticks == 0 ? 1 : now + hold_ticks;
}

ForeignFlows flows_of(const Predecessor& old, bool v6)
{
    return {old.at(v6 ? "flows6" : "flows4").bytes(), old.layout, v6};
}

std::string reason(const Predecessor& old, const MapSet& maps)
{
    const std::uint32_t before = old.sizes().flows_max;
    const std::uint32_t now = maps.sizes().flows_max;
    if (old.resumed)
        return "an earlier start was interrupted while it copied them";
    return before == now ? "another version, with another layout, has pinned them"
                         : fmt::format("flows.max was {} and is {}", before, now);
}

} // namespace

Copying::Copying(
    std::unique_ptr<Predecessor> old, CopyProgram program, PinPaths paths, std::optional<std::uint32_t> since)
    : old_(std::move(old)), program_(std::move(program)),
      flows_(
          flows_of(*old_, false), flows_of(*old_, true),
          [this](std::span<flb_copy> copies) { return program_.put(copies); }, since),
      paths_(std::move(paths))
{
}

Copying::~Copying()
{
    if (!changed_over_ && !paths_.root.empty())
        remove_pins(paths_.next());
}

// In the predecessor's settings, too, where it has such: its programs may meet what the new ones have begun.
void Copying::hold_until(const MapSet& maps, std::uint32_t tick) const
{
    publish(maps.settings().copying_until, tick);
    const flb_field* field = old_->layout.find("flb_settings.copying_until");
    const std::span<std::byte> settings = old_->at("settings").value(0);
    if (field && field->size == sizeof(tick) && field->offset % sizeof(tick) == 0 &&
        field->offset + sizeof(tick) <= settings.size())
        publish(*reinterpret_cast<std::uint32_t*>(settings.data() + field->offset), tick);
}

Result<std::unique_ptr<Copying>> Copying::begin(std::unique_ptr<Predecessor> old, const MapSet& maps,
    const flb_load& constants, const PinPaths& paths, const Clock& clock)
{
    auto program = CopyProgram::load(
        [&maps](const std::string& name) {
            const auto found = maps.maps.find(name);
            return found == maps.maps.end() ? -1 : found->second.fd();
        },
        constants);
    if (!program)
        return fail(program.error());
    const bool resumed = old->resumed;
    // What an earlier daemon copied before it changed over has gone on in the new table since, or ended there.
    std::optional<std::uint32_t> since;
    if (const std::uint32_t until = maps.settings().copying_until; resumed && until != 0)
        since = until - hold_ticks - 1;
    std::unique_ptr<Copying> copying(new Copying(std::move(old), std::move(*program), paths, since));
    copying->why_ = reason(*copying->old_, maps);
    copying->changed_over_ = copying->in_use_ = resumed;
    const auto now = ticks(maps, clock);
    if (!now)
        return fail(now.error());
    if (resumed)
        copying->hold_until(maps, until_tick(*now));
    if (auto copied = copying->pass(maps, *now); !copied)
        return fail(copied.error());
    return copying;
}

Result<void> Copying::pass(const MapSet& maps, std::uint32_t now)
{
    const auto started = std::chrono::steady_clock::now();
    auto done = flows_.pass({now, maps.settings().timeout});
    took_ += std::chrono::steady_clock::now() - started;
    return done;
}

Result<void> Copying::change_over(const MapSet& maps, const Clock& clock)
{
    if (changed_over_)
        return {};
    auto now = ticks(maps, clock);
    if (!now)
        return fail(now.error());
    if (auto copied = pass(maps, *now); !copied) // so that little is left for the moment in between
        return copied;
    if (now = ticks(maps, clock); !now) // of a large table, later
        return fail(now.error());
    if (!paths_.root.empty()) {
        remove_pins(paths_.old());
        if (auto renamed = rename_directory(paths_.maps(), paths_.old()); !renamed)
            return renamed;
        if (auto renamed = rename_directory(paths_.next(), paths_.maps()); !renamed) {
            (void)rename_directory(paths_.old(), paths_.maps());
            return renamed;
        }
    }
    hold_until(maps, until_tick(*now));
    changed_over_ = true;
    return {};
}

void Copying::attached(bool done)
{
    if (!changed_over_ || in_use_)
        return;
    if (!done) {
        change_back();
        return;
    }
    in_use_ = true;
    if (!paths_.root.empty())
        (void)make_directory(paths_.in_use());
}

void Copying::change_back()
{
    if (!paths_.root.empty() &&
        (!rename_directory(paths_.maps(), paths_.next()) || !rename_directory(paths_.old(), paths_.maps())))
        return; // the next start sees to it
    changed_over_ = false;
}

Result<void> Copying::finish(const MapSet& maps, const Clock& clock)
{
    if (auto over = change_over(maps, clock); !over)
        return over;
    const auto now = ticks(maps, clock);
    if (!now)
        return fail(now.error());
    hold_until(maps, until_tick(*now));
    if (auto copied = pass(maps, *now); !copied)
        return copied;
    hold_until(maps, 0);
    (void)copy_pins(*old_, maps); // a client whose pin is lost gets another one
    if (!paths_.root.empty()) {
        remove_pins(paths_.old());
        remove_directory(paths_.in_use());
    }
    return {};
}

CopyReport Copying::report() const
{
    const FlowCopyTotals& totals = flows_.totals();
    return {.why = why_,
        .connections = totals.copied,
        .lost = totals.no_room + (old_->resumed ? 0 : totals.known),
        .took = std::chrono::duration_cast<std::chrono::milliseconds>(took_)};
}

} // namespace featherlb
