"""In kube-proxy's place, for the few Services that something in a pod has to reach by name: a port of the host that leads to their pods."""

import itertools
import socket
import socketserver
import threading
from typing import Callable

from .network import GATEWAY

Place = tuple[str, int]


class StandInService:
    """Leads each connection to `GATEWAY:port` to the next of the places that `look` finds, as a Service does. Name GATEWAY in a
    pod's `hostAliases` for those that look for it by name."""

    def __init__(self, look: Callable[[], list[Place]], port: int = 0):
        turns = itertools.count()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if places := look():
                    with socket.create_connection(places[next(turns) % len(places)], timeout=10) as other:
                        other.settimeout(None)
                        back = threading.Thread(target=pump, args=(other, self.request), daemon=True)
                        back.start()
                        pump(self.request, other)
                        back.join()

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self.server = socketserver.ThreadingTCPServer((GATEWAY, port), Handler)
        self.server.daemon_threads = True
        # What cannot be led on is closed, and so told to the caller; there is nobody else to tell.
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """All bytes, and then the end."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone: the other has to hear of it.
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
