#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Removes a lab whose owner is gone, even if it was killed outright.

Each Lab starts one: `guardian.py PREFIX DIRECTORY`, with a pipe as standard input that nobody writes to. When the owner
ends, however it ends, the pipe closes, and whatever is still there under the lab's names is removed.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

NAMESPACES = Path("/run/netns")
RUNTIME = Path("/run/featherlb")


def pids_in(name: str) -> list[int]:
    text = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout
    return [int(word) for word in text.split()]


def remove(prefix: str, directory: Path) -> None:
    """Processes in namespaces of these names, the BPF file system, the namespaces, the directory."""
    names = [path.name for path in NAMESPACES.glob(prefix + "*")] if NAMESPACES.is_dir() else []
    deadline = time.monotonic() + 5
    while pids := [pid for name in names for pid in pids_in(name)]:
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    if os.path.ismount(directory / "bpf"):
        subprocess.run(["umount", "-l", str(directory / "bpf")], capture_output=True)
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)
    for lock in RUNTIME.glob(f"*{prefix}*"):  # named after the pins, which were in the lab's directory
        lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        RUNTIME.rmdir()  # only if nobody else's are there


def start(prefix: str, directory: Path) -> subprocess.Popen:
    return subprocess.Popen(["/usr/bin/python3", "-B", __file__, prefix, str(directory)], stdin=subprocess.PIPE,
                            start_new_session=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    remove(sys.argv[1], Path(sys.argv[2]))
