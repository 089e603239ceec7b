"""Another mutating webhook, which does to pods what Istio's injector does: a container more, and the probes of those that are there
rewritten to it. It runs beside the API server, on a thread of the test."""

import base64
import copy
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rig.api import Object
from rig.cluster import Cluster

PROXY = "istio-proxy"


def meshed(pod: Object, form: str) -> Object:
    """As Istio's injector leaves a pod: `container` is last, `first` is what `holdApplicationUntilProxyStarts` asks for, `native` an
    init container before all others."""
    pod = copy.deepcopy(pod)
    spec, probers = pod["spec"], {}
    for container in spec["containers"]:
        for kind, name in (("readinessProbe", "readyz"), ("livenessProbe", "livez"), ("startupProbe", "startupz")):
            probe = container.get(kind, {})
            if handler := {key: probe.pop(key) for key in ("httpGet", "tcpSocket") if key in probe}:
                path = f"/app-health/{container['name']}/{name}"
                probers[path] = handler
                probe["httpGet"] = {"path": path, "port": 15020}
    proxy = {
        "name": PROXY,
        "image": "istio/proxy:1",
        "env": [{"name": "ISTIO_KUBE_APP_PROBERS", "value": json.dumps(probers)}],
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}, "periodSeconds": 1},
        "securityContext": {"runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
    }
    if form == "native":
        startup = {**proxy["readinessProbe"], "failureThreshold": 600}
        spec["initContainers"] = [{**proxy, "restartPolicy": "Always", "startupProbe": startup}, *spec.get("initContainers", [])]
    elif form == "first":
        spec["containers"].insert(0, proxy)
    else:
        spec["containers"].append(proxy)
    return pod


def probers_of(pod: Object) -> dict[str, Object]:
    """What the foreign container asks, and where."""
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    proxy = next(each for each in containers if each["name"] == PROXY)
    return json.loads(proxy["env"][0]["value"])


class ForeignWebhook:
    """Called for the pods of one namespace, at the place among webhooks that `name` gives it; to be left by `with`."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, form: str, reinvoked: bool):
        self.cluster = cluster
        self.form = form
        self.n_calls = 0
        authority = cluster.plane.authority
        paths = authority.issue(f"foreign-{name}", "foreign", hosts=("127.0.0.1",))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*paths)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        webhook = {
            "name": "mesh.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded" if reinvoked else "Never",
            "clientConfig": {
                "url": f"https://127.0.0.1:{self.server.server_port}/",
                "caBundle": base64.b64encode(authority.certificate.read_bytes()).decode(),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        }
        self.configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [webhook],
        }

    def __enter__(self) -> "ForeignWebhook":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.cluster.api.apply(self.configuration)
        return self

    def __exit__(self, *_) -> None:
        self.cluster.delete(self.configuration)
        self.server.shutdown()
        self.server.server_close()

    def review(self, request: Object) -> Object:
        self.n_calls += 1
        pod, response = request["object"], {"uid": request["uid"], "allowed": True}
        containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        if all(container["name"] != PROXY for container in containers):
            patch = [{"op": "replace", "path": "/spec", "value": meshed(pod, self.form)["spec"]}]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        return response

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": webhook.review(review["request"])}
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler
