"""A webhook in a pod, named by its Service as users name it, is called by the API server. What it answers here is written by hand:
that the way is open is what `driftd webhook` needs of the rig."""

import base64
import unittest

from rig.cluster import shared
from rig.processes import wait_for

STAND_IN = """
import base64, http.server, json, ssl

class Review(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        patch = [{"op": "add", "path": "/metadata/labels/reviewed", "value": "yes"}]
        response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch",
                    "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("", 9443), Review)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


class Webhooks(unittest.TestCase):
    def test_a_webhook_named_by_its_service_is_called_in_its_pod(self):
        cluster = shared()
        namespace = cluster.namespace()
        api, authority = cluster.api, cluster.plane.authority
        paths = authority.issue(f"webhook-{namespace}", "webhook", hosts=(f"webhook.{namespace}.svc",))
        data = {f"tls.{part}": base64.b64encode(path.read_bytes()).decode() for part, path in zip(("crt", "key"), paths)}
        api.apply({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "tls", "namespace": namespace}, "data": data})
        container = {
            "name": "webhook",
            "image": "python",
            "args": ["-c", STAND_IN],
            "ports": [{"containerPort": 9443}],
            "readinessProbe": {"tcpSocket": {"port": 9443}, "periodSeconds": 1},
            "securityContext": {"runAsUser": 65532},
            "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}],
        }
        template = {"metadata": {"labels": {"app": "webhook"}}, "spec": {"containers": [container], "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}]}}
        spec = {"selector": {"matchLabels": {"app": "webhook"}}, "template": template}
        api.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "webhook", "namespace": namespace}, "spec": spec})
        ports = [{"port": 443, "targetPort": 9443}]
        api.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "webhook", "namespace": namespace}, "spec": {"selector": {"app": "webhook"}, "ports": ports}})
        cluster.kubectl("rollout", "status", f"--namespace={namespace}", "--timeout=120s", "deployment/webhook")

        webhook = {
            "name": "reviewed.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "clientConfig": {
                "service": {"name": "webhook", "namespace": namespace, "path": "/review"},
                "caBundle": base64.b64encode(authority.certificate.read_bytes()).decode(),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
            "objectSelector": {"matchLabels": {"review": namespace}},
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": f"reviewed-{namespace}"},
            "webhooks": [webhook],
        }
        api.apply(configuration)
        self.addCleanup(cluster.delete, configuration)
        thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "reviewed", "namespace": namespace, "labels": {"review": namespace}}}

        def is_reviewed() -> bool:
            # The API server needs a moment to learn of a new webhook.
            return api.apply(thing, dry_run=True)["metadata"]["labels"].get("reviewed") == "yes"

        wait_for("the review", is_reviewed, cluster.running)


if __name__ == "__main__":
    unittest.main()
