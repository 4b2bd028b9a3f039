# SPDX-License-Identifier: Apache-2.0
"""What growth.py measures on: places with a daemon of their own, and connections by the million."""
import contextlib
import ctypes
import http.client
import json
import mmap
import os
import re
import socket
import statistics
import struct
import time
from pathlib import Path

import lanes
import live_frames
from labkit.balancer import Featherlb
from labkit.config import configuration
from labkit.lab import Lab
from labkit.topology import Host

ADDRESSES, PER_ADDRESS = 10, 1000  # of services: ports of each
PORTS_PER_CLIENT = 4  # of generator.bpf.c
SET_BYTES = 256  # struct flb_set4
_MAP_LOOKUP_ELEM, _MAP_GET_FD_BY_ID = 1, 14
ENDPOINTS = [f"10.2.0.{11 + i}" for i in range(2)]


class Place:
    """A balancer's namespace with two cables to another, where clients and backends are. What Network is to Featherlb."""

    interfaces = ("front", "back")

    def __init__(self, lab: Lab, name: str):
        self.lab, self.name = lab, name
        self.balancer, self.others = lab.namespace(f"{name}-lb"), lab.namespace(f"{name}-o")
        for device, address in (("front", "10.1.0.1"), ("back", "10.2.0.1")):
            lab.veth(self.balancer, device, self.others, device)
            self.balancer.ip(f"addr add {address}/24 dev {device}")
        self.others.ip("addr add 10.1.0.2/24 dev front\n" + "\n".join(f"addr add {one}/24 dev back" for one in ENDPOINTS))
        self.balancer.ip("\n".join(f"addr add 10.9.1.{1 + i}/32 dev lo" for i in range(ADDRESSES)))
        self.servers = Host(self.others, "servers", ENDPOINTS[0], "")

    def configuration(self, services: int, backends: int, **every) -> dict:
        """`every`: what each service has besides. Backends all have another address and port."""
        made = []
        for number in range(services):
            ends = [divmod(number * backends + i, len(ENDPOINTS)) for i in range(backends)]
            made.append({"name": f"service-{number}",
                         "listen": f"10.9.1.{1 + number // PER_ADDRESS}:{1000 + number % PER_ADDRESS}/tcp",
                         "backends": [{"address": f"{ENDPOINTS[end]}:{2000 + port}"} for port, end in ends], **every})
        return configuration(self, made)

    def balancer_of(self, config: dict) -> "Daemon":
        return Daemon(self, config, name=self.name)


class Daemon(Featherlb):
    def load(self) -> tuple[float, float]:
        """Starts it; milliseconds until it is ready, and of processor time."""
        began = time.perf_counter()
        self.start(wait=False)
        while "ready" not in (log := self.log()).split():
            if not self.alive():
                raise RuntimeError(f"featherlb ended with {self.process.returncode}:\n{log}")
            if time.perf_counter() - began > 120:
                raise TimeoutError("featherlb is not ready after 120 s")
            time.sleep(0.002)
        return (time.perf_counter() - began) * 1e3, self.spent() * 1e3

    def spent(self) -> float:
        """Seconds of processor time, user and system, of all threads that there are."""
        there = f"/proc/{self.process.pid}/task"
        return sum(int(open(f"{there}/{task}/schedstat").read().split()[0]) for task in os.listdir(there)) / 1e9

    def private_bytes(self) -> int:
        return self.private_kib() * 1024

    def rollup_kib(self) -> int:
        """Private_* of smaps_rollup: pages of the maps that are mapped are in it."""
        text = open(f"/proc/{self.process.pid}/smaps_rollup").read()
        return sum(int(number) for number in re.findall(r"^Private_\w+:\s+(\d+)", text, re.MULTILINE))

    def map_bytes(self) -> dict[str, int]:
        """As bpftool says it: from each map's info in /proc/PID/fdinfo; by name, of this daemon's own descriptors."""
        return {one["name"]: one["bytes"] for one in self.status()["data_plane"]["maps"]}

    def milliseconds(self, *words: str) -> float:
        """That a command takes, from its start to its end."""
        began = time.perf_counter()
        command = [self.binary, *words] if words[0] == "check" else self.words(*words)
        done = self.network.balancer.run(command, check=False)
        took = (time.perf_counter() - began) * 1e3
        if done.returncode:
            raise RuntimeError(f"featherlb {' '.join(words)}: exit code {done.returncode}\n{done.stdout}")
        return took

    def change_weights(self, times: int) -> list[float]:
        """Milliseconds from a request at the admin socket to its answer: another weight is in force. Each of another service."""
        services, took = self.config["services"], []
        with contextlib.closing(http.client.HTTPConnection("localhost")) as admin:
            admin.sock = socket.socket(socket.AF_UNIX)
            admin.sock.connect(str(self.socket))
            for number in range(times):
                one = services[(number + 1) * len(services) // (times + 1)]
                said = {"service": one["name"], "backend": one["backends"][0]["address"], "weight": 2 + number % 3}
                began = time.perf_counter()
                admin.request("POST", "/v1/weight", json.dumps(said))
                answer = json.loads(admin.getresponse().read())
                took.append((time.perf_counter() - began) * 1e3)
                if answer["result"] != "ok":
                    raise RuntimeError(f"a weight was refused: {answer}")
        return took


def shares(daemons: dict[str, Daemon], seconds: float, parts: int) -> dict[str, list[float]]:
    """Per cent of a core that each takes, in so many parts of the time, all at once."""
    made: dict[str, list[float]] = {name: [] for name in daemons}
    for _ in range(parts):
        before, began = {name: daemon.spent() for name, daemon in daemons.items()}, time.perf_counter()
        time.sleep(seconds / parts)
        for name, daemon in daemons.items():
            made[name].append((daemon.spent() - before[name]) / (time.perf_counter() - began) * 100)
    return made


class Connections:
    """A daemon, XDP, `dnat`, and connections that a generator opens in it: SYN, SYN-ACK through the balancer, ACK."""

    CHUNK, BURST = 9_600, 192  # a veth's ring holds 256: SYN-ACKs of one burst are waited for before the next

    def __init__(self, lab: Lab, generator: live_frames.Generator, room: int):
        self.lane = lanes.OwnProgram(lab, generator, "open")
        self.lane.balancer.ip("route add 10.100.0.0/14 via 10.1.0.2")
        self.generator, self.state, self.room, self.opened = generator, generator.state, room, 0
        self._first = struct.unpack("!I", socket.inet_aton(live_frames.FIRST_ADDRESS))[0]
        self.daemon = Daemon(self.lane, configuration(self.lane, [self.lane.service("dnat")], "xdp", flows={"max": room}),
                             name="connections")

    def prepare(self) -> None:
        """Once the daemon is ready."""
        self._touch()
        self.lane.resolve()
        self.lane.aim()

    def _touch(self) -> None:
        """Reads a set of each page of the IPv4 table, in the kernel: under a hypervisor a page's first use there may cost more than
        ten packets, and the sweeper does not make it, as it has the table mapped."""
        there = Path(f"/proc/{self.daemon.process.pid}/fdinfo")
        infos = [dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line) for file in there.iterdir()]
        number = next(int(one["map_id"]) for one in infos if "map_id" in one and
                      (int(one["value_size"]), int(one["max_entries"])) == (SET_BYTES, self.room))
        bpf = live_frames._bpf
        map_ = bpf(_MAP_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))
        try:
            key, value = ctypes.c_uint32(), ctypes.create_string_buffer(SET_BYTES)
            words = struct.pack("=IIQQQ", map_, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
            for key.value in range(0, self.room, mmap.PAGESIZE // SET_BYTES):
                bpf(_MAP_LOOKUP_ELEM, words)
        finally:
            os.close(map_)

    def _send(self, flags: int, count: int, mode: int, skip: int = 0) -> float:
        """One frame of each of the next clients that are not open yet; nanoseconds a frame."""
        self.state.first_address = self._first + (self.opened + skip) // PORTS_PER_CLIENT
        self.state.clients, self.state.mode = count, mode
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(allowed)})
        try:
            return self.generator.send(flags, frames=count) / count * 1e9
        finally:
            os.sched_setaffinity(0, allowed)

    def _shake_hands(self, count: int) -> bool:
        """SYN and SYN-ACK; were all answered? Where a set of the table is full, somebody is not kept."""
        answered = 0
        for skip in range(0, count, self.BURST):
            burst, before, patience = min(self.BURST, count - skip), 0, 0.0
            self._send(live_frames.SYN, burst, live_frames.ANSWER, skip)
            while (there := self.state.answered) < burst:
                if there != before or not patience:
                    before, patience = there, time.monotonic() + 0.0005
                elif time.monotonic() > patience:
                    break
                os.sched_yield()
            answered += self.state.answered
        return answered == count

    def _complete(self, count: int) -> None:
        """The handshake of clients whose SYN may have come already. As clients do, they ask twice."""
        if not self._shake_hands(count):
            self._shake_hands(count)
        self._send(live_frames.ACK, count, live_frames.COUNT)

    def fill(self, number: int) -> None:
        while self.opened < number:
            count = min(self.CHUNK, number - self.opened)
            self._complete(count)
            self.opened += count

    def cost_at(self, number: int, rounds: int) -> tuple[list[float], list[float]]:
        """With about so many open: nanoseconds of a SYN that opens one, and of a packet of one that is open."""
        count = max(1000, min(4000, number // 100 // PORTS_PER_CLIENT * PORTS_PER_CLIENT))
        self.fill(min(number - count * rounds // 2, self.room - count * rounds) // PORTS_PER_CLIENT * PORTS_PER_CLIENT)
        new, known = [], []
        for _ in range(rounds):
            new.append(self._send(live_frames.SYN, count, live_frames.COUNT))
            self._complete(count)
            known.append(self._send(live_frames.ACK, count, live_frames.COUNT))
            self.opened += count
        return new, known

    def established(self) -> int:
        return json.loads(self.daemon.command("flows", "--count", "--json").stdout)["by_state"].get("established", 0)


def median(values: list[float]) -> float:
    return statistics.median(values)
