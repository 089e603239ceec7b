"""What tests of serving share: trained models with their baselines, raw requests, and a look at metrics."""

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
from rig import ingress
from rig.cluster import ROOT, Cluster
from rig.knative import host_of
from rig.load import Load
from rig.network import GATEWAY
from rig.processes import wait_for


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def ask(address: str, port: int, path: str, body: bytes | None = None, host: str | None = None) -> Answer:
    connection = http.client.HTTPConnection(address, port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
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
        command = [os.environ["DRIFTD_TEST_BINARY"], "baseline", "build", folder / "train.csv", "--prediction", "prediction"]
        subprocess.run([*command, "--model", name, "--out", folder / "driftd-baseline.json"], check=True, stdout=subprocess.DEVNULL)


def put_shifted_model(cluster: Cluster, key: str, model: str, name: str, by: float) -> None:
    """As `put_model`, of a gradient boosted regression that predicts as much more, so that its answers can be told apart."""
    put_model(cluster, key, model, name)
    file = cluster.models / key / "model.joblib"
    estimator = joblib.load(file)
    estimator._baseline_prediction += by
    joblib.dump(estimator, file)


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


def knative_load(service: dict, body: bytes, version_of: Callable[[bytes], str], **options) -> Load:
    """Requests through the ingress, the activator and the queue-proxy."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    path = f"/v1/models/{name}:predict"
    return Load(GATEWAY, ingress.PORT, path, body, host=host_of(name, namespace), version_of=version_of, **options)


@functools.cache
def install_webhook(cluster: Cluster) -> None:
    """As docs/webhook.md says it."""
    cluster.kubectl("apply", "-k", ROOT / "deploy/overlays/sidecar-injection")
    path = f"{cluster.programs / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "KUBECONFIG": str(cluster.plane.kubeconfig)}
    subprocess.run([ROOT / "deploy/certificate"], check=True, env=environment, stdout=subprocess.DEVNULL)
    webhooks = lambda: len(cluster.pods("driftd-system", "app.kubernetes.io/component=webhook")) == 2  # noqa: E731
    try:
        wait_for("the webhook's pods", webhooks, cluster.running)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{cluster.what_pods_say('driftd-system')}") from error


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
