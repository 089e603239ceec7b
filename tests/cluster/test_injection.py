"""The webhook as it is installed: the API server calls it, and KServe's pods have driftd in them."""

import json
import unittest

import support
from rig.cluster import shared
from rig.processes import wait_for


class Injection(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster = shared()
        cls.namespace = cluster.namespace()
        support.put_model(cluster, "models/credit/7", "diabetes", "credit")
        support.install_webhook(cluster)

    def service(self, name: str, labels: dict[str, str], **predictor) -> dict:
        model = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/credit/7"}
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "spec": {"predictor": {"model": model, **predictor}},
        }

    def check(self, service: dict, port: int, containers: list[str]) -> None:
        """The pod has driftd in it, answers as without, and every row is counted."""
        name = service["metadata"]["name"]
        pod = self.cluster.inference_service(service)
        self.assertEqual(sorted(container.name for container in pod.main), sorted(containers))
        # The server itself, wherever it is by now.
        injected = pod.object["metadata"]["annotations"]["driftd.io/injected"]
        upstream = int(injected.split("upstream=")[1].rsplit(":", 1)[-1].split(",")[0])
        n_rows = 0
        for n in (1, 2, 5, 40, 100):
            body = support.request_of(support.rows_of("diabetes", n))
            through = support.ask(pod.address, port, f"/v1/models/{name}:predict", body)
            self.assertEqual(through.status, 200, through.body)
            direct = support.ask(pod.address, upstream, f"/v1/models/{name}:predict", body)
            self.assertEqual((through.status, through.body), (direct.status, direct.body))
            if "agent" not in containers:  # which writes headers of its own
                self.assertEqual(through, direct)
            n_rows += n
        labels = {"namespace": self.namespace, "inferenceservice": name}
        for role in ("feature", "prediction"):
            counted = lambda: support.metric(pod.address, "driftd_rows_total", role=role, **labels)  # noqa: B023, E731
            wait_for(f"{role} rows", lambda: (counted() or 0) >= n_rows, self.cluster.running)  # noqa: B023
            self.assertEqual(counted(), n_rows)
        self.assertEqual(support.metric(pod.address, "driftd_model_info", component="predictor", **labels), 1)
        self.cluster.delete(service)
        wait_for("its pod is gone", lambda: not pod.thread.is_alive())

    def test_a_service_that_asks_for_it_is_watched(self):
        self.check(self.service("asked", {"driftd.io/inject": "true"}), 8080, ["kserve-container", "driftd"])

    def test_it_stands_behind_kserves_agent(self):
        # Nobody is there to take the agent's events: that is the agent's affair.
        logger = {"mode": "all", "url": "http://127.0.0.1:9"}
        service = self.service("logged", {"driftd.io/inject": "true"}, logger=logger, terminationGracePeriodSeconds=2)
        self.check(service, 9081, ["kserve-container", "agent", "driftd"])

    def test_a_service_that_does_not_ask_is_left_alone(self):
        service = self.service("silent", {})
        pod = self.cluster.inference_service(service)
        self.assertEqual([container.name for container in pod.main], ["kserve-container"])
        annotations = json.dumps(pod.object["metadata"].get("annotations", {}))
        self.assertNotIn("driftd.io", annotations)
        self.cluster.delete(service)
        wait_for("its pod is gone", lambda: not pod.thread.is_alive())

    def test_a_pod_without_a_baseline_serves_and_says_so(self):
        support.put_model(self.cluster, "models/bare/1", "diabetes", "bare", with_baseline=False)
        service = self.service("bare", {"driftd.io/inject": "true"})
        service["spec"]["predictor"]["model"]["storageUri"] = "s3://models/bare/1"
        pod = self.cluster.inference_service(service)
        answer = support.ask(pod.address, 8080, "/v1/models/bare:predict", support.request_of(support.rows_of("diabetes", 3)))
        self.assertEqual(answer.status, 200, answer.body)
        failed = lambda: support.metric(pod.address, "driftd_baseline_errors_total")  # noqa: E731
        wait_for("that the baseline is missing", lambda: (failed() or 0) > 0, self.cluster.running)
        self.cluster.delete(service)
        wait_for("its pod is gone", lambda: not pod.thread.is_alive())


if __name__ == "__main__":
    unittest.main()
