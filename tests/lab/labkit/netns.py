# SPDX-License-Identifier: Apache-2.0
"""One network namespace: made, entered, configured, deleted.

A socket stays in the namespace in which it was made, so a test enters one only to make sockets
(`ns.socket()`), and programs are started by nsenter. `ip netns exec` is not used: it mounts a fresh /sys
and so hides the BPF file system.
"""
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def die_with_parent() -> None:
    """For preexec_fn: the child is killed when the thread that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def run(command: list[str], check: bool = True, timeout: float = 60, **kw) -> subprocess.CompletedProcess:
    """subprocess.run with the output captured as text and shown when the command fails."""
    kw.setdefault("stdout", subprocess.PIPE)
    kw.setdefault("stderr", subprocess.STDOUT)
    done = subprocess.run(command, text=True, timeout=timeout, preexec_fn=die_with_parent, **kw)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done


class Namespace:
    """Owned by a Lab, which deletes it (the descriptor here keeps it usable until then)."""

    def __init__(self, name: str):
        self.name = name
        self.path = f"/run/netns/{name}"
        run(["ip", "netns", "add", name])
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        # No duplicate address detection: addresses work at once.
        for scope in ("all", "default"):
            self.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)
            self.sysctl(f"net.ipv6.conf.{scope}.accept_ra", 0)
            self.sysctl(f"net.ipv6.conf.{scope}.router_solicitations", 0)
        self.ip("link set lo up")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in the namespace inside the with block."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._fd)
            yield self
        finally:
            _setns(back)
            os.close(back)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        with self.entered():
            return socket.socket(family, kind, protocol)

    def argv(self, command: list[str]) -> list[str]:
        return ["nsenter", f"--net={self.path}", "--", *command]

    def run(self, command: list[str], **kw) -> subprocess.CompletedProcess:
        return run(self.argv(command), **kw)

    def popen(self, command: list[str], **kw) -> subprocess.Popen:
        """The process id is that of the command itself: nsenter replaces itself by it."""
        return subprocess.Popen(self.argv(command), preexec_fn=die_with_parent, **kw)

    def ip(self, lines: str) -> None:
        """Runs lines of `ip` (without the word ip) in one go."""
        text = "\n".join(line.strip() for line in lines.strip().splitlines())
        run(["ip", "-n", self.name, "-batch", "-"], input=text + "\n")

    def sysctl(self, key: str, value) -> None:
        with self.entered():
            Path("/proc/sys", key.replace(".", "/")).write_text(str(value))

    def read(self, path: str) -> str:
        """A file that depends on the namespace, such as /proc/thread-self/net/snmp."""
        with self.entered():
            return Path(path).read_text()

    def offload(self, device: str, **features: bool) -> None:
        """ethtool -K: tx=False, gro=True, ..."""
        words = [word for name, on in features.items() for word in (name, "on" if on else "off")]
        self.run(["ethtool", "-K", device, *words])

    def steer_by_flow(self) -> None:
        """All packets of a connection are received on one processor, as a network card with several queues does it; a
        veth receives where the sender runs. There, two processors may complete one handshake at the same moment,
        open it twice, and in about one of 100,000 connections the backend has answered RST."""
        script = ('mount -t sysfs sysfs /sys && for file in /sys/class/net/*/queues/rx-*/rps_cpus; do '
                  'echo "$1" >"$file" || exit 1; done')
        self.run(["unshare", "--mount", "sh", "-c", script, "sh", f"{(1 << min(os.cpu_count(), 32)) - 1:x}"])

    def pids(self) -> list[int]:
        return [int(p) for p in run(["ip", "netns", "pids", self.name], check=False).stdout.split()]
