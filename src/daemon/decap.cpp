// SPDX-License-Identifier: Apache-2.0
#include "daemon/decap.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <ostream>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/run.h"
#include "kernel/decap.h"

namespace featherlb {

namespace {

const Interface* find_by_name(const std::vector<Interface>& interfaces, const std::string& name)
{
    const auto found =
        std::find_if(interfaces.begin(), interfaces.end(), [&name](const Interface& i) { return i.name == name; });
    return found == interfaces.end() ? nullptr : &*found;
}

class Decap {
public:
    Decap(const DecapOptions& options, std::ostream& out, std::ostream& err)
        : options_(options), out_(out), err_(err), loop_(make_loop())
    {
    }

    int run()
    {
        signals_ = loop_->on_signals({SIGTERM, SIGINT, SIGUSR1}, [this](int number) {
            if (number == SIGUSR1)
                return print_counters();
            loop_->stop();
        });
        if (auto started = start(); !started) {
            err_ << describe(started.error()) << '\n';
            return exit_failed;
        }
        announce();
        loop_->run();
        print_counters();
        decap_.reset();
        say(options_.json ? R"({"event":"ended"})" : "ended; nothing is left attached");
        return exit_ok;
    }

private:
    Result<void> start()
    {
        Result<std::unique_ptr<Network>> network = open_network();
        if (!network)
            return fail(network.error());
        network_ = std::move(*network);
        if (auto checked = check(); !checked)
            return checked;
        Result<Decapsulator> decap = Decapsulator::load(options_.from);
        if (!decap)
            return fail(decap.error());
        decap_.emplace(std::move(*decap));
        if (options_.attach == Attach::tc && !decap_->tc_crosses_families())
            warn("on this kernel TC cannot take IPv4 out of IPv6 or IPv6 out of IPv4 (Linux 6.3 can); for services "
                 "whose "
                 "IP version is not the backend's, use --attach xdp");
        if (auto done = follow(); !done)
            return done;
        events_ = loop_->on_readable(network_->event_fd(), [this] {
            const NetworkChanges changes = network_->drain();
            if (!changes.links && !changes.addresses)
                return;
            if (auto done = follow(); !done)
                warn(describe(done.error()));
        });
        return {};
    }

    // What is wrong from the start is an error; what happens later is followed.
    Result<void> check()
    {
        const auto interfaces = network_->interfaces();
        if (!interfaces)
            return fail(interfaces.error());
        for (const std::string& name : options_.interfaces) {
            const Interface* interface = find_by_name(*interfaces, name);
            if (!interface)
                return fail(fmt::format("there is no interface {}", name), "see `ip link` for what there is");
            if (!interface->ethernet)
                return fail(fmt::format("{} has no Ethernet headers", name),
                    "name the interface that the balancer's packets arrive by");
        }
        return {};
    }

    // Brings what is attached and what the programs know in line with the machine.
    Result<void> follow()
    {
        const auto interfaces = network_->interfaces();
        if (!interfaces)
            return fail(interfaces.error());
        const auto addresses = network_->addresses();
        if (!addresses)
            return fail(addresses.error());
        DecapRoles roles = decap_roles(*interfaces, *addresses, options_.services);
        if (auto done = decap_->set_roles(roles); !done)
            return done;
        const bool news = roles != roles_ && announced_;
        roles_ = std::move(roles);
        for (const std::string& name : options_.interfaces)
            if (auto done = follow_interface(name, find_by_name(*interfaces, name)); !done)
                return done;
        if (news)
            announce();
        return {};
    }

    Result<void> follow_interface(const std::string& name, const Interface* interface)
    {
        const auto before = attached_.find(name);
        if (before != attached_.end() && (!interface || interface->index != before->second.index)) {
            decap_->detach(before->second.index);
            attached_.erase(before);
            if (!interface)
                warn(fmt::format("{} is gone; it is attached again when it is back", name));
        }
        if (!interface)
            return {};
        if (!attached_.contains(name)) {
            const auto hook = decap_->attach(*interface, options_.attach);
            if (!hook)
                return fail(hook.error());
            attached_[name] = {interface->index, std::string(to_string(*hook))};
            if (announced_)
                announce();
        }
        return decap_->set_mtu(*interface, options_.mtu.value_or(interface->mtu));
    }

    [[nodiscard]] std::vector<std::string> services() const
    {
        std::vector<std::string> result;
        for (const auto& [address, role] : roles_)
            if ((role & FLB_DECAP_SERVICE) != 0)
                result.push_back(address.to_string());
        return result;
    }

    void announce()
    {
        announced_ = true;
        const std::vector<std::string> here = services();
        if (options_.json) {
            nlohmann::json interfaces = nlohmann::json::array();
            for (const auto& [name, attached] : attached_)
                interfaces.push_back({{"name", name}, {"hook", attached.hook}});
            return say(nlohmann::json{{"event", "attached"}, {"interfaces", interfaces}, {"services", here}}.dump());
        }
        for (const auto& [name, attached] : attached_)
            say(fmt::format("{}: decapsulating ({}), MSS of SYN-ACKs lowered", name, attached.hook));
        if (here.empty())
            say(options_.services.empty()
                    ? "no service address yet: none is on lo; `featherlb backend-setup SERVICE` tells how to add it"
                    : "no service address yet: this host has none of those that --service names");
        else
            say(fmt::format("service addresses: {}", fmt::join(here, ", ")));
    }

    void print_counters()
    {
        const auto counts = decap_->counts();
        if (!counts)
            return warn(describe(counts.error()));
        const auto& texts = decap_counter_texts();
        nlohmann::json json{{"event", "counters"}};
        for (std::size_t i = 0; i < texts.size(); i++) {
            if (options_.json)
                json[texts[i].name] = (*counts)[i];
            else
                say(fmt::format("{:>12}  {}", (*counts)[i], texts[i].text));
        }
        if (options_.json)
            say(json.dump());
    }

    void say(const std::string& line) { out_ << line << std::endl; }
    void warn(const std::string& line) { err_ << "warning: " << line << std::endl; }

    struct Attached {
        std::uint32_t index = 0;
        std::string hook;
    };
    const DecapOptions& options_;
    std::ostream& out_;
    std::ostream& err_;
    std::unique_ptr<Loop> loop_;
    std::unique_ptr<Network> network_;
    std::optional<Decapsulator> decap_;
    Handle signals_;
    Handle events_;
    std::map<std::string, Attached> attached_;
    DecapRoles roles_;
    bool announced_ = false;
};

} // namespace

int run_decap(const DecapOptions& options, std::ostream& out, std::ostream& err)
{
    return Decap(options, out, err).run();
}

} // namespace featherlb
