# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the lab tests: networks with servers, and featherlb on them.

The tests need root and the built program; without either they fail, they are never skipped silently.
LAB_STANDIN=nft runs what can be run with nft in featherlb's place, to try the lab itself.
"""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from labkit import standin, tools  # noqa: E402
from labkit.backends import Servers  # noqa: E402
from labkit.balancer import Featherlb  # noqa: E402
from labkit.lab import Lab, install_signal_handlers  # noqa: E402
from labkit.redis import Redis  # noqa: E402
from labkit.topology import OFFLOADS, Network  # noqa: E402

STANDIN = os.environ.get("LAB_STANDIN", "")
_overflows_before = 0


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than ten seconds")
    config.addinivalue_line("markers", "alone: needs the machine for itself; scripts/test runs these after the others")
    config.addinivalue_line("markers", "no_standin: only featherlb itself can pass this")
    config.addinivalue_line("markers", "where(condition): only for parameters with condition(hook, offload)")


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the lab tests need root: sudo scripts/test lab", returncode=1)
    if not STANDIN and not Path(tools.featherlb()).exists():
        pytest.exit(f"{tools.featherlb()} is not built: cmake --preset release && cmake --build --preset release",
                    returncode=1)
    install_signal_handlers()
    global _overflows_before
    _overflows_before = _neighbour_overflows()


def _wanted(item) -> bool:
    if STANDIN and item.get_closest_marker("no_standin"):
        return False
    where = item.get_closest_marker("where")
    if where is None:
        return True
    parameters = item.callspec.params
    return where.args[0](parameters["hook"], parameters["offload"])


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if not _wanted(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _neighbour_overflows() -> int:
    """How often a neighbour table was full since boot: all namespaces of the machine share its 1,024 entries."""
    total = 0
    for table in ("arp_cache", "ndisc_cache"):
        lines = Path("/proc/net/stat", table).read_text().splitlines()
        column = lines[0].split().index("table_fulls")
        total += sum(int(line.split()[column], 16) for line in lines[1:])
    return total


def pytest_terminal_summary(terminalreporter):
    overflows = _neighbour_overflows() - _overflows_before
    if overflows:
        terminalreporter.section("warning")
        terminalreporter.write_line(f"a neighbour table of this kernel was full {overflows} times meanwhile: timeouts "
                                    "and 'No route to host' may come from that, not from featherlb")
    figures = [line for reports in terminalreporter.stats.values() for report in reports
               for name, line in getattr(report, "user_properties", []) if name == "measured" and report.when == "call"]
    if figures:
        terminalreporter.section("measured")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.fixture
def measured(request):
    """measured("connect p50 80 us"): printed at the end of the run, whether the test passes or not."""
    return lambda text: request.node.user_properties.append(("measured", f"{request.node.name}: {text}"))


class Place:
    """A network with its servers."""

    def __init__(self, arm: str, backends: int = 3, mtu: int = 1500, **servers):
        self.lab = Lab()
        try:
            self.network = Network(self.lab, arm, backends, mtu=mtu)
            for host in self.network.backends:
                host.ns.steer_by_flow()
            self.servers = Servers(self.network, **servers)
        except BaseException:
            self.lab.close()
            raise


def balancer(network: Network, config: dict, **options):
    """featherlb, or the stand-in that LAB_STANDIN names."""
    kind = {"": Featherlb, "nft": standin.Nft}[STANDIN]
    return kind(network, config, **options)


@pytest.fixture(scope="session")
def make_balancer():
    return balancer


@pytest.fixture(scope="module")
def two_armed():
    """A two-armed network with three backends and all servers; one for all tests of a file."""
    place = Place("two-armed")
    yield place
    place.lab.close()


@pytest.fixture
def redis(two_armed):
    servers = Redis(two_armed.network)
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def one_armed():
    place = Place("one-armed")
    yield place
    place.lab.close()


# What follows belongs to the `place` of the module that asks for it.

@pytest.fixture
def network(place):
    """The network, with all its web servers running again afterwards."""
    yield place.network
    for server in place.servers.nginx:
        if server.process.poll() is not None:
            server.start()


@pytest.fixture(scope="module", params=OFFLOADS)
def offload(request, place):
    place.network.set_offload(request.param)
    return request.param


@pytest.fixture(scope="module", params=("tc", "xdp-generic", "xdp"))
def hook(request):
    return request.param
