// SPDX-License-Identifier: Apache-2.0
#include "daemon/overrides.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "config/file.h"
#include "daemon/resolver.h"

namespace featherlb {

namespace {

constexpr int version = 1;

nlohmann::json to_json(const Overrides::All& all)
{
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& [key, one] : all) {
        nlohmann::json row{{"service", key.service}, {"address", key.endpoint.address.to_string()},
            {"port", key.endpoint.port}, {"drained", one.what.drained}, {"configured_weight", one.configured},
            {"at", one.at}};
        if (one.what.weight)
            row["weight"] = *one.what.weight;
        if (one.followed)
            row["followed"] = true;
        if (one.deadline)
            row["deadline_seconds"] = one.deadline->count();
        rows.push_back(std::move(row));
    }
    return {{"version", version}, {"overrides", std::move(rows)}};
}

// Throws nlohmann::json::exception where the types are not these.
std::optional<Overrides::All> from_json(const nlohmann::json& json)
{
    if (json.at("version").get<int>() != version)
        return std::nullopt;
    Overrides::All all;
    for (const auto& row : json.at("overrides")) {
        const auto address = IpAddress::parse(row.at("address").get<std::string>());
        if (!address)
            return std::nullopt;
        Override one{.what = {.weight = {}, .drained = row.at("drained").get<bool>()},
            .deadline = {},
            .configured = row.at("configured_weight").get<std::uint32_t>(),
            .at = row.at("at").get<std::string>(),
            .followed = row.value("followed", false)};
        if (row.contains("weight"))
            one.what.weight = row.at("weight").get<std::uint32_t>();
        if (one.what.weight && *one.what.weight > largest_weight)
            return std::nullopt;
        if (row.contains("deadline_seconds"))
            one.deadline = std::chrono::seconds(row.at("deadline_seconds").get<std::int64_t>());
        all.insert_or_assign(
            BackendKey{row.at("service").get<std::string>(), {*address, row.at("port").get<std::uint16_t>()}},
            std::move(one));
    }
    return all;
}

tl::unexpected<Error> cannot_write(const std::string& file, int error)
{
    return fail(fmt::format("{} cannot be written: {}", file, std::strerror(error)),
        "make its directory writable for the daemon");
}

// Addresses that come and go by themselves.
bool follows(const ServiceConfig& service)
{
    return !service.files.empty() || std::ranges::any_of(service.backends,
                                         [](const BackendConfig& one) { return std::get_if<DnsName>(&one.target); });
}

// Why what was said no longer holds; empty: it does.
std::string contradiction(const BackendKey& key, const Override& one, const Config& config,
    const std::map<std::string, std::vector<IpAddress>>& dns)
{
    const auto service = std::ranges::find(config.services, key.service, &ServiceConfig::name);
    if (service == config.services.end())
        return "its service is no longer in the file";
    const auto endpoints = endpoints_of(*service, dns);
    const auto backend = endpoints.find(key.endpoint);
    if (backend == endpoints.end())
        return one.followed && follows(*service) ? "" : "it is no longer in the file";
    // Programs that write a file of backends may change weights; that ends no drain.
    const bool holds = backend->second->weight == one.configured || (one.followed && !one.what.weight);
    return holds ? "" : fmt::format("the file now says weight {}", backend->second->weight);
}

// Whole or not at all, whenever the machine stops.
Result<void> write_file(const std::string& file, const std::string& text)
{
    const std::string fresh = file + ".new";
    errno = 0;
    const Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.valid())
        return cannot_write(fresh, errno);
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) || ::fsync(fd.get()) != 0)
        return cannot_write(fresh, errno == 0 ? ENOSPC : errno);
    if (::rename(fresh.c_str(), file.c_str()) != 0)
        return cannot_write(file, errno);
    return {};
}

} // namespace

Result<void> Overrides::read()
{
    struct stat info {};
    if (file_.empty() || ::stat(file_.c_str(), &info) != 0)
        return {};
    const auto text = read_config_file(file_);
    if (!text)
        return fail(fmt::format("what was said by drain and weight is lost: {}", text.error().what));
    std::optional<All> all;
    try {
        all = from_json(nlohmann::json::parse(*text));
    } catch (const nlohmann::json::exception&) { // the library's way to say so
        all.reset();
    }
    if (!all) {
        std::error_code ignored;
        std::filesystem::rename(file_, file_ + ".broken", ignored);
        return fail(fmt::format("{} cannot be understood: what was said by drain and weight is lost", file_),
            fmt::format("say it again; the file is kept as {}.broken", file_));
    }
    all_ = std::move(*all);
    return {};
}

Result<void> Overrides::replace(All all)
{
    if (!file_.empty() && all != all_) {
        if (Result<void> written = write_file(file_, to_json(all).dump(2) + "\n"); !written)
            return written;
    }
    all_ = std::move(all);
    return {};
}

std::vector<std::string> Overrides::restore(All all)
{
    std::vector<std::string> lines;
    if (Result<void> replaced = replace(all); !replaced)
        lines.push_back(featherlb::describe(replaced.error()));
    all_ = std::move(all);
    return lines;
}

std::vector<std::string> Overrides::forget_contradicted(
    const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns)
{
    std::vector<std::string> lines;
    All kept;
    for (const auto& [key, one] : all_) {
        const std::string why = contradiction(key, one, config, dns);
        if (why.empty())
            kept.emplace(key, one);
        else
            lines.push_back(
                fmt::format("{} of {} is no longer {}: {}", key.endpoint.to_string(), key.service, describe(one), why));
    }
    for (std::string& line : restore(std::move(kept)))
        lines.push_back(std::move(line));
    return lines;
}

const Override* Overrides::find(const BackendKey& key) const
{
    const auto found = all_.find(key);
    return found == all_.end() ? nullptr : &found->second;
}

std::map<BackendKey, BackendOverride> Overrides::known(
    const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns) const
{
    std::map<BackendKey, BackendOverride> known;
    for (const auto& [key, one] : all_) {
        if (contradiction(key, one, config, dns).empty())
            known.emplace(key, one.what);
    }
    return known;
}

std::map<BackendKey, std::chrono::seconds> Overrides::deadlines() const
{
    std::map<BackendKey, std::chrono::seconds> deadlines;
    for (const auto& [key, one] : all_) {
        if (one.what.drained && one.deadline)
            deadlines.emplace(key, *one.deadline);
    }
    return deadlines;
}

std::string describe(const Override& what)
{
    std::string text = what.what.drained ? "drained" : "";
    if (what.what.weight)
        text += fmt::format("{}weight {} (the file: {})", text.empty() ? "" : ", ", *what.what.weight, what.configured);
    return text;
}

std::string overrides_file(const std::string& socket)
{
    return std::filesystem::path(socket).replace_extension(".overrides.json").string();
}

} // namespace featherlb
