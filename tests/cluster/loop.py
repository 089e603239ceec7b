"""The loop as a platform team has it: manifests in Git, applied by Argo CD, served by KServe with driftd in the pods, watched by Prometheus
with the shipped rules, told by Alertmanager by the shipped route, to the two replicas of `deploy/overlays/controller`.

What differs from a cluster: intervals are 1 s, a version is good after 10 s, and names are in hosts files (`rig/service.py`)."""

import functools
import itertools
import json
import os
import random
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from datetime import datetime
from typing import Callable

import support
import yaml
from rig import kserve
from rig.api import Object
from rig.argocd import ArgoCD
from rig.cluster import ROOT, Cluster
from rig.git import Repository
from rig.load import Load
from rig.network import GATEWAY
from rig.pod import Pod
from rig.processes import wait_for
from rig.service import Place, StandInService

SYSTEM, MONITORING = "driftd-system", "monitoring"
CONTROLLER, PROMETHEUS, ALERTMANAGER = 9465, 9090, 9093
SHIFTS = {"1": 0.0, "2": 120.0, "3": -60.0}
"""What each version predicts more than the first. Version 2 was trained to predict as the first does, so it contradicts its own baseline;
version 3 was trained to what it predicts."""
TOKENS = {"alerts.token": "alerts-not-a-secret", "ops.token": "operator-not-a-secret"}
POLICY = {
    # At the speed of a test. More than one service is rolled back here, on purpose.
    **{"soak": "10s", "soak_rows": 300, "recovery_settle": "5s", "sync_timeout": "60s", "serving_timeout": "90s"},
    **{"namespace_budget": 100, "global_budget": 100, "circuit_targets": 100},
    # What the rig's storage initializer copies from is no object store.
    "check_artifacts": False,
}
STUCK = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: {name}-check
  annotations:
    argocd.argoproj.io/hook: PostSync
    argocd.argoproj.io/hook-delete-policy: BeforeHookCreation
spec:
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers:
        - name: check
          image: shell
          args: [-c, 'sleep ${{SECONDS_LEFT:-3600}}']
          env:
            - name: SECONDS_LEFT
              valueFrom: {{configMapKeyRef: {{name: {name}-check, key: seconds, optional: true}}}}
"""
"""A check after the sync that never ends, which Argo CD waits for; one that begins once there is the ConfigMap ends when that says."""
MANIFEST = """\
# Written by the release job.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    driftd.io/inject: "true"
  annotations:
    serving.kserve.io/deploymentMode: {mode}
spec:
  predictor:
    minReplicas: 1{percent}
    model:
      modelFormat: {{name: sklearn}}
      storageUri: {uri} # set by the release job
      readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
"""


@dataclass(frozen=True)
class Target:
    """One InferenceService, in a folder of the repository and an Application of its own."""

    loop: "Loop"
    name: str
    mode: str

    def uri(self, version: str) -> str:
        return f"s3://models/{self.name}/{version}"

    @property
    def file(self) -> str:
        return f"{self.name}/service.yaml"

    def push(self, version: str, percent: int | None = None, **others: str) -> str:
        """As the release job does; `others` are further files of the folder."""
        line = "" if percent is None else f"\n    canaryTrafficPercent: {percent}"
        text = MANIFEST.format(name=self.name, namespace=self.loop.namespace, mode=self.mode, percent=line, uri=self.uri(version))
        files = {self.file: text} | {f"{self.name}/{name}.yaml": content for name, content in others.items()}
        return self.loop.repository.push(files, f"release {self.name} {version}")

    def deploy(self, version: str, percent: int | None = None, **others: str) -> str:
        """Pushes, and lets Argo CD know at once, as a webhook of the forge would."""
        commit = self.push(version, percent, **others)
        self.refresh() if self.is_automated else self.sync(commit)
        return commit

    @property
    def is_automated(self) -> bool:
        spec = self.loop.argocd.call("GET", f"/applications/{self.name}", token=self.loop.argocd.admin)["spec"]
        return "automated" in spec.get("syncPolicy", {})

    def sync(self, commit: str | None = None) -> None:
        """As a person does it, with `argocd app sync`; `--revision` is refused where Argo CD syncs by itself."""
        revision = {"revision": commit} if commit else {}
        self.loop.argocd.call("POST", f"/applications/{self.name}/sync", revision, token=self.loop.argocd.admin)

    def end_later_checks(self) -> None:
        """Of those in `STUCK`; what runs already runs on."""
        metadata = {"name": f"{self.name}-check", "namespace": self.loop.namespace}
        self.loop.cluster.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"seconds": "0"}})

    def refresh(self) -> None:
        self.loop.argocd.call("GET", f"/applications/{self.name}", token=self.loop.argocd.admin, refresh="normal")

    def pods(self) -> list[Pod]:
        return self.loop.cluster.pods(self.loop.namespace, f"serving.kserve.io/inferenceservice={self.name},component=predictor")

    def versions(self) -> set[str]:
        """Of the pods that are ready."""
        uri = "internal.serving.kserve.io/storage-initializer-sourceuri"
        return {pod.object["metadata"]["annotations"][uri].rpartition("/")[2] for pod in self.pods()}

    def wait_served(self, version: str) -> None:
        def look() -> bool:
            return kserve.ready(self.loop.cluster.api, self.loop.namespace, self.name) and self.versions() == {version}

        self.loop.wait_for(f"{self.name} serves version {version}", look)

    def wait_good(self, version: str) -> None:
        """Until the controller has written down, for whichever replica acts, that the version is good."""

        def look() -> bool:
            state = self.loop.cluster.api.get("ConfigMap", "driftd-controller-state", SYSTEM)["data"]
            ledger = json.loads(state["ledgers.json"]).get(f"{self.loop.namespace}/{self.name}", {})
            return self.uri(version) in ledger.get("good", {})

        self.loop.wait_for(f"version {version} of {self.name} is good", look)

    def incidents(self) -> list[Object]:
        return self.loop.ask(f"/api/v1/incidents?service={self.loop.namespace}/{self.name}")

    def wait_incident(self, *states: str) -> Object:
        """The one incident, once it is in one of the states."""

        def look() -> Object | None:
            [incident] = self.incidents()
            if incident["state"] not in states:
                raise LookupError(f"it is {incident['state']}: {incident.get('reason')}")
            return incident

        return self.loop.wait_for(f"an incident of {self.name} that is {' or '.join(states)}", look)

    def commits(self) -> list[str]:
        """Those that changed its file, newest first, by their subjects."""
        return self.loop.git("log", "--format=%s", "main", "--", self.file).splitlines()

    def tell(self, load: Load, incident: Object) -> None:
        """The timeline of `docs/loop.md`."""
        began = load.wall(0)
        first, last = (load.wall(end(each.at for each in load.samples if each.version == "2")) for end in (min, max))
        drifted = f'driftd_model_drifted{{cause="model",namespace="{self.loop.namespace}",inferenceservice="{self.name}"}} == 1'
        entered = {state: at(time) for state, time in incident["entered"].items()}
        moments = {
            "detected": self.loop.since(drifted, began),
            "firing": at(incident["accusations"][0]["starts_at"]),
            "webhook": entered["RECEIVED"],
            "pushed": entered["PUSHED"],
            "synced": entered["SERVING"],
            "serving": entered["OBSERVING"],
            "recovered": entered["RECOVERED"],
            "last bad response": last,
        }
        print(f"\n{self.name}: seconds after the first bad response, and after the line before", flush=True)
        before = first
        for name, moment in moments.items():
            print(f"{name:<18} {moment - first:5.1f}  {moment - before:+.1f}", flush=True)
            before = moment

    def deployed_at(self, commit: str) -> float:
        """When Argo CD had applied it, by its own record, in whole seconds."""
        history = self.loop.argocd.status(self.name)["history"]
        return next(at(entry["deployedAt"]) for entry in history if entry["revision"] == commit)

    def load(self, rate: float, n_rows: int) -> Load:
        """Requests of rows drawn from the training table, to its pods, or through Knative's ingress."""
        options = {"version_of": version_of, "rate": rate, "n_workers": 6}
        if self.mode == "Knative":
            return support.knative_load({"metadata": {"name": self.name, "namespace": self.loop.namespace}}, bodies(n_rows), **options)
        service = StandInService(lambda: [(pod.address, 8080) for pod in self.pods()])
        return Load(GATEWAY, service.port, f"/v1/models/{self.name}:predict", bodies(n_rows), **options)


class Loop:
    def __init__(self, cluster: Cluster, targets: dict[str, str], terminate_stuck: bool = False):
        """`targets` says of each service its mode, `Standard` or `Knative`."""
        self.terminate_stuck = terminate_stuck
        self.cluster, self.namespace = cluster, cluster.namespace()
        self.argocd: ArgoCD = cluster.argocd()
        if "Knative" in targets.values():
            cluster.knative()
        self.repository: Repository = self.argocd.repository(self.namespace)
        self.targets = {name: Target(self, name, mode) for name, mode in targets.items()}
        for name, (version, shift) in itertools.product(targets, SHIFTS.items()):
            support.put_shifted_model(cluster, f"models/{name}/{version}", "diabetes", name, by=shift, is_trained_so=version == "3")
        support.install_webhook(cluster, evaluation={"interval": "1s"})
        cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MONITORING}})
        self.service = StandInService(self._controllers, CONTROLLER)
        self.pods = [self._start_alertmanager()]
        self.prometheus = self._start_prometheus(self.pods[0])
        self.pods.append(self.prometheus)
        self._install_controller()

    def stop(self) -> None:
        for name in self.targets:
            self.cluster.delete({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name, "namespace": "argocd"}})
            self.cluster.delete({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": name, "namespace": self.namespace}})
        for pod in self.pods:
            self.cluster.delete(pod.object)
        self.cluster.kubectl("delete", "--cascade=foreground", "statefulset/driftd-controller", f"--namespace={SYSTEM}")
        self.wait_for("Prometheus and Alertmanager are gone", lambda: not any(pod.thread.is_alive() for pod in self.pods))
        self.service.stop()

    def wait_for(self, what: str, look: Callable):
        try:
            return wait_for(what, look, self.cluster.running)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.cluster.what_pods_say(SYSTEM)}\n{self.cluster.what_pods_say(self.namespace)}") from error

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.repository.bare, check=True, capture_output=True, text=True).stdout.strip()

    def start(self, *targets: Target, **options) -> None:
        """Version 1 of each in Git, and an Application that brings it from there."""
        for target in targets:
            commit = target.push("1")
            self.argocd.application(target.name, self.argocd.web.url(self.repository), self.namespace, path=target.name, **options)
            if not target.is_automated:
                target.sync(commit)
        for target in targets:
            target.wait_served("1")

    # The controller.

    def controllers(self) -> list[Pod]:
        return self.cluster.pods(SYSTEM, "app.kubernetes.io/component=controller")

    def bad_version(self, target: Target, load: Load, version: str = "2", **others: str) -> str:
        """Version 1, once it is good, and then a release that nobody should have made; its commit."""
        target.wait_good("1")
        commit = target.deploy(version, **others)
        self.wait_for(f"version {version} of {target.name} answers", lambda: load.versions()[version] > 0)
        return commit

    def _controllers(self) -> list[Place]:
        return [(pod.address, CONTROLLER) for pod in self.controllers()]

    def leader(self) -> Pod:
        """The pod that holds the Lease."""
        lease = self.cluster.api.get("Lease", "driftd-controller", SYSTEM, "coordination.k8s.io/v1")
        return next(pod for pod in self.controllers() if pod.object["metadata"]["name"] == lease["spec"]["holderIdentity"])

    def kill_leader(self) -> None:
        """SIGKILL. Its container starts again, with the journal that it had, and is killed again until the other replica acts: it may well be
        the first to see that its own Lease has run out."""
        leader = self.leader()
        began = time.monotonic()

        def acts() -> bool:
            if self.leader() is leader:
                leader.container("driftd").signal("KILL")
                return False
            return self.ask("/api/v1/status")["is_leader"]

        self.wait_for("the other replica acts", acts)
        print(f"killed; the other replica acts after {time.monotonic() - began:.1f} s", flush=True)

    def verify_journals(self) -> None:
        """Of both replicas, each beside the process that writes it."""
        command = [os.environ["DRIFTD_TEST_BINARY"], "audit", "verify", "--state-dir", "/var/lib/driftd"]
        for pod in self.controllers():
            if code := pod.container("driftd").execute(command, timeout=30):
                raise RuntimeError(f"driftd audit verify in {pod.object['metadata']['name']}: {code}")

    def use_argocd_account(self, account: str) -> None:
        """A token of this account in driftd's Secret, from where it comes into the pods within seconds."""
        secret = {**TOKENS, "argocd.token": self.argocd.token(account)}
        self.cluster.api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "driftd-controller", "namespace": SYSTEM}, "stringData": secret})

    def ask(self, path: str) -> Object:
        """The API of the replica that acts."""
        answer = support.ask(self.leader().address, CONTROLLER, path, headers={"Authorization": f"Bearer {TOKENS['ops.token']}"})
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.body.decode()}")
        return json.loads(answer.body)

    def driftd(self, *arguments: str) -> str:
        """The command line against the replica that acts."""
        token = self.cluster.state / "ops.token"
        token.write_text(TOKENS["ops.token"])
        env = {**os.environ, "DRIFTD_CONTROLLER": f"http://{self.leader().address}:{CONTROLLER}", "DRIFTD_TOKEN_FILE": str(token)}
        done = subprocess.run([os.environ["DRIFTD_TEST_BINARY"], *arguments], env=env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"driftd {' '.join(arguments)}: {done.returncode} {done.stderr}")
        return done.stdout

    def _install_controller(self) -> None:
        """The overlay as it is, but for its configuration, and an emptyDir in place of the volume: the rig has no storage."""
        self.cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        self.use_argocd_account("driftd")
        secrets = "/etc/driftd-secrets"
        config = {
            "state_dir": "/var/lib/driftd",
            "alerts": {"bearer_token_file": f"{secrets}/alerts.token"},
            "api": {"operators": [{"name": "ops", "token_file": f"{secrets}/ops.token"}]},
            "prometheus": {"url": f"http://{self.prometheus.address}:{PROMETHEUS}", "max_age": "15s"},
            "git": {"url": self.argocd.web.url(self.repository), "author": "driftd <driftd@example.com>", "fetch_interval": "2s"},
            "argocd": {"url": self.argocd.url, "token_file": f"{secrets}/argocd.token", "terminate_stuck": self.terminate_stuck},
            "kubernetes": {},
            "policy": POLICY,
            "targets": [{"namespace": self.namespace, "name": name, "application": name} for name in self.targets],
        }
        volume = [
            {"op": "remove", "path": "/spec/volumeClaimTemplates"},
            {"op": "add", "path": "/spec/template/spec/volumes/-", "value": {"name": "state", "emptyDir": {}}},
        ]
        # The repository is cloned at the start, so there has to be one.
        self.repository.push({"README.md": "Models, as they are served.\n"})
        support.apply_overlay(
            self.cluster,
            "controller",
            {"controller.yaml": yaml.safe_dump(config)},
            config_map="driftd-controller-config",
            patches=[{"target": {"kind": "StatefulSet"}, "patch": json.dumps(volume)}],
        )
        self.wait_for("both replicas of the controller", lambda: len(self.controllers()) == 2 and self.leader())

    # Who watches.

    def query(self, path: str, **parameters: object) -> list[Object]:
        path = f"/api/v1/{path}?" + urllib.parse.urlencode(parameters)
        answer = json.loads(support.ask(self.prometheus.address, PROMETHEUS, path).body)
        if answer["status"] != "success":
            raise RuntimeError(f"{path}: {answer}")
        return answer["data"]["result"]

    def since(self, expression: str, began: float) -> float | None:
        """The first second, since `began`, in which there is something."""
        found = self.query("query_range", query=expression, start=began, end=time.time(), step=1)
        return min((values[0] for series in found for values in series["values"]), default=None)

    def _start_prometheus(self, alertmanager: Pod) -> Pod:
        self.cluster.kubectl("apply", "--server-side", "-k", ROOT / "deploy/overlays/prometheus")
        settings = yaml.safe_load((ROOT / "deploy/prometheus/kubernetes.yaml").read_text())
        settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        settings["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"{alertmanager.address}:{ALERTMANAGER}"]}]}]}
        self._config_map("loop-scrape", {"loop.yaml": yaml.safe_dump(settings)})
        return support.start_prometheus(self.cluster, "loop-prometheus", "loop-scrape", "loop.yaml")

    def _start_alertmanager(self) -> Pod:
        """With the route that ships. Its name for the controller is in a hosts file: there is no DNS."""
        self._config_map("loop-route", {"alertmanager.yaml": (ROOT / "alerts/alertmanager.yaml").read_text()})
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "loop-token", "namespace": MONITORING}, "stringData": {"token": TOKENS["alerts.token"]}}
        self.cluster.api.apply(secret)
        container = {
            "name": "alertmanager",
            "image": "prom/alertmanager:v0.34.0",
            "args": ["--config.file=/etc/alertmanager/alertmanager.yaml", "--storage.path=/data", "--cluster.listen-address="],
            "readinessProbe": {"httpGet": {"path": "/-/ready", "port": ALERTMANAGER}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "route", "mountPath": "/etc/alertmanager/alertmanager.yaml", "subPath": "alertmanager.yaml", "readOnly": True},
                {"name": "token", "mountPath": "/etc/alertmanager/secrets/driftd-controller", "readOnly": True},
                {"name": "data", "mountPath": "/data"},
            ],
        }
        volumes = [{"name": "route", "configMap": {"name": "loop-route"}}, {"name": "token", "secret": {"secretName": "loop-token"}}, {"name": "data", "emptyDir": {}}]
        aliases = [{"ip": GATEWAY, "hostnames": ["driftd-controller.driftd-system"]}]
        pod = self.cluster.run_pod(MONITORING, "loop-alertmanager", {"containers": [container], "volumes": volumes, "hostAliases": aliases})
        support.wait_ready(self.cluster, pod)
        return pod

    def _config_map(self, name: str, data: dict[str, str]) -> None:
        self.cluster.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": MONITORING}, "data": data})


@functools.cache
def predictions() -> set[float]:
    """All that version 1 ever answers to the rows of `bodies`."""
    lines = (support.trained() / "diabetes/train.csv").read_text().splitlines()[1:]
    return {round(float(line.rpartition(",")[2]), 6) for line in lines}


def version_of(body: bytes) -> str:
    first = json.loads(body)["predictions"][0]
    return next((version for version, shift in SHIFTS.items() if round(first - shift, 6) in predictions()), "unknown")


def bodies(n_rows: int) -> Callable[[], bytes]:
    """Requests of so many rows, drawn from the training table with a seed: traffic that never drifts."""
    draw, rows = random.Random(7), support.rows_of("diabetes", 442)
    made = itertools.cycle([support.request_of(draw.choices(rows, k=n_rows)) for _ in range(1000)])
    return lambda: next(made)


def at(text: str) -> float:
    """A time of the API in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()
