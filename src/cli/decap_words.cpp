// SPDX-License-Identifier: Apache-2.0
#include "cli/decap_words.h"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/text.h"
#include "config/endpoints.h"

namespace featherlb::cli {

namespace {

constexpr unsigned least_mtu = 576, largest_mtu = 65535;

// Each word by `parse`; what is wrong with the first that does not fit.
template <typename T, typename Parse>
std::string read_all(const char* option, const std::vector<std::string>& words, std::vector<T>& result, Parse parse)
{
    for (const std::string& word : words) {
        const auto parsed = parse(word);
        if (!parsed)
            return fmt::format("{}: {}{}{}", option, parsed.error().what, parsed.error().remedy.empty() ? "" : "; ",
                parsed.error().remedy);
        result.push_back(*parsed);
    }
    return {};
}

} // namespace

void DecapWords::add_to(CLI::App& command)
{
    command.add_option("--interface", interfaces_, "where the balancer's packets arrive; may be given again")
        ->type_name("NAME")
        ->allow_extra_args(false);
    command.add_option("--attach", attach_, "tc, xdp or xdp-generic")->type_name("HOOK")->capture_default_str();
    command
        .add_option("--service", services_,
            "only packets for this address of the host; may be given again (default: the addresses on lo)")
        ->type_name("ADDRESS")
        ->allow_extra_args(false);
    command
        .add_option("--from", from_,
            "only tunnels from this network, where the balancers are; may be given again (default: from anywhere)")
        ->type_name("NETWORK")
        ->allow_extra_args(false);
    command.add_option("--mtu", mtu_, "of the path from the balancers (default: each interface's own)")
        ->type_name("BYTES");
}

std::string DecapWords::finish(DecapOptions& options) const
{
    if (interfaces_.empty())
        return "decap needs --interface NAME";
    for (const std::string& name : interfaces_)
        if (std::count(interfaces_.begin(), interfaces_.end(), name) > 1)
            return fmt::format("--interface {} is given twice", quote(name));
    options.interfaces = interfaces_;
    if (attach_ == "xdp")
        options.attach = Attach::xdp;
    else if (attach_ == "xdp-generic")
        options.attach = Attach::xdp_generic;
    else if (attach_ != "tc")
        return fmt::format("--attach {} is unknown; use tc, xdp or xdp-generic", quote(attach_));
    if (std::string problem = read_all("--service", services_, options.services, parse_source_address);
        !problem.empty())
        return problem;
    if (std::string problem = read_all("--from", from_, options.from, parse_network); !problem.empty())
        return problem;
    if (mtu_ != 0 && (mtu_ < least_mtu || mtu_ > largest_mtu))
        return fmt::format("--mtu {} is not from {} to {}", mtu_, least_mtu, largest_mtu);
    if (mtu_ != 0)
        options.mtu = mtu_;
    return {};
}

} // namespace featherlb::cli
