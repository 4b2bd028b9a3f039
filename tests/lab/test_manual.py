# SPDX-License-Identifier: Apache-2.0
"""Manual pages and completion say what the program takes."""
import re
import subprocess
from pathlib import Path

import pytest
from labkit import tools

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.no_standin


def help_of(*words: str) -> str:
    return subprocess.run([tools.featherlb(), *words, "--help"], capture_output=True, text=True, check=True).stdout


def commands() -> list[str]:
    listed = help_of().split("Subcommands:")[1]
    return re.findall(r"^  ([a-z-]+)  ", listed, flags=re.M)


def options(command: str) -> set[str]:
    return set(re.findall(r"(?:^|[ ,])(--[a-z][a-z-]*)", help_of(command))) - {"--help"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([REPO / "scripts/man", directory], check=True)
    made = {}
    for path in directory.iterdir():
        done = subprocess.run(["man", "--warnings", "--local-file", str(path)], capture_output=True, text=True, check=True,
                              env={"MANWIDTH": "100", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        assert done.stderr == ""
        made[path.name] = re.sub("\u2010\n *", "", done.stdout)
    return made


def test_every_command_and_option_is_in_the_manual(pages):
    assert set(pages) == {"featherlb.8", "featherlb.yaml.5"}
    found = commands()
    assert {"run", "plan", "drain", "version"} <= set(found)
    for command in found:
        assert re.search(rf"\b{command}\b", pages["featherlb.8"]), command
        for option in options(command):
            assert option in pages["featherlb.8"], (command, option)


def test_every_key_of_the_configuration_is_in_the_manual(pages):
    header = (REPO / "src/config/keys.h").read_text()
    keys = {key for array in re.findall(r"_known\{([^}]*)\}", header) for key in re.findall(r'"([a-z_0-9]+)"', array)}
    assert {"services", "drain_timeout", "agent_port"} <= keys
    text = pages["featherlb.yaml.5"]
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", text)] == []


def complete(*words: str) -> set[str]:
    script = f"""
        PATH={Path(tools.featherlb()).parent}:$PATH
        source {REPO}/deploy/completion/featherlb.bash
        COMP_WORDS=(featherlb {' '.join(repr(word) for word in words)}) COMP_CWORD={len(words)}
        _featherlb 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return set(subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split())


def test_completion_knows_commands_and_options():
    assert complete("") == {"--help", *commands()}
    assert complete("un") == {"undrain"}
    assert complete("run", "--eph") == {"--ephemeral"}
    assert complete("run", "--log-level", "") == {"debug", "info", "warning", "error"}
    for command in commands():
        assert options(command) <= complete(command, "--"), command
