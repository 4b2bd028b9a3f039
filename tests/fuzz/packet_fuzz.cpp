// SPDX-License-Identifier: Apache-2.0
// libFuzzer: any bytes as a frame, through bpf/parse.h. Nothing may be read beyond the frame, and the answer must be
// that of a second parser. Run it as CMakeLists.txt says.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/packet_invariants.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string wrong = featherlb::fuzz::check_packet({data, size});
    if (!wrong.empty()) {
        std::fprintf(stderr, "%s\n", wrong.c_str());
        std::abort();
    }
    return 0;
}
