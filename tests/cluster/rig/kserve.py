"""KServe's controller with its webhooks, from the module's own manifests.

Its mode is Standard unless an InferenceService is annotated (`serving.kserve.io/deploymentMode: Knative`), which takes `cluster.knative()`.
"""

import base64
import copy
import json
import os
import socket
from pathlib import Path

from .api import Api, Object, objects_in
from .control_plane import ControlPlane
from .crds import install
from .processes import wait_for

WEBHOOK_PORT = 9443
WATCHED = ("knative_service", "istio_virtualservice", "gatewayapi_")
# As `kustomize` would name them: the folders hold placeholders, which a kustomization replaces at release.
IMAGES = {
    "default-storage-initilizer:replace": "kserve/storage-initializer:latest",
    "kserve-sklearnserver:replace": "kserve/sklearnserver:latest",
}


def start(plane: ControlPlane, module: Path) -> None:
    """`module` has `config` and `crds` of KServe's module. Returns once InferenceServices are taken and defaulted."""
    api = plane.api
    # The kinds it watches must exist before it starts, those of Knative, Istio and Gateway API among them.
    own = (module / "config/crd/full").glob("serving.kserve.io_*.yaml")
    others = (path for name in WATCHED for path in (module / "crds").glob(f"{name}*.yaml"))
    install(api, *own, module / "config/crd/full/clusterstoragecontainer", *others)
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kserve", "labels": {"control-plane": "kserve-controller-manager"}}})
    for thing in objects_in(module / "config/configmap/inferenceservice.yaml"):
        api.apply(without_ingress(thing))

    certificate, key = plane.authority.issue("kserve-webhook", "kserve-webhook", hosts=("127.0.0.1",))
    # It reads its certificate from a fixed place in the folder for temporary files, so it gets one of its own.
    temporary = plane.state / "kserve"
    serving = temporary / "k8s-webhook-server/serving-certs"
    serving.mkdir(parents=True)
    (serving / "tls.crt").write_bytes(certificate.read_bytes())
    (serving / "tls.key").write_bytes(key.read_bytes())
    env = {**os.environ, "KUBECONFIG": str(plane.kubeconfig), "POD_NAMESPACE": "kserve", "TMPDIR": str(temporary)}
    manager = plane.run("kserve-manager", "--metrics-addr=127.0.0.1:8085", "--health-probe-addr=127.0.0.1:8086", env=env)
    wait_for("KServe's webhooks", listening, (manager,))

    for thing in objects_in(module / "config/webhook/manifests.yaml"):
        api.apply(called_by_address(thing, plane.authority.certificate.read_bytes()))
    for thing in objects_in(module / "config/runtimes/kserve-sklearnserver.yaml", module / "config/storagecontainers/default.yaml"):
        # The webhook answers from a cache that may not have filled yet.
        wait_for(f"KServe takes {thing['kind']}", lambda thing=thing: api.apply(with_images(thing)), (manager,))


def listening() -> bool:
    with socket.create_connection(("127.0.0.1", WEBHOOK_PORT), timeout=1):
        return True


def without_ingress(config: Object) -> Object:
    """Beside its own defaults: Deployments instead of Knative Services, and in neither mode objects for an ingress that is not there."""
    config = copy.deepcopy(config)
    data = config["data"]
    data["deploy"] = json.dumps({"defaultDeploymentMode": "Standard"})
    data["ingress"] = json.dumps({**json.loads(data["ingress"]), "disableIngressCreation": True, "disableIstioVirtualHost": True})
    return config


def called_by_address(webhooks: Object, authority: bytes) -> Object:
    """The manager runs beside the API server, not in a pod, so there is no Service to call it by."""
    webhooks = copy.deepcopy(webhooks)
    for webhook in webhooks["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {
            "url": f"https://127.0.0.1:{WEBHOOK_PORT}{path}",
            "caBundle": base64.b64encode(authority).decode(),
        }
    return webhooks


def with_images(thing: Object) -> Object:
    text = json.dumps(thing)
    for placeholder, image in IMAGES.items():
        text = text.replace(placeholder, image)
    return json.loads(text)


def ready(api: Api, namespace: str, name: str) -> Object | None:
    service = api.get("InferenceService", name, namespace, "serving.kserve.io/v1beta1")
    conditions = service.get("status", {}).get("conditions", [])
    return service if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions) else None
