# SPDX-License-Identifier: Apache-2.0
"""A network in network namespaces: clients, a balancer, backends; real programs on all of them.

The tests in tests/lab, scripts/demo and bench/requests.py are built on it. docs/lab.md shows the addresses.
Everything is named after the process that made it and is gone when the Lab is closed.
"""
