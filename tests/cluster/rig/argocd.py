"""Argo CD: the real repository server, application controller and API server, beside the API server of the cluster.

Started by the first test that asks for it with `cluster.argocd()`.
"""

import base64
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Iterator

import requests

from .api import Object, objects_in
from .control_plane import SERVER
from .crds import install
from .git import Repository, Server
from .network import GATEWAY
from .processes import Program, wait_for

if TYPE_CHECKING:
    from .cluster import Cluster

NAMESPACE = "argocd"
PORT = 8080
REPO_SERVER = "127.0.0.1:8081"
REDIS = "127.0.0.1:6379"
GET = "applications, get, */*, allow"
ACCOUNTS = {"driftd": (GET,), "driftd-terminates": (GET, "applications, sync, */*, allow")}
"""Accounts beside `admin`, which may only have tokens, and all that each may do."""


class NotAllowed(Exception):
    """The answer of Argo CD's API to a request that it refuses."""


class ArgoCD:
    def __init__(self, cluster: "Cluster"):
        self.cluster, self.api, self.plane = cluster, cluster.api, cluster.plane
        self.state = cluster.state / "argocd"
        self.state.mkdir()
        self.repositories = self.state / "git"
        self.web = Server(self.repositories)
        self._configure(cluster.programs / "argocd")
        self.programs = self._start()
        self.admin = self._log_in()

    @property
    def url(self) -> str:
        """From pods as from the host."""
        return f"http://{GATEWAY}:{PORT}"

    def _configure(self, module: Path) -> None:
        install(self.api, module / "crds")
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        for thing in objects_in(module / "config"):
            if thing["metadata"]["name"] == "argocd-cm":
                thing["data"] |= {f"accounts.{name}": "apiKey" for name in ACCOUNTS}
            if thing["metadata"]["name"] == "argocd-rbac-cm":
                policies = [f"p, {name}, {may}" for name, allowed in ACCOUNTS.items() for may in allowed]
                thing["data"] = {"policy.default": "", "policy.csv": "\n".join(policies)}
            thing["metadata"]["namespace"] = NAMESPACE
            self.api.apply(thing)
        everything = {"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}], "clusterResourceWhitelist": [{"group": "*", "kind": "*"}]}
        self.api.apply(self._thing("AppProject", "default", everything))
        # The cluster by its address: `https://kubernetes.default.svc` would mean that Argo CD runs in a pod of it.
        certificate, key = self.plane.authority.issue("argocd", "argocd", organisation="system:masters")
        parts = {"caData": self.plane.authority.certificate, "certData": certificate, "keyData": key}
        config = {"tlsClientConfig": {name: base64.b64encode(path.read_bytes()).decode() for name, path in parts.items()}}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "rig", "namespace": NAMESPACE, "labels": {"argocd.argoproj.io/secret-type": "cluster"}},
            "stringData": {"name": "rig", "server": SERVER, "config": json.dumps(config)},
        }
        self.api.apply(secret)

    def _start(self) -> tuple[Program, ...]:
        redis, logs = os.environ["DRIFTD_TEST_REDIS"], self.plane.logs
        address, port = REDIS.split(":")
        store = Program("redis", [redis, "--bind", address, "--port", port, "--save", "", "--appendonly", "no", "--dir", self.state], logs)
        self.plane.programs.append(store)
        kubernetes = (f"--kubeconfig={self.plane.kubeconfig}", f"--namespace={NAMESPACE}")
        clients = (f"--redis={REDIS}", f"--repo-server={REPO_SERVER}", "--repo-server-plaintext")
        return (
            store,
            self._run("argocd-repo-server", f"--redis={REDIS}", "--disable-tls", "--address=127.0.0.1"),
            self._run("argocd-application-controller", *kubernetes, *clients),
            # Behind no TLS, as where an ingress ends it.
            self._run("argocd-server", *kubernetes, *clients, "--insecure", f"--port={PORT}"),
        )

    def _run(self, role: str, *arguments: str) -> Program:
        """The one binary does what its name says. What it would keep in fixed places is in the folder of this run."""
        home = self.state / role
        folders = {name: home / name for name in ("tls", "ssh", "gpg", "tmp")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        env = {
            **os.environ,
            "ARGOCD_BINARY_NAME": role,
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_TLS_DATA_PATH": str(folders["tls"]),
            "ARGOCD_SSH_DATA_PATH": str(folders["ssh"]),
            "ARGOCD_GNUPGHOME": str(folders["gpg"]),
            "ARGOCD_ASK_PASS_SOCK": str(home / "ask-pass.sock"),
            "HOME": str(home),
            "TMPDIR": str(folders["tmp"]),
        }
        return self.plane.run(role, *arguments, binary="argocd", env=env)

    def _log_in(self) -> str:
        def password() -> str:
            secret = self.api.get("Secret", "argocd-initial-admin-secret", NAMESPACE)
            return base64.b64decode(secret["data"]["password"]).decode()

        def token() -> str:
            return self.call("POST", "/session", {"username": "admin", "password": password()})["token"]

        return wait_for("Argo CD's API server", token, self.programs)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Its controller does nothing while the block runs: commits are seen and compared by nobody."""
        controller = next(program.process for program in self.programs if program.name == "argocd-application-controller")
        controller.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            controller.send_signal(signal.SIGCONT)

    def close_window(self, *applications: str) -> None:
        """Keeps these alone from being synced, from now on, but by hand; none: nothing is kept."""
        window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "manualSync": True, "applications": list(applications)}
        project = self.api.get("AppProject", "default", NAMESPACE, "argoproj.io/v1alpha1")
        self.api.merge(project, {"spec": {"syncWindows": [window] if applications else []}})

    def token(self, account: str) -> str:
        """A new API token of one of `ACCOUNTS`."""
        return self.call("POST", f"/account/{account}/token", {}, self.admin)["token"]

    def call(self, method: str, path: str, body: Object | None = None, token: str | None = None, **query: str) -> Object:
        """Argo CD's own API; raises `NotAllowed` where it refuses."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        with requests.Session() as session:
            session.trust_env = False  # no proxy of the machine's
            answer = session.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers, params=query, timeout=60)
        if answer.status_code in (401, 403):
            raise NotAllowed(f"{method} {path}: {answer.status_code} {answer.text}")
        answer.raise_for_status()
        return answer.json()

    def repository(self, name: str) -> Repository:
        return Repository(self.repositories, name)

    def application(self, name: str, url: str, namespace: str, path: str = ".", automated: bool = True) -> Object:
        """Makes an Application of the project `default` that brings what lies at `path` of `url` into `namespace`."""
        spec = {
            "project": "default",
            "source": {"repoURL": url, "path": path, "targetRevision": "main"},
            "destination": {"server": SERVER, "namespace": namespace},
            **({"syncPolicy": {"automated": {"selfHeal": True}}} if automated else {}),
        }
        return self.api.apply(self._thing("Application", name, spec))

    def status(self, name: str) -> Object:
        return self.api.get("Application", name, NAMESPACE, "argoproj.io/v1alpha1").get("status", {})

    def wait_synced(self, name: str, revision: str) -> Object:
        """Until the cluster has what `revision` says and Argo CD says so."""

        def look() -> Object | None:
            status = self.status(name)
            sync = status.get("sync", {})
            return status if (sync.get("status"), sync.get("revision")) == ("Synced", revision) else None

        try:
            return wait_for(f"{name} synced to {revision}", look, self.programs)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{json.dumps(self.status(name), indent=1)}") from error

    def _thing(self, kind: str, name: str, spec: Object) -> Object:
        return {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
