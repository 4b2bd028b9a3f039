// SPDX-License-Identifier: Apache-2.0
// Layout: where each field of each record lies in the maps of a data plane. Ours comes from abi.h; that of what another
// version pinned is read from its map `layout`, and a record of its becomes one of ours field by field, by name: what
// we do not know is left out, what it did not know is zero. Numbers are little-endian, so one that has become wider
// keeps its value.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "featherlb/layout.h"

namespace featherlb {

// So many bytes of a record of theirs go there in one of ours.
struct FieldMove {
    std::size_t from = 0;
    std::size_t to = 0;
    std::size_t bytes = 0;
    friend bool operator==(const FieldMove&, const FieldMove&) = default;
};

// Of a connection's entry, in bytes.
inline constexpr std::size_t largest_record = 512;

class RecordMove {
public:
    RecordMove(std::vector<FieldMove> moves, std::size_t theirs, std::size_t ours);
    [[nodiscard]] std::size_t their_size() const { return theirs_; }
    // `from`: their_size() bytes; `to`: as many as ours has, written whole.
    void make(std::span<const std::byte> from, std::span<std::byte> to) const;

private:
    std::vector<FieldMove> moves_;
    std::size_t theirs_;
    std::size_t ours_;
};

// What the keys and the values of a map are; empty: plain numbers, or nothing that is described.
struct MapRecords {
    std::string_view map;
    std::string_view key;
    std::string_view value;
};
[[nodiscard]] MapRecords records_of(std::string_view map);

class Layout {
public:
    [[nodiscard]] static const Layout& ours();
    // Of a map `layout`. Rows behind the first empty one are not looked at.
    explicit Layout(std::span<const flb_field> rows);

    [[nodiscard]] std::span<const flb_field> rows() const { return rows_; }
    [[nodiscard]] static std::string_view name_of(const flb_field& row);
    [[nodiscard]] const flb_field* find(std::string_view name) const; // a record, or one of its fields
    [[nodiscard]] bool same(std::string_view record, const Layout& other) const;
    friend bool operator==(const Layout& a, const Layout& b);
    // Nothing where this layout does not have the record.
    [[nodiscard]] std::optional<RecordMove> to_ours(std::string_view record) const;

private:
    std::vector<flb_field> rows_;

    [[nodiscard]] std::vector<flb_field> fields_of(std::string_view record) const;
};

} // namespace featherlb
