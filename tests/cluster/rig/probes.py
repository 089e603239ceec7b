"""Probes and hooks, from the node's side: an HTTP request, a connection, or a command in the container."""

import http.client
import socket
import ssl
import threading
import time
from typing import Callable

from .api import Object


class ProbeFailed(Exception):
    pass


def port_of(container: Object, port: int | str) -> int:
    if isinstance(port, int):
        return port
    named = {each.get("name"): each["containerPort"] for each in container.get("ports", [])}
    if port not in named:
        raise ProbeFailed(f"no port is named {port}; there are {', '.join(filter(None, named)) or 'none with a name'}")
    return named[port]


def act(handler: Object, container: Object, address: str, execute: Callable[[list[str], float], int], timeout: float) -> None:
    """Does what a probe or a lifecycle hook says; raises where that fails."""
    if request := handler.get("httpGet"):
        host, port = request.get("host") or address, port_of(container, request["port"])
        if request.get("scheme") == "HTTPS":
            # As the kubelet does, without looking at the certificate.
            connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl._create_unverified_context())
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        headers = {"User-Agent": "kube-probe/rig", **{each["name"]: each["value"] for each in request.get("httpHeaders", [])}}
        try:
            connection.request("GET", request.get("path") or "/", headers=headers)
            if not 200 <= (status := connection.getresponse().status) < 400:
                raise ProbeFailed(f"status {status}")
        finally:
            connection.close()
    elif tcp := handler.get("tcpSocket"):
        socket.create_connection((tcp.get("host") or address, port_of(container, tcp["port"])), timeout).close()
    elif command := handler.get("exec"):
        if code := execute(command["command"], timeout):
            raise ProbeFailed(f"the command ended with {code}")
    elif sleep := handler.get("sleep"):
        time.sleep(sleep["seconds"])
    else:
        raise ProbeFailed(f"the rig has no probes of kind {', '.join(handler)}")


class Probe:
    """Asks again and again on a thread of its own, and tells `changed(success, why)` when the answer is another."""

    def __init__(self, spec: Object, attempt: Callable[[float], None], changed: Callable[[bool, str], None]):
        self.spec = spec
        self.attempt = attempt
        self.changed = changed
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.stopped.set()

    def _run(self) -> None:
        last: bool | None = None
        in_row, state = 0, None
        wait = self.spec.get("initialDelaySeconds", 0)
        while not self.stopped.wait(wait):
            wait = self.spec.get("periodSeconds", 10)
            try:
                self.attempt(self.spec.get("timeoutSeconds", 1))
                success, why = True, ""
            except (OSError, http.client.HTTPException, ProbeFailed) as error:
                success, why = False, str(error)
            in_row = in_row + 1 if success == last else 1
            last = success
            needed = self.spec.get("successThreshold", 1) if success else self.spec.get("failureThreshold", 3)
            if in_row >= needed and success != state and not self.stopped.is_set():
                state = success
                self.changed(success, why)
