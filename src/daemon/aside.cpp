// SPDX-License-Identifier: Apache-2.0
#include "daemon/aside.h"

#include <utility>

namespace featherlb {

Aside::Aside(Loop& loop) : loop_(loop), thread_([this] { run(); })
{
}

Aside::~Aside()
{
    *alive_ = false;
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Aside::make(Work work, Done done)
{
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back({std::move(work), std::move(done)});
    }
    changed_.notify_one();
}

void Aside::run()
{
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
        if (ending_)
            return;
        Job job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        auto text = std::make_shared<std::string>(job.work());
        loop_.post([alive = alive_, text = std::move(text), done = std::move(job.done)] {
            if (*alive)
                done(std::move(*text));
        });
        job = {};
        lock.lock();
    }
}

} // namespace featherlb
