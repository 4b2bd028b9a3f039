# SPDX-License-Identifier: Apache-2.0
"""Runs wrk and reads what the backends logged about it."""
import collections
import glob
import json
import os
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def run(url, threads, connections, seconds):
    """wrk's figures as a dict (see report.lua). wrk opens one more connection first, to see that somebody answers."""
    done = subprocess.run(
        ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", f"{HERE}/report.lua", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds + 60, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"wrk failed ({done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
    return {**json.loads(lines[-1]), "text": done.stdout}


class Logs:
    """The access logs of all backends, in one folder."""

    def __init__(self, folder):
        self.folder = folder
        self._offsets = {}

    def backends(self):
        return sorted(os.path.basename(path)[:-len(".log")] for path in glob.glob(f"{self.folder}/*.log"))

    def clear(self):
        """Empties the logs; nginx appends, so it goes on at the new end."""
        for backend in self.backends():
            os.truncate(f"{self.folder}/{backend}.log", 0)
            self._offsets[backend] = 0

    def take(self):
        """[(backend, host, connection, status)] written since the last take or clear; only whole lines."""
        entries = []
        for backend in self.backends():
            with open(f"{self.folder}/{backend}.log", "rb") as log:
                log.seek(self._offsets.get(backend, 0))
                data = log.read()
            data = data[:data.rfind(b"\n") + 1]
            self._offsets[backend] = self._offsets.get(backend, 0) + len(data)
            for line in data.decode("ascii", "replace").splitlines():
                host, connection, _, _, status = line.split()
                entries.append((backend, host, connection, status))
        return entries

    def settle(self, host, at_least, patience_s=20):
        """Requests, distinct connections and bad answers per backend for this Host header, once `at_least` requests are in
        the logs and no more come (nginx writes them up to a second late)."""
        requests, bad = collections.Counter(), collections.Counter()
        connections = collections.defaultdict(set)
        deadline = time.monotonic() + patience_s
        quiet_since = time.monotonic()
        while time.monotonic() < deadline:
            for backend, its_host, connection, status in self.take():
                if its_host == host:
                    quiet_since = time.monotonic()
                    requests[backend] += 1
                    connections[backend].add(connection)
                    bad[backend] += status != "200"
            if sum(requests.values()) >= at_least and time.monotonic() - quiet_since > 2.2:
                break
            time.sleep(0.2)
        return {backend: {"requests": requests[backend], "connections": len(connections[backend]), "bad": bad[backend]}
                for backend in self.backends()}
