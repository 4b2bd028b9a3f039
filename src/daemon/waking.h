// SPDX-License-Identifier: Apache-2.0
// Waking: a client whose connection is to be reset (`on_backend_down: reset`, a drain's deadline) learns of it by the
// RST that answers its next segment; one that only waits in a read would never send any. For backends that come under
// FLB_BACKEND_RESET, waking walks the flow table and has such clients speak (kernel/wake_frames.h): what they say meets
// the flag and is answered. Those that are still there a second later are asked again, two times.
//
// A turn of the loop looks at 16,384 sets or 200 clients, whichever comes first, in about two milliseconds, and the
// next comes 10 ms later: at most 20,000 clients a second. 262,144 sets are through in 160 ms.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/plane.h"
#include "daemon/waker.h"

namespace featherlb {

class Waking {
public:
    // What it works on must outlive it.
    Waking(Loop& loop, Plane& plane, Log& log, Waker::Open open);

    // To be called when connections may have to be reset some day: says, once, if nobody could be woken.
    void prepare();
    // To be called after every change of the tables, and when a daemon starts.
    void look();

private:
    void turn();
    void finish_pass();

    Loop& loop_;
    Plane& plane_;
    Log& log_;
    Waker waker_;
    bool tried_ = false;
    std::map<BackendId, int> passes_; // that are left for each backend
    std::set<BackendId> known_;       // under the flag, as last seen
    std::set<BackendId> walking_;     // of the pass under way; empty: none is
    std::size_t position_ = 0;        // in the flow table
    std::size_t woken_ = 0;           // in this pass
    Handle timer_;
};

} // namespace featherlb
