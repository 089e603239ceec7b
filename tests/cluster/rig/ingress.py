"""The stand-in for Knative's ingress controller: what its `Ingress` objects say, served by the real Envoy.

net-kourier and net-istio are no Go modules that could be built here. As they do, this follows `Ingress` objects and the endpoints of
the Services they name, tells Envoy about both while it runs, and calls an Ingress Ready once Envoy serves it. Envoy reads files:
clusters, the endpoints of each, and routes; a file that is replaced is read again, and no connection is lost by it.
"""

import functools
import json
import os
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable

import requests

from .api import Api, Object, Refused
from .control_plane import ControlPlane
from .network import GATEWAY
from .processes import Gone, wait_for

CLASS = "stand-in.ingress.networking.knative.dev"
VERSION = "networking.internal.knative.dev/v1alpha1"
PORT = 80
ADMIN = 15000
PROBE = "programmed.rig"
"""A host that Envoy answers itself, with the number of the routes that it serves."""


class Followed:
    """All objects of a kind, kept up to date by a watch; `changed` is called after every event."""

    def __init__(self, api: Api, path: str, changed: Callable[[], None]):
        self.api, self.path, self.changed = api, path, changed
        self.things: dict[tuple[str, str], Object] = {}
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            try:
                listed = self.api.call("GET", self.path)
                self.things = {self._key(thing): thing for thing in listed["items"]}
                self.changed()
                for event in self.api.watch(self.path, resourceVersion=listed["metadata"]["resourceVersion"]):
                    if event["type"] == "ERROR":
                        break
                    thing = event["object"]
                    if event["type"] == "DELETED":
                        self.things.pop(self._key(thing), None)
                    else:
                        self.things[self._key(thing)] = thing
                    self.changed()
            except Gone:
                return  # tests see that of themselves, or the run is at its end
            except (Refused, requests.RequestException):
                time.sleep(0.2)  # the API server may be away for a while

    @staticmethod
    def _key(thing: Object) -> tuple[str, str]:
        return thing["metadata"]["namespace"], thing["metadata"]["name"]


class Ingress:
    def __init__(self, plane: ControlPlane, state: Path):
        self.api, self.folder = plane.api, state / "ingress"
        (self.folder / "endpoints").mkdir(parents=True)
        self.number = 0
        self.written: dict[Path, str] = {}
        self.dirty = threading.Event()
        self.troubles: list[str] = []
        self._write("clusters.json", {"resources": []})
        self._write("routes.json", {"resources": [self._routes([])]})
        (self.folder / "envoy.json").write_text(json.dumps(self._bootstrap()))
        arguments = ("--config-path", str(self.folder / "envoy.json"), "--log-level", "warn", "--concurrency", "2", "--use-dynamic-base-id")
        self.envoy = plane.run("envoy", *arguments, binary=os.environ["DRIFTD_TEST_ENVOY"])
        wait_for("Envoy", lambda: self._served() == "1", (self.envoy,))
        self.ingresses = Followed(self.api, f"/apis/{VERSION}/ingresses", self.dirty.set)
        self.endpoints = Followed(self.api, "/api/v1/endpoints", self.dirty.set)
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self.dirty.wait()
            self.dirty.clear()
            try:
                self._program()
            except Gone:
                return  # tests see that of themselves, or the run is at its end
            except (Refused, requests.RequestException, TimeoutError, OSError) as error:
                self.troubles.append(str(error))
                time.sleep(0.2)
                self.dirty.set()

    def _program(self) -> None:
        """Endpoints before the clusters that need them, clusters before the routes to them; the other way round what goes."""
        ours = [thing for thing in list(self.ingresses.things.values()) if self._is_ours(thing)]
        backends = {backend(split): split for thing in ours for path in paths_of(thing) for split in path["splits"]}
        for name, split in backends.items():
            self._write(f"endpoints/{name}.json", self._endpoints(name, split))
        former = {resource["name"]: resource for resource in json.loads(self.written[self.folder / "clusters.json"])["resources"]}
        clusters = {name: self._cluster(name) for name in backends}
        self._write("clusters.json", {"resources": list({**former, **clusters}.values())})
        wait_for("Envoy has all clusters", lambda: set(clusters) <= self._clusters(), (self.envoy,), patience=30)
        routes = self._routes(ours)
        if json.dumps(routes["virtual_hosts"][1:]) != json.dumps(self._written_hosts()[1:]):
            self._write("routes.json", {"resources": [routes]})
            wait_for("Envoy serves the routes", lambda: self._served() == str(self.number), (self.envoy,), patience=30)
        self._write("clusters.json", {"resources": list(clusters.values())})
        for thing in ours:
            self._set_ready(thing)

    def _is_ours(self, thing: Object) -> bool:
        return "deletionTimestamp" not in thing["metadata"] and thing["metadata"].get("annotations", {}).get("networking.knative.dev/ingress.class") == CLASS

    def _written_hosts(self) -> list[Object]:
        return json.loads(self.written[self.folder / "routes.json"])["resources"][0]["virtual_hosts"]

    def _endpoints(self, name: str, split: Object) -> Object:
        """The addresses that are ready: pods of the revision, or the activator where Knative has put it in between."""
        thing = self.endpoints.things.get((split["serviceNamespace"], split["serviceName"]), {})
        found = []
        for subset in thing.get("subsets") or []:
            port = next((each["port"] for each in subset.get("ports", []) if each.get("name") == "http"), None)
            found += [(address["ip"], port) for address in subset.get("addresses") or [] if port]
        hosts = [{"endpoint": {"address": socket_address(*each)}} for each in sorted(found)]
        return {"resources": [{"@type": typed("endpoint.v3.ClusterLoadAssignment"), "cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}]}

    def _cluster(self, name: str) -> Object:
        return {
            "@type": typed("cluster.v3.Cluster"),
            "name": name,
            "type": "EDS",
            "connect_timeout": "5s",
            "eds_cluster_config": {"eds_config": from_file(self.folder / "endpoints" / f"{name}.json")},
        }

    def _routes(self, ours: list[Object]) -> Object:
        probe = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": str(self.number + 1)}}}
        hosts = [{"name": PROBE, "domains": [PROBE], "routes": [probe]}]
        for thing in sorted(ours, key=lambda thing: thing["metadata"]["uid"]):
            for i, rule in enumerate(thing["spec"].get("rules", [])):
                domains = [each for host in rule["hosts"] for each in (host, f"{host}:*")]
                # The more a path asks for, the earlier it is looked at.
                paths = sorted(rule["http"]["paths"], key=lambda path: (-len(path.get("headers", {})), -len(path.get("path", ""))))
                hosts.append({"name": f"{thing['metadata']['uid']}-{i}", "domains": domains, "routes": [route(path) for path in paths]})
        return {"@type": typed("route.v3.RouteConfiguration"), "name": "knative", "virtual_hosts": hosts}

    def _bootstrap(self) -> Object:
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "ingress",
            "rds": {"route_config_name": "knative", "config_source": from_file(self.folder / "routes.json")},
            "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        }
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        return {
            "node": {"id": "rig", "cluster": "rig"},
            "admin": {"address": socket_address("127.0.0.1", ADMIN)},
            "dynamic_resources": {"cds_config": from_file(self.folder / "clusters.json")},
            "static_resources": {"listeners": [{"name": "ingress", "address": socket_address("0.0.0.0", PORT), "filter_chains": [chain]}]},
        }

    def _write(self, name: str, content: Object) -> None:
        """Beside and renamed, which is what Envoy looks out for."""
        path = self.folder / name
        if self.written.get(path) == (text := json.dumps(content)):
            return
        partial = path.with_suffix(".partial")
        partial.write_text(text)
        partial.rename(path)
        self.written[path] = text
        if name == "routes.json":
            self.number += 1

    @functools.cached_property
    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        return session

    def _served(self) -> str:
        return self.session.get(f"http://127.0.0.1:{PORT}/", headers={"Host": PROBE}, timeout=5).text

    def _clusters(self) -> set[str]:
        """Those that have been told their endpoints: until then a cluster is not listed."""
        listed = self.session.get(f"http://127.0.0.1:{ADMIN}/clusters", params={"format": "json"}, timeout=5).json()
        return {each["name"] for each in listed.get("cluster_statuses", [])}

    def _set_ready(self, thing: Object) -> None:
        generation, known = thing["metadata"]["generation"], thing.get("status", {})
        if known.get("observedGeneration") == generation and all(each["status"] == "True" for each in known.get("conditions", [])):
            return
        moment = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        balancer = {"ingress": [{"domainInternal": "ingress.knative-serving.svc.cluster.local", "ip": GATEWAY}]}
        conditions = [{"type": name, "status": "True", "lastTransitionTime": moment} for name in ("LoadBalancerReady", "NetworkConfigured", "Ready")]
        status = {"observedGeneration": generation, "conditions": conditions, "publicLoadBalancer": balancer, "privateLoadBalancer": balancer}
        try:
            self.api.merge({"apiVersion": VERSION, "kind": "Ingress", **thing}, {"status": status}, "/status")
        except Refused as error:
            if error.code != 404:
                raise


def paths_of(thing: Object) -> list[Object]:
    return [path for rule in thing["spec"].get("rules", []) for path in rule["http"]["paths"]]


def backend(split: Object) -> str:
    return f"{split['serviceNamespace']}_{split['serviceName']}"


def route(path: Object) -> Object:
    match: Object = {"prefix": path.get("path") or "/"}
    if headers := path.get("headers"):
        match["headers"] = [{"name": name, "string_match": {"exact": each["exact"]}} for name, each in sorted(headers.items())]
    shares = [
        {"name": backend(split), "weight": split.get("percent", 100), "request_headers_to_add": added(split.get("appendHeaders", {}))}
        for split in path["splits"]
        if split.get("percent", 100) > 0
    ]
    # Knative sets its own limits, in queue-proxy and in the activator.
    action: Object = {"weighted_clusters": {"clusters": shares}, "timeout": "0s"}
    if host := path.get("rewriteHost"):
        action["host_rewrite_literal"] = host
    return {"match": match, "route": action, "request_headers_to_add": added(path.get("appendHeaders", {}))}


def added(headers: dict[str, str]) -> list[Object]:
    return [{"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for key, value in sorted(headers.items())]


def from_file(path: Path) -> Object:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def socket_address(address: str, port: int) -> Object:
    return {"socket_address": {"address": address, "port_value": port}}


def typed(name: str) -> str:
    return f"type.googleapis.com/envoy.config.{name}"
