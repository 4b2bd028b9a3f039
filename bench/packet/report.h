// SPDX-License-Identifier: Apache-2.0
// The figures: a table for people, JSON for other programs. Medians of the rounds.
#pragma once

#include <string>
#include <vector>

#include "row.h"

namespace featherlb::bench {

void print_table(const std::vector<Row>& rows);
void write_json(const std::vector<Row>& rows, const std::string& file);

} // namespace featherlb::bench
