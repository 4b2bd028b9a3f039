// SPDX-License-Identifier: Apache-2.0
// Aside: makes texts in a thread of its own, one after another, so that a long one does not hold up the loop. What it
// is made from must be a value that nobody changes.
//
// Thread rule: the loop's thread, but for the work itself. The loop must outlive it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/loop.h"

namespace featherlb {

class Aside {
public:
    using Work = std::function<std::string()>;
    using Done = std::function<void(std::string)>;
    using Make = std::function<void(Work, Done)>; // as make(); for tests, at once

    explicit Aside(Loop& loop);
    Aside(const Aside&) = delete;
    Aside& operator=(const Aside&) = delete;
    // Waits for the text that is being made; no `done` is called any more.
    ~Aside();

    // `done` is called from the loop.
    void make(Work work, Done done);

private:
    struct Job {
        Work work;
        Done done;
    };
    void run();

    Loop& loop_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true); // of the loop's thread
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Job> jobs_;
    bool ending_ = false;
    std::thread thread_; // last: it uses the others
};

} // namespace featherlb
