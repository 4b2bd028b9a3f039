# SPDX-License-Identifier: Apache-2.0
"""What issue 6 wants to be reached, as data; report.py says of each what was measured, and whether that is enough.

A target names rows by id (`*` stands for anything) and what is taken of each:
  "value"           its own figure
  "ratio BASE"      its ratio to BASE, as its part has made it, round by round (empty, header, memory, ipv4, another row's id)
The row that is farthest off counts.
"""
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Target:
    text: str
    rows: tuple[str, ...]
    take: str
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"
    scale: float = 1.0  # of the rows' figures, to `unit`


TARGETS = [
    # Packet cost. Katran's figures, in brackets: the same method on the machine of peers.md.
    Target("established, 1 flow, `snat` and `dnat`, either direction, of an empty program",
           ("established/ipv4/*/snat/*/flows=1", "established/ipv4/*/dnat/*/flows=1"), "ratio empty", at_most=1.8),
    Target("established, 1 flow, `ipip`, of a constant header [3.1]",
           ("established/ipv4/*/ipip/*/flows=1",), "ratio header", at_most=1.35),
    Target("established, 1 flow, IPv6 by IPv4", ("established/ipv6/*/flows=1",), "ratio ipv4", at_most=1.25),
    Target("4,000 flows in turn, `ipip`, of a constant header [3.4]",
           ("established/ipv4/tcp/ipip/to-backend/flows=4000",), "ratio header", at_most=1.6),
    Target("64,000 flows in turn, of the memory floor",
           ("established/ipv4/tcp/*/to-backend/flows=64000",), "ratio memory", at_most=1.25),
    Target("1,000,000 flows in turn, of the memory floor",
           ("established/ipv4/tcp/*/to-backend/flows=1000000",), "ratio memory", at_most=1.25),
    Target("64,000 flows in turn, below Katran's 364 ns",
           ("established/ipv4/tcp/*/to-backend/flows=64000",), "value", at_most=364, unit="ns"),
    Target("1,000,000 flows in turn, below Katran's 331 ns",
           ("established/ipv4/tcp/*/to-backend/flows=1000000",), "value", at_most=331, unit="ns"),
    Target("new flow, kept, `ipip` with `maglev`, table empty to full, of a constant header [10, 20]",
           ("new/ipv4/tcp/ipip/table=empty", "new/ipv4/tcp/ipip/table=half", "new/ipv4/tcp/ipip/table=full"),
           "ratio header", at_most=6.7),
    Target("a packet that is not ours, of an empty program [2.7]", ("not-ours/*",), "ratio empty", at_most=1.3),
    Target("established, 10,000 services by 1", ("established/ipv4/tcp/snat/to-backend/flows=1/services=10000",),
           "ratio 1 service", at_most=1.1),
    Target("established, 1,000 backends by 10", ("established/ipv4/tcp/snat/to-backend/flows=*/backends=1000",),
           "ratio 10 backends", at_most=1.1),
    Target("`least-connections` over 1,000 backends, a new flow", ("new/*/pick=least-connections/backends=1000",), "value",
           at_most=2000, unit="ns"),
    # Throughput through veth.
    Target("throughput, XDP, `snat`, of the no-op redirect", ("throughput/xdp/snat",), "ratio throughput/redirect",
           at_least=0.9),
    Target("throughput, XDP, `snat`, of nft DNAT", ("throughput/xdp/snat",), "ratio throughput/nft-dnat", at_least=4.5),
    # Requests.
    Target("HTTP keep-alive, TC, of routed", ("keep-alive/featherlb-*",), "ratio keep-alive/routed", at_least=0.97),
    Target("the same, each client with a backend of its own", ("keep-alive-paired/featherlb-*",),
           "ratio keep-alive-paired/routed", at_least=0.97),
    Target("HTTP keep-alive, TC, of nft alike", ("keep-alive/featherlb-*",), "ratio nft-same", at_least=1.05),
    Target("HTTP keep-alive, TC, of HAProxy", ("keep-alive/featherlb-*",), "ratio keep-alive/haproxy", at_least=1.6),
    Target("HTTP keep-alive, TC, of nginx stream", ("keep-alive/featherlb-*",), "ratio keep-alive/nginx-stream", at_least=2.2),
    Target("a connection per request, of nft alike", ("per-request/featherlb-*",), "ratio nft-same", at_least=1.1),
    Target("a connection per request, of HAProxy", ("per-request/featherlb-*",), "ratio per-request/haproxy", at_least=1.7),
    Target("bulk TCP, TC, 1 stream, of routed", ("bulk-1/featherlb-*",), "ratio bulk-1/routed", at_least=0.97),
    Target("bulk TCP, TC, 8 streams, of routed", ("bulk-8/featherlb-*",), "ratio bulk-8/routed", at_least=0.97),
    # Growth: ids that bench/growth.py gives its rows.
    Target("memory for one IPv4 connection, table at its rated load", ("memory/connection/ipv4",), "value", at_most=256,
           unit="bytes"),
    Target("reload of 1,000 services of 32 backends", ("reload/services=1000/backends=32",), "value", at_most=1000, unit="ms"),
    Target("one backend changed among 10,000 services", ("change/services=10000",), "value", at_most=10, unit="ms"),
    Target("idle daemon with 100 services, private memory", ("idle/services=100/memory",), "value", at_most=16, unit="MiB"),
    Target("idle daemon with 100 services, of a core", ("idle/services=100/processor",), "value", at_most=0.2, unit="%"),
]


def measured(target: Target, rows: dict[str, dict]) -> tuple[float, str] | None:
    """The figure that counts and the id of its row; None: nothing of it was measured."""
    figures = []
    for id_, row in rows.items():
        if any(fnmatchcase(id_, pattern) for pattern in target.rows):
            figure = _take(target.take, row)
            if figure is not None:
                figures.append((figure * target.scale, id_))
    if not figures:
        return None
    return max(figures) if target.at_most is not None else min(figures)


def reached(target: Target, figure: float) -> bool:
    return figure <= target.at_most if target.at_most is not None else figure >= target.at_least


def _take(take: str, row: dict) -> float | None:
    word, _, rest = take.partition(" ")
    if row.get("value") is None:
        return None
    if word == "value":
        return row["value"]
    return row["ratios"].get(rest)
