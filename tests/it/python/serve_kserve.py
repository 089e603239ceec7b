"""Serves every model under MODELS_DIR with KServe's Python server: `serve_kserve.py MODELS_DIR [--port N] [--grpc-port N]`.

KServe's own scikit-learn server is not on PyPI. `SklearnModel` below answers as it does, by the same two helpers of
the `kserve` package, over V1, V2 REST (JSON and binary tensors) and V2 gRPC. The server listens on loopback, on ports
that are free unless given, and prints `ready {"http": …, "grpc": …, "models": […]}` once every model is loaded.
SIGTERM stops it.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from pathlib import Path

import serving


def arguments_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when standard input is closed")
    parser.add_argument("--verbose", action="store_true", help="keep the server's own log")
    return parser.parse_args(argv)


def main() -> None:
    arguments = arguments_of(sys.argv[1:])
    folders = sorted(path.parent for path in arguments.models_dir.glob("*/model.joblib"))
    if not folders:
        serving.fail(f"no model under {arguments.models_dir}; make them with train.py")
    http, grpc = serving.free_ports(2)
    http, grpc = arguments.port or http, arguments.grpc_port or grpc
    names = [folder.name for folder in folders]
    serving.announce_when_ready(
        [f"http://127.0.0.1:{http}/v2/models/{name}/ready" for name in names],
        {"http": http, "grpc": grpc, "models": names},
    )
    if arguments.stop_with_stdin:
        serving.stop_with_stdin()
    if not arguments.verbose:
        os.environ["KSERVE_LOGLEVEL"] = "WARNING"
        warnings.simplefilter("ignore")
    # `kserve.model_server` parses the command line of the whole program when it is imported, abbreviations included.
    sys.argv = sys.argv[:1]

    import joblib
    import kserve
    from kserve.errors import InferenceError
    from kserve.protocol.grpc import server as grpc_server
    from kserve.protocol.rest import server as rest_server
    from kserve.utils.utils import get_predict_input, get_predict_response

    class SklearnModel(kserve.Model):
        def __init__(self, folder: Path):
            super().__init__(folder.name)
            self.folder = folder

        def load(self) -> bool:
            self.estimator = joblib.load(self.folder / "model.joblib")
            # KServe's server takes this from the environment variable PREDICT_PROBA, one for all its models.
            self.method = json.loads((self.folder / "columns.json").read_text())["method"]
            self.ready = True
            return self.ready

        def predict(self, payload, headers=None, response_headers=None):
            try:
                outputs = getattr(self.estimator, self.method)(get_predict_input(payload))
                return get_predict_response(payload, outputs, self.name)
            except Exception as error:
                raise InferenceError(str(error)) from error

    models = [SklearnModel(folder) for folder in folders]
    for model in models:
        model.load()

    # Both addresses are fixed to all interfaces; tests stay on loopback.
    config = rest_server.uvicorn.Config
    rest_server.uvicorn.Config = lambda app, **options: config(app, **{**options, "host": "127.0.0.1"})
    make_server = grpc_server.aio.server

    def loopback_server(*args, **options):
        server = make_server(*args, **options)
        add_port = server.add_insecure_port
        server.add_insecure_port = lambda address: add_port(address.replace("[::]", "127.0.0.1"))
        return server

    grpc_server.aio.server = loopback_server
    server = kserve.ModelServer(
        http_port=http, grpc_port=grpc, enable_latency_logging=arguments.verbose, grace_period=2
    )
    if not arguments.verbose:
        for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):  # set by the constructor above
            logging.getLogger(name).setLevel(logging.WARNING)
    server.start(models)


if __name__ == "__main__":
    main()
