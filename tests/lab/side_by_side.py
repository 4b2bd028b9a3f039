#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the lab's files several at a time, each in a pytest of its own, and puts their results into one file.

    side_by_side.py --jobs 2 --junitxml FILE [-- PYTEST-OPTIONS...]

Most tests wait: for timeouts, for checks, for load to end. What is marked `alone` is left out. A signal to the process
group ends it all, and every pytest cleans up after itself.
"""
import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as Xml
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
NO_TESTS = 5  # pytest's exit code
COUNTS = ("tests", "failures", "errors", "skipped")


def run(file: Path, results: Path, options: list[str]) -> int:
    """pytest's exit code."""
    done = subprocess.run([sys.executable, "-B", "-m", "pytest", str(file), "-v", "-m", "not alone",
                           f"--junitxml={results}", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="", flush=True)
    return done.returncode


def merge(parts: list[Path], target: Path, crashed: list[str]) -> None:
    """One <testsuite> of all; a file whose pytest left no results is a failed test."""
    suite = Xml.Element("testsuite", name="lab")
    counts = dict.fromkeys(COUNTS, 0)
    for part in parts:
        for one in Xml.parse(part).iter("testsuite"):
            suite.extend(one)
            for name in COUNTS:
                counts[name] += int(one.get(name, 0))
    for name in crashed:
        case = Xml.SubElement(suite, "testcase", classname="lab", name=name)
        Xml.SubElement(case, "failure", message="pytest ended without results")
        counts["tests"] += 1
        counts["failures"] += 1
    suite.attrib.update({name: str(value) for name, value in counts.items()})
    root = Xml.Element("testsuites")
    root.append(suite)
    Xml.ElementTree(root).write(target, encoding="utf-8", xml_declaration=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--junitxml", type=Path, required=True)
    parser.add_argument("options", nargs="*")
    options = parser.parse_args()
    files = sorted(HERE.glob("test_*.py"), key=lambda file: -file.stat().st_size)  # the large ones take longest
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(options.jobs) as pool:
        parts = {file: Path(directory, file.stem + ".xml") for file in files}
        ended = dict(zip(files, pool.map(lambda file: run(file, parts[file], options.options), files)))
        crashed = [file.name for file in files if ended[file] not in (0, NO_TESTS) and not parts[file].exists()]
        merge([part for part in parts.values() if part.exists()], options.junitxml, crashed)
    return 1 if any(code not in (0, NO_TESTS) for code in ended.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
