# SPDX-License-Identifier: Apache-2.0
"""The configuration's JSON Schema: it knows every key, takes what featherlb takes, and refuses typing errors."""
import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from labkit import tools

REPO = Path(__file__).parents[2]
SCHEMA = json.loads((REPO / "deploy/schema/featherlb.schema.json").read_text())
CHECK = jsonschema.Draft202012Validator(SCHEMA)
VALID = sorted([*REPO.glob("deploy/examples/*.yaml"), REPO / "deploy/compose/featherlb.yaml"])
# How sections are named in keys.h and where they stand in the schema; `service` and `defaults` stand there twice.
SECTIONS = {"top": (), "admin": ("properties", "admin"), "metrics": ("properties", "metrics"),
            "flows": ("properties", "flows"), "snat": ("properties", "snat"), "ipip": ("properties", "ipip"),
            "timeouts": ("properties", "timeouts"), "defaults": ("properties", "defaults"), "service": ("$defs", "service"),
            "health": ("$defs", "health"), "agent": ("$defs", "agent"), "affinity": ("$defs", "affinity"),
            "limits": ("$defs", "limits"), "backend": ("$defs", "backend"),
            "interface": ("$defs", "interface", "oneOf", 1),
            "backend_down": ("$defs", "service", "properties", "on_backend_down", "oneOf", 1)}
# Of files that are not the configuration.
ELSEWHERE = {"target_group"}


def at(path) -> dict:
    node = SCHEMA
    for step in path:
        node = node[step]
    return node


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_it_knows_every_key_and_no_other():
    header = (REPO / "src/config/keys.h").read_text()
    keys = {name: set(re.findall(r'"([a-z_0-9]+)"', body))
            for name, body in re.findall(r"(\w+)_known\{([^}]*)\}", header) if name not in ELSEWHERE}
    assert set(keys) == set(SECTIONS)
    for name, path in SECTIONS.items():
        assert set(at(path)["properties"]) == keys[name], name
        assert at(path)["additionalProperties"] is False


def test_it_knows_every_word():
    header = (REPO / "src/config/words.h").read_text()
    words = {name: re.findall(r'"([^"]+)"', body) for name, body in re.findall(r"> (\w+)\{([^}]*)\}", header)}
    assert at(("$defs", "algorithm"))["enum"] == words["algorithm"]
    assert at(("$defs", "forward"))["enum"] == words["forward"]
    assert at(("$defs", "fate"))["enum"] == words["backend_down"]
    assert at(("$defs", "health", "properties", "type"))["enum"] == words["health_type"]
    assert at(("$defs", "service", "properties", "measure"))["enum"] == words["measure"]
    assert at(("$defs", "service", "properties", "all_down"))["enum"] == words["all_down"]


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.name)
def test_what_featherlb_takes_it_takes(path):
    subprocess.run([tools.featherlb(), "check", "--offline", "-c", str(path)], check=True)
    CHECK.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.name)
def test_editors_find_it_from_every_example(path):
    named = re.search(r"^# yaml-language-server: \$schema=(\S+)$", path.read_text(), re.MULTILINE)
    assert (path.parent / named[1]).resolve() == REPO / "deploy/schema/featherlb.schema.json"


def test_typing_errors_are_refused_by_both():
    refused = []
    for path in sorted((REPO / "tests/lab/bad_configs").glob("*unknown*.yaml")):
        try:
            document = yaml.safe_load(path.read_text())
        except yaml.YAMLError:
            continue
        refused.append(path.name)
        assert not CHECK.is_valid(document), path.name
    assert len(refused) >= 5, refused
