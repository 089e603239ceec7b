"""A node whose pods run: registers itself, watches the pods bound to it, and keeps a `Pod` for each."""

import threading
from datetime import datetime, timezone
from pathlib import Path

import requests

from .api import Api, Object, Refused
from .network import GATEWAY
from .pod import Pod

NAME = "rig"
HEARTBEAT = 10
RENEWAL = 2
"""Seconds between looks at config maps and secrets; a real node takes a minute."""


class Kubelet:
    def __init__(self, api: Api, state: Path):
        self.api, self.state = api, state
        self.pods: dict[str, Pod] = {}
        self.stopping = threading.Event()
        self.troubles: list[str] = []
        for work in (self._heartbeat, self._watch, self._renew):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()
        for pod in list(self.pods.values()):
            pod.stop(grace=1)
        for pod in list(self.pods.values()):
            pod.thread.join(30)

    def _watch(self) -> None:
        selector = {"fieldSelector": f"spec.nodeName={NAME}"}
        while not self.stopping.is_set():
            try:
                listed = self.api.call("GET", "/api/v1/pods", params=selector)
                there = {thing["metadata"]["uid"] for thing in listed["items"]}
                for thing in listed["items"]:
                    self._see({"apiVersion": "v1", "kind": "Pod", **thing})
                for uid, pod in list(self.pods.items()):
                    if uid not in there:
                        pod.stop(grace=0)
                for event in self.api.watch("/api/v1/pods", resourceVersion=listed["metadata"]["resourceVersion"], **selector):
                    if event["type"] == "ERROR":
                        break
                    if event["type"] == "DELETED":
                        if pod := self.pods.get(event["object"]["metadata"]["uid"]):
                            pod.stop(grace=0)
                    elif event["type"] in ("ADDED", "MODIFIED"):
                        self._see(event["object"])
            except (Refused, requests.RequestException) as error:
                # The API server may be away for a while; pods run on meanwhile.
                self.troubles.append(str(error))
                self.stopping.wait(0.5)

    def _see(self, thing: Object) -> None:
        metadata = thing["metadata"]
        pod = self.pods.get(metadata["uid"])
        if pod is None:
            if "deletionTimestamp" not in metadata and not self.stopping.is_set():
                self.pods[metadata["uid"]] = Pod(self.api, thing, self.state)
            return
        pod.object = thing
        if "deletionTimestamp" in metadata and not pod.stopping.is_set():
            pod.stop(metadata.get("deletionGracePeriodSeconds", 30))

    def _renew(self) -> None:
        while not self.stopping.wait(RENEWAL):
            for pod in list(self.pods.values()):
                pod.renew_volumes()

    def _heartbeat(self) -> None:
        while not self.stopping.is_set():
            try:
                self._register()
                wait = HEARTBEAT
            except (Refused, requests.RequestException, LookupError) as error:
                self.troubles.append(str(error))
                wait = 0.5
            self.stopping.wait(wait)

    def _register(self) -> None:
        moment = datetime.now(timezone.utc)
        labels = {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME, "labels": labels}}
        self.api.apply(node, manager="rig-kubelet")
        # Requests are counted by the scheduler and limit nothing: more than any test asks for.
        room = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"}
        seconds = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": seconds}
        status = {
            "capacity": room,
            "allocatable": room,
            "addresses": [{"type": "InternalIP", "address": GATEWAY}, {"type": "Hostname", "address": NAME}],
            "conditions": [{**ready, "lastTransitionTime": seconds}],
        }
        self.api.merge(node, {"status": status}, "/status")
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": NAME, "leaseDurationSeconds": 40, "renewTime": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")},
        }
        self.api.apply(lease, manager="rig-kubelet")
