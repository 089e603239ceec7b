"""What tests of serving share: trained models with their baselines, services, the webhook, raw requests, and a look at metrics."""

import copy
import functools
import http.client
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import joblib
import yaml
from rig import ingress
from rig.api import Object
from rig.cluster import ROOT, Cluster
from rig.knative import host_of
from rig.load import Load
from rig.network import GATEWAY
from rig.pod import Pod
from rig.processes import wait_for

WEBHOOKS = "app.kubernetes.io/component=webhook"
ASKS = {"driftd.io/inject": "true"}


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def ask(address: str, port: int, path: str, body: bytes | None = None, host: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(address, port, timeout=30)
    try:
        headers = (headers or {}) | ({"Content-Type": "application/json"} if body is not None else {})
        headers |= {"Host": host} if host else {}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() != "date"]
        return Answer(answer.status, headers, answer.read())
    finally:
        connection.close()


@functools.cache
def trained() -> Path:
    """The models of the other integration tests, trained once a run."""
    folder = Path(os.environ["RIG_STATE"]) / "trained"
    subprocess.run([os.environ["DRIFTD_TEST_PYTHON"], ROOT / "tests/it/python/train.py", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def put_model(cluster: Cluster, key: str, model: str, name: str, with_baseline: bool = True) -> None:
    """The trained `model` at `s3://KEY`, with its baseline beside it."""
    folder = cluster.models / key
    shutil.copytree(trained() / model, folder, dirs_exist_ok=True)
    if with_baseline:
        build_baseline(folder, name)


def build_baseline(folder: Path, name: str) -> None:
    command = [os.environ["DRIFTD_TEST_BINARY"], "baseline", "build", folder / "train.csv", "--prediction", "prediction"]
    subprocess.run([*command, "--model", name, "--out", folder / "driftd-baseline.json"], check=True, stdout=subprocess.DEVNULL)


def put_shifted_model(cluster: Cluster, key: str, model: str, name: str, by: float, is_trained_so: bool = False) -> None:
    """As `put_model`, of a gradient boosted regression that predicts as much more, so that its answers can be told apart. Its
    baseline knows of that only where it `is_trained_so`."""
    put_model(cluster, key, model, name)
    folder = cluster.models / key
    estimator = joblib.load(folder / "model.joblib")
    estimator._baseline_prediction += by
    joblib.dump(estimator, folder / "model.joblib")
    if is_trained_so:
        head, *rows = [line.rpartition(",") for line in (folder / "train.csv").read_text().splitlines()]
        shifted = ["".join(head), *(f"{features},{float(prediction) + by!r}" for features, _, prediction in rows)]
        (folder / "train.csv").write_text("".join(f"{line}\n" for line in shifted))
        build_baseline(folder, name)


def knative_service(namespace: str, name: str, uri: str, is_watched: bool, **predictor) -> dict:
    """An InferenceService in Knative's mode, which the webhook puts driftd into where it is watched."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"driftd.io/inject": "true"} if is_watched else {},
            "annotations": {"serving.kserve.io/deploymentMode": "Knative"},
        },
        "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, **predictor}},
    }


def knative_load(service: dict, body: bytes | Callable[[], bytes], version_of: Callable[[bytes], str], **options) -> Load:
    """Requests through the ingress, the activator and the queue-proxy."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    path = f"/v1/models/{name}:predict"
    return Load(GATEWAY, ingress.PORT, path, body, host=host_of(name, namespace), version_of=version_of, **options)


@functools.cache
def rows_of(model: str, n: int) -> list[list[float]]:
    """The first rows of the training table, without what the model answers on them."""
    lines = (trained() / model / "train.csv").read_text().splitlines()[1 : n + 1]
    return [[float(value) for value in line.split(",")[:-1]] for line in lines]


def request_of(rows: list[list[float]]) -> bytes:
    return json.dumps({"instances": rows}).encode()


def metric(address: str, name: str, port: int = 9464, **labels: str) -> float | None:
    """The sum of the series that carry these labels; nothing where there are none."""
    text = ask(address, port, "/metrics").body.decode()
    found = []
    for line in text.splitlines():
        if match := re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line):
            if all(f'{label}="{value}"' in (match[1] or "") for label, value in labels.items()):
                found.append(float(match[2]))
    return sum(found) if found else None


def labels_of(series: str, name: str) -> list[str]:
    """The value of a label of a line of `/metrics`, where it has it."""
    return re.findall(rf'[{{,]{name}="([^"]*)"', series)


def sklearn_service(namespace: str, name: str, uri: str, labels: dict[str, str] | None = None, **predictor) -> Object:
    """An InferenceService whose pod is looked at every second: KServe's own ten are what most of a test would be."""
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": uri, "readinessProbe": probe, **predictor.pop("model", {})}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"predictor": {"model": model, **predictor}},
    }


def install_webhook(cluster: Cluster, evaluation: Object | None = None) -> list[Pod]:
    """As docs/webhook.md says it, or with an `evaluation` for the sidecars; the pods, once both are ready. Again, it changes nothing
    but the certificate."""
    if evaluation is None:
        cluster.kubectl("apply", "-k", ROOT / "deploy/overlays/sidecar-injection")
    else:
        settings = yaml.safe_load((ROOT / "deploy/components/webhook/webhook.yaml").read_text())
        settings["sidecar"]["evaluation"] = evaluation
        apply_overlay(cluster, "sidecar-injection", {"webhook.yaml": yaml.safe_dump(settings)}, config_map="driftd-webhook")
    certify(cluster)
    cluster.kubectl("rollout", "status", "deployment/driftd-webhook", "--namespace=driftd-system", "--timeout=120s")
    return wait_for_webhook(cluster)


def apply_overlay(cluster: Cluster, name: str, files: dict[str, str], config_map: str, patches: list[Object] | None = None) -> None:
    """An overlay of `deploy/` as its user applies it: by one of their own on top, with their files in place of those in a ConfigMap."""
    folder = cluster.state / "overlays" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_text(content)
    generator = {"name": config_map, "namespace": "driftd-system", "behavior": "replace", "files": list(files)}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / "deploy/overlays" / name, folder.resolve())],
        "configMapGenerator": [generator],
        "patches": patches or [],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    cluster.kubectl("apply", "-k", folder)


def wait_ready(cluster: Cluster, pod: Pod) -> None:
    """Of a pod that no controller has made."""
    metadata = pod.object["metadata"]
    try:
        wait_for(metadata["name"], lambda: all(container.is_ready for container in pod.main), cluster.running)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{cluster.what_pods_say(metadata['namespace'])}") from error


def start_prometheus(cluster: Cluster, name: str, scrape: str = "driftd-scrape", config: str = "kubernetes.yaml") -> Pod:
    """As `deploy/overlays/prometheus` says, which is applied: two ConfigMaps in one folder, that of the rules and `scrape`, and the account."""
    files = {"sources": [{"configMap": {"name": scrape}}, {"configMap": {"name": "driftd-rules"}}]}
    container = {
        "name": "prometheus",
        "image": "prom/prometheus:v3",
        "args": [f"--config.file=/etc/prometheus/{config}", "--storage.tsdb.path=/prometheus"],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
        "volumeMounts": [{"name": "files", "mountPath": "/etc/prometheus", "readOnly": True}, {"name": "data", "mountPath": "/prometheus"}],
    }
    volumes = [{"name": "files", "projected": files}, {"name": "data", "emptyDir": {}}]
    pod = cluster.run_pod("monitoring", name, {"serviceAccountName": "driftd-prometheus", "containers": [container], "volumes": volumes})
    wait_ready(cluster, pod)
    return pod


def certify(cluster: Cluster, kubeconfig: Path | None = None) -> None:
    path = f"{cluster.programs / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "KUBECONFIG": str(kubeconfig or cluster.plane.kubeconfig)}
    done = subprocess.run([ROOT / "deploy/certificate"], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"deploy/certificate: {done.stderr.strip()}")


def wait_for_webhook(cluster: Cluster) -> list[Pod]:
    def both() -> list[Pod] | None:
        pods = cluster.pods("driftd-system", WEBHOOKS)
        return pods if len(pods) == 2 else None

    try:
        return wait_for("the webhook's pods", both, cluster.running)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{cluster.what_pods_say('driftd-system')}") from error


def pod_of(cluster: Cluster, service: Object) -> Object:
    """The pod that KServe asks for, to be created by a test: no sidecar is in it yet."""
    cluster.api.apply(service)
    metadata = service["metadata"]
    deployment = lambda: cluster.api.get("Deployment", f"{metadata['name']}-predictor", metadata["namespace"], "apps/v1")  # noqa: E731
    template = wait_for("KServe's Deployment", deployment, cluster.running)["spec"]["template"]
    cluster.delete(service)
    pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
    pod["metadata"] = {**template["metadata"], "generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]}
    return pod


def create(cluster: Cluster, pod: Object, dry_run: bool = True) -> Object:
    """The pod as the API server takes it, with all that its webhooks have made of it."""
    path = cluster.api.path("v1", "Pod", pod["metadata"]["namespace"])
    return cluster.api.call("POST", path, pod, params={"dryRun": "All"} if dry_run else {})


def is_watched(pod: Object) -> bool:
    return any(container["name"] == "driftd" for container in pod["spec"]["containers"])
