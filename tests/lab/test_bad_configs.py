# SPDX-License-Identifier: Apache-2.0
"""Every wrong configuration of tests/lab/bad_configs through `featherlb check`: exit code 3, the place, what is wrong
and what would be right."""
import json
from pathlib import Path

import pytest
from labkit import tools
from labkit.balancer import EXIT_INVALID, EXIT_OK
from labkit.netns import run

DIRECTORY = Path(__file__).parent / "bad_configs"
EXPECTED = DIRECTORY / "expected.json"
pytestmark = pytest.mark.no_standin
