// SPDX-License-Identifier: Apache-2.0
// Traffic: random packets that are plausible enough to bring connections into every state, and wrong often enough to
// try every rule. It looks into the model to see where a connection stands, so that right ACK numbers, retransmissions
// and answers to what a backend has really seen occur.
#pragma once

#include <deque>
#include <random>
#include <string>

#include "model.h"
#include "surroundings.h"

namespace featherlb::packet {

struct Arriving {
    Frame frame;
    const Interface* in = nullptr;
    std::size_t talk = 0; // the client's tuple that it belongs to; nobody: that of no client
};

class Traffic {
public:
    static constexpr std::size_t nobody = ~std::size_t{0};

    struct Talk { // one client tuple towards one listener
        Key key;
        Mac mac{};
        std::vector<Tag> tags;
        const Interface* side = nullptr;
        std::uint32_t seq = 0;
    };

    Traffic(const Model& model, std::uint64_t seed) : model_(model), random_(seed) {}

    void add_talk(const Talk& talk) { talks_.push_back(talk); }
    void add_stranger(const IpAddress& address) { strangers_.push_back(address); }

    [[nodiscard]] Arriving next();
    // What the model says has left: backends answer only what they have seen.
    void left(const Arriving& packet, const Expected& answer);

    // Below `n`, or of a list; also for the test's own decisions, so that one seed gives one run.
    [[nodiscard]] std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }
    [[nodiscard]] bool one_in(std::uint32_t n) { return below(n) == 0; }
    template <typename List>
    [[nodiscard]] const auto& any(const List& list)
    {
        return list[below(static_cast<std::uint32_t>(list.size()))];
    }
    // A client's frames come another way from now on.
    void move_client(const Interface& side, const Mac& mac, const std::vector<Tag>& tags);

private:
    struct Far { // a connection as a backend sees it
        Key key; // of the backend's packets
        Hop way; // where they come from
        std::size_t talk = 0;
        std::uint32_t isn = 0;
    };

    Arriving from_client();
    Arriving from_backend();
    Arriving noise();
    std::uint8_t client_flags(const Owner* owner);
    std::uint8_t backend_flags(const Owner* owner);
    void dress(Frame& f); // TTL, options, payload and the like
    std::size_t recent_or_any(std::deque<std::size_t>& recent, std::size_t all);

    const Model& model_;
    std::mt19937_64 random_;
    std::vector<Talk> talks_;
    std::vector<IpAddress> strangers_;
    std::vector<Far> fars_;
    std::map<Key, std::size_t> far_of_;
    std::deque<std::size_t> recent_talks_, recent_fars_;
};

// One line for people.
[[nodiscard]] std::string to_string(const Frame& frame);
[[nodiscard]] std::string to_string(const Key& key);

} // namespace featherlb::packet
