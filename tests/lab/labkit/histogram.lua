-- SPDX-License-Identifier: Apache-2.0
-- For wrk: prints the whole latency histogram, so that the figures of several wrk processes can be added up.
function done(_, latency, _)
    for i = 1, #latency do
        local microseconds, count = latency(i)
        io.write(string.format("latency %d %d\n", microseconds, count))
    end
end
