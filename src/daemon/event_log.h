// SPDX-License-Identifier: Apache-2.0
// EventLog: the last few thousand drops and decisions that the programs told of, for clients that ask again and again
// (GET /v1/events). Programs are asked only while somebody listens: each question keeps them telling for as long as it
// waits and a few seconds more, in which the next one comes; that of a client that is gone ends with its wait. Memory,
// clients and what one answer holds are limited, so a flood of packets, or a client that does not read, costs events
// and nothing else; what was left out is counted.
//
// Thread rule: the loop's thread. Loop and plane must outlive it; it ends with the programs asked for nothing.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/loop.h"
#include "daemon/plane.h"
#include "observe/events.h"

namespace featherlb {

// A sample and when it was, by the clock of the day.
struct SeenSample {
    flb_sample sample{};
    std::chrono::system_clock::time_point time;
};

// Up to where a client has read: what it gets next comes after that. Its text is opaque to clients.
struct EventCursor {
    std::uint64_t sequence = 0;
    std::uint64_t left_out = 0; // of the programs' counts, by the same filter
    [[nodiscard]] static std::optional<EventCursor> parse(const std::string& text);
    [[nodiscard]] std::string to_string() const;
};

struct EventQuery {
    EventFilter filter;
    std::optional<EventCursor> after; // nothing: from now on
    std::chrono::seconds wait{0};
};

struct EventBatch {
    std::vector<Event> events; // oldest first
    EventCursor next;
    std::uint64_t left_out = 0; // events since `after` that were not told, or not kept; of all services and clients
};

class EventLog {
public:
    using Describe = std::function<std::vector<Event>(std::span<const SeenSample>)>;
    using Done = std::function<void(EventBatch)>;

    static constexpr std::size_t most_kept = 4096;
    static constexpr std::size_t most_in_batch = 256;
    static constexpr std::size_t most_waiting = 8; // of the connections of the admin socket
    static constexpr std::chrono::seconds longest_wait{30};
    static constexpr std::chrono::seconds grace{3}; // from an answer to the next question

    EventLog(Loop& loop, Plane& plane, Describe describe);
    EventLog(const EventLog&) = delete;
    EventLog& operator=(const EventLog&) = delete;
    ~EventLog();

    // `done` is called once there is an event that matches, or the wait is over. Fails where too many wait, or the
    // programs cannot be asked.
    [[nodiscard]] Result<void> ask(const EventQuery& query, Done done);

private:
    struct Waiting {
        EventQuery query;
        EventCursor looked; // up to where nothing was found
        std::uint64_t overwritten = 0;
        Loop::Clock::time_point until;
        Done done;
    };

    [[nodiscard]] Result<void> listen(std::uint64_t which, Loop::Clock::duration how_long);
    [[nodiscard]] std::uint64_t wanted() const;
    [[nodiscard]] std::uint64_t left_out(const EventFilter& filter) const;
    void tick();
    void take_samples();
    void stop();
    // What there is for it now.
    [[nodiscard]] EventBatch collect(Waiting& waiting) const;
    [[nodiscard]] bool answer(Waiting& waiting); // false: it goes on waiting

    Loop& loop_;
    Plane& plane_;
    Describe describe_;
    std::deque<SeenSample> kept_;
    std::uint64_t end_ = 0; // sequence number of the next one
    std::array<Loop::Clock::time_point, FLB_MAX_REASONS> wanted_until_{};
    std::uint64_t asked_ = 0;
    Loop::Clock::time_point asked_at_{};
    std::list<Waiting> waiting_;
    Handle timer_; // while somebody listens
};

} // namespace featherlb
