# SPDX-License-Identifier: Apache-2.0
"""Who may use the admin socket: `admin.group` and `admin.mode`."""
import stat
import subprocess

import pytest
from labkit.backends import HTTP_PORT
from labkit.balancer import EXIT_INVALID, EXIT_UNREACHABLE, Featherlb
from labkit.config import configuration, endpoint, service, write
from labkit.topology import service_address

GROUP, OTHER = 4242, 4243
pytestmark = pytest.mark.no_standin


def config(network, **admin) -> dict:
    services = [service("web", [endpoint(service_address(4), 80) + "/tcp"], network.backends, 4, HTTP_PORT)]
    return {**configuration(network, services), "admin": admin}


def status_as(running, group: int) -> subprocess.CompletedProcess:
    """By somebody who is not root, and has no other group."""
    running.socket.parent.chmod(0o755)
    return subprocess.run(running.words("status"), capture_output=True, text=True, user=65534, group=65534,
                          extra_groups=[group])


def test_a_group_of_its_own(two_armed):
    with Featherlb(two_armed.network, config(two_armed.network, group=str(GROUP))) as running:
        info = running.socket.stat()
        assert (info.st_gid, stat.S_IMODE(info.st_mode)) == (GROUP, 0o660)
        assert "web" in status_as(running, GROUP).stdout
        refused = status_as(running, OTHER)
        assert refused.returncode == EXIT_UNREACHABLE and "ermission denied" in refused.stderr, refused.stderr
        running.reload(config(two_armed.network, group=str(OTHER)))
        assert "admin.group and admin.mode take effect when the daemon is restarted" in running.log()
        assert status_as(running, OTHER).returncode == EXIT_UNREACHABLE


@pytest.mark.parametrize("mode, answered", (("0600", False), ("0666", True)))
def test_a_mode_of_its_own(two_armed, mode, answered):
    with Featherlb(two_armed.network, config(two_armed.network, group=str(GROUP), mode=mode)) as running:
        assert stat.S_IMODE(running.socket.stat().st_mode) == int(mode, 8)
        assert (status_as(running, GROUP).returncode == 0) == answered


def test_a_group_that_is_not_there(two_armed):
    running = Featherlb(two_armed.network, config(two_armed.network, group="no-such-group"))
    with pytest.raises(RuntimeError, match="this machine has no group \"no-such-group\"; make it with groupadd no-such-group"):
        running.start()


def test_the_check_of_a_file_knows_the_groups(two_armed):
    running = Featherlb(two_armed.network, config(two_armed.network))
    with running:
        write(running.file, config(two_armed.network, group="no-such-group"))
        for command in (["check", "-c", str(running.file)], ["reload", "--socket", str(running.socket)]):
            done = two_armed.network.balancer.run([running.binary, *command], check=False)
            assert done.returncode == EXIT_INVALID, done.stdout
            assert 'admin.group: this machine has no group "no-such-group"' in done.stdout
