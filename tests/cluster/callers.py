"""Callers of a Service as a node would lead them: to the addresses of its ready pods, as EndpointSlices tell them."""

import http.client
import itertools
import threading
import time
from dataclasses import dataclass, field

import requests

from rig.api import Object, Refused
from rig.cluster import Cluster


class Endpoints:
    """Where a Service leads at the moment. `lag` is what kube-proxy takes to hear of it and to rewrite the node's rules."""

    def __init__(self, cluster: Cluster, namespace: str, service: str, lag: float):
        self.cluster, self.lag = cluster, lag
        self.path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self.selector = {"labelSelector": f"kubernetes.io/service-name={service}"}
        self.slices: dict[str, Object] = {}
        self.known: list[tuple[str, int]] = []
        self.stopping = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.stopping.is_set():
            try:
                listed = self.cluster.api.call("GET", self.path, params=self.selector)
                self.slices = {each["metadata"]["name"]: each for each in listed["items"]}
                self._heard()
                version = listed["metadata"]["resourceVersion"]
                for event in self.cluster.api.watch(self.path, resourceVersion=version, **self.selector):
                    if event["type"] == "ERROR" or self.stopping.is_set():
                        break
                    thing = event["object"]
                    if event["type"] == "DELETED":
                        self.slices.pop(thing["metadata"]["name"], None)
                    else:
                        self.slices[thing["metadata"]["name"]] = thing
                    self._heard()
            except (Refused, requests.RequestException):
                time.sleep(0.1)

    def _heard(self) -> None:
        """Ready ones; where there is none, those that end and still serve."""
        ready, ending = [], []
        for thing in self.slices.values():
            for endpoint in thing["endpoints"] or []:
                place = (endpoint["addresses"][0], thing["ports"][0]["port"])
                conditions = endpoint["conditions"]
                if conditions.get("ready"):
                    ready.append(place)
                elif conditions.get("serving"):
                    ending.append(place)
        found = ready or ending
        timer = threading.Timer(self.lag, lambda: setattr(self, "known", found))
        timer.daemon = True
        timer.start()


@dataclass
class Seen:
    """What callers saw."""

    n_answered: int = 0
    lost: list[str] = field(default_factory=list)
    bodies: set[bytes] = field(default_factory=set)


class Callers:
    """Callers that ask one after the other, half of them over a connection that they keep. To be left by `with`."""

    def __init__(self, cluster: Cluster, namespace: str, service: str, path: str, body: bytes, n_callers: int = 6, pause: float = 0.02, lag: float = 0):
        self.endpoints = Endpoints(cluster, namespace, service, lag)
        self.path, self.body, self.pause = path, body, pause
        self.turns = itertools.count()
        self.seen = Seen()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._call, args=(number % 2 == 0,), daemon=True) for number in range(n_callers)]

    def __enter__(self) -> "Callers":
        while not self.endpoints.known:
            time.sleep(0.01)
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        self.endpoints.stopping.set()

    def _call(self, keeps: bool) -> None:
        connection = None
        while not self.stopping.is_set():
            connection = self._ask(connection)
            if connection and not keeps:
                connection.close()
                connection = None
            time.sleep(self.pause)

    def _ask(self, connection: http.client.HTTPConnection | None) -> http.client.HTTPConnection | None:
        """One request, which is lost where it has no good answer. As HTTP clients do, one that finds its kept connection closed before
        a byte has come asks again on another; what stays open is kept."""
        is_kept = connection is not None and connection.sock is not None
        if not is_kept:
            known = self.endpoints.known
            if not known:
                return self._lost("no endpoint is ready")
            address, port = known[next(self.turns) % len(known)]
            connection = http.client.HTTPConnection(address, port, timeout=30)
        try:
            connection.request("POST", self.path, self.body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            connection.close()
            return self._ask(None) if is_kept else self._lost(f"{connection.host}: {error!r}")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return self._lost(f"{connection.host}: {error!r}")
        if answer.status != 200:
            connection.close()
            return self._lost(f"{connection.host}: {answer.status} {body[:200]!r}")
        with self.lock:
            self.seen.n_answered += 1
            self.seen.bodies.add(body)
        return connection

    def _lost(self, why: str) -> None:
        with self.lock:
            self.seen.lost.append(why)
