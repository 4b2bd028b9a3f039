# SPDX-License-Identifier: Apache-2.0
"""Agents in HAProxy's agent-check protocol: a small server on each backend that says what it is told to say."""
import subprocess

from .lab import wait_for
from .topology import Host, Network

AGENT_PORT = 9999

# One line in on stdin: what every question is answered with from now on ("\\n" is spelled so). "mute": connections
# open and nothing comes. One line out for each question: what the asker sent first, or nothing.
_PROGRAM = """
import socket, sys, threading
said = [sys.argv[2]]
keep = []

def answer(connection):
    connection.settimeout(0.2)
    try:
        asked = connection.recv(300).decode()
    except OSError:
        asked = ''
    print(repr(asked), flush=True)
    if said[0] == 'mute':
        keep.append(connection)
        return
    try:
        connection.sendall(said[0].replace('\\\\n', '\\n').encode('latin-1'))
    except OSError:
        pass
    connection.close()

def serve():
    listener = socket.create_server(('', int(sys.argv[1])), family=socket.AF_INET)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

threading.Thread(target=serve, daemon=True).start()
for line in sys.stdin:
    said[0] = line.rstrip('\\n')
"""


class Agent:
    def __init__(self, network: Network, host: Host, says: str = "100%\\n", port: int = AGENT_PORT):
        self.network, self.host, self.port, self.text = network, host, port, says
        self.start()

    def start(self) -> None:
        self.process: subprocess.Popen = self.network.lab.start(
            self.host.ns, ["/usr/bin/python3", "-c", _PROGRAM, str(self.port), self.text], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        wait_for(f"the agent of {self.host.name}",
                 lambda: f":{self.port} " in self.host.ns.run(["ss", "-Hltn"], check=False).stdout)

    def say(self, text: str) -> None:
        self.text = text
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def next_question(self) -> str:
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.network.lab.stop(self.process)


class Agents:
    """One on each backend of the network; a with block."""

    def __init__(self, network: Network):
        self.all = [Agent(network, host) for host in network.backends]

    def __enter__(self):
        return self.all

    def __exit__(self, *_):
        for agent in self.all:
            agent.stop()
