// SPDX-License-Identifier: Apache-2.0
// What texts for people are made of: aligned columns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace featherlb {

inline constexpr std::size_t page_width = 100;

// Rows of cells, each column as wide as its widest cell; numbers to the right.
class Columns {
public:
    struct Column {
        std::string title;
        bool right = false;
    };
    explicit Columns(std::vector<Column> columns) : columns_(std::move(columns)) {}

    void add(std::vector<std::string> cells) { rows_.push_back({std::move(cells), {}}); }
    // A line below the last row, for words that would make a column too wide.
    void note(std::string text) { rows_.back().note = std::move(text); }

    // Of the longest row; notes are not looked at.
    [[nodiscard]] std::size_t width() const
    {
        std::size_t all = 0;
        for (const std::size_t width : widths())
            all += width + 2;
        return all - 2;
    }

    void print(std::string& out, std::size_t indent) const
    {
        const std::vector<std::size_t> widths = this->widths();
        std::vector<std::string> titles;
        for (const Column& column : columns_)
            titles.push_back(column.title);
        print_row(out, indent, titles, widths);
        for (const Row& row : rows_) {
            print_row(out, indent, row.cells, widths);
            if (!row.note.empty())
                out += fmt::format("{:{}}{}\n", "", indent + 2, row.note);
        }
    }

private:
    struct Row {
        std::vector<std::string> cells;
        std::string note;
    };

    [[nodiscard]] std::vector<std::size_t> widths() const
    {
        std::vector<std::size_t> widths;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            std::size_t width = columns_[i].title.size();
            for (const Row& row : rows_)
                width = std::max(width, row.cells[i].size());
            widths.push_back(width);
        }
        return widths;
    }

    void print_row(std::string& out, std::size_t indent, const std::vector<std::string>& cells,
        const std::vector<std::size_t>& widths) const
    {
        std::string line(indent, ' ');
        for (std::size_t i = 0; i < cells.size(); ++i) {
            if (i > 0)
                line += "  ";
            line += columns_[i].right ? fmt::format("{:>{}}", cells[i], widths[i])
                                      : fmt::format("{:<{}}", cells[i], widths[i]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + '\n';
    }

    std::vector<Column> columns_;
    std::vector<Row> rows_;
};

} // namespace featherlb
