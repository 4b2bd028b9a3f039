// SPDX-License-Identifier: Apache-2.0
#include "base/utc.h"

#include <fmt/chrono.h>

namespace featherlb {

std::string utc_text(std::chrono::system_clock::time_point time)
{
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(time));
}

std::string utc_now()
{
    return utc_text(std::chrono::system_clock::now());
}

} // namespace featherlb
