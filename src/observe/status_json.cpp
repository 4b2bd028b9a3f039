// SPDX-License-Identifier: Apache-2.0
// A status as JSON, written and read field by field: with ten thousand services a tree of values in between would take
// the daemon's loop half a second. The one list of what a status has.
#include <algorithm>
#include <cmath>
#include <concepts>
#include <iterator>
#include <type_traits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "observe/status.h"

namespace featherlb {

namespace {

template <typename S, typename Type>
concept Maybe = std::same_as<std::remove_const_t<S>, Type>;

// each_field(status, visit): visit("name", field) for each.
#define FLB_FIELD(field) visit(#field, status.field);
#define FLB_FIELDS(Type, ...)                                                                                          \
    template <Maybe<Type> S, typename Visit>                                                                           \
    void each_field(S& status, Visit&& visit)                                                                          \
    {                                                                                                                  \
        NLOHMANN_JSON_EXPAND(NLOHMANN_JSON_PASTE(FLB_FIELD, __VA_ARGS__))                                              \
    }
FLB_FIELDS(InterfaceStatus, name, ifindex, attached, hook, attach, driver, chosen, why, problem, program_id, warnings)
FLB_FIELDS(CheckStatus, good, failed, discarded, last_failure, seconds, flapping, needed)
FLB_FIELDS(AgentStatus, state, percent, word, reason, good, failed, discarded, last_failure)
FLB_FIELDS(ResponseStatus, count, sum_seconds, smoothed_seconds, buckets)
FLB_FIELDS(TrafficStatus, connections, packets_in, packets_out, bytes_in, bytes_out)
FLB_FIELDS(OverrideStatus, drained, weight, deadline_seconds, at)
FLB_FIELDS(BackendStatus, name, configured, by_name, address, state, reason, used, tcp_fate, udp_fate, checks, weight,
    weight_now, backup, slow_start_percent, slow_start_seconds_left, agent, override, open, flows, connections, refused,
    packets_in, packets_out, bytes_in, bytes_out, responses)
FLB_FIELDS(ServiceStatus, name, state, algorithm, forward, listeners, backends, health, panic, panics, refusing,
    measure, responses, traffic)
FLB_FIELDS(FlowsStatus, capacity, connections, unproven, by_state, counted_seconds_ago, expired, evicted,
    evicted_last_minute, corrected, pins)
FLB_FIELDS(DropStatus, reason, text, packets)
FLB_FIELDS(EventStatus, event, text, count)
FLB_FIELDS(ProgramStatus, name, id, tag, instructions)
FLB_FIELDS(MapStatus, name, entries, bytes)
FLB_FIELDS(DataPlaneStatus, pins, adopted, memory_bytes, programs, maps)
FLB_FIELDS(ReloadStatus, result, at, message)
FLB_FIELDS(ReloadCounts, ok, invalid, failed)
FLB_FIELDS(Status, version, abi, pid, state, uptime_seconds, config_file, config_loaded_at, config_loaded_unix,
    last_reload, reloads, problem, interfaces, services, flows, drops, events, data_plane)
#undef FLB_FIELDS
#undef FLB_FIELD

constexpr auto ignore = [](const char*, const auto&) {};
template <typename T>
concept Fields = requires(const T& value)
{
    each_field(value, ignore);
};

template <typename T>
struct IsList : std::false_type {
};
template <typename T>
struct IsList<std::vector<T>> : std::true_type {
};
template <typename T>
struct IsMap : std::false_type {
};
template <typename T>
struct IsMap<std::map<std::string, T>> : std::true_type {
};

class Writer {
public:
    template <typename T>
    void write(const T& value)
    {
        if constexpr (std::same_as<T, bool>)
            text_ += value ? "true" : "false";
        else if constexpr (std::integral<T>)
            text_ += fmt::format_int(value).c_str();
        else if constexpr (std::floating_point<T>)
            write_number(value);
        else if constexpr (std::same_as<T, std::string>)
            write_text(value);
        else if constexpr (IsList<T>::value)
            write_list(value);
        else
            write_object(value);
    }
    [[nodiscard]] std::string take() && { return std::move(text_); }

private:
    void write_number(double value)
    {
        if (std::isfinite(value))
            fmt::format_to(std::back_inserter(text_), "{}", value);
        else
            text_ += "null";
    }
    void write_text(const std::string& value)
    {
        const auto is_plain = [](char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; };
        if (std::all_of(value.begin(), value.end(), is_plain))
            text_.append(1, '"').append(value).append(1, '"');
        else
            text_ += nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    template <typename T>
    void write_list(const std::vector<T>& values)
    {
        text_ += '[';
        for (const T& value : values) {
            write(value);
            text_ += ',';
        }
        end(']');
    }
    template <typename T>
    void write_object(const T& value)
    {
        text_ += '{';
        const auto member = [this](const std::string& name, const auto& field) {
            write_text(name);
            text_ += ':';
            write(field);
            text_ += ',';
        };
        if constexpr (IsMap<T>::value) {
            for (const auto& [name, field] : value)
                member(name, field);
        } else {
            each_field(value, member);
        }
        end('}');
    }
    void end(char bracket)
    {
        if (text_.back() == ',')
            text_.back() = bracket;
        else
            text_ += bracket;
    }

    std::string text_;
};

// What is not there keeps its default.
template <typename T>
void read(const nlohmann::json& json, T& value)
{
    if constexpr (Fields<T>) {
        const auto& object = json.get_ref<const nlohmann::json::object_t&>();
        each_field(value, [&object](const char* name, auto& field) {
            if (const auto found = object.find(name); found != object.end())
                read(found->second, field);
        });
    } else if constexpr (IsList<T>::value) {
        value.clear();
        for (const nlohmann::json& element : json.get_ref<const nlohmann::json::array_t&>())
            read(element, value.emplace_back());
    } else {
        json.get_to(value);
    }
}

} // namespace

std::string write_json(const Status& status)
{
    Writer writer;
    writer.write(status);
    return std::move(writer).take();
}

void from_json(const nlohmann::json& json, Status& status)
{
    read(json, status);
}

} // namespace featherlb
