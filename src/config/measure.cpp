// SPDX-License-Identifier: Apache-2.0
#include "config/measure.h"

#include <fmt/format.h>

#include "config/values.h"
#include "config/words.h"

namespace featherlb {

std::optional<Measure> read_measure(const Section& section, Problems& problems)
{
    const Node* node = section.find("measure");
    if (node == nullptr)
        return std::nullopt;
    const auto index = read_word(*node, "measure", words::measure, {}, problems);
    return index ? std::optional(static_cast<Measure>(*index)) : std::nullopt;
}

void settle_measure(
    const Section& section, const std::optional<Measure>& in_defaults, ServiceConfig& service, Problems& problems)
{
    const std::optional<Measure> own = read_measure(section, problems);
    const bool by_response = service.algorithm == Algorithm::weighted_response_time;
    if (is_one_way(service.forward)) {
        if (own && *own != Measure::none)
            problems.add(section.place("measure"),
                fmt::format("what backends answer does not come by us with forward: {}, so it cannot be measured",
                    to_string(service.forward)),
                "remove measure, or use forward: snat or dnat");
        return;
    }
    service.measure = own.value_or(in_defaults.value_or(by_response ? Measure::first_byte : Measure::none));
    if (service.measure != Measure::none || !by_response)
        return;
    if (own)
        problems.add(section.place("measure"), "weighted-response-time picks by what is measured, and measure is none",
            "write measure: first-byte or measure: handshake, or use another algorithm");
    else
        service.measure = Measure::first_byte;
}

} // namespace featherlb
