# SPDX-License-Identifier: Apache-2.0
"""What the parts of the benchmark write, and the little statistics in it.

A part writes build/bench/PART.json: {"part", "machine", "about", "rows"}; a row is {"id", "name", "group", "value", "unit",
"low", "high", "rounds", "ratios": {BASE: median of the rounds' ratios to row BASE}, "intervals": {BASE: [low, high]}, ...}.
Rounds are interleaved: all rows once, then all again, so what else the machine did hits all alike and a ratio within one round
says more than one of two medians. Intervals are 95 %, by bootstrap over the rounds.
"""
import json
import os
import random
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "build/bench"
_RESAMPLINGS = 2000


def interval(values: list[float]) -> tuple[float, float]:
    """95 % confidence interval of the median. The seed is fixed: the same rounds give the same interval."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(_RESAMPLINGS))
    return medians[int(0.025 * _RESAMPLINGS)], medians[int(0.975 * _RESAMPLINGS) - 1]


def rounded(value: float) -> float:
    """Four significant digits: more is noise, and makes each run's file differ from the last one's all over."""
    return float(f"{value:.4g}")


def row(id_: str, name: str, group: str, unit: str, rounds: list[float], bases: dict[str, list[float]] | None = None,
        **more) -> dict:
    """`bases`: rounds of other rows, of the same run, to compare with."""
    low, high = interval(rounds)
    made = {"id": id_, "name": name, "group": group, "value": rounded(statistics.median(rounds)), "unit": unit,
            "low": rounded(low), "high": rounded(high), "rounds": [rounded(value) for value in rounds], "ratios": {},
            "intervals": {}, **more}
    for base, others in (bases or {}).items():
        ratios = [value / other for value, other in zip(rounds, others) if other]
        if ratios:
            made["ratios"][base] = rounded(statistics.median(ratios))
            made["intervals"][base] = [rounded(edge) for edge in interval(ratios)]
    return made


def missing(id_: str, name: str, group: str, unit: str, why: str) -> dict:
    """A row that could not be measured here, and why."""
    return {"id": id_, "name": name, "group": group, "value": None, "unit": unit, "missing": why, "ratios": {}, "rounds": []}


def machine() -> dict:
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    if "QEMU" in model or os.environ.get("FEATHERLB_GUEST"):
        model += ", emulated: only ratios count"
    commit = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], text=True,
                            capture_output=True).stdout.strip()
    return {"processor": model, "processors": os.cpu_count(), "kernel": os.uname().release, "commit": commit,
            "load": round(os.getloadavg()[0], 1)}


def write(output: Path, part: str, about: str, rows: list[dict]) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"{part}.json"
    file.write_text(json.dumps({"part": part, "machine": machine(), "about": about, "rows": rows}, indent=1) + "\n")
    return file


def table(rows: list[dict], bases: dict[str, str], scale: float = 1.0, digits: int = 0) -> list[str]:
    """Lines of text: value, its ratios to `bases` (row id: heading) with their intervals."""
    heading = f"{'':<34}{rows[0]['unit'] if rows else '':>14}" + "".join(f"{text:>24}" for text in bases.values())
    lines = [heading]
    for one in rows:
        if one["value"] is None:
            lines.append(f"  {one['name']:<32}  {one['missing']}")
            continue
        text = f"  {one['name']:<32}{one['value'] * scale:>14,.{digits}f}"
        for base in bases:
            if base in one["ratios"]:
                low, high = one["intervals"][base]
                text += f"{one['ratios'][base]:>10.2f} ({low:.2f}-{high:.2f})".ljust(24).rjust(24)
            else:
                text += " " * 24
        lines.append(text.rstrip())
    return lines


if __name__ == "__main__":  # for parts that are not written in Python
    print(json.dumps(machine()))
