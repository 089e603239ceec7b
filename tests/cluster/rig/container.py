"""One container of a pod: its process, run again as the pod's policy says, its probes, and what is told about it."""

import subprocess
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from . import images, probes
from .api import Object
from .downward import EnvError, env_of, expand

if TYPE_CHECKING:
    from .pod import Pod

ENTER = Path(__file__).with_name("enter.sh")
# What container runtimes leave to root unless told otherwise.
USUAL_CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write setfcap"
).split()
BACKOFF = (0.5, 2, 5, 10)
"""Seconds before a container that has ended is started again; a real node waits 10 s and more from the first time on."""


class ConfigError(Exception):
    pass


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def rights_of(pod: Object, container: Object, image: images.Image) -> list[str]:
    """The security context in the words of `setpriv`."""
    shared = pod["spec"].get("securityContext", {})
    context = {**shared, **container.get("securityContext", {})}
    user = context.get("runAsUser", image.user)
    if context.get("runAsNonRoot") and user == 0:
        raise ConfigError("container has runAsNonRoot and would run as root")
    groups = [*shared.get("supplementalGroups", []), *([shared["fsGroup"]] if "fsGroup" in shared else [])]
    options = [f"--reuid={user}", f"--regid={context.get('runAsGroup', image.user)}"]
    options.append(f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups")
    if context.get("allowPrivilegeEscalation") is False:
        options.append("--no-new-privs")
    if not context.get("privileged"):
        changes = context.get("capabilities", {})
        dropped = {name.lower() for name in changes.get("drop", [])}
        kept = set() if "all" in dropped else set(USUAL_CAPABILITIES) - dropped
        kept |= {name.lower() for name in changes.get("add", [])}
        options.append("--bounding-set=" + ",".join(["-all", *(f"+{name}" for name in sorted(kept))]))
    return options


class Container:
    def __init__(self, pod: "Pod", spec: Object, is_init: bool):
        self.pod, self.spec, self.name = pod, spec, spec["name"]
        self.is_sidecar = is_init and spec.get("restartPolicy") == "Always"
        self.policy = "Always" if self.is_sidecar else pod.object["spec"].get("restartPolicy", "Always")
        if is_init and not self.is_sidecar and self.policy == "Always":
            self.policy = "OnFailure"  # an init container ends once it has succeeded
        self.state: Object = {"waiting": {"reason": "PodInitializing"}}
        self.last_state: Object = {}
        self.n_restarts = -1
        self.is_started = self.is_ready = False
        self.process: subprocess.Popen | None = None
        self.env: dict[str, str] = {}
        self.probes: list[probes.Probe] = []
        self.stopping = threading.Event()
        self.ended = threading.Event()
        self.changed = threading.Event()  # whenever there is something new about it
        self.thread = threading.Thread(target=self._supervise, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def succeeded(self) -> bool:
        return self.ended.is_set() and self.state.get("terminated", {}).get("exitCode") == 0

    def status(self) -> Object:
        return {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": f"rig://{self.spec['image']}",
            "containerID": f"rig://{self.pod.uid}/{self.name}/{max(self.n_restarts, 0)}",
            "restartCount": max(self.n_restarts, 0),
            "started": self.is_started,
            "ready": self.is_ready,
            "state": self.state,
            "lastState": self.last_state,
        }

    def stop(self, deadline: float) -> None:
        """preStop, SIGTERM, and SIGKILL at the deadline (monotonic)."""
        self.stopping.set()
        if hook := self.spec.get("lifecycle", {}).get("preStop"):
            try:
                probes.act(hook, self.spec, self.pod.address, self.execute, max(0.1, deadline - time.monotonic()))
            except (OSError, probes.ProbeFailed):
                pass  # told as an event by a real node, and nothing else
        self._signal("TERM")
        wait = max(0.0, deadline - time.monotonic())
        while not self.ended.wait(wait):
            self._signal("KILL")  # again, as a command may only just have been started
            wait = 0.2

    def execute(self, command: list[str], timeout: float) -> int:
        """The exit code of a command run beside the container's process."""
        if not (inner := self._inner()):
            raise probes.ProbeFailed("the container is not running")
        enter = ["nsenter", f"--target={inner}", "--mount", "--net", "--uts", "--ipc", "--pid", "--wd=/", "--"]
        try:
            return subprocess.run([*enter, *command], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout).returncode
        except subprocess.TimeoutExpired as error:
            raise probes.ProbeFailed(f"no end within {timeout} s") from error

    def signal(self, name: str) -> None:
        """To the container's own process; nothing happens where it does not run."""
        if inner := self._inner():
            subprocess.run(["kill", f"-{name}", str(inner)], capture_output=True)

    def log(self) -> str:
        """What all runs so far have written."""
        files = sorted(self.pod.logs_of(self.name).glob("*.log"), key=lambda path: int(path.stem))
        return "".join(file.read_text(errors="replace") for file in files)

    def _supervise(self) -> None:
        while not self.stopping.is_set():
            self.n_restarts += 1
            try:
                code = self._run_once()
            except (ConfigError, EnvError, images.UnknownImage, OSError) as error:
                reason = "ErrImagePull" if isinstance(error, images.UnknownImage) else "CreateContainerConfigError"
                self._tell({"waiting": {"reason": reason, "message": str(error)}})
                self.n_restarts -= 1
                self.stopping.wait(1)
                continue
            if self.stopping.is_set() or self.policy == "Never" or (self.policy == "OnFailure" and code == 0):
                break
            self.last_state = self.state
            self._tell({"waiting": {"reason": "CrashLoopBackOff", "message": f"it has ended with {code}"}})
            self.stopping.wait(BACKOFF[min(self.n_restarts, len(BACKOFF) - 1)])
            if self.stopping.is_set():
                self._tell(self.last_state)
        self.ended.set()
        self.changed.set()

    def _run_once(self) -> int:
        image = images.find(self.spec["image"])
        self.env = env_of(self.pod.api, self.pod.object, self.spec, image.env, self.pod.address)
        arguments = [expand(text, self.env) for text in [*(self.spec.get("command") or image.entrypoint), *self.spec.get("args", [])]]
        directory = self.pod.folder / f"{self.name}-{self.n_restarts}"
        directory.mkdir(parents=True)
        (directory / "binds").write_text("".join(self._binds()))
        (directory / "readable").write_text("".join(f"{path}\n" for path in images.readable()))
        read_only = "1" if self.spec.get("securityContext", {}).get("readOnlyRootFilesystem") else "0"
        rights = " ".join(rights_of(self.pod.object, self.spec, image))
        command = ["nsenter", f"--target={self.pod.sandbox.process.pid}", "--net", "--uts", "--ipc", "--"]
        # A shell as the one that waits: `unshare --fork` of Debian 12 cannot tell by which signal its child has ended.
        command += ["unshare", "--mount", "--pid", "--", "sh", "-c", '"$@" & exec 2> /dev/null; wait $!', "sh", str(ENTER)]
        command += [str(directory), read_only, self.spec.get("workingDir", "/"), rights, *arguments]
        log = self.pod.logs_of(self.name)
        log.mkdir(parents=True, exist_ok=True)
        with (log / f"{self.n_restarts}.log").open("wb") as output:
            self.process = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        began = now()
        self._tell({"running": {"startedAt": began}})
        self._begin_probes()
        code = self.process.wait()
        for probe in self.probes:
            probe.stop()
        self.is_started = self.is_ready = False
        code = 128 - code if code < 0 else code
        reason = "Completed" if code == 0 else "Error"
        self._tell({"terminated": {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": now()}})
        return code

    def _binds(self) -> list[str]:
        lines = [f"ro {self.pod.hosts} /etc/hosts\n"]
        for mount in self.spec.get("volumeMounts", []):
            source = self.pod.volumes / mount["name"] / mount.get("subPath", "")
            if mount.get("subPath") and not source.exists():
                source.mkdir(parents=True, mode=0o777)
            mode = "ro" if mount.get("readOnly") else "rw"
            lines.append(f"{mode} {source.resolve()} {mount['mountPath']}\n")
        return lines

    def _begin_probes(self) -> None:
        self.probes = []
        if startup := self.spec.get("startupProbe"):
            self._probe(startup, lambda ok, why: self._begin_others() if ok else self._fail("startup", why))
        else:
            self._begin_others()

    def _begin_others(self) -> None:
        self.is_started = True
        self.is_ready = "readinessProbe" not in self.spec
        self._tell(self.state)
        if readiness := self.spec.get("readinessProbe"):
            self._probe(readiness, self._set_ready)
        if liveness := self.spec.get("livenessProbe"):
            self._probe(liveness, lambda ok, why: None if ok else self._fail("liveness", why))

    def _probe(self, spec: Object, changed) -> None:
        attempt = lambda timeout: probes.act(spec, self.spec, self.pod.address, self.execute, timeout)  # noqa: E731
        self.probes.append(probes.Probe(spec, attempt, changed))

    def _set_ready(self, is_ready: bool, why: str) -> None:
        self.is_ready = is_ready
        self._tell(self.state)

    def _fail(self, probe: str, why: str) -> None:
        """The container is ended, and started again as its policy says."""
        self.pod.note(f"{self.name}: {probe} probe failed: {why}")
        self._signal("TERM")
        process = self.process
        grace = self.pod.object["spec"].get("terminationGracePeriodSeconds", 30)
        threading.Timer(grace, lambda: process is self.process and self._signal("KILL")).start()

    def _inner(self) -> int | None:
        """The command itself: the child of the shell that waits for it."""
        if self.process is None or self.process.poll() is not None:
            return None
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def _signal(self, name: str) -> None:
        if self._inner():
            self.signal(name)
        elif name == "KILL" and self.process is not None:
            self.process.kill()

    def _tell(self, state: Object) -> None:
        self.state = state
        self.changed.set()
        self.pod.publish()
