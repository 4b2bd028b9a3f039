# SPDX-License-Identifier: Apache-2.0
"""A server whose answers are none."""

# Arguments: tcp or udp, and the port. Says "listens" when it does.
GARBAGE = """
import os, socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
server = socket.socket(socket.AF_INET6, kind)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("::", int(sys.argv[2])))
if sys.argv[1] == "tcp":
    server.listen(16)
print("listens", flush=True)
while True:
    if sys.argv[1] == "tcp":
        connection, _ = server.accept()
        connection.recv(4096)
        connection.sendall(os.urandom(64))
        connection.close()
    else:
        _, client = server.recvfrom(4096)
        server.sendto(os.urandom(64), client)
"""
