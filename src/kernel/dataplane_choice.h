// SPDX-License-Identifier: Apache-2.0
// Which hook suits a device, and what an operator should know about it. What the table of hooks and virtual devices
// in the documentation says, as code: no kernel call but the one for the driver's name.
#pragma once

#include <string>
#include <vector>

#include "kernel/attach.h"

namespace featherlb {

[[nodiscard]] bool is_xdp(Hook hook);
// What does not work, or not well, with this hook on this device; each names the interface and what to do.
[[nodiscard]] std::vector<std::string> attach_warnings(Hook hook, const std::string& name, const std::string& driver);
// The kernel's error number in words, with the usual cause where the number alone says too little.
[[nodiscard]] std::string explain_attach_error(
    Hook hook, const std::string& name, const std::string& driver, int error);

} // namespace featherlb
