# SPDX-License-Identifier: Apache-2.0
"""Lab: owner of everything that a test puts on the machine.

Namespaces, processes, a temporary directory and a BPF file system of its own, all removed by close(): at the end
of the with block, at exit, on SIGTERM or SIGHUP after install_signal_handlers(), and by a guardian process if we are
killed outright. Only processes that the lab started, or that run in its namespaces, are ended.
"""
import atexit
import contextlib
import itertools
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import guardian
from .netns import Namespace, run

_numbers = itertools.count()


def install_signal_handlers() -> None:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that with blocks and atexit clean up."""

    def unwind(number, _frame):
        raise KeyboardInterrupt(f"signal {number}")

    signal.signal(signal.SIGTERM, unwind)
    signal.signal(signal.SIGHUP, unwind)


def wait_for(what: str, condition, timeout: float = 30.0, pause: float = 0.02):
    """Waits until condition() is true and returns its value; a TimeoutError names what did not come."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(pause)


class Lab:
    def __init__(self):
        self.prefix = f"flb-{os.getpid()}-{next(_numbers)}-"
        self.directory = Path(tempfile.mkdtemp(prefix=self.prefix))
        self.namespaces: dict[str, Namespace] = {}
        self._processes: list[subprocess.Popen] = []
        self._bpffs: Path | None = None
        self._closed = False
        self.mtu = 1500  # of cables made from now on
        self._guardian = guardian.start(self.prefix, self.directory)
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def namespace(self, name: str) -> Namespace:
        ns = Namespace(self.prefix + name)
        self.namespaces[name] = ns
        return ns

    def veth(self, a: Namespace, a_name: str, b: Namespace, b_name: str) -> None:
        """A cable: a_name in a, b_name in b, both up. Checksum offload stays on, as the kernel makes them."""
        run(["ip", "link", "add", a_name, "mtu", str(self.mtu), "netns", a.name, "type", "veth", "peer", "name", b_name,
             "mtu", str(self.mtu), "netns", b.name])
        a.ip(f"link set {a_name} up")
        b.ip(f"link set {b_name} up")

    def bridge(self, ns: Namespace, name: str = "bridge") -> None:
        ns.ip(f"link add {name} type bridge mcast_snooping 0 forward_delay 0\nlink set {name} up")
        with contextlib.suppress(OSError):  # a bridge must not show its frames to the host's firewall
            ns.sysctl("net.bridge.bridge-nf-call-iptables", 0)

    def plug(self, ns: Namespace, port: str, bridge: str = "bridge") -> None:
        ns.ip(f"link set {port} master {bridge}")

    def bpffs(self) -> Path:
        """A BPF file system that nobody else sees; its pins are gone with it."""
        if self._bpffs is None:
            path = self.directory / "bpf"
            path.mkdir()
            run(["mount", "-t", "bpf", "bpffs", str(path)])
            self._bpffs = path
        return self._bpffs

    def start(self, ns: Namespace, command: list[str], log: str | None = None, **kw) -> subprocess.Popen:
        """A process in the namespace; with `log`, its output goes to that file in the lab's directory."""
        if log is not None:
            with open(self.directory / log, "ab") as out:
                process = ns.popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **kw)
        else:
            process = ns.popen(command, **kw)
        self._processes.append(process)
        return process

    def stop(self, process: subprocess.Popen, number: int = signal.SIGTERM, timeout: float = 10.0) -> int:
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self._processes:
            self._processes.remove(process)
        return process.returncode

    def close(self) -> None:
        """Idempotent; goes on over single failures so that one leftover does not keep the rest."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        for process in reversed(self._processes):
            with contextlib.suppress(OSError):
                process.kill()
        for process in self._processes:
            with contextlib.suppress(Exception):
                process.wait(5)
        guardian.remove(self.prefix, self.directory)
        for ns in self.namespaces.values():
            ns.close()
        with contextlib.suppress(Exception):
            self._guardian.stdin.close()
            self._guardian.wait(10)
