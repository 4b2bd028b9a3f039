// SPDX-License-Identifier: Apache-2.0
#include <ostream>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "featherlb/abi.h"

namespace featherlb::cli {

int version(const Arguments& arguments, Streams streams)
{
    if (arguments.json)
        print(streams.out, {{"version", FEATHERLB_VERSION}, {"abi", FLB_ABI}});
    else
        streams.out << "featherlb " << FEATHERLB_VERSION << '\n';
    return exit_ok;
}

} // namespace featherlb::cli
