# SPDX-License-Identifier: Apache-2.0
"""The plots of docs/benchmarks, as SVG: text stays text, no dates, no random names, so that the same figures give the same
file. Each takes all rows by id and draws what is there; a plot of which nothing was measured is not drawn."""
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "featherlb", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
                            "axes.spines.right": False, "font.family": "sans-serif", "axes.axisbelow": True})
from matplotlib import pyplot  # noqa: E402

OURS, OTHERS, FLOOR = "#c0392b", "#7f8c8d", "#2c3e50"
# Katran on the machine of peers.md: flows -> nanoseconds a packet, IPIP; an empty program took 31 ns there.
KATRAN = {1: 159, 4000: 178, 64000: 364, 1000000: 331}
FLOWS = (1, 4000, 64000, 1000000)
ONE_FLOW = {"floor/empty": "an empty program", "floor/header": "a constant outer header", "not-ours/ipv4/tcp": "not ours",
            **{f"established/{version}/tcp/{forward}/{way}/flows=1": f"{forward}, IPv{version[-1]}, {way.replace('-', ' the ')}"
               for version in ("ipv4", "ipv6") for forward, way in (
                   ("snat", "to-backend"), ("snat", "to-client"), ("dnat", "to-backend"), ("dnat", "to-client"),
                   ("dsr", "to-backend"), ("ipip", "to-backend"))}}


def _save(figure, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    # matplotlib ends lines with blanks
    file.write_text("\n".join(line.rstrip() for line in file.read_text().splitlines()) + "\n")


def _bars(file: Path, title: str, unit: str, bars: list[tuple[str, float, str]], digits: int = 0) -> bool:
    """Horizontal ones, the first on top: (name, value, colour)."""
    if not bars:
        return False
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.28 * len(bars)))
    names, values, colours = zip(*bars)
    places = range(len(bars), 0, -1)
    axes.barh(places, values, color=colours, height=0.7)
    axes.set_yticks(places, names)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(unit)
    for place, value in zip(places, values):
        axes.text(value, place, f" {value:,.{digits}f}", va="center", fontsize=8)
    _save(figure, file)
    return True


def packet_cost(rows: dict[str, dict], file: Path) -> bool:
    bars = [(name, rows[id_]["value"], FLOOR if id_.startswith("floor") else OURS) for id_, name in ONE_FLOW.items()
            if id_ in rows]
    return _bars(file, "One connection, XDP: cost of a packet", "nanoseconds a packet", bars)


def packet_flows(rows: dict[str, dict], file: Path) -> bool:
    """Over the number of flows, beside the floors of the same tables."""
    lines = {"snat": (OURS, "o-", "established/ipv4/tcp/snat/to-backend/flows={}"),
             "ipip": ("#e67e22", "s-", "established/ipv4/tcp/ipip/to-backend/flows={}"),
             "floor: one random line of the table": (FLOOR, "^--", "floor/memory/flows={}")}
    figure, axes = pyplot.subplots(figsize=(7, 3.6))
    drawn = 0
    for name, (colour, style, pattern) in lines.items():
        points = [(flows, rows[pattern.format(flows)]["value"]) for flows in FLOWS if pattern.format(flows) in rows]
        if points:
            axes.plot(*zip(*points), style, color=colour, label=name)
            drawn += len(points)
    axes.plot(list(KATRAN), list(KATRAN.values()), "x:", color=OTHERS, label="Katran, ipip (another run, see text)")
    axes.set_xscale("log")
    axes.set_xticks(FLOWS, [f"{flows:,}" for flows in FLOWS])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("connections in turn")
    axes.set_ylabel("nanoseconds a packet")
    axes.set_title("Established, XDP, IPv4: cost over the number of connections", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    if drawn:
        _save(figure, file)
    else:
        pyplot.close(figure)
    return drawn > 0


def throughput(rows: dict[str, dict], file: Path) -> bool:
    there = [row for id_, row in rows.items() if id_.startswith("throughput/") and row["value"]]
    bars = [(row["name"], row["value"] / 1e6, OURS if "featherlb" in row["name"] else
             FLOOR if row["id"] == "throughput/redirect" else OTHERS) for row in there]
    return _bars(file, "Through veth, one processor for generator, balancer and sink", "million packets/s", bars, 2)


def requests(rows: dict[str, dict], file: Path) -> bool:
    """Of routed, with intervals; kinds of load side by side."""
    kinds = {"keep-alive": "connections kept", "per-request": "one a request", "bulk-1": "bulk, 1 stream",
             "bulk-8": "bulk, 8 streams"}
    kinds = {kind: text for kind, text in kinds.items() if f"{kind}/routed" in rows}
    names = [id_.split("/")[1] for id_ in rows if id_.startswith("keep-alive/") and not id_.endswith("/routed")]
    if not names:
        return False
    figure, axes = pyplot.subplots(figsize=(7, 3.6))
    width = 0.8 / len(names)
    colours = {"nft-dnat": "#cfd6da", "nft-snat": "#b3bcc1", "haproxy": "#8c979e", "nginx-stream": "#5d6d7e",
               "featherlb-dnat": "#e67e22", "featherlb-snat": OURS}
    for number, name in enumerate(names):
        mine = [rows[f"{kind}/{name}"] for kind in kinds]
        values = [row["ratios"][f"{kind}/routed"] for kind, row in zip(kinds, mine)]
        edges = [row["intervals"][f"{kind}/routed"] for kind, row in zip(kinds, mine)]
        errors = [[value - low for value, (low, _) in zip(values, edges)],
                  [high - value for value, (_, high) in zip(values, edges)]]
        places = [place + (number - (len(names) - 1) / 2) * width for place in range(len(kinds))]
        axes.bar(places, values, width * 0.9, yerr=errors, color=colours[name], label=mine[0]["name"],
                 error_kw={"elinewidth": 0.8})
    axes.axhline(1, color=FLOOR, linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(kinds)), kinds.values())
    axes.set_ylabel("of routed, without a balancer")
    axes.set_title("Requests and bulk TCP, TC on veth, two processors for everything", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    _save(figure, file)
    return True


PLOTS = {"packet-cost": (packet_cost, "what a packet of one connection costs"),
         "packet-flows": (packet_flows, "the same over many connections in turn"),
         "throughput": (throughput, "packets a second through veth"),
         "requests": (requests, "requests and bulk TCP beside others")}
