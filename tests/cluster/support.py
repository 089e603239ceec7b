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

from rig.cluster import ROOT, Cluster


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def ask(address: str, port: int, path: str, body: bytes | None = None) -> Answer:
    connection = http.client.HTTPConnection(address, port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
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
