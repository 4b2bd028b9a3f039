// SPDX-License-Identifier: Apache-2.0
#include "daemon/event_log.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <utility>

#include <fmt/format.h>

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr auto look_every = 100ms;
constexpr auto ask_every = 1s; // well within what the programs are asked for

std::chrono::nanoseconds monotonic_now()
{
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

} // namespace

std::optional<EventCursor> EventCursor::parse(const std::string& text)
{
    EventCursor cursor;
    const char* const end = text.data() + text.size();
    const auto sequence = std::from_chars(text.data(), end, cursor.sequence);
    if (sequence.ec != std::errc{} || sequence.ptr == end || *sequence.ptr != '-')
        return std::nullopt;
    const auto left_out = std::from_chars(sequence.ptr + 1, end, cursor.left_out);
    if (left_out.ec != std::errc{} || left_out.ptr != end)
        return std::nullopt;
    return cursor;
}

std::string EventCursor::to_string() const
{
    return fmt::format("{}-{}", sequence, left_out);
}

EventLog::EventLog(Loop& loop, Plane& plane, Describe describe)
    : loop_(loop), plane_(plane), describe_(std::move(describe))
{
}

EventLog::~EventLog()
{
    if (timer_)
        stop();
}

Result<void> EventLog::ask(const EventQuery& query, Done done)
{
    if (waiting_.size() >= most_waiting)
        return fail(fmt::format("{} clients listen to events already", waiting_.size()), "end one of them");
    const auto wait = std::min(query.wait, longest_wait);
    if (auto listening = listen(samples_for(query.filter), wait + grace); !listening)
        return listening;
    Waiting asking{query, {}, 0, loop_.now() + wait, std::move(done)};
    const bool follows = query.after && query.after->sequence <= end_; // else it was another daemon's
    asking.looked = follows ? *query.after : EventCursor{end_, left_out(query.filter)};
    if (!follows)
        asking.query.after = asking.looked;
    if (!answer(asking))
        waiting_.push_back(std::move(asking));
    return {};
}

std::uint64_t EventLog::wanted() const
{
    std::uint64_t which = 0;
    for (std::size_t bit = 0; bit < wanted_until_.size(); ++bit)
        if (wanted_until_[bit] > loop_.now())
            which |= std::uint64_t{1} << bit;
    return which;
}

Result<void> EventLog::listen(std::uint64_t which, Loop::Clock::duration how_long)
{
    for (std::size_t bit = 0; bit < wanted_until_.size(); ++bit)
        if (which >> bit & 1)
            wanted_until_[bit] = std::max(wanted_until_[bit], loop_.now() + how_long);
    const std::uint64_t all = wanted();
    if (!timer_) { // what is left from the last time is of no interest
        std::vector<flb_sample> old;
        plane_.read_samples(old);
    }
    if (all != asked_) {
        if (auto asked = plane_.ask_samples(all); !asked)
            return asked;
        asked_ = all;
        asked_at_ = loop_.now();
    }
    if (!timer_)
        timer_ = loop_.after(look_every, [this] { tick(); });
    return {};
}

std::uint64_t EventLog::left_out(const EventFilter& filter) const
{
    const std::uint64_t which = samples_for(filter);
    const SampleCounts counts = plane_.samples_left_out();
    std::uint64_t sum = 0;
    for (std::size_t bit = 0; bit < counts.size(); ++bit)
        if (which >> bit & 1)
            sum += counts[bit];
    return sum;
}

void EventLog::take_samples()
{
    std::vector<flb_sample> fresh;
    plane_.read_samples(fresh);
    const auto now = std::chrono::system_clock::now();
    const auto monotonic = monotonic_now();
    for (const flb_sample& sample : fresh) {
        const auto age = monotonic - std::chrono::nanoseconds(sample.time_ns);
        kept_.push_back({sample, now - std::chrono::duration_cast<std::chrono::system_clock::duration>(age)});
    }
    end_ += fresh.size();
    if (kept_.size() > most_kept)
        kept_.erase(kept_.begin(), kept_.end() - most_kept);
}

void EventLog::tick()
{
    take_samples();
    const std::uint64_t which = wanted();
    if (which != asked_ || loop_.now() - asked_at_ >= ask_every) {
        // Where that fails the programs stop by themselves, and the next tick tries again.
        if (plane_.ask_samples(which)) {
            asked_ = which;
            asked_at_ = loop_.now();
        }
    }
    waiting_.remove_if([this](Waiting& waiting) { return answer(waiting); });
    if (which == 0 && waiting_.empty())
        return stop();
    timer_ = loop_.after(look_every, [this] { tick(); });
}

void EventLog::stop()
{
    timer_.reset();
    (void)plane_.ask_samples(0);
    asked_ = 0;
    kept_.clear();
}

EventBatch EventLog::collect(Waiting& waiting) const
{
    EventBatch batch;
    const std::uint64_t oldest = end_ - kept_.size();
    if (waiting.looked.sequence < oldest) {
        waiting.overwritten += oldest - waiting.looked.sequence;
        waiting.looked.sequence = oldest;
    }
    std::vector<SeenSample> candidates;
    while (waiting.looked.sequence < end_ && batch.events.empty()) {
        candidates.clear();
        for (; waiting.looked.sequence < end_ && candidates.size() < most_in_batch; ++waiting.looked.sequence) {
            const SeenSample& seen = kept_[waiting.looked.sequence - oldest];
            if (may_match(waiting.query.filter, seen.sample))
                candidates.push_back(seen);
        }
        for (Event& event : describe_(candidates))
            if (matches(waiting.query.filter, event))
                batch.events.push_back(std::move(event));
    }
    const std::uint64_t before = waiting.query.after->left_out;
    const std::uint64_t now = left_out(waiting.query.filter);
    batch.left_out = (now > before ? now - before : 0) + waiting.overwritten;
    batch.next = {waiting.looked.sequence, now};
    return batch;
}

bool EventLog::answer(Waiting& waiting)
{
    EventBatch batch = collect(waiting);
    if (batch.events.empty() && loop_.now() < waiting.until)
        return false;
    waiting.done(std::move(batch));
    return true;
}

} // namespace featherlb
