"""Serves FOLDER as people keep such things: `serve_storage.py FOLDER`, with a real MLflow tracking server and moto's S3.

Every file of FOLDER is an object of the bucket `models`, by its path. In MLflow they are the artifacts `model/…`

* of version 1 of the model `credit`, a run's, kept by the server (`mlflow-artifacts:`), aliased `champion`;
* of version 2, a run's in the S3 bucket;
* of version 3, a run's on the disk (`file:`);
* of a model `logged` that the run of version 1 has logged as MLflow 3 does it, which is version 4.

Prints `ready {"s3": port, "mlflow": port, "run": …, "logged": …}`, `run` being that of version 1.
"""

import argparse
import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import serving

os.environ.update(AWS_ACCESS_KEY_ID="tester", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"


def start_s3(folder: Path) -> int:
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
    s3.create_bucket(Bucket="models")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            s3.upload_file(str(path), "models", str(path.relative_to(folder)))
    return port


def start_mlflow(state: Path) -> tuple[int, subprocess.Popen]:
    (port,) = serving.free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{state}/mlflow.db", "--artifacts-destination", str(state / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # In a group of its own, as it starts further processes.
    with open(state / "mlflow.log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    atexit.register(lambda: os.killpg(process.pid, signal.SIGKILL))
    return port, process


def wait_for(url: str, process: subprocess.Popen, state: Path) -> None:
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if process.poll() is not None:
                serving.fail("the MLflow server ended:\n" + (state / "mlflow.log").read_text())
            time.sleep(0.05)


def fill_mlflow(folder: Path, state: Path, s3: int) -> dict:
    os.environ["MLFLOW_S3_ENDPOINT_URL"] = f"http://127.0.0.1:{s3}"
    import mlflow

    client = mlflow.MlflowClient()
    client.create_registered_model("credit")
    locations = {"1": None, "2": "s3://models/mlflow", "3": (state / "on disk").as_uri()}
    report = {}
    for version, location in locations.items():
        experiment = client.create_experiment(f"of version {version}", artifact_location=location)
        run = client.create_run(experiment).info.run_id
        client.log_artifacts(run, str(folder), "model")
        client.create_model_version("credit", f"runs:/{run}/model", run)
        report.setdefault("run", run)
    logged = client.create_logged_model(experiment_id="1", name="logged", source_run_id=report["run"])
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_model_version("credit", f"models:/{logged.model_id}", model_id=logged.model_id)
    client.set_registered_model_alias("credit", "champion", "1")
    return {**report, "logged": logged.model_id}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("state", type=Path, help="an empty folder for what the servers keep")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when standard input is closed")
    parser.add_argument("--s3-only", action="store_true")
    arguments = parser.parse_args()
    folder, state = arguments.folder.resolve(), arguments.state.resolve()
    process = None
    # The end of the main thread, and with it what is registered above, is what a signal without a handler leaves out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def stop_with_stdin() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if arguments.stop_with_stdin:
        threading.Thread(target=stop_with_stdin, daemon=True).start()
    if not arguments.s3_only:
        port, process = start_mlflow(state)
    s3 = start_s3(folder)
    report = {"s3": s3}
    if process is not None:
        os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        wait_for(f"http://127.0.0.1:{port}/health", process, state)
        report |= {"mlflow": port, **fill_mlflow(folder, state, s3)}
    print("ready " + json.dumps(report), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
