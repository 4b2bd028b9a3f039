#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Branch coverage of bpf/ from what llvm-cov exports; called by scripts/coverage.

usage: branches.py ROOT LEAST [--missing] NAME[@FILE]=ALL.json,PLAIN.json...

A branch is one outcome of one condition as it stands in the source: `if (a && b)` has four. It is taken if it was
taken in any function that it was compiled into, for whatever family; conditions that the compiler knows the outcome
of are left out by llvm-cov. One argument for each program: the first file is of all runs, the second of the tests as
they are, without the variants of tests/packet/host/variants.h. Of a program with FILE, that file alone is its own: the
rest is what it shares with the others, of which it may use a part. Exit code 1: a program, or all together, has less
than LEAST percent.
"""
import json
import os
import sys

TRUE, FALSE = 0, 1


def branches(path, root):
    """(file, line, column, last line, last column, outcome) -> how often."""
    found = {}
    with open(path, encoding="utf-8") as file:
        data = json.load(file)["data"][0]
    for function in data["functions"]:
        for branch in function.get("branches", []):
            where = os.path.relpath(function["filenames"][branch[6]], root)
            for outcome in TRUE, FALSE:
                key = (where, *branch[:4], outcome)
                found[key] = found.get(key, 0) + branch[4 + outcome]
    return found


def merge(*tables):
    found = {}
    for table in tables:
        for key, count in table.items():
            found[key] = found.get(key, 0) + count
    return found


def percent(table):
    return 100 * taken(table) / len(table) if table else 100.0


def taken(table):
    return sum(1 for count in table.values() if count)


def row(name, table, note=""):
    print(f"{name:<30} {len(table):>8} {taken(table):>8} {percent(table):>7.1f} %  {note}".rstrip())


def only(table, file):
    return {key: count for key, count in table.items() if key[0] == file}


def print_missing(root, programs):
    """Lines `file:line: condition: never true (xdp, tc)`; a program is named if it has the branch."""
    print("\nnever taken:")
    for key in sorted(set().union(*programs.values())):
        where = [name for name, table in programs.items() if table.get(key) == 0]
        if not where or any(table.get(key) for table in programs.values()):
            continue
        file, line, column, last_line, last_column, outcome = key
        with open(os.path.join(root, file), encoding="utf-8") as source:
            text = source.read().splitlines()[line - 1]
        condition = text[column - 1 : last_column - 1 if last_line == line else None].strip()
        print(f"{file}:{line}: {condition}: never {'false' if outcome else 'true'} ({', '.join(where)})")


def main(arguments):
    missing = "--missing" in arguments
    root, least, *programs = [a for a in arguments if a != "--missing"]
    every, plain, own = {}, {}, {}
    for program in programs:
        name, files = program.split("=")
        name, _, file = name.partition("@")
        every[name], plain[name] = (branches(path, root) for path in files.split(","))
        own[name] = only(every[name], file) if file else every[name]
    together = merge(*every.values())
    print(f"{'file':<30} {'branches':>8} {'taken':>8} {'percent':>9}")
    for file in sorted({key[0] for key in together}):
        row(file, only(together, file))
    print()
    rows = {**own, "all": together}
    for name, table in rows.items():
        row(name, table)
    row("all, without variants", merge(*plain.values()), "(tests as they are: nothing made to fail)")
    if missing:
        print_missing(root, every)
    short = [name for name, table in rows.items() if percent(table) < float(least)]
    if short:
        print(f"\nless than {least} % of the branches are taken: {', '.join(short)} (--missing lists them)")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
