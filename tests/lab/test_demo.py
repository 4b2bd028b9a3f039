# SPDX-License-Identifier: Apache-2.0
"""scripts/demo, as a user starts and stops it."""
import os
import signal
import subprocess

import pytest
from labkit import tools
from labkit.netns import run

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.no_standin]


def namespaces() -> set[str]:
    return {line.split()[0] for line in run(["ip", "netns", "list"]).stdout.splitlines()}


def processes_of(session: int) -> list[str]:
    """Those that run: one that has ended may wait for a moment until the machine's first process asks for its exit code."""
    lines = run(["ps", "-eo", "sid=,stat=,args="]).stdout.splitlines()
    return [line for line in lines if line.split()[0] == str(session) and not line.split()[1].startswith("Z")]


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM), ids=("ctrl-c", "sigterm"))
def test_nothing_is_left_behind_when_it_is_stopped_under_load(number):
    """Ctrl-C goes to the whole process group, SIGTERM as well here."""
    before = namespaces()
    demo = subprocess.Popen([tools.ROOT / "scripts/demo", "--seconds", "3"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)
    seen = ""
    for line in demo.stdout:
        seen += line
        if "[3/7]" in line:
            break
    assert len(namespaces()) > len(before), seen
    os.killpg(demo.pid, number)
    seen += demo.communicate(timeout=60)[0]
    assert demo.returncode != 0, seen
    assert namespaces() == before, seen
    assert processes_of(demo.pid) == [], seen
    if number == signal.SIGINT:
        assert demo.returncode == 130
        assert "nothing is left behind" in seen
