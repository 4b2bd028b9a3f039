#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP requests and bulk TCP through featherlb (TC, two-armed), beside: no balancer (routed), nft, HAProxy in tcp mode, nginx
stream. Everything on two processors of this machine, in network namespaces: three nginx backends, three wrk, iperf3.

Each round runs every contestant once, in turn, so that what else the machine does hits all alike; ratios are made within a
round, and their medians are quoted: absolute figures belong to this machine and this hour.
"""
import os
import statistics
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))
import figures  # noqa: E402
from contestants import CONTESTANTS, Ground  # noqa: E402
import part  # noqa: E402
from labkit import tools  # noqa: E402
from labkit.lab import Lab  # noqa: E402

KINDS = {"keep-alive": "HTTP, connections kept", "per-request": "HTTP, a connection for each request",
         "bulk-1": "bulk TCP, 1 stream", "bulk-8": "bulk TCP, 8 streams"}
HTTP = ("keep-alive", "per-request")
QUICK = ("routed", "nft-dnat", "haproxy", "nginx-stream", "featherlb-dnat")
LATENCIES = ("p50_ms", "p99_ms", "p999_ms")


def measure(ground: Ground, id_: str, seconds: int, bulk_seconds: int, streams: tuple[int, ...]) -> dict:
    """One contestant in one round: all kinds of load."""
    one = CONTESTANTS[id_]
    with ground.run(one):
        figure = {kind: ground.requests(one, seconds, kind == "per-request") for kind in HTTP}
        for number in streams:
            figure[f"bulk-{number}"] = {"rate": ground.bulk(one, bulk_seconds, number)}
    return figure


def bases(id_: str, rounds: list[dict], kind: str) -> dict[str, list[float]]:
    """Everybody beside everybody; nft-same is the nft that forwards in the same way."""
    rates = {f"{kind}/{other}": [each[other][kind]["rate"] for each in rounds] for other in rounds[0]}
    alike = rates.get(f"{kind}/nft-{CONTESTANTS[id_].forward}")
    return {**rates, "nft-same": alike} if alike else rates


def processor_rows(rounds: list[dict]) -> list[dict]:
    """Microseconds a request that the balancer takes: of a program its processes' time; else the machine's busy time less
    that of routed, in the same round. `machine` is the latter for all."""
    made = []
    for kind in HTTP:
        for id_ in rounds[0]:
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
        for id_ in rounds[0] if kind in rounds[0]["routed"] else ():
            one = CONTESTANTS[id_]
            mine = [each[id_][kind] for each in rounds]
            more = {name: round(statistics.median(figure[name] for figure in mine), 3) for name in LATENCIES
                    if name in mine[0]}
            if kind in HTTP:
                more["errors"] = sum(figure["errors"] for figure in mine)
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
    return "\n".join([*lines, "", "of nft alike: beside nft with the same forwarding. Backends keep no TIME_WAIT."])


def main() -> int:
    parser = part.parser("requests", __doc__, "less: 3 rounds of 1 s instead of 7 of 2 s")
    parser.add_argument("--rounds", type=int, help="another number of rounds")
    options = parser.parse_args()
    rounds, seconds, bulk_seconds = (3, 1, 1) if options.quick else (7, 2, 1)
    rounds, who = options.rounds or rounds, QUICK if options.quick else tuple(CONTESTANTS)
    streams = (8,) if options.quick else (1, 8)

    def work(lab: Lab) -> tuple[list[dict], str]:
        ground = Ground(lab)
        done = []
        for number in range(rounds):
            part.say(f"requests, round {number + 1} of {rounds}")
            done.append({id_: measure(ground, id_, seconds, bulk_seconds, streams) for id_ in who})
        rows = results(done)
        return rows, as_text(rows, rounds, seconds)

    return part.run("requests", options.output, work, tools.processors()[:2])


if __name__ == "__main__":
    sys.exit(main())
