// SPDX-License-Identifier: Apache-2.0
#include "kernel/attach.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <net/if.h>
#include <unistd.h>

#include "kernel/dataplane_choice.h"
#include "kernel/dataplane_hooks.h"
#include "kernel/dataplane_pins.h"
#include "kernel/map.h"

namespace featherlb {

namespace {

constexpr std::array link_hooks = {Hook::xdp, Hook::xdp_generic, Hook::tcx};
constexpr std::string_view marker = "clsact"; // links/clsact-IFINDEX: we made the qdisc

std::string interface_name(std::uint32_t ifindex)
{
    std::array<char, IF_NAMESIZE> name{};
    return ::if_indextoname(ifindex, name.data()) ? std::string(name.data()) : fmt::format("number {}", ifindex);
}

// "xdp-generic-12" -> the hook's name and 12.
std::optional<std::pair<std::string, std::uint32_t>> split_pin(const std::string& name)
{
    const auto dash = name.rfind('-');
    std::uint32_t ifindex = 0;
    if (dash == std::string::npos)
        return std::nullopt;
    const auto parsed = std::from_chars(name.data() + dash + 1, name.data() + name.size(), ifindex);
    if (parsed.ec != std::errc{} || parsed.ptr != name.data() + name.size())
        return std::nullopt;
    return std::pair{name.substr(0, dash), ifindex};
}

std::string describe_program(std::uint32_t id)
{
    const std::string name = hooks::program_name(id);
    return name.empty() ? fmt::format("program {}", id) : fmt::format("program {} (\"{}\")", id, name);
}

// Nothing where nobody else is there.
std::optional<Error> occupied(Hook hook, const AttachRequest& request)
{
    if (is_xdp(hook)) {
        const auto programs = hooks::xdp_programs(request.ifindex);
        if (programs.empty())
            return std::nullopt;
        return Error{
            fmt::format("{} has an XDP program that is not ours: {}", request.name, describe_program(programs[0])),
            fmt::format(
                "stop what attached it or remove it (`ip link set dev {0} xdp off`), or set `attach: tc` for {0}",
                request.name)};
    }
    for (const std::uint32_t id : hooks::tcx_programs(request.ifindex))
        if (hooks::program_name(id) == "flb_tc")
            return Error{fmt::format("another featherlb handles {} already: {}", request.name, describe_program(id)),
                "stop it and run `featherlb detach`, or give it other interfaces"};
    return std::nullopt;
}

} // namespace

struct Attachments::State {
    struct Owned {
        Hook hook = Hook::tcx;
        Fd link;  // XDP and TCX
        Fd claim; // clsact
    };
    std::string links; // empty: ephemeral
    ProgramOf program;
    std::map<std::uint32_t, Owned> owned;
    std::set<std::uint32_t> made_qdiscs; // ephemeral only; pinned ones have a marker

    [[nodiscard]] bool pinning() const { return !links.empty(); }
    [[nodiscard]] std::string pin(std::string_view hook, std::uint32_t ifindex) const
    {
        return fmt::format("{}/{}-{}", links, hook, ifindex);
    }

    Fd take_link(Hook hook, std::uint32_t ifindex);
    Result<void> put(Hook hook, const AttachRequest& request, const std::string& driver, AttachOutcome& outcome);
    Result<void> put_link(Hook hook, const AttachRequest& request, const std::string& driver, AttachOutcome& outcome);
    Result<void> put_tc(const AttachRequest& request, const std::string& driver, AttachOutcome& outcome);
    Result<void> put_clsact(const AttachRequest& request, AttachOutcome& outcome);
    void remove_link(Hook hook, std::uint32_t ifindex, std::vector<std::string>& removed);
    void remove_clsact(std::uint32_t ifindex, std::vector<std::string>& removed);
    void remove_all(std::uint32_t ifindex, std::vector<std::string>& removed);
};

Attachments::Attachments(std::string links, ProgramOf program) : state_(std::make_unique<State>())
{
    state_->links = std::move(links);
    state_->program = std::move(program);
}

Attachments::Attachments(Attachments&&) noexcept = default;
Attachments& Attachments::operator=(Attachments&&) noexcept = default;

Attachments::~Attachments()
{
    if (!state_ || state_->pinning())
        return;
    std::vector<std::string> removed;
    std::vector<std::uint32_t> filtered;
    for (const auto& [ifindex, owned] : state_->owned)
        if (owned.hook == Hook::clsact)
            filtered.push_back(ifindex);
    for (const std::uint32_t ifindex : filtered)
        state_->remove_clsact(ifindex, removed);
}

// A living link of ours of this hook: of this process, or pinned by an earlier one.
Fd Attachments::State::take_link(Hook hook, std::uint32_t ifindex)
{
    Fd link;
    if (const auto found = owned.find(ifindex); found != owned.end() && found->second.hook == hook)
        link = std::move(found->second.link);
    else if (pinning())
        link = hooks::open_pinned_link(pin(to_string(hook), ifindex));
    if (hooks::link_is(link, hook, ifindex))
        return link;
    if (pinning())
        ::unlink(pin(to_string(hook), ifindex).c_str());
    return {};
}

Result<void> Attachments::State::put_link(
    Hook hook, const AttachRequest& request, const std::string& driver, AttachOutcome& outcome)
{
    const std::uint32_t ifindex = request.ifindex;
    const auto failed = [&](int error) {
        Error result = bpf_error({}, error);
        result.message = fmt::format("attaching {} to {}: {}", to_string(hook), request.name,
            explain_attach_error(hook, request.name, driver, error));
        if (result.remedy.empty() && is_xdp(hook))
            result.remedy = "set `attach: tc` or `attach: auto` for this interface";
        return fail(std::move(result));
    };
    const Result<int> code = program(hook);
    if (!code)
        return fail(code.error());
    Fd link = take_link(hook, ifindex);
    outcome.adopted = link.valid();
    if (link.valid()) {
        if (const int error = hooks::update_link(link, *code))
            return failed(error);
    } else {
        // An interface has XDP either native or generic: ours of the other kind must go first.
        std::vector<std::string> removed;
        if (is_xdp(hook))
            remove_link(hook == Hook::xdp ? Hook::xdp_generic : Hook::xdp, ifindex, removed);
        if (auto error = occupied(hook, request))
            return fail(std::move(*error));
        if (const int error = hooks::create_link(hook, ifindex, *code, link))
            return failed(error);
        if (pinning())
            if (const int error = hooks::pin_link(link, pin(to_string(hook), ifindex)))
                return fail(bpf_error(fmt::format("pinning the {} link of {}", to_string(hook), request.name), error));
    }
    owned[ifindex] = Owned{.hook = hook, .link = std::move(link), .claim = {}};
    return {};
}

Result<void> Attachments::State::put_clsact(const AttachRequest& request, AttachOutcome& outcome)
{
    const std::uint32_t ifindex = request.ifindex;
    const Result<int> code = program(Hook::clsact);
    if (!code)
        return fail(code.error());
    Fd claim;
    if (const auto found = owned.find(ifindex); found != owned.end() && found->second.hook == Hook::clsact)
        claim = std::move(found->second.claim);
    else
        claim = hooks::claim_filter(ifindex);
    if (!claim.valid())
        return fail(fmt::format("another featherlb handles {} already", request.name),
            "stop it first, or give it other interfaces");
    const std::uint32_t there = hooks::filter_program(ifindex);
    if (there != 0 && !hooks::filter_is_ours(ifindex))
        return fail(fmt::format("{} has a filter at priority {}, handle {:#x}, that is not ours: {}", request.name,
                        hooks::filter_priority, hooks::filter_handle, describe_program(there)),
            fmt::format("remove it (`tc filter del dev {} ingress pref {}`)", request.name, hooks::filter_priority));
    bool made = false;
    if (const int error = hooks::make_clsact(ifindex, made))
        return fail(bpf_error("adding the clsact qdisc to " + request.name, error));
    if (made) {
        if (pinning())
            (void)make_directory(pin(marker, ifindex)); // without it the qdisc stays, which harms nobody
        else
            made_qdiscs.insert(ifindex);
    }
    if (const int error = hooks::put_filter(ifindex, *code))
        return fail(bpf_error("adding a filter to " + request.name, error));
    outcome.adopted = there != 0;
    owned[ifindex] = Owned{.hook = Hook::clsact, .link = {}, .claim = std::move(claim)};
    return {};
}

Result<void> Attachments::State::put_tc(const AttachRequest& request, const std::string& driver, AttachOutcome& outcome)
{
    // FEATHERLB_NO_TCX lets tests take the way of Linux below 6.6.
    const char* forbidden = std::getenv("FEATHERLB_NO_TCX");
    const bool allowed = !forbidden || std::string_view(forbidden) != "1";
    if (allowed && hooks::has_tcx(request.ifindex)) {
        outcome.hook = Hook::tcx;
        return put_link(Hook::tcx, request, driver, outcome);
    }
    outcome.hook = Hook::clsact;
    outcome.why += allowed ? "; no TCX before Linux 6.6" : "; TCX is switched off by FEATHERLB_NO_TCX";
    return put_clsact(request, outcome);
}

Result<void> Attachments::State::put(
    Hook hook, const AttachRequest& request, const std::string& driver, AttachOutcome& outcome)
{
    outcome.hook = hook;
    auto done = is_xdp(hook) ? put_link(hook, request, driver, outcome) : put_tc(request, driver, outcome);
    if (!done)
        return done;
    // What we had on the interface's other hooks goes now that the new one works.
    std::vector<std::string> removed;
    for (const Hook other : link_hooks)
        if (other != outcome.hook)
            remove_link(other, request.ifindex, removed);
    if (outcome.hook != Hook::clsact)
        remove_clsact(request.ifindex, removed);
    return {};
}

Result<AttachOutcome> Attachments::attach(const AttachRequest& request)
{
    AttachOutcome outcome;
    outcome.driver = driver_of(request.name);
    Hook hook = Hook::tcx;
    if (request.mode == Attach::xdp) {
        hook = Hook::xdp;
        outcome.why = "as configured";
    } else if (request.mode == Attach::xdp_generic) {
        hook = Hook::xdp_generic;
        outcome.why = "as configured";
    } else if (request.mode == Attach::tc) {
        outcome.why = "as configured";
    } else {
        const HookChoice choice = choose_hook(outcome.driver);
        hook = choice.xdp ? Hook::xdp : Hook::tcx;
        outcome.why = choice.why;
    }
    auto done = state_->put(hook, request, outcome.driver, outcome);
    if (!done && request.mode == Attach::automatic && hook == Hook::xdp) {
        outcome.why = "native XDP is not possible: " + done.error().message;
        done = state_->put(Hook::tcx, request, outcome.driver, outcome);
    }
    if (!done)
        return fail(done.error());
    outcome.warnings = attach_warnings(outcome.hook, request.name, outcome.driver);
    return outcome;
}

void Attachments::State::remove_link(Hook hook, std::uint32_t ifindex, std::vector<std::string>& removed)
{
    Fd link;
    if (const auto found = owned.find(ifindex); found != owned.end() && found->second.hook == hook) {
        link = std::move(found->second.link);
        owned.erase(found);
    }
    if (!link.valid() && pinning())
        link = hooks::open_pinned_link(pin(to_string(hook), ifindex));
    // Detached at once: the kernel drops an unpinned link only some time after its last user.
    bool had = link.valid() && hooks::detach_link(link) == 0;
    if (pinning())
        had = ::unlink(pin(to_string(hook), ifindex).c_str()) == 0 || had;
    if (had)
        removed.push_back(fmt::format("{} on {}", to_string(hook), interface_name(ifindex)));
}

void Attachments::State::remove_clsact(std::uint32_t ifindex, std::vector<std::string>& removed)
{
    const auto found = owned.find(ifindex);
    const bool ours = found != owned.end() && found->second.hook == Hook::clsact;
    const bool made = made_qdiscs.erase(ifindex) > 0 || (pinning() && ::rmdir(pin(marker, ifindex).c_str()) == 0);
    if (hooks::filter_is_ours(ifindex)) {
        // Somebody else's living data plane is not ours to remove.
        const Fd claim = ours ? std::move(found->second.claim) : hooks::claim_filter(ifindex);
        if (claim.valid() && hooks::remove_filter(ifindex) == 0)
            removed.push_back(fmt::format("clsact filter on {}", interface_name(ifindex)));
    }
    if (made && hooks::remove_idle_clsact(ifindex))
        removed.push_back(fmt::format("clsact qdisc on {}", interface_name(ifindex)));
    if (ours)
        owned.erase(ifindex);
}

void Attachments::State::remove_all(std::uint32_t ifindex, std::vector<std::string>& removed)
{
    for (const Hook hook : link_hooks)
        remove_link(hook, ifindex, removed);
    remove_clsact(ifindex, removed);
}

Result<void> Attachments::detach(std::uint32_t ifindex)
{
    std::vector<std::string> removed;
    state_->remove_all(ifindex, removed);
    return {};
}

Result<std::vector<std::string>> Attachments::detach_others(const std::set<std::uint32_t>& keep)
{
    std::vector<std::string> removed;
    std::set<std::uint32_t> candidates;
    for (const auto& [ifindex, owned] : state_->owned)
        candidates.insert(ifindex);
    if (state_->pinning())
        for (const auto& name : names_in(state_->links))
            if (const auto parts = split_pin(name))
                candidates.insert(parts->second);
    if (struct if_nameindex* interfaces = ::if_nameindex()) {
        for (const auto* entry = interfaces; entry->if_index != 0; entry++)
            if (!keep.contains(entry->if_index) && hooks::filter_is_ours(entry->if_index))
                candidates.insert(entry->if_index);
        ::if_freenameindex(interfaces);
    }
    for (const std::uint32_t ifindex : candidates)
        if (!keep.contains(ifindex))
            state_->remove_all(ifindex, removed);
    return removed;
}

std::vector<Attachment> Attachments::list() const
{
    std::vector<Attachment> result;
    for (const auto& [ifindex, owned] : state_->owned) {
        if (owned.hook == Hook::clsact) {
            if (const std::uint32_t program = hooks::filter_program(ifindex))
                result.push_back({ifindex, owned.hook, program});
        } else if (const auto info = hooks::link_info(owned.link); info && info->ifindex == ifindex) {
            result.push_back({ifindex, owned.hook, info->program_id});
        }
    }
    return result;
}

} // namespace featherlb
