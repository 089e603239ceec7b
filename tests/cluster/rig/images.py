"""What an image name stands for: nothing is pulled, its entry point is a program of this machine.

The rest of an image is this machine's own file system (`enter.sh`). Add a line to make another image known.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]


@dataclass
class Image:
    entrypoint: list[str]
    user: int = 0
    env: dict[str, str] = field(default_factory=dict)


class UnknownImage(Exception):
    pass


def from_env(variable: str) -> str:
    if not (value := os.environ.get(variable)):
        raise UnknownImage(f'{variable} is not set; run by `./test.sh`, or after `eval "$(./test.sh --env)"`')
    return value


def python(script: str, user: int) -> Image:
    # Its threads would be the machine's, of which there are few.
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    env = {**threads, "PYTHONDONTWRITEBYTECODE": "1", "RIG_MODELS": os.environ.get("RIG_MODELS", "")}
    return Image([sys.executable, str(HERE / "images" / script)], user, env)


def knative(program: str) -> Image:
    return Image([f"{from_env('RIG_PROGRAMS')}/bin/knative-{program}"], user=65532)


IMAGES = {
    "driftd": lambda: Image([from_env("DRIFTD_TEST_BINARY")], user=65532),
    "driftd-controller": lambda: Image([from_env("DRIFTD_TEST_BINARY")], user=65532),  # with the `git` of this machine
    "kserve/sklearnserver": lambda: python("sklearnserver.py", user=1000),
    "kserve/storage-initializer": lambda: python("stand_in_storage_initializer.py", user=1000),
    "kserve/agent": lambda: Image([from_env("DRIFTD_TEST_KSERVE_AGENT")], user=65532),
    # As Knative's manifests name them: a Go package, which `ko` would make an image of.
    "knative.dev/serving/cmd/controller": lambda: knative("controller"),
    "knative.dev/serving/cmd/webhook": lambda: knative("webhook"),
    "knative.dev/serving/cmd/autoscaler": lambda: knative("autoscaler"),
    "knative.dev/serving/cmd/activator": lambda: knative("activator"),
    "knative.dev/serving/cmd/queue": lambda: knative("queue"),
    "istio/proxy": lambda: python("stand_in_istio_proxy.py", user=1337),
    "prometheus": lambda: Image([f"{from_env('RIG_PROGRAMS')}/bin/prometheus"], user=65534),
    "alertmanager": lambda: Image([from_env("DRIFTD_TEST_ALERTMANAGER")], user=65534),
    # For tests of the node itself, and programs that are a few lines.
    "shell": lambda: Image(["/bin/sh"]),
    "python": lambda: Image([sys.executable]),
}


def find(name: str) -> Image:
    repository = name.split("@")[0]
    head, _, last = repository.rpartition("/")
    repository = f"{head}/{last.split(':')[0]}".lstrip("/")
    for known, make in IMAGES.items():
        if repository == known or repository.endswith(f"/{known}"):
            return make()
    raise UnknownImage(f"no image {name} in tests/cluster/rig/images.py; it knows {', '.join(IMAGES)}")


def readable() -> list[str]:
    """Folders that hold the programs above, which containers of any user must reach."""
    paths = {Path(sys.prefix), Path(sys.base_prefix), HERE / "images"}
    paths |= {Path(os.environ[name]).parent for name in ("DRIFTD_TEST_BINARY", "DRIFTD_TEST_KSERVE_AGENT", "DRIFTD_TEST_ALERTMANAGER") if name in os.environ}
    if programs := os.environ.get("RIG_PROGRAMS"):
        paths.add(Path(programs, "bin"))
    if models := os.environ.get("RIG_MODELS"):
        paths.add(Path(models))
    return sorted(str(path) for path in paths)
