// SPDX-License-Identifier: Apache-2.0
#include "daemon/waker.h"

#include <utility>

namespace featherlb {

Waker::Waker(Plane& plane, Open open) : plane_(plane), open_(std::move(open))
{
}

Result<void> Waker::open()
{
    if (sender_)
        return {};
    auto opened = open_ ? open_() : Result<std::unique_ptr<FrameSender>>(fail("there is no way to send frames"));
    if (!opened)
        return fail(std::move(opened.error()));
    sender_ = std::move(*opened);
    return {};
}

bool Waker::wake(const WaitingClient& who)
{
    const auto out = plane_.link_out(who.hop);
    if (!out)
        return false;
    for (const FrameBytes& frame : wake_frames(who, out->mac, 0)) {
        if (const Result<void> sent = sender_->send(out->ifindex, frame); !sent) {
            failure_ = describe(sent.error());
            return false;
        }
    }
    return true;
}

std::string Waker::take_failure()
{
    return std::exchange(failure_, {});
}

} // namespace featherlb
