# SPDX-License-Identifier: Apache-2.0
"""Every command: what it prints, as text and as JSON, its exit code, and what it says when no daemon answers."""
import json
import os
import pty
import re
import subprocess

import pytest
from labkit import talkers, tools
from labkit.backends import HTTP_PORT
from labkit.balancer import EXIT_FAILED, EXIT_INVALID, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE, Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.talkers import TALK_PORT, Talker
from labkit.topology import service_address

pytestmark = pytest.mark.no_standin

# Command: what stands in its text, and keys of its JSON. The file has the services web and talk; FILE stands for it.
COMMANDS = {
    ("check", "-c", "FILE"): (r"FILE: valid", ["valid", "problems"]),
    ("check", "--offline", "-c", "FILE"): (r"FILE: valid", ["valid", "problems"]),
    ("plan",): (r"a reload would change nothing", ["result", "changes"]),
    ("status",): (r"web\b[\s\S]*talk\b", ["version", "abi", "services", "interfaces", "flows", "drops", "data_plane"]),
    ("flows",): (r"^0 connections", ["total", "shown", "flows"]),
    ("flows", "--count"): (r"^0 connections|total", ["total"]),
    ("top", "--count", "1", "--interval", "1s"): (r"web", ["services", "per_second", "drops_per_second"]),
    ("drain", "web/b1"): (r"web/b1", ["result"]),
    ("undrain", "web/b1"): (r"web/b1", ["result"]),
    ("weight", "web/b1", "3"): (r"web/b1", ["result"]),
    ("flows", "--kill", "--all", "--yes"): (r"0 connections ended", ["killed"]),
    ("reload",): (r"(?i)reload|holds|changed", ["result"]),
    ("backend-setup", "direct", "-c", "FILE"): (r"ip .*addr", ["service", "forward", "backends"]),
    ("version",): (r"featherlb \d+\.\d+\.\d+", ["version", "abi"]),
}
NEED_NO_DAEMON = {"check", "backend-setup", "version", "detach", "decap", "run"}


def served(network) -> dict:
    return configuration(network, [
        service("web", [endpoint(service_address(4), 80) + "/tcp"], network.backends, 4, HTTP_PORT, algorithm="maglev"),
        service("talk", [endpoint(service_address(4), 90) + "/tcp"], network.backends, 4, TALK_PORT),
        service("direct", [endpoint(service_address(4, "dnat"), 80) + "/tcp"], network.backends[:1], 4, 80, "dsr")])


@pytest.fixture(scope="module")
def running(two_armed):
    with Featherlb(two_armed.network, served(two_armed.network), name="commands") as running:
        yield running


def run(running, words) -> subprocess.CompletedProcess:
    """Standard output and standard error apart."""
    words = [str(running.file) if word == "FILE" else word for word in words]
    line = [running.binary, *words] if words[0] in NEED_NO_DAEMON else running.words(*words)
    return subprocess.run(running.network.balancer.argv(line), capture_output=True, text=True, timeout=60)


def test_every_command_is_here():
    text = subprocess.run([tools.featherlb(), "--help"], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^  (\S+) +\S", text.split("Subcommands:")[1].split("Exit codes")[0], re.MULTILINE)
    elsewhere = {"run", "detach", "decap", "events"}  # below, and in test_daemon, test_decap, test_events
    assert set(names) == {words[0] for words in COMMANDS} | elsewhere


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_text_and_json(running, words):
    text, keys = COMMANDS[words]
    done = run(running, words)
    assert (done.returncode, done.stderr) == (EXIT_OK, ""), done
    assert re.search(text.replace("FILE", re.escape(str(running.file))), done.stdout), done.stdout
    assert done.stdout.endswith("\n")
    done = run(running, [*words, "--json"])
    assert (done.returncode, done.stderr) == (EXIT_OK, ""), done
    answer = json.loads(done.stdout.splitlines()[-1] if words[0] == "top" else done.stdout)
    assert not set(keys) - set(answer), answer.keys()


@pytest.mark.parametrize("words", [*(words for words in COMMANDS if words[0] not in NEED_NO_DAEMON), ("events",)], ids=" ".join)
@pytest.mark.parametrize("json_too", [False, True])
def test_no_daemon(two_armed, words, json_too):
    nobody = Featherlb(two_armed.network, served(two_armed.network), name="nobody")
    done = run(nobody, [*words, *(["--json"] if json_too else [])])
    assert (done.returncode, done.stdout) == (EXIT_UNREACHABLE, ""), done
    assert f"no daemon answers at {nobody.socket}" in done.stderr and "featherlb run" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [words for words in COMMANDS], ids=" ".join)
def test_an_option_that_there_is_not(running, words):
    done = run(running, [*words, "--jsno"])
    assert (done.returncode, done.stdout) == (EXIT_USAGE, ""), done
    assert "--jsno" in done.stderr and "--json" in done.stderr


@pytest.mark.parametrize("words, code, text", [
    (("drain", "web"), EXIT_USAGE, "SERVICE/BACKEND"),
    (("drain", "wep/b1"), EXIT_FAILED, 'did you mean "web"?'),
    (("drain", "web/b9"), EXIT_FAILED, 'no backend "b9"'),
    (("weight", "web/b1", "-1"), EXIT_USAGE, "weight"),
    (("check", "-c", "/nowhere.yaml"), EXIT_INVALID, "/nowhere.yaml"),
    (("backend-setup", "nothing", "-c", "FILE"), EXIT_USAGE, 'no service "nothing"'),
    (("detach", "--pins", "/tmp"), EXIT_FAILED, "BPF file system"),
])
def test_what_cannot_be_done(running, words, code, text):
    done = run(running, words)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert text in done.stderr, done.stderr


def without_place(running, text: str) -> str:
    return re.sub(re.escape(str(running.file)), "FILE", text)


@pytest.mark.parametrize("words", [("reload",), ("plan",)], ids=" ".join)
def test_a_file_that_is_wrong(running, words):
    """Standard error says it to people, with and without --json; the answer is whole."""
    kept = running.file.read_text()
    running.file.write_text("services:\n  - {name: web, listne: 5}\n")
    try:
        text, as_json = run(running, words), run(running, [*words, "--json"])
    finally:
        running.file.write_text(kept)
    assert (text.returncode, text.stdout) == (EXIT_INVALID, "")
    problem = 'FILE:2:17: unknown key "listne"; did you mean "listen"?'
    assert problem in without_place(running, text.stderr), text.stderr
    last = {"reload": "featherlb: the reload was refused: nothing was changed",
            "plan": "featherlb: a reload would change nothing, for this reason"}[words[0]]
    assert text.stderr.splitlines()[-1] == last
    assert as_json.returncode == EXIT_INVALID and problem in without_place(running, as_json.stderr)
    answer = json.loads(as_json.stdout)
    assert answer["result"] == "invalid" and answer["changes"] == 0 and answer["file"] == str(running.file)
    assert {"line": 2, "column": 17, "what": 'unknown key "listne"', "remedy": 'did you mean "listen"?'} in answer["problems"]


def test_a_file_that_cannot_be_carried_out(running):
    """Right, but its only backend has no address: nothing is changed."""
    kept = json.loads(running.file.read_text())
    nowhere = {"name": "lost", "listen": endpoint(service_address(4), 91) + "/tcp", "backends": [{"dns": "lost.invalid:80"}]}
    running.file.write_text(json.dumps({**kept, "services": [*kept["services"], nowhere]}))
    try:
        for words in (["reload"], ["plan"]):
            text, as_json = run(running, words), run(running, [*words, "--json"])
            assert text.returncode == as_json.returncode == EXIT_FAILED and text.stdout == "", text
            assert "lost.invalid" in text.stderr and "lost.invalid" in as_json.stderr
            answer = json.loads(as_json.stdout)
            assert answer["result"] == "failed" and "lost.invalid" in answer["text"]
    finally:
        running.file.write_text(json.dumps(kept))
    assert len(running.status()["services"]) == 3


@pytest.mark.parametrize("words", [("drain",), ("undrain",), ("weight", "3")], ids=lambda words: words[0])
@pytest.mark.parametrize("target, what, remedy", [("wep/b1", 'no service "wep"', 'did you mean "web"?'), ("web/b9", 'no backend "b9"', "b1")])
def test_a_backend_that_there_is_not(running, words, target, what, remedy):
    line = [words[0], target, *words[1:]]
    text, as_json = run(running, line), run(running, [*line, "--json"])
    assert (text.returncode, text.stdout) == (EXIT_FAILED, "") and as_json.returncode == EXIT_FAILED
    assert what in text.stderr and remedy in text.stderr and len(text.stderr.splitlines()) == 1
    assert as_json.stderr == text.stderr
    answer = json.loads(as_json.stdout)
    assert answer["result"] == "unknown" and answer["backends"] == []
    assert what in answer["error"]["message"] and remedy in answer["error"]["remedy"]


def test_decap(two_armed):
    """Its text; its JSON is in test_decap.py."""
    host = two_armed.network.backends[2]
    host.ns.ip("addr add 10.9.0.7/32 dev lo")
    program = host.ns.popen([tools.featherlb(), "decap", "--interface", "eth0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert re.fullmatch(r"eth0: decapsulating \((tcx|clsact)\), MSS of SYN-ACKs lowered\n", program.stdout.readline())
        assert program.stdout.readline() == "service addresses: 10.9.0.7\n"
        host.ns.ip("addr del 10.9.0.7/32 dev lo")
        assert program.stdout.readline().startswith("eth0: decapsulating")
        assert program.stdout.readline() == (
            "no service address yet: none is on lo; `featherlb backend-setup SERVICE` tells how to add it\n")
    finally:
        program.terminate()
        out, err = program.communicate(timeout=20)
    lines = out.splitlines()
    assert re.fullmatch(r" +0  packets taken out of their tunnel", lines[0]) and len(lines) == 9
    assert lines[-1] == "ended; nothing is left attached" and program.returncode == EXIT_OK
    assert not err or err.startswith("warning: on this kernel TC"), err
    for words in ([], ["--json"]):
        done = subprocess.run(host.ns.argv([tools.featherlb(), "decap", "--interface", "eth7", *words]), capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (EXIT_FAILED, "")
        assert done.stderr == "there is no interface eth7; see `ip link` for what there is\n"


@pytest.mark.parametrize("answer, ended", [(b"yes\n", True), (b"y\n", True), (b"no\n", False), (b"\n", False), (b"\x04", False)])
def test_kill_asks_who_sits_at_a_terminal(two_armed, running, answer, ended):
    network = two_armed.network
    talk = [Talker(host) for host in network.backends]
    client = talkers.connect(network.client, (service_address(4), 90))
    try:
        assert talkers.ask(client)
        terminal, end = pty.openpty()
        asked = subprocess.Popen(network.balancer.argv(running.words("flows", "--kill", "--service", "talk")), stdin=end,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(end)
        wait_for("its question", lambda: b"end 1 connection? [y/N]" in os.read(asked.stderr.fileno(), 1000))
        os.write(terminal, answer)
        out, _ = asked.communicate(timeout=20)
        os.close(terminal)
        assert (b"1 connection ended" in out) == ended
        assert asked.returncode == (EXIT_OK if ended else EXIT_FAILED)
        if ended:
            with pytest.raises(OSError):
                talkers.ask(client)
        else:
            assert talkers.ask(client)
    finally:
        client.close()
        for one in talk:
            one.close()
        running.command("flows", "--kill", "--all", "--yes")
