#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Packets a second through veth on one processor: 1,000 established connections in turn, 98 bytes a frame, generator and sink
included, beside a program that only redirects (the floor), the kernel's forwarding, nft, iptables and IPVS.

Each round takes every row in turn, in slices of a tenth of a second. Counted is what arrives at the sink, and time is what this
processor had for it: while another program was on it, the clock stands. Everything runs on one processor, the last one.
"""
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))
import figures  # noqa: E402
import lanes  # noqa: E402
import live_frames  # noqa: E402
import part  # noqa: E402
from labkit import tools  # noqa: E402
from labkit.lab import Lab  # noqa: E402

FLOOR, NFT, ROUTED = "throughput/redirect", "throughput/nft-dnat", "throughput/routed"
KERNEL = {FLOOR: ("XDP redirect, no-op", lanes.Redirect), ROUTED: ("kernel forwarding", lanes.Routed),
          NFT: ("nft DNAT", lanes.Nft), "throughput/iptables-dnat": ("iptables DNAT", lanes.Iptables),
          "throughput/ipvs": ("IPVS, masquerading", lanes.Ipvs)}
UNIT, GROUP = "packets/s", "throughput"


class Row:
    def __init__(self, id_: str, name: str, lane: lanes.Lane | None, missing: str = ""):
        self.id, self.name, self.lane, self.missing = id_, name, lane, missing
        self.rounds: list[float] = []
        self.sent = self.arrived = 0

    def measure(self, slice_seconds: float) -> tuple[int, float]:
        """Packets that arrived, seconds that they took."""
        generator = self.lane.generator
        self.lane.aim()
        seconds = generator.send(live_frames.ACK, seconds=slice_seconds)
        generator.settle()
        self.sent += generator.state.sent
        self.arrived += generator.state.arrived
        self.lane.took(generator.state.arrived)
        return generator.state.arrived, seconds


def prepare(lab: Lab, generator: live_frames.Generator) -> tuple[list[Row], list[lanes.Daemon]]:
    rows, daemons = [], []
    for id_, (name, kind) in KERNEL.items():
        part.say(f"preparing: {name}")
        lane = kind(lab, generator, id_.split("/")[1])
        try:
            lane.start()
            rows.append(Row(id_, name, lane))
        except lanes.Missing as error:
            rows.append(Row(id_, name, None, str(error)))
    for attach, kind in (("xdp", lanes.OwnProgram), ("tc", lanes.Lane)):
        lane = kind(lab, generator, attach)
        part.say(f"preparing: featherlb, {attach}")
        daemon = lanes.Daemon(lane, attach, list(lanes.FORWARDS))
        daemons.append(daemon)
        for forward in lanes.FORWARDS:
            rows.append(Row(f"throughput/{attach}/{forward}", f"featherlb {attach.upper()}, {forward}",
                            lanes.Balanced(lane, forward, daemon)))
    part.say(f"opening {live_frames.CLIENTS:,} connections in each row")
    there = [row.lane for row in rows if row.lane]
    for lane in there:
        lane.open_connections()
    time.sleep(2.1)
    for lane in there:
        lane.prove_connections()
    for daemon in daemons:
        daemon.check_established(len(lanes.FORWARDS) * live_frames.CLIENTS)
    return rows, daemons


def measure(rows: list[Row], rounds: int, turns: int, slice_seconds: float) -> None:
    there = [row for row in rows if row.lane]
    while True:  # warm, and as fast as nothing is lost
        for row in there:
            row.sent = row.arrived = 0
            row.measure(slice_seconds)
        if all(row.arrived >= 0.999 * row.sent for row in there) or not there[0].lane.generator.go_slowly():
            break
    for row in there:
        row.sent = row.arrived = 0
    for number in range(rounds):
        part.say(f"throughput, round {number + 1} of {rounds}")
        sums = {row.id: [0, 0.0] for row in there}
        for _ in range(turns):
            for row in there:
                packets, seconds = row.measure(slice_seconds)
                sums[row.id][0] += packets
                sums[row.id][1] += seconds
        for row in there:
            row.rounds.append(sums[row.id][0] / sums[row.id][1])


def results(rows: list[Row]) -> list[dict]:
    bases = {row.id: row.rounds for row in rows if row.id in (FLOOR, NFT, ROUTED)}
    made = []
    for row in rows:
        if row.lane:
            made.append(figures.row(row.id, row.name, GROUP, UNIT, row.rounds, bases,
                                    lost=figures.rounded(1 - row.arrived / row.sent)))
        else:
            made.append(figures.missing(row.id, row.name, GROUP, UNIT, row.missing))
    return made


def as_text(rows: list[dict]) -> str:
    where = figures.machine()
    return "\n".join([f"Packets a second through veth, one processor for all, Linux {where['kernel']} ({where['processor']})",
                      *figures.table(rows, {FLOOR: "of redirect", NFT: "of nft DNAT"}),
                      "In parentheses: 95 % confidence interval of the ratio. Lost on the way: " +
                      (", ".join(f"{row['name']} {row['lost']:.2%}" for row in rows if row.get("lost")) or "none.")])


def main() -> int:
    parser = part.parser("throughput", __doc__, "3 rounds of 0.2 s a row instead of 7 of 0.8 s")
    parser.add_argument("--rounds", type=int, help="another number of rounds")
    parser.add_argument("--part", default="throughput", help="name of the file that is written")
    options = parser.parse_args()
    rounds, turns, slice_seconds = (3, 2, 0.1) if options.quick else (7, 8, 0.1)

    def work(lab: Lab) -> tuple[list[dict], str]:
        generator = live_frames.Generator(lab)
        rows, daemons = prepare(lab, generator)
        before = [daemon.packets() for daemon in daemons]
        measure(rows, options.rounds or rounds, turns, slice_seconds)
        for daemon, packets in zip(daemons, before):
            daemon.check_counted(packets)
        made = results(rows)
        return made, as_text(made)

    return part.run(options.part, options.output, work, [tools.processors()[-1]])


if __name__ == "__main__":
    sys.exit(main())
