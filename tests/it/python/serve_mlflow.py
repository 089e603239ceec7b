"""Serves one model under MODELS_DIR with MLflow's scoring server: `serve_mlflow.py MODELS_DIR [--model NAME]`.

The model that train.py made is saved in MLflow's own form beside it, then `mlflow models serve` does the rest. A scoring
server has one model, whose name is in no request. Prints `ready {"http": …, "models": [NAME]}`; SIGTERM stops it.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import serving

# Nothing leaves this machine, and nothing is written beside the tests.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_TRACKING_URI": "file:///nonexistent"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("--model", default="wine")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    folder = arguments.models_dir.resolve() / arguments.model
    if not (folder / "model.joblib").exists():
        serving.fail(f"no model {folder}; make it with train.py")
    (http,) = serving.free_ports(1)
    serving.announce_when_ready([f"http://127.0.0.1:{http}/ping"], {"http": http, "models": [arguments.model]})
    if arguments.stop_with_stdin:
        serving.stop_with_stdin()

    import joblib
    import mlflow.sklearn
    from mlflow.cli import cli

    method = json.loads((folder / "columns.json").read_text())["method"]
    if not (folder / "mlflow").exists():
        mlflow.sklearn.save_model(
            joblib.load(folder / "model.joblib"),
            folder / "mlflow",
            pyfunc_predict_fn=method,
            # Without a list MLflow asks a package index for one.
            pip_requirements=[],
            serialization_format="cloudpickle",
        )
    # The server is a child of this process; MLflow has the kernel end it when this one ends.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(http), "--workers", "1"]
    cli(["models", "serve", "--model-uri", str(folder / "mlflow"), *options])


if __name__ == "__main__":
    main()
