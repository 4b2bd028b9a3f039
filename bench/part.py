# SPDX-License-Identifier: Apache-2.0
"""What the parts of the benchmark that are written in Python do alike: options, a lab of their own, what they leave."""
import argparse
import os
import sys
from pathlib import Path

import figures
from labkit import tools
from labkit.lab import Lab, install_signal_handlers


def parser(name: str, about: str, quick: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"bench/{name}.py", description=about)
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--output", type=Path, default=figures.OUTPUT, help=f"folder of {name}.json and .txt")
    return made


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(name: str, output: Path, measure, processors: list[int] | None = None) -> int:
    """The exit code. measure(lab) gives rows as in figures.py, and their text, whose first line says what they are;
    children inherit the processors."""
    if os.geteuid() != 0:
        say("needs root")
        return 1
    if not Path(tools.featherlb()).exists():
        say(f"{tools.featherlb()} is not built")
        return 1
    if processors:
        os.sched_setaffinity(0, processors)
    install_signal_handlers()
    try:
        with Lab() as lab:
            rows, text = measure(lab)
    except KeyboardInterrupt:
        say("stopped")
        return 130
    figures.write(output, name, text.splitlines()[0], rows)
    (output / f"{name}.txt").write_text(text + "\n")
    print(text)
    return 0
