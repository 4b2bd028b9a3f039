#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes docs/benchmarks/results.json, results.md and the plots of what the parts of the benchmark left in build/bench/*.json.

Says which targets of issue 6 (targets.py) are reached. The same input gives the same files.
"""
import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import figures  # noqa: E402
import targets  # noqa: E402

DOCS = figures.ROOT / "docs/benchmarks"
ABOUT = {"packet": "Nanoseconds a packet, by BPF_PROG_TEST_RUN, beside floors of the same run."}
ORDER = ["packet", "throughput", "throughput-6.1", "requests", "growth"]


def read_parts(folder: Path) -> dict[str, dict]:
    """The packet bench says ns where the others say value and unit, and has its machine in a file beside."""
    parts = {}
    for file in sorted(folder.glob("*.json")):
        part = json.loads(file.read_text())
        if not isinstance(part, dict) or "part" not in part:
            continue
        for row in part["rows"]:
            if "ns" in row:
                row["value"], row["unit"] = figures.rounded(row.pop("ns")), "ns"
            for name in ("low", "high"):
                if row.get(name) is not None:
                    row[name] = figures.rounded(row[name])
            row["rounds"] = [figures.rounded(value) for value in row.get("rounds", [])]
            row["ratios"] = {base: figures.rounded(ratio) for base, ratio in (row.get("ratios") or {}).items() if ratio}
        stamp = file.with_suffix(".machine")
        part.setdefault("machine", json.loads(stamp.read_text()) if stamp.exists() else figures.machine())
        part.setdefault("about", ABOUT.get(part["part"], ""))
        parts[file.stem] = part
    return {name: parts[name] for name in sorted(parts, key=lambda name: (ORDER + [name]).index(name))}


def by_id(parts: dict[str, dict]) -> dict[str, dict]:
    """Rows of this machine's kernel; those of another kernel stay in their part."""
    return {row["id"]: row for name, part in parts.items() if name != "throughput-6.1" for row in part["rows"]}


def number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    if unit == "bit/s":
        return f"{value / 1e9:.2f} G"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def target_table(rows: dict[str, dict]) -> tuple[list[str], list[dict]]:
    lines, data = ["| target | wanted | measured | | row |", "| --- | ---: | ---: | --- | --- |"], []
    for target in targets.TARGETS:
        bound = f"at most {target.at_most:g}" if target.at_most is not None else f"at least {target.at_least:g}"
        found = targets.measured(target, rows)
        unit = "" if target.unit == "x" else f" {target.unit}"
        verdict = "not measured" if not found else "reached" if targets.reached(target, found[0]) else "**not reached**"
        edges = found and rows[found[1]].get("intervals", {}).get(target.take.removeprefix("ratio "))
        figure = f"{found[0]:.2f}{unit}" + (f" ({edges[0]:.2f}-{edges[1]:.2f})" if edges else "") if found else ""
        lines.append(f"| {target.text} | {bound}{unit} | {figure} | {verdict} | "
                     f"{f'`{found[1]}`' if found else ''} |")
        data.append({"target": target.text, "rows": list(target.rows), "take": target.take, "at_most": target.at_most,
                     "at_least": target.at_least, "unit": target.unit, "measured": found and figures.rounded(found[0]),
                     "row": found and found[1], "reached": found and targets.reached(target, found[0])})
    return lines, data


def machine_lines(parts: dict[str, dict], rows: dict[str, dict]) -> list[str]:
    lines = ["| part | processor | of them | kernel | commit | load at its end |", "| --- | --- | ---: | --- | --- | ---: |"]
    lines += [f"| {name} | {part['machine']['processor']} | {part['machine']['processors']} | {part['machine']['kernel']} | "
              f"{part['machine']['commit']} | {part['machine']['load']} |" for name, part in parts.items()]
    if "floor/empty" in rows:
        lines += ["", f"An empty program behind the packet part's harness takes {number(rows['floor/empty']['value'])} ns here."]
    return lines


def columns_of(rows: list[dict], wanted: dict[str, str]) -> dict[str, str]:
    return {base: heading for base, heading in wanted.items() if any(base in row.get("ratios", {}) for row in rows)}


def row_table(rows: list[dict], bases: dict[str, str], extra: dict[str, str]) -> list[str]:
    """`bases`: ratios, with their intervals where there are some; `extra`: further fields of the rows."""
    bases, extra = columns_of(rows, bases), {key: text for key, text in extra.items() if any(key in row for row in rows)}
    unit = "Gbit/s" if rows[0]["unit"] == "bit/s" else rows[0]["unit"]
    lines = ["| | " + " | ".join([unit, *bases.values(), *extra.values()]) + " |",
             "| --- |" + " ---: |" * (1 + len(bases) + len(extra))]
    for row in rows:
        if row.get("value") is None:
            lines.append(f"| {row['name']} | {row['missing']} |" + " |" * (len(bases) + len(extra)))
            continue
        cells = [number(row["value"], row["unit"]).removesuffix(" G")]
        if row["unit"] == "us":
            cells[0] += f" ({number(row['low'])} to {number(row['high'])})"
        for base in bases:
            ratio, edges = row["ratios"].get(base), row.get("intervals", {}).get(base)
            cells.append("" if ratio is None else f"{ratio:.2f}" + (f" ({edges[0]:.2f}-{edges[1]:.2f})" if edges else ""))
        cells += [str(row[key]) if isinstance(row.get(key), str) else number(row.get(key)) for key in extra]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return lines


BASES = {"empty": "of an empty program", "header": "of a constant header", "memory": "of the memory floor",
         "memory+header": "of both", "ipv4": "of IPv4", "10 backends": "of 10 backends", "1 service": "of 1 service",
         "throughput/redirect": "of the redirect", "throughput/nft-dnat": "of nft DNAT",
         **{f"{kind}/routed": "of routed"
            for kind in ("keep-alive", "keep-alive-paired", "per-request", "bulk-1", "bulk-8")},
         "nft-same": "of nft alike"}
EXTRA = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "p999_ms": "p99.9 ms", "errors": "failed", "sent_again": "sent again",
         "how": "measured by", "machine": "machine less routed"}


def part_lines(name: str, part: dict) -> list[str]:
    lines = ["", f"## {name}", "", part.get("about", "")]
    groups: dict[str, list[dict]] = {}
    for row in part["rows"]:
        groups.setdefault(f"{row['group']}, {row['hook']}" if "hook" in row else row["group"], []).append(row)
    for group, rows in groups.items():
        units = {row["unit"] for row in rows}
        if len(units) == 1:
            lines += ["", f"### {group}", "", *row_table(rows, BASES, EXTRA)]
        else:  # growth: a unit a row
            lines += ["", f"### {group}", "", "| | | |", "| --- | ---: | --- |"]
            lines += [f"| {row['name']} | {number(row.get('value'))} | {row['unit']} |" for row in rows]
    return lines


def draw(rows: dict[str, dict], folder: Path) -> list[str]:
    try:
        import plots
    except ImportError:
        print("bench: no python3-matplotlib, so no plots", file=sys.stderr)
        return []
    return [f"![{text}]({name}.svg)" for name, (plot, text) in plots.PLOTS.items() if plot(rows, folder / f"{name}.svg")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/report.py", description=__doc__)
    parser.add_argument("--input", type=Path, default=figures.OUTPUT, help="folder with the parts' files")
    parser.add_argument("--output", type=Path, default=DOCS, help="where results.json, results.md and plots go")
    options = parser.parse_args()
    parts = read_parts(options.input)
    if not parts:
        print(f"bench: nothing in {options.input}", file=sys.stderr)
        return 1
    rows = by_id(parts)
    options.output.mkdir(parents=True, exist_ok=True)
    table, data = target_table(rows)
    lines = ["# Results", "", "Made by `bench/report.py` of the last runs of `sudo scripts/bench`; [README.md](README.md) says "
             "how each figure is made. Quote ratios: absolute figures belong to this machine and this hour. In parentheses: 95 % "
             "confidence interval.", "", "## Machine", "", *machine_lines(parts, rows), "", "## Targets", "", *table,
             "", *draw(rows, options.output)]
    for name, part in parts.items():
        lines += part_lines(name, part)
    (options.output / "results.md").write_text("\n".join(lines) + "\n")
    (options.output / "results.json").write_text(json.dumps({"targets": data, "parts": parts}, indent=1) + "\n")
    for line in table[2:]:
        text, wanted, figure, verdict = (cell.strip().replace("**", "") for cell in line.strip("| ").split("|")[:4])
        print(f"{text:<88}{wanted:>18}{figure:>24}  {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
