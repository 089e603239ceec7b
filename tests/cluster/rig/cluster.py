"""The whole: one cluster for a run of tests, in the folder and the namespaces that `run` has made for it."""

import atexit
import functools
import itertools
import os
import subprocess
import time
from pathlib import Path

from . import kserve, network
from .api import Object, Refused
from .argocd import ArgoCD
from .control_plane import ControlPlane
from .knative import Knative
from .kubelet import Kubelet
from .pod import Pod
from .processes import wait_for

ROOT = Path(__file__).resolve().parents[3]
_names = itertools.count(1)


class Cluster:
    def __init__(self):
        if os.environ.get("RIG_NAMESPACES") != "own":
            raise RuntimeError("run by `./test.sh --cluster`: the rig needs namespaces of its own")
        self.state = Path(os.environ["RIG_STATE"])
        self.programs = Path(os.environ["RIG_PROGRAMS"])
        self.models = Path(os.environ["RIG_MODELS"])
        began = time.monotonic()
        network.start_bridge()
        self.plane = ControlPlane(self.programs / "bin", self.state)
        self.plane.start()
        self.api = self.plane.api
        self.kubelet = Kubelet(self.api, self.state)
        kserve.start(self.plane, self.programs / "kserve")
        print(f"cluster up in {time.monotonic() - began:.1f} s", flush=True)

    def namespace(self) -> str:
        """A new one, with the service account that its pods run as."""
        name = f"test-{next(_names)}"
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        wait_for("the service account `default`", lambda: self.api.get("ServiceAccount", "default", name), self.running)
        wait_for("the cluster's CA", lambda: self.api.get("ConfigMap", "kube-root-ca.crt", name), self.running)
        return name

    @functools.cache  # noqa: B019: there is one cluster
    def argocd(self) -> ArgoCD:
        """Started when the first test asks for it."""
        began = time.monotonic()
        argocd = ArgoCD(self)
        print(f"Argo CD up in {time.monotonic() - began:.1f} s", flush=True)
        return argocd

    @functools.cache  # noqa: B019
    def knative(self) -> Knative:
        """Started when the first test asks for it."""
        began = time.monotonic()
        knative = Knative(self)
        print(f"Knative up in {time.monotonic() - began:.1f} s", flush=True)
        return knative

    @property
    def running(self):
        return tuple(self.plane.programs)

    def kubectl(self, *arguments: object, stdin: str | None = None) -> str:
        options = (f"--kubeconfig={self.plane.kubeconfig}", f"--cache-dir={self.state / 'kubectl'}")
        command = [self.programs / "bin/kubectl", *options, *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def run_pod(self, namespace: str, name: str, spec: Object, **metadata) -> Pod:
        """Makes a pod and returns what runs it on the node."""
        spec = {"terminationGracePeriodSeconds": 5, **spec}
        thing = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec}
        uid = self.api.apply(thing)["metadata"]["uid"]
        return wait_for(f"pod {name} on the node", lambda: self.kubelet.pods.get(uid), self.running)

    def pods(self, namespace: str, selector: str) -> list[Pod]:
        """Those that are ready and not about to end."""
        found = self.api.list("Pod", namespace, labelSelector=selector)
        alive = [thing for thing in found if "deletionTimestamp" not in thing["metadata"] and condition(thing, "Ready")]
        return [pod for thing in alive if (pod := self.kubelet.pods.get(thing["metadata"]["uid"]))]

    def inference_service(self, thing: Object) -> Pod:
        """Applies it, waits until KServe calls it Ready, and returns its one predictor pod."""
        self.api.apply(thing)
        namespace, name = thing["metadata"]["namespace"], thing["metadata"]["name"]

        def look() -> Pod | None:
            if kserve.ready(self.api, namespace, name):
                pods = self.pods(namespace, f"serving.kserve.io/inferenceservice={name},component=predictor")
                return pods[0] if len(pods) == 1 else None
            return None

        try:
            return wait_for(f"InferenceService {name}", look, self.running)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.what_pods_say(namespace)}") from error

    def what_pods_say(self, namespace: str) -> str:
        """For whoever has to find out why a pod is not ready."""
        lines = []
        for pod in self.kubelet.pods.values():
            if pod.object["metadata"]["namespace"] == namespace:
                lines.append(f"pod {pod.object['metadata']['name']}: {pod.phase()} {pod.notes}")
                for container in [*pod.init, *pod.main]:
                    lines.append(f"  {container.name}: {container.state}\n{container.log()[-1500:]}")
        for event in self.api.list("Event", namespace)[-10:]:
            lines.append(f"event {event['involvedObject']['name']}: {event.get('reason')} {event.get('message')}")
        return "\n".join(lines)

    def delete(self, thing: Object) -> None:
        try:
            self.api.delete(thing)
        except Refused as error:
            if error.code != 404:
                raise

    def stop(self) -> None:
        self.kubelet.stop()
        self.plane.stop()


def condition(thing: Object, name: str) -> bool:
    return any(each["type"] == name and each["status"] == "True" for each in thing.get("status", {}).get("conditions", []))


@functools.cache
def shared() -> Cluster:
    """The cluster of this run, started by the first test that asks for it; tests have a namespace each."""
    cluster = Cluster()
    atexit.register(cluster.stop)
    return cluster
