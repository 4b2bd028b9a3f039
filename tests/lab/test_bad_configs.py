# SPDX-License-Identifier: Apache-2.0
"""Every wrong configuration of tests/lab/bad_configs through `featherlb check`: exit code 3, the place, what is wrong
and what would be right. And what only a look at the machine can find."""
import json
import os
from pathlib import Path

import pytest
from labkit import config, tools
from labkit.balancer import EXIT_INVALID, EXIT_OK, Featherlb
from labkit.netns import run

DIRECTORY = Path(__file__).parent / "bad_configs"
EXPECTED = json.loads((DIRECTORY / "expected.json").read_text())
pytestmark = pytest.mark.no_standin


def make(path: Path, kind: str, text: str = "", hex: str = "", bytes: int = 0) -> None:  # noqa: A002: the file's words
    """What cannot lie in the tree as a file."""
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "hex":
        path.write_bytes(bytes_of(hex))
    elif kind == "repeat":
        path.write_text((text * (bytes // len(text) + 1))[:bytes])
    elif kind == "unreadable":
        path.write_text(text)
        path.chmod(0)
    else:
        assert kind == "missing"


def bytes_of(digits: str) -> bytes:
    return bytes.fromhex(digits)


def check(path: Path, *wrapper: str):
    done = run([*wrapper, tools.featherlb(), "check", "-c", str(path)], check=False, timeout=10)
    assert done.returncode >= 0, f"killed by signal {-done.returncode}: {done.stdout}"
    return done


@pytest.mark.parametrize("name", EXPECTED)
def test_a_wrong_file_gets_its_place_and_its_remedy(name, tmp_path):
    expected, path = EXPECTED[name], DIRECTORY / name
    if "make" in expected:
        path = tmp_path / name
        make(path, **expected["make"])
    # Root may read everything unless it gives these two up.
    done = check(path, "setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    assert done.returncode == EXIT_INVALID, done.stdout
    assert f"{path}:{expected['line']}:{expected['column']}: " in done.stdout
    for words in expected["contains"]:
        assert words in done.stdout


def test_there_are_at_least_thirty_kinds():
    assert len(EXPECTED) >= 30
    assert {path.name for path in DIRECTORY.glob("*.yaml")} <= set(EXPECTED), "every file has its answer"


def test_a_good_file_is_good(two_armed):
    path = two_armed.lab.directory / "good.yaml"
    config.write(path, config.everything(two_armed.network, "auto"))
    done = two_armed.network.balancer.run([tools.featherlb(), "check", "-c", str(path)], check=False)
    assert done.returncode == EXIT_OK, done.stdout


def test_an_interface_that_does_not_exist_is_named_with_its_place(two_armed):
    wrong = config.everything(two_armed.network, "auto")
    wrong["interfaces"] = [{"name": "frnt"}, {"name": "back"}]
    running = Featherlb(two_armed.network, wrong)
    config.write(running.file, wrong)
    line = 1 + running.file.read_text().split("frnt")[0].count("\n")
    for command in ([tools.featherlb(), "check", "-c", str(running.file)], running.arguments()):
        done = two_armed.network.balancer.run(command, check=False, timeout=10)
        assert done.returncode == EXIT_INVALID, done.stdout
        assert f"{running.file}:{line}:" in done.stdout and '"frnt" does not exist' in done.stdout, done.stdout
        assert 'did you mean "front"?' in done.stdout, done.stdout


def test_source_ports_that_the_host_uses_are_refused(two_armed):
    wrong = config.everything(two_armed.network, "auto") | {"snat": {"ports": "30000-50000"}}
    path = two_armed.lab.directory / "ports.yaml"
    config.write(path, wrong)
    done = two_armed.network.balancer.run([tools.featherlb(), "check", "-c", str(path)], check=False)
    assert done.returncode == EXIT_INVALID, done.stdout
    assert f"{path}:" in done.stdout and "ip_local_port_range" in done.stdout, done.stdout


def test_a_source_address_that_is_not_the_machines_is_refused(two_armed):
    wrong = config.everything(two_armed.network, "auto") | {"snat": {"addresses": ["10.77.0.1", "fd00:2::1"]}}
    path = two_armed.lab.directory / "address.yaml"
    config.write(path, wrong)
    done = two_armed.network.balancer.run([tools.featherlb(), "check", "-c", str(path)], check=False)
    assert done.returncode == EXIT_INVALID, done.stdout
    assert "10.77.0.1 is not an address of this machine" in done.stdout, done.stdout
