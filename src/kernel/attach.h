// SPDX-License-Identifier: Apache-2.0
// Where the packet programs hang: one of XDP or TC on the ingress of each interface, never both for longer than
// a change of hook takes. XDP and TCX are links, which are pinned (they outlive the daemon) or held by the process
// (ephemeral). Linux before 6.6 has no TCX: there it is a clsact filter, which the kernel keeps on its own.
// Adoption swaps the program of a link in one step; no packet is missed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace featherlb {

enum class Hook { xdp, xdp_generic, tcx, clsact };
[[nodiscard]] std::string_view to_string(Hook hook); // "xdp", "xdp-generic", "tcx", "clsact"

struct AttachRequest {
    std::uint32_t ifindex = 0;
    std::string name; // for messages and for the driver's name
    Attach mode = Attach::automatic;
};

// What was done and why, for the log and for `status`.
struct AttachOutcome {
    Hook hook = Hook::tcx;
    std::string driver;                // "veth", "ixgbe"; empty where the device does not tell
    std::string why;                   // e.g. "veth loses frames that XDP sends", or why XDP was not possible
    std::vector<std::string> warnings; // for the operator, each with what to do
    bool adopted = false;              // a program of ours was there and was replaced without a gap
};

// A place where one of our programs runs, as the kernel tells it.
struct Attachment {
    std::uint32_t ifindex = 0;
    Hook hook = Hook::tcx;
    std::uint32_t program_id = 0;
};

// The hook that `automatic` takes first on a device with this driver, and why.
struct HookChoice {
    bool xdp = false;
    std::string why;
};
[[nodiscard]] HookChoice choose_hook(std::string_view driver);

// Driver of a network device, by ethtool; empty where it has none ("lo").
[[nodiscard]] std::string driver_of(const std::string& interface);

// The descriptor of the program for a hook, which stays its owner's.
using ProgramOf = std::function<Result<int>(Hook)>;

class Attachments {
public:
    // `links`: directory of the pinned links; empty: ephemeral.
    Attachments(std::string links, ProgramOf program);
    ~Attachments(); // ephemeral: removes clsact filters; links go by themselves
    Attachments(Attachments&&) noexcept;
    Attachments& operator=(Attachments&&) noexcept;

    // Attaches, or replaces what we had on this interface.
    [[nodiscard]] Result<AttachOutcome> attach(const AttachRequest& request);
    // Removes whatever of ours is on the interface; nothing there is no error.
    [[nodiscard]] Result<void> detach(std::uint32_t ifindex);
    // Removes ours from all interfaces but these, and the pins of interfaces that vanished. Says what it removed.
    [[nodiscard]] Result<std::vector<std::string>> detach_others(const std::set<std::uint32_t>& keep);
    [[nodiscard]] std::vector<Attachment> list() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace featherlb
