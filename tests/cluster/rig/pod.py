"""One pod from its first volume to its last signal, on a thread of its own."""

import json
import shutil
import threading
import time
from pathlib import Path

from . import volumes
from .api import Api, Object, Refused
from .container import Container, now
from .network import GATEWAY, Sandbox

OURS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


class Pod:
    def __init__(self, api: Api, thing: Object, state: Path):
        self.api, self.object, self.uid = api, thing, thing["metadata"]["uid"]
        self.folder = state / "pods" / self.uid
        self.volumes = self.folder / "volumes"
        self.hosts = self.folder / "hosts"
        self.logs = state / "logs/pods" / "_".join((thing["metadata"]["namespace"], thing["metadata"]["name"], self.uid))
        self.sandbox: Sandbox | None = None
        self.address: str | None = None
        self.init = [Container(self, spec, is_init=True) for spec in thing["spec"].get("initContainers", [])]
        self.main = [Container(self, spec, is_init=False) for spec in thing["spec"]["containers"]]
        self.is_initialized = self.is_running = self.has_failed = False
        self.began = now()
        self.stopping = threading.Event()
        self.grace = 30.0
        self.notes: list[str] = []
        self.lock = threading.RLock()
        self.told: str = ""
        self.since: dict[str, tuple[str, str]] = {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self, grace: float) -> None:
        self.grace = grace
        self.stopping.set()

    def container(self, name: str) -> Container:
        return next(each for each in [*self.init, *self.main] if each.name == name)

    def logs_of(self, container: str) -> Path:
        return self.logs / container

    def note(self, text: str) -> None:
        self.notes.append(f"{now()} {text}")

    def renew_volumes(self) -> None:
        """Config maps and secrets as they are now; what fails leaves them as they were."""
        following = [each for each in self.object["spec"].get("volumes", []) if volumes.renewed(each)]
        if following and self.is_running and not self.stopping.is_set():
            try:
                volumes.prepare(self.api, {**self.object, "spec": {**self.object["spec"], "volumes": following}}, self.volumes, self.address)
            except (volumes.VolumeError, Refused, OSError) as error:
                self.note(f"volumes are not renewed: {error}")

    def _run(self) -> None:
        try:
            if self._prepare() and self._initialize():
                self._serve()
        except Exception as error:  # noqa: BLE001: the pod's trouble is not the node's
            self.note(f"the node failed: {error!r}")
            self.has_failed = True
            self.publish()
            self.stopping.wait()
        self._end()

    def _prepare(self) -> bool:
        self.sandbox = Sandbox(self.object["metadata"]["name"])
        self.address = self.sandbox.address
        self.publish()
        self._write_hosts()
        while not self.stopping.is_set():
            try:
                volumes.prepare(self.api, self.object, self.volumes, self.address)
                return True
            except (volumes.VolumeError, Refused, LookupError) as error:
                self.note(str(error))
                self.stopping.wait(0.5)
        return False

    def _write_hosts(self) -> None:
        """All names that the pod's containers can look up: there is no DNS."""
        lines = ["127.0.0.1 localhost", "::1 localhost", f"{self.address} {self.object['metadata']['name']}"]
        lines += [f"{alias['ip']} {' '.join(alias['hostnames'])}" for alias in self.object["spec"].get("hostAliases", [])]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hosts.write_text("".join(f"{line}\n" for line in lines))

    def _initialize(self) -> bool:
        """One after the other: an init container must succeed, a sidecar must have started."""
        for container in self.init:
            container.start()
            while not (container.is_sidecar and container.is_started) and not container.succeeded():
                if self.stopping.is_set():
                    return False
                if container.ended.is_set():
                    self.has_failed = True
                    self.publish()
                    self.stopping.wait()
                    return False
                container.changed.wait(0.2)
                container.changed.clear()
        self.is_initialized = True
        for container in self.main:
            container.state = {"waiting": {"reason": "ContainerCreating"}}
        return True

    def _serve(self) -> None:
        for container in self.main:
            container.start()
        self.is_running = True
        while not self.stopping.wait(0.1):
            if all(container.ended.is_set() for container in self.main):
                self._stop_sidecars(time.monotonic() + self.grace)
                self.publish()
                self.stopping.wait()

    def _end(self) -> None:
        """The containers side by side, then the sidecars, the last one first, which have what is left of the grace."""
        deadline = time.monotonic() + self.grace
        running = [each for each in [*self.main, *self.init] if each.thread.is_alive() and not each.is_sidecar]
        threads = [threading.Thread(target=container.stop, args=(deadline,)) for container in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._stop_sidecars(deadline)
        self.publish()
        if self.sandbox:
            self.sandbox.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.api.delete(self.object, gracePeriodSeconds=0, preconditions={"uid": self.uid})
        except Refused as error:
            if error.code not in (404, 409):
                self.note(f"it cannot be deleted: {error}")

    def _stop_sidecars(self, deadline: float) -> None:
        for container in reversed(self.init):
            if container.is_sidecar and container.thread.is_alive():
                # However little is left, they get two seconds.
                container.stop(max(deadline, time.monotonic() + 2))

    def phase(self) -> str:
        if self.has_failed:
            return "Failed"
        if self.is_running and all(container.ended.is_set() for container in self.main):
            return "Succeeded" if all(container.succeeded() for container in self.main) else "Failed"
        return "Running" if self.is_running else "Pending"

    def publish(self) -> None:
        """Tells the API server, where there is something new to tell."""
        with self.lock:
            status = self._status()
            if (text := json.dumps(status, sort_keys=True)) == self.told:
                return
            try:
                self.api.merge(self.object, {"metadata": {"uid": self.uid}, "status": status}, "/status")
                self.told = text
            except (Refused, OSError) as error:
                if not (isinstance(error, Refused) and error.code in (404, 409)):
                    self.note(f"its status cannot be told: {error}")

    def _status(self) -> Object:
        sidecars = [container for container in self.init if container.is_sidecar]
        are_ready = self.is_running and all(container.is_ready for container in [*self.main, *sidecars])
        holds = {
            "PodReadyToStartContainers": self.sandbox is not None,
            "Initialized": self.is_initialized,
            "ContainersReady": are_ready,
            "Ready": are_ready,
        }
        others = [each for each in self.object.get("status", {}).get("conditions", []) if each["type"] not in OURS]
        status = {
            "phase": self.phase(),
            "conditions": others + [self._condition(name, holds[name]) for name in OURS],
            "hostIP": GATEWAY,
            "hostIPs": [{"ip": GATEWAY}],
            "startTime": self.began,
            "initContainerStatuses": [self._init_status(container) for container in self.init],
            "containerStatuses": [container.status() for container in self.main],
        }
        if self.address:
            status |= {"podIP": self.address, "podIPs": [{"ip": self.address}]}
        return status

    def _init_status(self, container: Container) -> Object:
        status = container.status()
        # An init container that is over is "ready", as a real node says.
        return status if container.is_sidecar else {**status, "ready": container.succeeded() or "terminated" in container.state}

    def _condition(self, name: str, holds: bool) -> Object:
        value = "True" if holds else "False"
        if self.since.get(name, ("", ""))[0] != value:
            self.since[name] = (value, now())
        return {"type": name, "status": value, "lastTransitionTime": self.since[name][1]}
