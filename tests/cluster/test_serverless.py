"""KServe's Serverless mode on Knative Serving, with driftd put into the pods by its webhook: nothing is answered otherwise, nothing counted
twice, and nothing lost that would not be lost without it. What must not change is held against a twin that is not watched."""

import copy
import json
import time
import unittest

import support
from rig import kserve
from rig.cluster import shared
from rig.ingress import PORT
from rig.knative import host_of
from rig.load import Load
from rig.network import GATEWAY
from rig.pod import Pod
from rig.processes import wait_for

# Written by proxies for each exchange anew.
OF_THE_EXCHANGE = {"x-envoy-upstream-service-time", "x-request-id"}
QUEUE_PROXY = 8012
SHIFTS = {"1": 0.0, "2": 1000.0}
"""What each version predicts more than the first, by which answers tell who gave them."""


class Serverless(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster = shared()
        cluster.knative()
        support.install_webhook(cluster)
        for version, shift in SHIFTS.items():
            support.put_shifted_model(cluster, f"models/fares/{version}", "diabetes", "fares", by=shift)
        cls.row = support.request_of(support.rows_of("diabetes", 1))

    def pair(self, n_pods: int = 1, **predictor) -> tuple[dict, dict]:
        """A service with driftd in its pods and one without, both ready, of one name in two namespaces."""
        pair = tuple(
            support.knative_service(self.cluster.namespace(), "fares", "s3://models/fares/1", is_watched, minReplicas=n_pods, **copy.deepcopy(predictor))
            for is_watched in (True, False)
        )
        for service in pair:
            self.cluster.api.apply(service)
            self.addCleanup(self.cluster.delete, service)
        for service, containers in zip(pair, ({"driftd"}, set())):
            for pod in self.wait_for_pods(service, n_pods):
                self.assertEqual({container.name for container in pod.main} & {"driftd"}, containers)
                self.assertIn("queue-proxy", [container.name for container in pod.main])
        return pair

    def wait_for_pods(self, service: dict, n: int) -> list[Pod]:
        namespace = service["metadata"]["namespace"]

        def look() -> list[Pod] | None:
            pods = self.ready_pods(service)
            return pods if kserve.ready(self.cluster.api, namespace, "fares") and len(pods) == n else None

        try:
            return wait_for(f"{n} pods of {namespace}", look, self.cluster.running)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.cluster.what_pods_say(namespace)}") from error

    def ask(self, service: dict, body: bytes) -> support.Answer:
        """Through the ingress, the activator and the queue-proxy."""
        answer = support.ask(GATEWAY, PORT, "/v1/models/fares:predict", body, host=host_of("fares", service["metadata"]["namespace"]))
        answer.headers = [(key, value) for key, value in answer.headers if key not in OF_THE_EXCHANGE]
        return answer

    def load(self, service: dict, **options) -> Load:
        return support.knative_load(service, self.row, version_of, **options)

    def change(self, service: dict, version: str, percent: int | None = None) -> None:
        predictor = service["spec"]["predictor"]
        predictor["model"]["storageUri"] = f"s3://models/fares/{version}"
        predictor |= {} if percent is None else {"canaryTrafficPercent": percent}
        self.cluster.api.apply(service)

    def ready_pods(self, service: dict) -> list[Pod]:
        return self.cluster.pods(service["metadata"]["namespace"], "serving.kserve.io/inferenceservice=fares")

    def pods(self, service: dict) -> dict[str, Pod]:
        """The ready pod of each version."""
        uri = "internal.serving.kserve.io/storage-initializer-sourceuri"
        return {pod.object["metadata"]["annotations"][uri].rpartition("/")[2]: pod for pod in self.ready_pods(service)}

    def counted(self, pod: Pod, role: str = "prediction", **labels: str) -> int:
        labels |= {"namespace": pod.object["metadata"]["namespace"], "inferenceservice": "fares"}
        return int(support.metric(pod.address, "driftd_rows_total", role=role, **labels) or 0)

    def check_rows(self, pod: Pod, n_rows: int, **labels: str) -> None:
        for role in ("feature", "prediction"):
            wait_for(f"{n_rows} {role} rows", lambda: self.counted(pod, role, **labels) >= n_rows, self.cluster.running)  # noqa: B023
            self.assertEqual(self.counted(pod, role, **labels), n_rows)

    def check_none_is_lost(self, watched: Load, twin: Load) -> None:
        """None that the twin has not lost as well."""
        print(f"{self.id().rpartition('.')[2]}: {len(watched.samples)} sent, {len(watched.lost())} lost; twin {len(twin.samples)} and {len(twin.lost())}", flush=True)
        self.assertGreater(len(watched.samples), 100)
        self.assertLessEqual(len(watched.lost()), len(twin.lost()), watched.lost()[:10])

    def check_answers(self, watched: dict, twin: dict) -> None:
        n_rows = 0
        for n in (1, 2, 5, 40, 100):
            body = support.request_of(support.rows_of("diabetes", n))
            answer = self.ask(watched, body)
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(answer, self.ask(twin, body))
            n_rows += n
        for refused in (b'{"instances": [["x"]]}', b"{", b'{"instances": "no"}'):
            answer = self.ask(watched, refused)
            self.assertGreaterEqual(answer.status, 400)
            self.assertEqual(answer, self.ask(twin, refused))
        self.check_rows(self.pods(watched)["1"], n_rows)

    def test_a_watched_service_answers_as_its_twin_and_every_row_is_counted(self):
        watched, twin = self.pair()
        self.assertEqual([container.name for container in self.pods(watched)["1"].main], ["kserve-container", "queue-proxy", "driftd"])
        self.check_answers(watched, twin)

    def test_behind_kserves_agent_it_answers_as_its_twin_and_every_row_is_counted(self):
        # Nobody is there to take the agent's events: that is the agent's affair.
        watched, twin = self.pair(logger={"mode": "all", "url": "http://127.0.0.1:9"})
        self.assertEqual({container.name for container in self.pods(watched)["1"].main}, {"kserve-container", "queue-proxy", "agent", "driftd"})
        self.check_answers(watched, twin)

    def test_a_rollout_loses_no_request(self):
        watched, twin = self.pair()
        with self.load(watched) as load, self.load(twin) as other:
            time.sleep(3)
            self.assertEqual(set(load.versions()), {"1"})
            for service in (watched, twin):
                self.change(service, "2")
            for each in (load, other):
                wait_for("version 2 alone", lambda: each.now() > 10 and each.share("2", since=each.now() - 3) == 1, self.cluster.running)  # noqa: B023
        self.check_none_is_lost(load, other)
        # Each request was counted where it was answered, under the version that answered it.
        pods, answered = self.pods(watched), load.versions()
        self.check_rows(pods["2"], answered["2"], version=self.version(pods["2"]))
        # The old one is kept for a minute after its last request.
        self.check_rows(pods["1"], answered["1"], version=self.version(pods["1"]))

    def test_a_canary_loses_no_request_and_is_watched_apart_until_it_is_taken_back(self):
        watched, twin = self.pair()
        with self.load(watched, rate=40) as load, self.load(twin) as other:
            time.sleep(2)
            for service in (watched, twin):
                self.change(service, "2", percent=10)
            for each in (load, other):
                wait_for("the canary", lambda: each.versions()["2"] > 0, self.cluster.running)  # noqa: B023
            began = load.now() + 1
            time.sleep(21)
            ended = load.now()
            for service in (watched, twin):
                self.change(service, "2", percent=0)
            time.sleep(8)
        self.check_none_is_lost(load, other)
        # 800 requests at a tenth: five standard deviations to either side.
        share = load.share("2", began, ended)
        self.assertTrue(0.05 < share < 0.15, share)
        back = load.last("2") - ended
        print(f"canary: {share:.1%} of {load.versions(began, ended).total()}; the last one {back:.2f} s after it was taken back", flush=True)
        self.assertLess(back, 6)
        pods, answered = self.pods(watched), load.versions()
        versions = {name: self.version(pod) for name, pod in pods.items()}
        self.assertEqual(len(set(versions.values())), 2, versions)
        for name in ("1", "2"):
            self.check_rows(pods[name], answered[name], version=versions[name])
            revision = pods[name].object["metadata"]["labels"]["serving.knative.dev/revision"]
            self.assertEqual(support.metric(pods[name].address, "driftd_model_info", revision=revision, component="predictor"), 1)

    def test_a_deleted_pod_loses_no_request(self):
        watched, twin = self.pair(n_pods=2)
        with self.load(watched) as load, self.load(twin) as other:
            time.sleep(3)
            gone = [self.ready_pods(service)[0] for service in (watched, twin)]
            # On a large cluster it takes seconds until nobody sends to the pod any more: those who have not heard of it yet.
            with self.late(gone[0]) as late, self.late(gone[1]) as other_late:
                time.sleep(2)
                for pod in gone:
                    self.cluster.delete(pod.object)
                time.sleep(8)
            for service in (watched, twin):
                self.wait_for_pods(service, 2)
            wait_for("that both are gone", lambda: not any(pod.thread.is_alive() for pod in gone), self.cluster.running)
        self.check_none_is_lost(load, other)
        self.check_none_is_lost(late, other_late)

    def late(self, pod: Pod) -> Load:
        """Requests to the queue-proxy of this pod, whatever happens to it."""
        return Load(pod.address, QUEUE_PROXY, "/v1/models/fares:predict", self.row, version_of=version_of)

    def version(self, pod: Pod) -> str:
        """The label `version` of its series."""
        text = support.ask(pod.address, 9464, "/metrics").body.decode()
        [version] = {label for line in text.splitlines() if line.startswith("driftd_rows_total{") for label in support.labels_of(line, "version")}
        return version


def version_of(body: bytes) -> str:
    [prediction] = json.loads(body)["predictions"]
    return min(SHIFTS, key=lambda version: abs(prediction - SHIFTS[version] - 150))


if __name__ == "__main__":
    unittest.main()
