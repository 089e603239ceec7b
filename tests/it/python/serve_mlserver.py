"""Serves every model under MODELS_DIR with MLServer: `serve_mlserver.py MODELS_DIR [--port N] [--grpc-port N]`.

Runs `mlserver start` in this process (one pid to stop) on loopback, with ports that are free unless given, and prints
`ready {"http": …, "grpc": …, "metrics": …, "models": […]}` once every model is loaded. SIGTERM stops it.
"""

import argparse
import json
import os
from pathlib import Path

import serving

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {name: {"level": "WARNING"} for name in ("mlserver", "uvicorn", "uvicorn.access", "uvicorn.error")},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when standard input is closed")
    parser.add_argument("--verbose", action="store_true", help="keep the server's own log")
    arguments = parser.parse_args()
    models_dir = arguments.models_dir.resolve()
    names = sorted(path.parent.name for path in models_dir.glob("*/model-settings.json"))
    if not names:
        serving.fail(f"no model under {models_dir}; make them with train.py")

    http, grpc, metrics = serving.free_ports(3)
    http, grpc = arguments.port or http, arguments.grpc_port or grpc
    # As environment variables, so that the folder of models stays as it is and several servers can share it.
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,  # predict in this process: a worker pool costs more processes and seconds
        "debug": arguments.verbose,  # the default, true, logs every request
    }
    if not arguments.verbose:
        settings["logging_settings"] = LOGGING
    for key, value in settings.items():
        os.environ[f"MLSERVER_{key.upper()}"] = value if isinstance(value, str) else json.dumps(value)

    serving.announce_when_ready(
        [f"http://127.0.0.1:{http}/v2/models/{name}/ready" for name in names],
        {"http": http, "grpc": grpc, "metrics": metrics, "models": names},
    )
    if arguments.stop_with_stdin:
        serving.stop_with_stdin()

    from mlserver.cli.main import root  # after the variables: some settings are read on import

    root(["start", str(models_dir)], standalone_mode=False)


if __name__ == "__main__":
    main()
