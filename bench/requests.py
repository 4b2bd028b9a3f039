#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP requests and bulk TCP through featherlb (TC, two-armed), beside: no balancer (routed), nft, HAProxy in tcp mode, nginx
stream. Everything on two processors of this machine, in network namespaces: three nginx backends, three wrk, iperf3.

All are up at once, each in a network of its own, and are measured in turn, a second each, forth in one round and back in the
next, so that what else the machine does hits all alike; ratios are made within a round, and their medians are quoted: absolute
figures belong to this machine and this hour. Load has the same shape for all: see contestants.py. A second in which strangers
had much of a processor is measured again, as long as there are spare ones.
"""
import contextlib
import os
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))
import figures  # noqa: E402
from contestants import CONTESTANTS, Ground, strangers_time  # noqa: E402
import part  # noqa: E402
from labkit import tools  # noqa: E402
from labkit.lab import Lab  # noqa: E402

PAIRED = "keep-alive-paired"
KINDS = {"keep-alive": "HTTP, connections kept", PAIRED: "HTTP, connections kept, each client with a backend of its own",
         "per-request": "HTTP, a connection for each request", "bulk-1": "bulk TCP, 1 stream", "bulk-8": "bulk TCP, 8 streams"}
HTTP = ("keep-alive", PAIRED, "per-request")
IN_PAIRS = ("routed", "nft-dnat", "featherlb-dnat")
QUICK = ("routed", "nft-dnat", "haproxy", "nginx-stream", "featherlb-dnat")
SPARE = 6  # slices a round, of some thirty
LATENCIES = ("p50_ms", "p99_ms", "p999_ms")


class Slices:
    """Measures slices, some twice: if other programs had more than a tenth of a processor."""

    def __init__(self, seconds: int, spare: int):
        self._seconds, self.spare = seconds, spare

    def measure(self, ground: Ground, kind: str) -> dict:
        while True:
            strangers, began = strangers_time(), time.monotonic()
            figure = self._measure(ground, kind)
            if strangers_time() - strangers < 0.1 * (time.monotonic() - began) or self.spare == 0:
                return figure
            self.spare -= 1

    def _measure(self, ground: Ground, kind: str) -> dict:
        if kind in HTTP:
            return ground.requests(self._seconds, kind == "per-request", kind == PAIRED)
        return ground.bulk(self._seconds, int(kind.removeprefix("bulk-")))


def one_round(grounds: dict[str, Ground], kinds: list[str], slices: Slices, back: bool) -> dict[str, dict]:
    """By contestant and kind of load. Those that are compared follow each other: a kind is all contestants' turn."""
    figure = {id_: {} for id_ in grounds}
    for kind in kinds:
        for id_ in reversed(grounds) if back else grounds:
            if kind != PAIRED or id_ in IN_PAIRS:
                figure[id_][kind] = slices.measure(grounds[id_], kind)
    return figure


def who_had(rounds: list[dict], kind: str) -> list[str]:
    return [id_ for id_ in rounds[0] if kind in rounds[0][id_]]


def bases(id_: str, rounds: list[dict], kind: str) -> dict[str, list[float]]:
    """Everybody beside everybody; nft-same is the nft that forwards in the same way."""
    rates = {f"{kind}/{other}": [each[other][kind]["rate"] for each in rounds] for other in who_had(rounds, kind)}
    alike = rates.get(f"{kind}/nft-{CONTESTANTS[id_].forward}")
    return {**rates, "nft-same": alike} if alike else rates


def processor_rows(rounds: list[dict]) -> list[dict]:
    """Microseconds a request that the balancer takes: of a program its processes' time; else the machine's busy time less
    that of routed, in the same round. `machine` is the latter for all."""
    made = []
    for kind in HTTP:
        for id_ in who_had(rounds, kind):
            if id_ == "routed":
                continue
            one = CONTESTANTS[id_]
            more = [each[id_][kind]["busy_us"] - each["routed"][kind]["busy_us"] for each in rounds]
            own = [each[id_][kind]["own_us"] for each in rounds]
            made.append(figures.row(f"cpu/{kind}/{id_}", one.name, f"processor time a request: {KINDS[kind]}", "us",
                                    own if one.in_user_space else more, how="processes" if one.in_user_space else
                                    "machine less routed", machine=figures.rounded(statistics.median(more))))
    return made


def results(rounds: list[dict]) -> list[dict]:
    made = []
    for kind, group in KINDS.items():
        for id_ in who_had(rounds, kind):
            one = CONTESTANTS[id_]
            mine = [each[id_][kind] for each in rounds]
            more = {name: round(statistics.median(figure[name] for figure in mine), 3) for name in LATENCIES
                    if name in mine[0]}
            if kind in HTTP:
                more["errors"] = sum(figure["errors"] for figure in mine)
            else:
                more["sent_again"] = sum(figure["sent_again"] for figure in mine)
            made.append(figures.row(f"{kind}/{id_}", one.name, group, "requests/s" if kind in HTTP else "bit/s",
                                    [figure["rate"] for figure in mine], bases(id_, rounds, kind), **more))
    return made + processor_rows(rounds)


def as_text(rows: list[dict], rounds: int, seconds: int) -> str:
    lines = [f"Requests through the balancer, TC, two-armed, {len(os.sched_getaffinity(0))} processors for everything, Linux "
             f"{os.uname().release}; medians of {rounds} rounds of {seconds} s"]
    for kind, group in KINDS.items():
        mine = [row for row in rows if row["group"] == group]
        if not mine:
            continue
        bulk = kind not in HTTP
        lines += ["", group, *figures.table(mine, {f"{kind}/routed": "of routed", "nft-same": "of nft alike"},
                                            *((1e-9, 2) if bulk else ()))]
        if bulk:
            lines[-len(mine) - 1] = lines[-len(mine) - 1].replace("  bit/s", "Gbit/s")
        else:
            lines += [f"    {row['name']:<30} p50 {row['p50_ms']:.2f} ms, p99 {row['p99_ms']:.2f}, p99.9 "
                      f"{row['p999_ms']:.2f}; {row['errors']} failed" for row in mine]
    lines += ["", "Processor time of the balancer, us a request (of programs their own; else the machine's, less routed's)"]
    lines += [f"  {row['id']:<32}{row['value']:>10.2f} ({row['low']:.2f} to {row['high']:.2f}), machine {row['machine']:.2f}"
              for row in rows if row["id"].startswith("cpu/")]
    return "\n".join([*lines, "", "of nft alike: beside nft with the same forwarding. Routed spreads connections, too: by "
                      "multipath routes, but for those in pairs. Backends keep no TIME_WAIT."])


def main() -> int:
    parser = part.parser("requests", __doc__, "less: 3 rounds instead of 10")
    parser.add_argument("--rounds", type=int, help="another number of rounds")
    options = parser.parse_args()
    rounds, seconds = options.rounds or (3 if options.quick else 10), 1
    who = QUICK if options.quick else tuple(CONTESTANTS)
    kinds = [kind for kind in KINDS if not options.quick or kind != "bulk-1"]

    def work(_: Lab) -> tuple[list[dict], str]:
        with contextlib.ExitStack() as stack:
            grounds = {}
            for id_ in who:
                part.say(f"preparing: {CONTESTANTS[id_].name}")
                grounds[id_] = Ground(stack.enter_context(Lab()), CONTESTANTS[id_])
                stack.enter_context(grounds[id_].run())
            done, slices = [], Slices(seconds, SPARE * rounds)
            for number in range(rounds):
                part.say(f"requests, round {number + 1} of {rounds}")
                done.append(one_round(grounds, kinds, slices, back=number % 2 == 1))
            part.say(f"{SPARE * rounds - slices.spare} slices measured again")
        rows = results(done)
        return rows, as_text(rows, rounds, seconds)

    return part.run("requests", options.output, work, tools.processors()[:2])


if __name__ == "__main__":
    sys.exit(main())
