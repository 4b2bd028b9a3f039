// SPDX-License-Identifier: Apache-2.0
#include "daemon/interfaces.h"

#include <algorithm>
#include <utility>

namespace featherlb {

namespace {

bool same(const InterfaceRecord& a, const InterfaceRecord& b)
{
    return a.ifindex == b.ifindex && a.name == b.name && a.mac == b.mac && a.mtu == b.mtu &&
           a.hands_over == b.hands_over;
}

} // namespace

Result<void> Interfaces::record(const Machine& machine, const std::set<std::uint32_t>& indexes)
{
    for (auto entry = records_.begin(); entry != records_.end();) {
        if (indexes.contains(entry->first)) {
            ++entry;
            continue;
        }
        if (interfaces_.contains(entry->first) && find_interface(machine.interfaces, entry->first) == nullptr)
            log_.warning("interface {} is gone; attaching again when it returns", entry->second.name);
        if (Result<void> removed = plane_.remove_interface(entry->first); !removed)
            return fail(std::move(removed.error()));
        interfaces_.erase(entry->first);
        entry = records_.erase(entry);
    }
    for (const std::uint32_t index : indexes) {
        const Interface* interface = find_interface(machine.interfaces, index);
        if (interface == nullptr)
            continue;
        const InterfaceRecord record{.ifindex = index,
            .name = interface->name,
            .mac = interface->mac,
            .mtu = interface->mtu,
            .hands_over = interface->hands_over};
        if (const auto known = records_.find(index); known != records_.end() && same(known->second, record))
            continue;
        if (Result<void> set = plane_.set_interface(record); !set)
            return fail(std::move(set.error()));
        records_[index] = record;
    }
    return {};
}

ProgramChoice programs_for(const std::vector<ChosenInterface>& chosen)
{
    ProgramChoice needed{.xdp = false, .tc = chosen.empty()};
    for (const ChosenInterface& choice : chosen) {
        const bool automatic = choice.mode == Attach::automatic;
        const bool tc = choice.mode == Attach::tc || (automatic && !choose_hook(driver_of(choice.name)).xdp);
        (tc ? needed.tc : needed.xdp) = true;
    }
    return needed;
}

Result<void> Interfaces::attach(const std::vector<ChosenInterface>& chosen)
{
    std::optional<Error> first;
    std::set<std::uint32_t> keep;
    for (const ChosenInterface& choice : chosen) {
        keep.insert(choice.ifindex);
        AttachedInterface& interface = interfaces_[choice.ifindex];
        const bool done = interface.outcome && interface.chosen.mode == choice.mode;
        interface.chosen = choice;
        if (done)
            continue;
        if (Result<void> attached = attach_one(interface); !attached && !first)
            first = std::move(attached.error());
    }
    if (Result<void> left = leave_others(keep); !left && !first)
        first = std::move(left.error());
    if (first)
        return fail(std::move(*first));
    return {};
}

Result<void> Interfaces::attach_one(AttachedInterface& interface)
{
    const ChosenInterface& chosen = interface.chosen;
    Result<AttachOutcome> outcome =
        plane_.attach({.ifindex = chosen.ifindex, .name = chosen.name, .mode = chosen.mode});
    if (!outcome) {
        const std::string problem = describe(outcome.error());
        if (problem != interface.problem)
            log_.error("interface {}: {}", chosen.name, problem);
        interface.problem = problem;
        interface.outcome.reset();
        return fail(std::move(outcome.error()).add_context("interface " + chosen.name));
    }
    say_attached(chosen, *outcome);
    interface.outcome = std::move(*outcome);
    interface.problem.clear();
    return {};
}

void Interfaces::say_attached(const ChosenInterface& chosen, const AttachOutcome& outcome)
{
    log_.info("interface {} ({}): {} as {}, attach: {}{}{}{}{}", chosen.name, chosen.why,
        outcome.adopted ? "program replaced" : "attached", to_string(outcome.hook), to_string(chosen.mode),
        outcome.driver.empty() ? "" : ", driver ", outcome.driver, outcome.why.empty() ? "" : ": ", outcome.why);
    for (const std::string& warning : outcome.warnings)
        log_.warning("interface {}: {}", chosen.name, warning);
}

Result<void> Interfaces::leave_others(const std::set<std::uint32_t>& keep)
{
    std::erase_if(interfaces_, [&keep](const auto& entry) { return !keep.contains(entry.first); });
    Result<std::vector<std::string>> left = plane_.detach_others(keep);
    if (!left)
        return fail(std::move(left.error()));
    for (const std::string& line : *left)
        log_.info("{}", line);
    return {};
}

void Interfaces::look_again()
{
    std::set<std::uint32_t> there;
    for (const Attachment& attachment : plane_.attachments())
        there.insert(attachment.ifindex);
    for (auto& [index, interface] : interfaces_) {
        if (interface.outcome && !there.contains(index))
            interface.outcome.reset();
    }
}

} // namespace featherlb
