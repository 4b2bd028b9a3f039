# SPDX-License-Identifier: Apache-2.0
"""Health checks of `dsr`, and of `ipip` through the kernel's own tunnel devices; see test_one_way_devices.py."""
import pytest
from conftest import Place
from labkit import config, one_way
from labkit.lab import wait_for

pytestmark = [pytest.mark.no_standin, pytest.mark.parametrize("way", one_way.WAYS),
              pytest.mark.parametrize("family", (4, 6), ids=("ipv4", "ipv6"))]


@pytest.fixture(scope="module")
def place():
    place = Place("two-armed", dns=False, echo=False)
    try:
        one_way.need_devices(place.network)
        one_way.prepare(place.network)
        yield place
    finally:
        place.lab.close()


def test_checks_go_the_way_of_the_traffic(place, make_balancer, family, way):
    """Through the devices, or by the backend's MAC, to the service address."""
    network = place.network
    services = [{**one, "health": {"type": "tcp", "interval": "2s", "timeout": "1500ms", "rise": 1, "fall": 2}}
                for one in one_way.services(network) if one["name"] == f"web-{way}-ipv{family}"]
    address = f"{one_way.address(family, way)}/{32 if family == 4 else 128}"
    with make_balancer(network, config.configuration(network, services, "tc")) as running:
        def backends() -> list[dict]:
            return running.status()["services"][0]["backends"]

        wait_for("good checks", lambda: all(one["checks"]["good"] >= 2 for one in backends()), 60)
        assert {one["state"] for one in backends()} == {"up"}
        gone = network.backends[0]
        gone.ns.run(["ip", "addr", "del", address, "dev", "lo"])
        try:
            wait_for("who lost the address to be down", lambda: backends()[0]["state"] == "down", 60)
            assert [one["state"] for one in backends()[1:]] == ["up", "up"]
        finally:
            gone.ns.run(["ip", "addr", "add", address, "dev", "lo", *(["nodad"] if family == 6 else [])])
        wait_for("it to be up", lambda: backends()[0]["state"] == "up", 60)
