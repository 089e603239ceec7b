"""Sends real rows with the official clients, once straight to a model server and once through a proxy in front of it,
and proves that the proxy changed nothing: `drive.py DIRECT_URL PROXIED_URL SCENARIO… --models DIR --out DIR`.

Every request goes out twice with the same `id`, so the two answers must be equal: status, end-to-end header fields and
body bytes. One JSON report goes to standard output; the exit code is 1 if anything differed or failed. OUT gets
`sent-<model>.csv`, one row for each row that passed the proxy, with the predictions as the client decoded them (the
columns of train.csv), and with `--vectors` the exact exchanges. `drive.py --list` lists the scenarios.

Scenarios named `mlserver-*`, `mlflow-*` and `kserve-*` each need the environment of the requirements of that name.
"""

import argparse
import asyncio
import base64
import functools
import importlib.metadata
import importlib.util
import json
import re
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import pandas as pd
import requests

from wire import Exchange, Message, Relay

# Not for comparing: what belongs to one hop (RFC 9110 section 7.6.1), framing, and the time of day. With a fixed `id`
# neither server has anything else in its answers that changes.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
VOLATILE = {"date", "content-length"}
SHIFTED_COLUMNS = 2


class Model:
    """One trained model: its columns and the table to draw rows from."""

    def __init__(self, folder: Path):
        self.name = folder.name
        columns = json.loads((folder / "columns.json").read_text())
        self.features, self.predictions = columns["features"], columns["predictions"]
        self.categorical, self.method = columns["categorical"], columns["method"]
        self.table = pd.read_csv(folder / "train.csv")[self.features]

    def rows(self, kind: str, n: int, seed: list[int]) -> pd.DataFrame:
        """`plain`: rows of the training table, drawn with replacement. `shifted`: the same rows, the first two numbers
        1.5 training standard deviations higher and one category in three replaced by one never seen. `missing`: the
        same rows, one value in five of the first feature missing."""
        rng = np.random.default_rng(seed)
        rows = self.table.iloc[rng.integers(0, len(self.table), n)].reset_index(drop=True)
        if kind == "shifted":
            numeric = [name for name in self.features if name not in self.categorical and self.table[name].std() > 0]
            for name in numeric[:SHIFTED_COLUMNS]:
                moved = rows[name] + 1.5 * self.table[name].std()
                rows[name] = moved.round().astype(int) if rows[name].dtype.kind == "i" else moved
            for name in self.categorical:
                rows.loc[rng.random(n) < 1 / 3, name] = "never_seen"
        elif kind == "missing":
            first = rows.columns[0]
            rows[first] = rows[first].astype(float).mask(rng.random(n) < 0.2)
        return rows


@dataclass
class Call:
    """One batch for one model on its way to one address. A scenario answers the rows' predictions, one a row."""

    url: str
    model: Model
    rows: pd.DataFrame
    id: str
    # gRPC only: the two messages, as HTTP is seen by the relay.
    messages: tuple[bytes, bytes] | None = None

    @property
    def address(self) -> str:
        return self.url.split("://", 1)[1]

    def matrix(self, dtype=None) -> np.ndarray:
        return self.rows.to_numpy(dtype)


@dataclass
class Scenario:
    send: Callable[[Call], np.ndarray]
    models: tuple[str, ...]
    kinds: tuple[str, ...] = ("plain", "shifted")
    client: tuple[str, ...] = ()
    # Rows as the server saw them, where the wire format holds less than the table.
    narrow: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows
    http: bool = True
    # What the server is to answer; of an exchange that failed no row is kept.
    status: int = 200


# --- MLServer's own types and codecs, posted as its documentation does -------------------------------------------------


def mlserver_post(call: Call, request) -> "InferenceResponse":  # noqa: F821
    from mlserver.types import InferenceResponse

    request.id = call.id
    answer = requests.post(f"{call.url}/v2/models/{call.model.name}/infer", json=request.model_dump(), timeout=60)
    answer.raise_for_status()
    return InferenceResponse.model_validate_json(answer.text)


def mlserver_prediction(response) -> np.ndarray:
    from mlserver.codecs import NumpyCodec, StringCodec

    (output,) = response.outputs
    if output.datatype == "BYTES":
        return np.array(StringCodec.decode_output(output))
    return NumpyCodec.decode_output(output)


def mlserver_np(call: Call) -> np.ndarray:
    from mlserver.codecs import NumpyRequestCodec

    return mlserver_prediction(mlserver_post(call, NumpyRequestCodec.encode_request(call.matrix())))


def mlserver_pd(call: Call) -> np.ndarray:
    from mlserver.codecs import PandasCodec

    return mlserver_prediction(mlserver_post(call, PandasCodec.encode_request(call.rows, use_bytes=False)))


# --- KServe's inference clients ----------------------------------------------------------------------------------------


@functools.cache
def event_loop() -> asyncio.Runner:
    """One loop for all calls, so that a client keeps its connections. (`requests` below opens one for each call.)"""
    return asyncio.Runner()


@functools.cache
def kserve_client(protocol: str):
    from kserve import InferenceRESTClient, RESTConfig

    return InferenceRESTClient(RESTConfig(protocol=protocol, retries=0))


def kserve_rest(call: Call, protocol: str, data):
    return event_loop().run(kserve_client(protocol).infer(call.url, data, model_name=call.model.name))


def kserve_request(call: Call, binary: bool, dtype=None, columns: bool = False):
    from kserve import InferInput, InferRequest
    from kserve.utils.numpy_codec import from_np_dtype

    def tensor(name: str, values: np.ndarray):
        if values.dtype.kind == "O":
            values = values.astype(object)
        made = InferInput(name=name, shape=list(values.shape), datatype=from_np_dtype(values.dtype))
        made.set_data_from_numpy(values, binary_data=binary)
        return made

    if columns:
        inputs = [tensor(name, call.rows[name].to_numpy()) for name in call.rows]
    else:
        inputs = [tensor("input-0", call.matrix(dtype))]
    parameters = {"content_type": "pd"} if columns else None
    return InferRequest(model_name=call.model.name, request_id=call.id, infer_inputs=inputs, parameters=parameters)


def kserve_prediction(response) -> np.ndarray:
    (output,) = response.outputs
    if output.datatype == "BYTES":
        return np.array([each.decode() if isinstance(each, bytes) else each for each in output.data])
    return output.as_numpy()


def kserve_v1(call: Call) -> np.ndarray:
    return np.array(kserve_rest(call, "v1", {"instances": call.matrix().tolist()})["predictions"])


def kserve_v1_columns(call: Call) -> np.ndarray:
    """KServe reads an instance that is an object as a block of columns."""
    block = {name: call.rows[name].tolist() for name in call.rows}
    return np.array(kserve_rest(call, "v1", {"instances": [block]})["predictions"])


def kserve_v2(call: Call) -> np.ndarray:
    return kserve_prediction(kserve_rest(call, "v2", kserve_request(call, binary=False)))


def kserve_v2_pd(call: Call) -> np.ndarray:
    return kserve_prediction(kserve_rest(call, "v2", kserve_request(call, binary=False, columns=True)))


def kserve_v2_binary(call: Call) -> np.ndarray:
    return kserve_prediction(kserve_rest(call, "v2", kserve_request(call, binary=True)))


def kserve_grpc(call: Call) -> np.ndarray:
    from kserve import InferenceGRPCClient

    request = kserve_request(call, binary=False)

    async def infer():
        async with InferenceGRPCClient(call.address, retries=0) as client:
            return await client.infer(request)

    response = event_loop().run(infer())
    call.messages = tuple(each.to_grpc().SerializeToString(deterministic=True) for each in (request, response))
    return kserve_prediction(response)


# --- Triton's client ---------------------------------------------------------------------------------------------------


def triton(call: Call, dtype, output: str, binary: bool, headers: dict | None = None) -> np.ndarray:
    from tritonclient import http
    from tritonclient.utils import np_to_triton_dtype

    values = call.matrix(dtype)
    tensor = http.InferInput("input-0", list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values, binary_data=binary)
    asked = http.InferRequestedOutput(output, binary_data=binary)
    with http.InferenceServerClient(call.address) as client:
        result = client.infer(call.model.name, [tensor], outputs=[asked], request_id=call.id, headers=headers)
        values = result.as_numpy(output)
    return values.astype(str) if values.dtype.kind in "OS" else values


def triton_grpc(call: Call) -> np.ndarray:
    from tritonclient import grpc
    from tritonclient.utils import np_to_triton_dtype

    values = call.matrix(np.float32)
    tensor = grpc.InferInput("input-0", list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    with grpc.InferenceServerClient(call.address) as client:
        result = client.infer(call.model.name, [tensor], request_id=call.id)
    # The request is the client's own affair: that both were alike shows in the answers.
    call.messages = (b"", result.get_response().SerializeToString(deterministic=True))
    return result.as_numpy("predict")


def float32_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The decimals that the 32-bit floats stand for, as driftd reads them."""
    return rows.map(lambda value: float(str(np.float32(value))))


# --- MLflow's own client, and the other forms that its documentation shows -----------------------------------------------


def mlflow_client(call: Call) -> np.ndarray:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    host, port = call.address.split(":")
    return ScoringServerClient(host, int(port)).invoke(call.rows).get_predictions("ndarray")


def mlflow_post(call: Call, media_type: str, body: str) -> np.ndarray:
    answer = requests.post(f"{call.url}/invocations", data=body, headers={"Content-Type": media_type}, timeout=60)
    answer.raise_for_status()
    return np.array(answer.json()["predictions"])


# --- Bodies written by hand, as curl users and other languages send them -------------------------------------------------


def raw_post(call: Call, path: str, body: dict) -> dict:
    answer = requests.post(call.url + path, json=body, timeout=60)
    answer.raise_for_status()
    return answer.json()


def rows_with_null(values: np.ndarray) -> list:
    return [[None if value != value else value for value in row] for row in values.tolist()]


def raw_v1(call: Call, key: str) -> np.ndarray:
    body = {key: rows_with_null(call.matrix())}
    return np.array(raw_post(call, f"/v1/models/{call.model.name}:predict", body)["predictions"])


def raw_v2(call: Call, path: str) -> np.ndarray:
    """Nested data, which the specification allows and no client sends."""
    values = call.matrix()
    tensor = {"name": "x", "shape": list(values.shape), "datatype": "FP64", "data": rows_with_null(values)}
    (output,) = raw_post(call, path.format(call.model.name), {"id": call.id, "inputs": [tensor]})["outputs"]
    values = np.array(output["data"])
    return values.reshape(output["shape"]) if values.dtype.kind != "U" else values


def raw_stream(call: Call) -> np.ndarray:
    """MLServer's answers as server-sent events; a runtime that streams nothing of its own answers one."""
    values = call.matrix()
    tensor = {"name": "x", "shape": list(values.shape), "datatype": "FP64", "data": values.flatten().tolist()}
    answer = requests.post(
        f"{call.url}/v2/models/{call.model.name}/infer_stream",
        json={"id": call.id, "inputs": [tensor]},
        headers={"Accept-Encoding": "identity"},  # MLServer cannot compress a stream
        timeout=60,
    )
    answer.raise_for_status()
    (event,) = answer.text.removesuffix("\n\n").split("\n\n")
    (output,) = json.loads(event.removeprefix("data: "))["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


def raw_event(call: Call) -> np.ndarray:
    """A CloudEvent in structured mode, by its keys alone: KServe answers it as it would without."""
    event = {"specversion": "1.0", "id": call.id, "source": "/drive", "type": "test", "time": "2026-01-02T03:04:05Z"}
    event["data"] = {"instances": rows_with_null(call.matrix())}
    return np.array(raw_post(call, f"/v1/models/{call.model.name}:predict", event)["predictions"])


def raw_failing(call: Call, path: str) -> None:
    """A request the server refuses: rows one feature too narrow. Its answer has to come through like any other."""
    values = call.matrix()[:, 1:]
    tensor = {"name": "x", "shape": list(values.shape), "datatype": "FP64", "data": values.flatten().tolist()}
    requests.post(call.url + path.format(call.model.name), json={"id": call.id, "inputs": [tensor]}, timeout=60)


MLSERVER = ("mlserver", "requests", "urllib3")
KSERVE = ("kserve", "httpx", "orjson")
TRITON = ("tritonclient", "geventhttpclient", "python-rapidjson")
MLFLOW = ("mlflow-skinny", "requests")
RAW = ("requests", "urllib3")
ALL_KINDS = ("plain", "shifted", "missing")

SCENARIOS = {
    # Against MLServer.
    "mlserver-np": Scenario(mlserver_np, ("iris", "diabetes", "digits"), ALL_KINDS, MLSERVER),
    "mlserver-pd": Scenario(mlserver_pd, ("wine",), client=MLSERVER),
    "triton-mlserver": Scenario(
        lambda call: triton(call, np.float64, "predict", binary=False), ("iris", "diabetes"), client=TRITON
    ),
    "triton-grpc-mlserver": Scenario(
        triton_grpc, ("diabetes",), client=TRITON, narrow=float32_rows, http=False
    ),
    "raw-mlserver-v2": Scenario(
        lambda call: raw_v2(call, "/v2/models/{}/versions/1/infer"), ("diabetes",), ALL_KINDS, RAW
    ),
    "raw-mlserver-stream": Scenario(raw_stream, ("diabetes",), client=RAW),
    "raw-mlserver-generate": Scenario(
        lambda call: raw_v2(call, "/v2/models/{}/generate"), ("diabetes",), client=RAW
    ),
    "raw-mlserver-refused": Scenario(
        lambda call: raw_failing(call, "/v2/models/{}/infer"), ("diabetes",), ("plain",), RAW, status=500
    ),
    # Against MLflow's scoring server.
    "mlflow-client": Scenario(mlflow_client, ("wine",), client=MLFLOW),
    "mlflow-records": Scenario(
        lambda call: mlflow_post(
            call, "application/json", json.dumps({"dataframe_records": call.rows.to_dict("records")})
        ),
        ("wine",),
        client=RAW,
    ),
    "mlflow-csv": Scenario(
        lambda call: mlflow_post(call, "text/csv", call.rows.to_csv(index=False)), ("wine",), client=RAW
    ),
    # Against KServe's Python server.
    "kserve-v1": Scenario(kserve_v1, ("iris", "diabetes", "digits"), ALL_KINDS, KSERVE),
    "kserve-v1-columns": Scenario(kserve_v1_columns, ("wine",), client=KSERVE),
    "kserve-v2": Scenario(kserve_v2, ("diabetes", "digits"), ALL_KINDS, KSERVE),
    "kserve-v2-pd": Scenario(kserve_v2_pd, ("wine",), client=KSERVE),
    "kserve-v2-binary": Scenario(kserve_v2_binary, ("diabetes",), ALL_KINDS, KSERVE),
    "kserve-grpc": Scenario(kserve_grpc, ("diabetes",), client=("kserve", "grpcio"), http=False),
    "triton-kserve": Scenario(
        # Triton's client sends no content type, and KServe then takes a body for binary: 400 without this.
        lambda call: triton(call, np.float32, "output-0", False, {"Content-Type": "application/json"}),
        ("diabetes",),
        client=TRITON,
        narrow=float32_rows,
    ),
    "triton-kserve-binary": Scenario(
        lambda call: triton(call, np.float32, "output-0", binary=True),
        ("diabetes",),
        ALL_KINDS,
        TRITON,
        narrow=float32_rows,
    ),
    "raw-v1-instances": Scenario(lambda call: raw_v1(call, "instances"), ("iris", "digits"), client=RAW),
    "raw-v1-inputs": Scenario(lambda call: raw_v1(call, "inputs"), ("diabetes",), ALL_KINDS, RAW),
    "raw-kserve-v2": Scenario(lambda call: raw_v2(call, "/v2/models/{}/infer"), ("diabetes",), ALL_KINDS, RAW),
    "raw-kserve-event": Scenario(raw_event, ("diabetes",), ALL_KINDS, RAW),
    "raw-kserve-refused": Scenario(
        lambda call: raw_failing(call, "/v2/models/{}/infer"), ("diabetes",), ("plain",), RAW, status=500
    ),
}


# --- Comparing ---------------------------------------------------------------------------------------------------------


def end_to_end(message: Message) -> list[tuple[str, str]]:
    """The header fields that a proxy passes on, without those that differ between any two answers."""
    named = {name.strip().lower() for name in (message.get("connection") or "").split(",")}
    left_out = HOP_BY_HOP | VOLATILE | named
    return [(name.lower(), value) for name, value in message.headers if name.lower() not in left_out]


def differences(direct: Exchange, proxied: Exchange) -> list[str]:
    found = []
    if direct.request.body != proxied.request.body:
        found.append("the client did not send the same body twice")
    if direct.response.status != proxied.response.status:
        found.append(f"status {direct.response.status} became {proxied.response.status}")
    if end_to_end(direct.response) != end_to_end(proxied.response):
        found.append(f"headers {end_to_end(direct.response)} became {end_to_end(proxied.response)}")
    if direct.response.content() != proxied.response.content():
        found.append(f"body {direct.response.body[:200]!r} became {proxied.response.body[:200]!r}")
    # A gzip stream holds the second in which it was made, in bytes 4 to 8; nothing else of it may differ.
    if direct.response.get("content-encoding") is not None:
        if blank_gzip_time(direct.response.body) != blank_gzip_time(proxied.response.body):
            found.append("the compressed body was compressed anew")
    return found


def blank_gzip_time(body: bytes) -> bytes:
    return body[:4] + b"\0\0\0\0" + body[8:] if body[:2] == b"\x1f\x8b" else body


def vector(name: str, call: Call, prediction: np.ndarray | None, exchange: Exchange | None) -> dict:
    """What went over the wire, as a test vector for the decoders. Bodies are exact but for the
    time in a gzip stream; of the headers `Host` and `Date` are replaced. So a vector made anew differs only where a
    client or server does."""
    fixed = {"host": "127.0.0.1:8080", "date": "Thu, 01 Jan 1970 00:00:00 GMT"}

    def body(data: bytes) -> dict:
        if data.isascii():
            return {"body": data.decode()}
        return {"body_base64": base64.b64encode(data).decode()}

    def message(which: Message) -> dict:
        headers = [[name, fixed.get(name.lower(), value)] for name, value in which.headers]
        return {"start": which.start, "headers": headers, "chunked": which.chunked} | body(blank_gzip_time(which.body))

    scenario = SCENARIOS[name]
    rows = scenario.narrow(call.rows)
    made = {
        "scenario": name,
        "client": {each: importlib.metadata.version(each) for each in scenario.client},
        "server": {each: importlib.metadata.version(each) for each in ("mlserver", "kserve") if installed(each)},
        "model": call.model.name,
        "features": call.model.features,
        # NaN is no JSON: a missing value is null.
        "rows": rows_with_null(rows.to_numpy()),
        "predictions": None if prediction is None else prediction.tolist(),
    }
    if exchange:
        return made | {"request": message(exchange.request), "response": message(exchange.response)}
    request, response = ({"body_base64": base64.b64encode(each).decode()} for each in call.messages)
    return made | {"method": "/inference.GRPCInferenceService/ModelInfer", "request": request, "response": response}


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def exchange_once(name: str, calls: list[Call], relays: list[Relay], report: dict) -> tuple[list, dict | None]:
    """Sends one batch both ways and compares. Answers the proxied predictions (None if refused) and a vector."""
    scenario = SCENARIOS[name]
    predictions = [scenario.send(call) for call in calls]
    found = []
    if scenario.status == 200:
        if not np.array_equal(*predictions):
            found.append("the clients decoded different predictions")
        if len(predictions[1]) != len(calls[1].rows):
            found.append(f"{len(predictions[1])} predictions for {len(calls[1].rows)} rows")
    straight = None
    if relays:
        exchanges = [relay.take() for relay in relays]
        if [len(each) for each in exchanges] != [1, 1]:
            raise ValueError(f"{[len(each) for each in exchanges]} exchanges where one each was expected")
        (straight,), (through,) = exchanges
        found += differences(straight, through)
        status = through.response.status
        if status != scenario.status:
            found.append(f"status {status} where {scenario.status} was expected")
        report["statuses"][str(status)] = report["statuses"].get(str(status), 0) + 1
        report["response_headers"] = [key for key, _ in through.response.headers]
    elif calls[0].messages != calls[1].messages:
        found.append("the messages differ")
    report["mismatches"] += [f"{calls[0].id}: {each}" for each in found]
    return predictions[1], vector(name, calls[0], predictions[0], straight)


def run(name: str, arguments, models: dict[str, Model], sent: dict, vectors: list) -> list[dict]:
    scenario = SCENARIOS[name]
    relays = [Relay(arguments.direct), Relay(arguments.proxied)] if scenario.http else []
    urls = [relay.url for relay in relays] or [arguments.direct, arguments.proxied]
    reports = []
    for model in (models[each] for each in scenario.models if not arguments.only or each in arguments.only):
        if arguments.rows not in scenario.kinds or (arguments.rows == "missing" and model.name != "diabetes"):
            continue  # only this model accepts missing values
        report = {"scenario": name, "model": model.name, "rows": 0, "requests": 0, "statuses": {}, "mismatches": []}
        reports.append(report)
        # Other rows for every scenario, so that a model driven by several does not see the same ones again.
        seed = [arguments.seed, zlib.crc32(f"{name} {model.name}".encode())]
        rows = model.rows(arguments.rows, arguments.n, seed)
        for idx, start in enumerate(range(0, len(rows), arguments.batch)):
            batch = rows.iloc[start : start + arguments.batch].reset_index(drop=True)
            calls = [Call(url, model, batch, f"{name}-{model.name}-{idx}") for url in urls]
            report["requests"] += 1
            try:
                prediction, made = exchange_once(name, calls, relays, report)
            except Exception as error:  # whatever a client raises, the other scenarios still run
                report["mismatches"].append(f"{calls[0].id}: {type(error).__name__}: {error}")
                for relay in relays:
                    relay.forget()
                continue
            if idx == 0:
                vectors.append(made)
            if prediction is not None:
                report["rows"] += len(batch)
                outputs = pd.DataFrame(prediction.reshape(len(batch), -1), columns=model.predictions)
                sent.setdefault(model.name, []).append(pd.concat([scenario.narrow(batch), outputs], axis=1))
    return reports


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direct", metavar="DIRECT_URL")
    parser.add_argument("proxied", metavar="PROXIED_URL")
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO", choices=SCENARIOS)
    parser.add_argument("--models", type=Path, required=True, help="the folder that train.py made")
    parser.add_argument("--out", type=Path, required=True, help="folder for the rows sent")
    parser.add_argument("--rows", choices=ALL_KINDS, default="plain")
    parser.add_argument("--n", type=int, default=200, help="rows for each scenario and model (default 200)")
    parser.add_argument("--batch", type=int, default=20, help="rows in a request (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], metavar="MODEL", help="only this model, may be repeated")
    parser.add_argument("--vectors", type=Path, help="folder for the first exchange of each scenario and model")
    return parser.parse_args(argv)


def main() -> int:
    if sys.argv[1:] == ["--list"]:
        print("\n".join(SCENARIOS))
        return 0
    arguments = parse(sys.argv[1:])
    warnings.simplefilter("ignore")
    models = {folder.parent.name: Model(folder.parent) for folder in arguments.models.glob("*/columns.json")}
    sent: dict[str, list[pd.DataFrame]] = {}
    vectors: list[dict] = []
    reports = []
    for name in arguments.scenarios:
        reports += run(name, arguments, models, sent, vectors)

    arguments.out.mkdir(parents=True, exist_ok=True)
    for model, frames in sent.items():
        pd.concat(frames).to_csv(arguments.out / f"sent-{model}.csv", index=False)
    if arguments.vectors:
        arguments.vectors.mkdir(parents=True, exist_ok=True)
        for each in vectors:
            file = re.sub(r"[^a-z0-9]+", "-", f"{each['scenario']}-{each['model']}-{arguments.rows}") + ".json"
            lines = (f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in each.items())
            (arguments.vectors / file).write_text("{\n" + ",\n".join(lines) + "\n}\n")
    rows = {model: sum(map(len, frames)) for model, frames in sent.items()}
    n_mismatches = sum(len(report["mismatches"]) for report in reports)
    n_requests = sum(report["requests"] for report in reports)
    print(json.dumps({"rows": rows, "requests": n_requests, "mismatches": n_mismatches, "scenarios": reports}))
    return 0 if n_requests and not n_mismatches else 1  # nothing sent proves nothing


if __name__ == "__main__":
    sys.exit(main())
