// SPDX-License-Identifier: Apache-2.0
#include "daemon/flow_tasks.h"

#include <utility>

#include <fmt/format.h>

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t sets_a_step = 4096;
constexpr Loop::Clock::duration between_steps = 1ms;
constexpr std::uint32_t sets_a_wake = 16384;
constexpr std::size_t connections_a_wake = 100;
constexpr Loop::Clock::duration between_wakes = 10ms;
constexpr Loop::Clock::duration between_passes = 1s;
constexpr int passes_each = 2;
constexpr std::size_t told_in_time = 50000; // half of what goes within the default of timeouts.tcp_closed

} // namespace

FlowTasks::FlowTasks(Loop& loop, Plane& plane, Log& log, Waker::Open open, HopOf hop_of)
    : loop_(loop), plane_(plane), log_(log), hop_of_(std::move(hop_of)), waker_(plane, std::move(open))
{
}

void FlowTasks::list(FlowFilter filter, Found found, std::function<void(Result<void>)> done)
{
    add({.filter = std::move(filter), .found = std::move(found), .done = [done = std::move(done)](Result<Outcome> how) {
             done(how ? Result<void>() : fail(std::move(how.error())));
         }});
}

void FlowTasks::kill(FlowFilter filter, std::function<void(Result<Outcome>)> done)
{
    add({.filter = std::move(filter), .found = {}, .done = std::move(done)});
}

void FlowTasks::add(Task task)
{
    tasks_.push_back(std::move(task));
    if (tasks_.size() == 1)
        timer_ = loop_.after(0ms, [this] { step(); });
}

void FlowTasks::step()
{
    const Result<bool> ended = carry_on(tasks_.front());
    if (!ended)
        return finish(fail(ended.error()));
    if (*ended)
        return finish({});
    timer_ = loop_.after(between_steps, [this] { step(); });
}

Result<bool> FlowTasks::carry_on(Task& task)
{
    if (!task.found)
        return plane_.kill_flows(task.position, sets_a_step, task.filter, task.killed);
    std::vector<Flow> flows;
    Result<bool> ended = plane_.list_flows(task.position, sets_a_step, sets_a_step, task.filter, flows);
    task.found(flows);
    return ended;
}

void FlowTasks::finish(Result<void> how)
{
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    timer_.reset();
    if (!tasks_.empty())
        timer_ = loop_.after(between_steps, [this] { step(); });
    Outcome outcome{.killed = task.killed, .warning = {}};
    if (task.killed > 0) {
        log_.info("{} connections are ended by command", task.killed);
        outcome.warning = begin_waking(task.killed);
    }
    if (how)
        return task.done(std::move(outcome));
    Error error = std::move(how.error());
    if (task.killed > 0)
        error = std::move(error).add_context(fmt::format("after {} connections were ended", task.killed));
    task.done(fail(std::move(error)));
}

// Why not everybody can be woken; empty where all can.
std::string FlowTasks::begin_waking(std::size_t killed)
{
    if (const Result<void> opened = waker_.open(); !opened)
        return "who only waits learns of it at the next packet: " + describe(opened.error());
    passes_ = passes_each;
    if (!std::exchange(waking_, true)) {
        wake_position_ = 0;
        wake_timer_ = loop_.after(0ms, [this] { wake_step(); });
    }
    if (killed <= told_in_time)
        return {};
    return "so many are told 10,000 a second, as long as timeouts.tcp_closed; who only waits after that is not told";
}

void FlowTasks::wake_step()
{
    std::vector<Flow> flows;
    const FlowFilter killed{.backends = {}, .client = {}, .protocol = {}, .states = 1u << FLB_FLOW_KILLED};
    const Result<bool> ended = plane_.list_flows(wake_position_, sets_a_wake, connections_a_wake, killed, flows);
    for (const Flow& flow : flows) {
        waker_.wake({flow.client, flow.listener, flow.hop});
        if (!flow.one_way)
            waker_.wake({flow.destination, flow.source, hop_of_(flow.backend)});
    }
    if (ended && !*ended) {
        wake_timer_ = loop_.after(between_wakes, [this] { wake_step(); });
        return;
    }
    if (const std::string failure = ended ? waker_.take_failure() : describe(ended.error()); !failure.empty())
        log_.warning("not everybody who waits could be told that the connection is ended: {}", failure);
    wake_position_ = 0;
    waking_ = --passes_ > 0;
    wake_timer_.reset();
    if (waking_)
        wake_timer_ = loop_.after(between_passes, [this] { wake_step(); });
}

} // namespace featherlb
