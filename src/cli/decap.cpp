// SPDX-License-Identifier: Apache-2.0
#include "daemon/decap.h"

#include "cli/commands.h"

namespace featherlb::cli {

int decap(const Arguments& arguments, Streams streams)
{
    return run_decap(arguments.decap_options, streams.out, streams.err);
}

} // namespace featherlb::cli
