#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How featherlb grows: memory of a connection, a service, a backend; time to load 1, 1,000 and 10,000 services, to check and plan a
file, to reload and to change one backend; what an idle daemon takes; what sweeping and a new connection cost with 10,000 to
1,000,000 open ones. In network namespaces; times are of the clock on the wall unless a row says otherwise.
"""
import contextlib
import copy
import re
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))
import figures  # noqa: E402
import live_frames  # noqa: E402
from growing import Connections, Daemon, Place, median, shares  # noqa: E402
import part  # noqa: E402
from labkit import config as configs  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.netns import die_with_parent  # noqa: E402
from labkit.ports import ManyPorts  # noqa: E402

SIZES = (1, 1_000, 10_000)  # services of two backends
WIDE = (1_000, 32)
IDLE, UNSWEPT = 100, 1024
CHECKED = {"health": {"type": "tcp", "interval": "2s", "timeout": "1s"}}
MIB = 1 << 20
# Idle daemons: the end of the row's id, what is said of it, what services have besides, flows.max.
IDLE_KINDS = (("", "", {}, None), ("/checks", ", each checked every 2 s (tcp)", CHECKED, None),
              ("/unswept", f", flows.max {UNSWEPT:,}: nearly without sweeping", {}, UNSWEPT))


class Effort:
    def __init__(self, quick: bool):
        self.loads, self.commands, self.reloads, self.changes = (1, 1, 3, 21) if quick else (3, 3, 7, 21)
        self.idle_seconds, self.swept_seconds, self.parts = (5, 2, 2) if quick else (20, 10, 5)
        self.open = (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000)
        self.new_rounds = 5 if quick else 7
        self.shapes = () if quick else ((10_000, 2), WIDE, (8, 1_000))
        self.passes = 1 if quick else 5
        self.idle_kinds = IDLE_KINDS[:1] if quick else IDLE_KINDS


class Growth:
    def __init__(self, lab: Lab, effort: Effort, programs: Path):
        self.lab, self.effort, self.programs = lab, effort, programs
        self.rows: list[dict] = []
        self.place = Place(lab, "grow")
        self.sizes: dict[tuple[int, int], tuple[int, int]] = {}  # services, backends: bytes of maps, private ones

    def row(self, id_: str, name: str, group: str, unit: str, rounds: list[float], how: str = "",
            bases: dict[str, list[float]] | None = None) -> None:
        self.rows.append(figures.row(id_, name, group, unit, rounds, bases, **({"how": how} if how else {})))

    def weigh(self, shape: tuple[int, int], daemon: Daemon) -> None:
        self.sizes[shape] = sum(daemon.map_bytes().values()), daemon.private_bytes()

    def loading(self) -> None:
        """The last round's daemons are asked for more."""
        walls, spent = {size: [] for size in SIZES}, {size: [] for size in SIZES}
        for number in range(self.effort.loads):
            part.say(f"growth: loading, round {number + 1} of {self.effort.loads}")
            for size in SIZES:
                daemon = self.place.balancer_of(self.place.configuration(size, 2))
                try:
                    wall, processor = daemon.load()
                    walls[size].append(wall)
                    spent[size].append(processor)
                    if number + 1 == self.effort.loads:
                        self.weigh((size, 2), daemon)
                        if size == SIZES[-1]:
                            self.many(daemon, size)
                finally:
                    daemon.stop()
        for size in SIZES:
            self.row(f"load/services={size}", f"start to ready, {size:,} services", "time to load", "ms", walls[size],
                     f"{median(spent[size]):,.0f} ms of a processor")

    def many(self, daemon: Daemon, services: int) -> None:
        before = daemon.spent()
        took = daemon.change_weights(self.effort.changes)
        each = (daemon.spent() - before) / len(took) * 1e3
        self.row(f"change/services={services}", f"one backend's weight of {services:,} services", "changes", "ms", took,
                 f"admin socket; {each:.1f} ms of a processor; at most {max(took):.1f}")
        self.file_rows(daemon, f"services={services}", f"{services:,} services of 2")

    def file_rows(self, daemon: Daemon, id_: str, name: str) -> None:
        """The file is the one that the daemon has loaded."""
        for what in ("check", "plan"):
            self.row(f"{what}/{id_}", f"featherlb {what}, {name}", "changes", "ms",
                     [daemon.milliseconds(what, "-c", str(daemon.file)) for _ in range(self.effort.commands)], "the command")

    def reloading(self) -> None:
        services, backends = WIDE
        part.say(f"growth: {services} services of {backends} backends")
        config = self.place.configuration(services, backends)
        id_, name = f"services={services}/backends={backends}", f"{services:,} services of {backends}"
        with self.place.balancer_of(config) as daemon:
            self.weigh(WIDE, daemon)
            if self.effort.commands > 1:
                self.file_rows(daemon, id_, name)
            other = copy.deepcopy(config)
            other["services"][services // 2]["backends"][0]["address"] = "10.2.0.11:60000"
            took, spent = [], []
            for number in range(self.effort.reloads):
                configs.write(daemon.file, config if number % 2 else other)
                before = daemon.spent()
                took.append(daemon.milliseconds("reload"))
                spent.append((daemon.spent() - before) * 1e3)
            ok = daemon.status()["reloads"]["ok"]
            if ok != len(took):
                raise RuntimeError(f"{ok} of {len(took)} reloads were carried out")
        self.row(f"reload/{id_}", f"reload, {name}, one backend is another", "changes", "ms", took,
                 f"the command; {median(spent):,.0f} ms of a processor in the daemon")

    def memory(self) -> None:
        small, large, wide = self.sizes[SIZES[1], 2], self.sizes[SIZES[2], 2], self.sizes[WIDE]
        for index, what in enumerate(("maps", "private")):
            whose = "of the maps" if what == "maps" else "of the daemon"
            backend = (wide[index] - small[index]) / (WIDE[0] * (WIDE[1] - 2))
            service = (large[index] - small[index]) / (SIZES[2] - SIZES[1])
            self.row(f"memory/service/{what}", f"a service with 2 backends, {whose}", "memory", "bytes", [service],
                     f"{SIZES[2]:,} less {SIZES[1]:,} services")
            self.row(f"memory/backend/{what}", f"a backend, {whose}", "memory", "bytes", [backend],
                     f"{WIDE[0]:,} services with {WIDE[1]} less 2")

    def idling(self, daemons: list[Daemon], empty: Daemon) -> list[float]:
        """Started long ago: the first pass over the flow table is the dearest one. Returns the share of the last."""
        part.say(f"growth: idle daemons, {self.effort.idle_seconds} s")
        idle, kinds = daemons[0], self.effort.idle_kinds
        taken = shares({**{kind[0]: daemon for kind, daemon in zip(kinds, daemons)}, "empty": empty}, self.effort.idle_seconds,
                       self.effort.parts)
        id_, name = f"idle/services={IDLE}", f"idle daemon, {IDLE} services of 2 backends"
        for suffix, what, mib, how in (
                ("memory", "private", idle.private_kib() / 1024, "smaps, without pages of the maps"),
                ("mapped", "private, and pages of the maps", idle.rollup_kib() / 1024,
                 "smaps_rollup, Private_*: what is mapped of the maps is in it"),
                ("maps", "the maps", sum(idle.map_bytes().values()) / MIB, "memory of the kernel")):
            self.row(f"{id_}/{suffix}", f"{name}, {what}", "idle: memory", "MiB", [mib], how)
        for suffix, what, *_ in kinds:
            self.row(f"{id_}{suffix}/processor", name + what, "idle: processor", "%", taken[suffix],
                     f"user and system, {self.effort.idle_seconds} s")
        return taken["empty"]

    def connecting(self, there: Connections, empty: list[float]) -> None:
        """`empty`: the daemon's share of a core before the first connection came."""
        there.prepare()
        group, first = "a new connection, `dnat`", None
        for number in self.effort.open:
            part.say(f"growth: new connections beside {number:,} open ones")
            new, known = there.cost_at(number, self.effort.new_rounds)
            more = [a - b for a, b in zip(new, known)]
            first = first or more
            self.row(f"connection/open={number}", f"with {number:,} open", group, "ns", more,
                     f"SYN {median(new):,.0f} less a packet of an open one {median(known):,.0f}; generator and sink are in both",
                     bases={f"connection/open={self.effort.open[0]}": first})
        there.fill(there.room)
        held, maps = there.established(), there.daemon.map_bytes()
        if held < 0.95 * there.opened:
            raise RuntimeError(f"{there.opened} connections were opened, {held} are there")
        group = "memory of a connection, table at its rated load"
        self.row("memory/connection/ipv4", "IPv4", group, "bytes", [maps["flows4"] / held],
                 f"the map's info by {held:,} that were established, of {there.opened:,} opened; flows.max {there.room:,}")
        self.row("memory/connection/ipv6", "IPv6", group, "bytes", [maps["flows6"] / there.room],
                 f"the map's info by flows.max {there.room:,}")
        part.say(f"growth: sweeping, {self.effort.swept_seconds} s")
        full = shares({"": there.daemon}, self.effort.swept_seconds, self.effort.parts)[""]
        self.row(f"memory/connection/kept/open={there.room}", f"of {there.room:,} opened, by clients that ask twice",
                 "connections kept at flows.max", "%", [held / there.opened * 100])
        group = "sweeping: the daemon's share of a core"
        self.row("sweep/open=0", f"none open, room for {there.room:,}", group, "%", empty, "1 service of 10 backends")
        self.row(f"sweep/open={there.room}", f"{held:,} open", group, "%", full, "the same daemon")

    def steps(self) -> None:
        """What the daemon does within, by the bench programs."""
        text = self.run_program("sweep_bench", "--passes", str(self.effort.passes))
        found = re.search(r"a pass costs ([\d.]+) s \((\d+) ns a set\), takes (\d+) s and ([\d.]+) %", text or "")
        name, group = "a pass over room for 1,000,000 of each IP version, as many open", "sweeping: one pass"
        if found:
            self.row("sweep/pass", name, group, "ms", [float(found[1]) * 1e3],
                     f"sweep_bench: {found[2]} ns a set, {found[4]} % of a core, a pass takes {found[3]} s")
        else:
            self.rows.append(figures.missing("sweep/pass", name, group, "ms", "no sweep_bench"))
        for services, backends in self.effort.shapes:
            group = f"processor time within the daemon, {services:,} services of {backends:,}"
            text = self.run_program("plan_bench", "--apply", "--services", str(services), "--backends", str(backends))
            shape = f"services={services}/backends={backends}"
            if text is None:
                self.rows.append(figures.missing(f"within/{shape}", "all steps", group, "ms", "no plan_bench"))
            for step, value in re.findall(r"^(\S.*?)\s+([\d.]+) ms$", text or "", re.MULTILINE):
                self.row(f"within/{shape}/{re.sub('[^a-z]+', '-', step)}", step, group, "ms", [float(value)])

    def run_program(self, name: str, *words: str) -> str | None:
        if not (self.programs / name).exists():
            return None
        part.say(f"growth: {name} {' '.join(words)}")
        return subprocess.run([self.programs / name, *words], text=True, check=True, stdout=subprocess.PIPE, timeout=120,
                              preexec_fn=die_with_parent).stdout


def measure(lab: Lab, effort: Effort, programs: Path) -> list[dict]:
    growth = Growth(lab, effort, programs)
    places = [Place(lab, f"idle{number}") for number in range(len(effort.idle_kinds))]
    daemons = []
    for place, (_, _, every, flows) in zip(places, effort.idle_kinds):
        config = place.configuration(IDLE, 2, **every)
        daemons.append(place.balancer_of(config | ({"flows": {"max": flows}} if flows else {})))
    connections = Connections(lab, live_frames.Generator(lab), effort.open[-1])
    with contextlib.ExitStack() as stack:
        for place in places:
            stack.enter_context(ManyPorts(place.servers, range(2000, 2000 + IDLE)))
        part.say("growth: starting the daemons that are to be idle")
        for daemon in daemons:
            stack.callback(daemon.stop)
        for daemon in [*daemons, connections.daemon]:
            daemon.start(wait=False)
        for daemon in [*daemons, connections.daemon]:
            daemon.wait_ready(120)
        growth.loading()
        growth.reloading()
        growth.memory()
        empty = growth.idling(daemons, connections.daemon)
    try:
        growth.connecting(connections, empty)
    finally:
        connections.daemon.stop()
    growth.steps()
    groups = list(dict.fromkeys(row["group"] for row in growth.rows))
    return sorted(growth.rows, key=lambda row: groups.index(row["group"]))


def as_text(rows: list[dict]) -> str:
    where = figures.machine()
    lines = [f"How featherlb grows, Linux {where['kernel']}, {where['processors']} processors ({where['processor']})"]
    group = ""
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines += ["", f"{group}, {row['unit']}"]
        figure = row["missing"] if row["value"] is None else f"{row['value']:>12,.2f}"
        spread = f" ({row['low']:,.2f} to {row['high']:,.2f})" if len(row["rounds"]) > 1 else ""
        lines.append(f"  {row['name']:<66}{figure}{spread}  {row.get('how', '')}".rstrip())
    return "\n".join(lines)


def main() -> int:
    parser = part.parser("growth", __doc__,
                         "fewer rows and rounds, up to 100,000 connections; under 30 s on a machine of one's own")
    parser.add_argument("--programs", type=Path, default=ROOT / "build/release", help="folder of plan_bench and sweep_bench")
    options = parser.parse_args()

    def work(lab: Lab) -> tuple[list[dict], str]:
        rows = measure(lab, Effort(options.quick), options.programs)
        return rows, as_text(rows)

    return part.run("growth", options.output, work)


if __name__ == "__main__":
    sys.exit(main())
