"""A relay on loopback that keeps the exact bytes of every HTTP/1.1 exchange that passes through it.

The official clients hide what they send and receive. With a relay in front of each target, the bytes of any client can
be compared and kept as test vectors without touching the client.
"""

import socket
import threading
import urllib.parse
import zlib
from dataclasses import dataclass


@dataclass
class Message:
    """One HTTP/1.1 message: the first line, the header fields in order as sent, the body without its framing."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes
    chunked: bool = False

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def content(self) -> bytes:
        """The body without `Content-Encoding: gzip`, whose header holds the time of day."""
        if (self.get("content-encoding") or "").lower() == "gzip":
            return zlib.decompress(self.body, wbits=31)
        return self.body

    @property
    def status(self) -> int:
        return int(self.start.split(" ", 2)[1])


@dataclass
class Exchange:
    request: Message
    response: Message


def parse_messages(data: bytes) -> list[Message]:
    """All messages of one direction of a connection. Raises ValueError if the last one is not whole."""
    messages = []
    at = 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            raise ValueError(f"a head without an end: {data[at : at + 80]!r}")
        start, *lines = data[at:end].decode("latin-1").split("\r\n")
        headers = [(name, value.strip()) for name, value in (line.split(":", 1) for line in lines)]
        message = Message(start, headers, b"")
        at = end + 4
        if start.startswith("HTTP/1.1 100"):
            continue
        if "chunked" in (message.get("transfer-encoding") or "").lower():
            message.chunked = True
            while True:
                line_end = data.index(b"\r\n", at)
                size = int(data[at:line_end].split(b";")[0], 16)
                at = line_end + 2
                if size == 0:
                    at = data.index(b"\r\n", at) + 2
                    break
                message.body += data[at : at + size]
                at += size + 2
        else:
            size = int(message.get("content-length") or 0)
            message.body = data[at : at + size]
            if len(message.body) < size:
                raise ValueError(f"{len(message.body)} of {size} bytes of a body")
            at += size
        messages.append(message)
    return messages


class Relay:
    """Forwards every connection to the host and port of `target` and keeps a copy of both directions."""

    def __init__(self, target: str):
        url = urllib.parse.urlsplit(target)
        self._target = (url.hostname, url.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self.url = f"http://{self.address}{url.path.rstrip('/')}"
        self._connections: list[tuple[bytearray, bytearray]] = []
        self._n_taken: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(self._target, timeout=60)
            except OSError:
                client.close()  # as a direct client would see it: no answer
                continue
            for each in (client, server):
                each.settimeout(None)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            copies = (bytearray(), bytearray())
            self._n_taken.append(0)
            self._connections.append(copies)
            for source, sink, copy in ((client, server, copies[0]), (server, client, copies[1])):
                threading.Thread(target=self._pump, args=(source, sink, copy), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, copy: bytearray) -> None:
        try:
            while data := source.recv(65536):
                copy += data  # before it is passed on: what a client has seen has been kept
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    def take(self) -> list[Exchange]:
        """The exchanges completed since the last call, in order within each connection."""
        exchanges = []
        for idx, (sent, received) in enumerate(list(self._connections)):
            requests, responses = parse_messages(bytes(sent)), parse_messages(bytes(received))
            if len(requests) != len(responses):
                raise ValueError(f"{len(requests)} requests and {len(responses)} responses on one connection")
            exchanges += [Exchange(*pair) for pair in zip(requests, responses)][self._n_taken[idx] :]
            self._n_taken[idx] = len(requests)
        return exchanges

    def forget(self) -> None:
        """Drops every connection so far, whatever state it was left in."""
        self._connections, self._n_taken = [], []
