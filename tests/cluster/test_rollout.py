"""No request is lost that would not be lost without driftd: the same load on a service with driftd and on its twin without."""

import contextlib
import threading
import time
import unittest

import support
from callers import Callers
from rig.cluster import shared
from rig.pod import Pod
from rig.processes import wait_for

SLOW = {"env": [{"name": "RIG_PREDICT_SECONDS", "value": "0.1"}]}
# What keeps a server there until the last node has heard that its pod ends: the way of Kubernetes to lose nothing.
STAYS = {"lifecycle": {"preStop": {"sleep": {"seconds": 2}}}}


class Rollout(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster = shared()
        for version, model in (("1", "diabetes"), ("2", "diabetes")):
            support.put_model(cluster, f"models/rolled/{version}", model, "rolled")
        support.install_webhook(cluster)

    def twins(self, **model) -> tuple[str, list[dict]]:
        """Two services that differ by one label, both Ready."""
        namespace = self.cluster.namespace()
        services = [
            support.sklearn_service(namespace, name, "s3://models/rolled/1", labels, model={**SLOW, **model}, minReplicas=2, maxReplicas=2)
            for name, labels in (("watched", support.ASKS), ("plain", {}))
        ]
        for service in services:
            self.cluster.api.apply(service)
        for service in services:
            self.pods(service, 2)
        return namespace, services

    def pods(self, service: dict, n: int, uri: str = "s3://models/rolled/1", but: tuple[str, ...] = ()) -> list[Pod]:
        metadata = service["metadata"]

        def all_there() -> list[Pod] | None:
            pods = self.cluster.pods(metadata["namespace"], f"serving.kserve.io/inferenceservice={metadata['name']}")
            source = "internal.serving.kserve.io/storage-initializer-sourceuri"
            good = [pod for pod in pods if pod.object["metadata"]["annotations"][source] == uri and pod.uid not in but]
            return pods if len(pods) == len(good) == n else None

        try:
            return wait_for(f"{n} pods of {metadata['name']} that serve {uri}", all_there, self.cluster.running)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.cluster.what_pods_say(metadata['namespace'])}") from error

    def under_load(self, namespace: str, services: list[dict], lag: float, what) -> dict[str, Callers]:
        """Does `what` while both are asked; returns what callers of each saw."""
        body = support.request_of(support.rows_of("diabetes", 2))
        loads = {}
        with contextlib.ExitStack() as stack:
            for service in services:
                name = service["metadata"]["name"]
                loads[name] = stack.enter_context(Callers(self.cluster, namespace, f"{name}-predictor", f"/v1/models/{name}:predict", body, lag=lag))
            time.sleep(1)
            what()
            time.sleep(1 + lag)
        for name, load in loads.items():
            print(f"{name}: {load.seen.n_answered} answered, {len(load.seen.lost)} lost {sorted(set(load.seen.lost))[:3]}", flush=True)
            self.assertGreater(load.seen.n_answered, 100)
        return loads

    def roll_and_delete(self, services: list[dict]) -> None:
        """A new model for both, and when it is there a pod of each is deleted."""
        for service in services:
            service["spec"]["predictor"]["model"]["storageUri"] = "s3://models/rolled/2"
            self.cluster.api.apply(service)
        rolled = [self.pods(service, 2, "s3://models/rolled/2") for service in services]
        for pods in rolled:
            self.cluster.delete(pods[0].object)
        for service, pods in zip(services, rolled):
            self.pods(service, 2, "s3://models/rolled/2", but=(pods[0].uid,))
            wait_for("the deleted pod is gone", lambda: not pods[0].thread.is_alive())  # noqa: B023

    def test_pods_that_wait_before_they_end_lose_nothing_with_and_without_driftd(self):
        namespace, services = self.twins(**STAYS)
        # kube-proxy looks once a second.
        loads = self.under_load(namespace, services, 1.0, lambda: self.roll_and_delete(services))
        self.assertEqual({name: load.seen.lost for name, load in loads.items()}, {"watched": [], "plain": []})
        for service in services:
            self.cluster.delete(service)

    def test_pods_that_end_at_once_lose_no_more_with_driftd(self):
        namespace, services = self.twins()
        loads = self.under_load(namespace, services, 0, lambda: self.roll_and_delete(services))
        # A request may meet the very moment in which a server closes; for each of the three pods that end, that is chance on either
        # side. What is not chance is looked for below.
        self.assertLessEqual(len(loads["watched"].seen.lost), len(loads["plain"].seen.lost) + 3)
        watched = self.pods(services[0], 2, "s3://models/rolled/2")
        for number, pod in enumerate(watched):
            with self.subTest(f"pod {number}"):
                self.check_it_takes_what_its_server_takes(pod)
        for service in services:
            self.cluster.delete(service)

    def check_it_takes_what_its_server_takes(self, pod: Pod) -> None:
        """Exactly, in one pod: no request through driftd fails, after which one straight to the server is still answered. Callers do
        not look whether the pod is ending, and what they ask is answered at once: a server takes connections for a tenth of a
        second after the signal, or less."""
        asked: dict[int, list[tuple[float, float, bool]]] = {8080: [], 18081: []}
        over = threading.Event()

        def call(port: int) -> None:
            while not over.is_set():
                began = time.monotonic()
                try:
                    is_answered = support.ask(pod.address, port, "/v1/models/watched").status == 200
                except OSError:
                    is_answered = False
                asked[port].append((began, time.monotonic(), is_answered))
                time.sleep(0.002)

        callers = [threading.Thread(target=call, args=(port,), daemon=True) for port in asked for _ in range(2)]
        for caller in callers:
            caller.start()
        time.sleep(0.5)
        self.cluster.delete(pod.object)
        wait_for("the end of the server", lambda: not any(is_answered for _, _, is_answered in asked[18081][-10:]))
        over.set()
        for caller in callers:
            caller.join(60)
        last = max(began for began, _, is_answered in asked[18081] if is_answered)
        early = [round(last - began, 3) for began, ended, is_answered in asked[8080] if not is_answered and ended < last]
        self.assertEqual(early, [], "seconds before the server's last answer")


if __name__ == "__main__":
    unittest.main()
