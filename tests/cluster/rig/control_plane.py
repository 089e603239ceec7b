"""The real etcd, API server, controller manager and scheduler, on fixed ports: the rig has a network of its own."""

import json
from pathlib import Path

from .api import Api
from .network import GATEWAY
from .pki import Authority
from .processes import Program, wait_for

API_PORT = 6443
SERVER = f"https://127.0.0.1:{API_PORT}"


class ControlPlane:
    def __init__(self, binaries: Path, state: Path):
        self.binaries = binaries
        self.state = state
        self.logs = state / "logs"
        self.logs.mkdir()
        self.authority = Authority(state / "pki")
        self.programs: list[Program] = []
        self.accounts = self.authority.signing_key("service-accounts")
        admin = self.authority.issue("admin", "admin", organisation="system:masters")
        self.api = Api(SERVER, self.authority.certificate, admin)
        self.kubeconfig = self.kubeconfig_for("admin", admin)

    def start(self) -> None:
        self.run(
            "etcd",
            f"--data-dir={self.state / 'etcd'}",
            "--unsafe-no-fsync",  # nobody reads these data after a crash
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
        )
        self.start_api_server()
        credentials = (f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1")
        self.run(
            "kube-controller-manager",
            *credentials,
            f"--service-account-private-key-file={self.accounts}",
            f"--root-ca-file={self.authority.certificate}",
            "--use-service-account-credentials=true",
        )
        self.run("kube-scheduler", *credentials)

    def start_api_server(self) -> None:
        """Also to start it again in a test that has stopped it (`self.program("kube-apiserver").stop()`)."""
        names = ("kubernetes.default.svc", "localhost", "127.0.0.1", GATEWAY, "10.0.0.1")
        certificate, key = self.authority.issue("api-server", "kube-apiserver", hosts=names)
        self.run(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",  # so that pods reach it too, at the address of the bridge
            f"--secure-port={API_PORT}",
            f"--advertise-address={GATEWAY}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--service-account-key-file={self.accounts}",
            f"--service-account-signing-key-file={self.accounts}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            # There is no kube-proxy. With this, webhooks that name a Service are called at the addresses of its pods.
            "--enable-aggregator-routing=true",
        )
        wait_for("the API server", lambda: self.api.call("GET", "/readyz") == "ok", tuple(self.programs))

    def run(self, name: str, *arguments, binary: str | None = None, env: dict[str, str] | None = None) -> Program:
        program = Program(name, [self.binaries / (binary or name), *arguments], self.logs, env)
        self.programs = [each for each in self.programs if each.name != name] + [program]
        return program

    def program(self, name: str) -> Program:
        return next(each for each in self.programs if each.name == name)

    def check(self) -> None:
        for program in self.programs:
            program.check()

    def kubeconfig_for(self, user: str, certificate: tuple[Path, Path]) -> Path:
        path = self.state / f"{user}.kubeconfig"
        cluster = {"server": SERVER, "certificate-authority": str(self.authority.certificate)}
        credentials = {"client-certificate": str(certificate[0]), "client-key": str(certificate[1])}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "rig", "cluster": cluster}],
                    "users": [{"name": user, "user": credentials}],
                    "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": user}}],
                    "current-context": "rig",
                }
            )
        )
        return path

    def stop(self) -> None:
        """The last one started first, so that nothing complains about what it can no longer reach."""
        for program in reversed(self.programs):
            program.stop()
        self.programs.clear()
