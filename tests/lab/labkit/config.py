# SPDX-License-Identifier: Apache-2.0
"""Configurations as Python values. JSON is YAML, so they are written as JSON."""
import json
from pathlib import Path

from .backends import DNS_PORT, ECHO_PORT, HTTP_PORT, NAME_PORT
from .topology import Host, Network, service_address


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def service(name: str, listen: list[str], hosts: list[Host], family: int, port: int, forward: str = "snat",
            algorithm: str = "round-robin", weights: list[int] | None = None) -> dict:
    backends = [{"name": host.name, "address": endpoint(host.address(family), port)} for host in hosts]
    for backend, weight in zip(backends, weights or []):
        backend["weight"] = weight
    return {"name": name, "listen": listen, "algorithm": algorithm, "forward": forward, "backends": backends}


def configuration(network: Network, services: list[dict], attach: str = "auto", **sections) -> dict:
    return {"interfaces": [{"name": name, "attach": attach} for name in network.interfaces],
            "services": services, **sections}


def everything(network: Network, attach: str, algorithm: str = "round-robin") -> dict:
    """Both IP versions, both ways of forwarding, TCP and UDP at once: web 80, DNS 53, echo 7, name 9."""
    services = []
    for family in (4, 6):
        for forward in ("snat", "dnat"):
            address = service_address(family, forward)
            for name, port, protocols, backend_port in (
                ("web", 80, ["tcp"], HTTP_PORT), ("dns", 53, ["udp"], DNS_PORT),
                ("echo", 7, ["tcp", "udp"], ECHO_PORT), ("name", 9, ["tcp"], NAME_PORT),
            ):
                listen = [endpoint(address, port) + "/" + protocol for protocol in protocols]
                services.append(service(f"{name}-{forward}-ipv{family}", listen, network.backends, family,
                                        backend_port, forward, algorithm))
    return configuration(network, services, attach)


def write(path: Path, config: dict) -> None:
    """Replaces the file in one step, as an editor does."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(config, indent=2) + "\n")
    temporary.rename(path)
