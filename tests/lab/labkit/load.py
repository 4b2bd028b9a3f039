# SPDX-License-Identifier: Apache-2.0
"""lab_load and wrk from Python: start, wait, and the figures that they print."""
import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import tools
from .lab import Lab
from .netns import Namespace
from .topology import pool_address


def short_lived(ns: Namespace, to: tuple[str, int], count: int, addresses: int = 50, first_address: int = 1,
                first_port: int = 0, ports: int = 0, concurrency: int = 64, timeout_ms: int = 5000,
                list_to: Path | None = None) -> dict:
    """Connections that the server closes first; see tests/lab/tools/short.cpp for the figures."""
    family = 6 if ":" in to[0] else 4
    command = [tools.lab_load(), "short", "--to", to[0], "--port", str(to[1]), "--from",
               pool_address(family, first_address), "--addresses", str(addresses), "--first-port", str(first_port),
               "--ports", str(ports), "--count", str(count), "--concurrency", str(concurrency), "--timeout-ms",
               str(timeout_ms)]
    if list_to is not None:
        command += ["--list", str(list_to)]
    done = ns.run(command, check=False, timeout=180, stderr=subprocess.PIPE)
    try:
        return json.loads(done.stdout) | {"cut": done.stderr.splitlines()}
    except json.JSONDecodeError as error:
        raise RuntimeError(f"lab_load: {done.stdout}{done.stderr}") from error


def picks(ns: Namespace, to: tuple[str, int], lab: Lab, count: int, **options) -> list[tuple[tuple[str, int], str]]:
    """((source address, source port), backend) of connections opened one after another (concurrency 1)."""
    file = lab.directory / "picks"
    figures = short_lived(ns, to, count, list_to=file, **{"concurrency": 1, **options})
    assert figures["ok"] == count, figures
    rows = (line.split() for line in file.read_text().splitlines())
    return [((address, int(port)), name) for address, port, name in rows]


class Held:
    """Connections to an echo port that stay open, in a few processes (a process may have few descriptors)."""

    def __init__(self, lab: Lab, ns: Namespace, to: tuple[str, int], count: int, addresses: int, processes: int = 4,
                 first_port: int = 0, ports: int = 0):
        family = 6 if ":" in to[0] else 4
        each, own = count // processes, addresses // processes
        self.lab, self.parts = lab, []
        for number in range(processes):
            command = [tools.lab_load(), "hold", "--to", to[0], "--port", str(to[1]), "--from",
                       pool_address(family, 1 + number * own), "--addresses", str(own), "--count", str(each),
                       "--first-port", str(first_port), "--ports", str(ports)]
            self.parts.append(lab.start(ns, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        self.opened = self._answers()

    def _answers(self) -> dict:
        """The answers of all processes in one: sums, and the longest time."""
        answers = [json.loads(part.stdout.readline()) for part in self.parts]
        return {"open": sum(answer["open"] for answer in answers),
                "failed": sum(answer["failed"] for answer in answers),
                "seconds": max(answer["seconds"] for answer in answers)}

    def tell(self, command: str) -> dict:
        for part in self.parts:
            part.stdin.write(command + "\n")
            part.stdin.flush()
        return self._answers()

    def ping(self) -> dict:
        return self.tell("ping")

    def recycle(self, step: int) -> dict:
        return self.tell(f"recycle {step}")

    def close(self) -> None:
        for part in self.parts:
            self.lab.stop(part)


@dataclass
class Wrk:
    """wrk's own report, read."""
    requests: int
    seconds: float
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


def _milliseconds(text: str, share: str) -> float:
    found = re.search(share + r"%\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found.group(1)) * _UNITS[found.group(2)] if found else 0.0


def wrk_command(url: str, seconds: int, connections: int, threads: int = 1,
                new_connections: bool = False) -> list[str]:
    header = ["-H", "Connection: close"] if new_connections else []
    return ["wrk", "--latency", "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "--timeout", "5s",
            *header, url]


def read_wrk(text: str) -> Wrk:
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    if not total:
        raise RuntimeError(f"wrk: {text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    errors = {}
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if sockets:
        errors = dict(zip(("connect", "read", "write", "timeout"), map(int, sockets.groups())))
    if status := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        errors["status"] = int(status.group(1))
    return Wrk(int(total.group(1)), float(total.group(2)) * _UNITS[total.group(3)] / 1e3, float(rate.group(1)),
               _milliseconds(text, "50"), _milliseconds(text, "99"), errors)


def start_wrk(lab: Lab, ns: Namespace, *arguments, gives_way: bool = False, **options) -> subprocess.Popen:
    """`gives_way`: to whoever else wants a processor."""
    nice = ["nice", "-n", "19"] if gives_way else []
    return lab.start(ns, [*nice, *wrk_command(*arguments, **options)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                     text=True)


def finish_wrk(process: subprocess.Popen) -> Wrk:
    return read_wrk(process.communicate(timeout=120)[0])
