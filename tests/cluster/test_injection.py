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
        return support.sklearn_service(self.namespace, name, "s3://models/credit/7", labels, **predictor)

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
        self.check(self.service("asked", support.ASKS), 8080, ["kserve-container", "driftd"])

    def test_it_stands_behind_kserves_agent(self):
        # Nobody is there to take the agent's events: that is the agent's affair.
        logger = {"mode": "all", "url": "http://127.0.0.1:9"}
        service = self.service("logged", support.ASKS, logger=logger, terminationGracePeriodSeconds=2)
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
        self.check_unwatched(support.sklearn_service(self.namespace, "bare", "s3://models/bare/1", support.ASKS), "io")

    def test_a_pod_whose_baseline_is_broken_serves_and_says_so(self):
        support.put_model(self.cluster, "models/broken/1", "diabetes", "broken")
        file = self.cluster.models / "models/broken/1/driftd-baseline.json"
        file.write_bytes(file.read_bytes()[:-100])
        self.check_unwatched(support.sklearn_service(self.namespace, "broken", "s3://models/broken/1", support.ASKS), "json")

    def check_unwatched(self, service: dict, reason: str) -> None:
        """Answers are as without driftd, nothing is counted, and metrics and log say why."""
        name = service["metadata"]["name"]
        pod = self.cluster.inference_service(service)
        body = support.request_of(support.rows_of("diabetes", 3))
        through = support.ask(pod.address, 8080, f"/v1/models/{name}:predict", body)
        self.assertEqual(through.status, 200, through.body)
        self.assertEqual(through, support.ask(pod.address, 18081, f"/v1/models/{name}:predict", body))
        failed = lambda: support.metric(pod.address, "driftd_baseline_errors_total", reason=reason)  # noqa: E731
        wait_for("that the baseline is told to be bad", lambda: (failed() or 0) > 0, self.cluster.running)
        self.assertIn("baseline not loaded", pod.container("driftd").log())
        self.assertFalse(support.metric(pod.address, "driftd_rows_total"))
        self.cluster.delete(service)
        wait_for("its pod is gone", lambda: not pod.thread.is_alive())

    def test_a_config_map_is_the_baseline_once_it_is_mended_without_a_restart(self):
        good = (self.cluster.models / "models/credit/7/driftd-baseline.json").read_text()
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "baseline", "namespace": self.namespace}}
        self.cluster.api.apply({**config_map, "data": {"credit.json": "{"}})
        service = self.service("mapped", support.ASKS)
        service["metadata"]["annotations"] = {"driftd.io/baseline": "configmap:baseline/credit.json"}
        pod = self.cluster.inference_service(service)
        rows = support.request_of(support.rows_of("diabetes", 7))
        ask = lambda: support.ask(pod.address, 8080, "/v1/models/mapped:predict", rows).status  # noqa: E731
        self.assertEqual(ask(), 200)
        errors = lambda: support.metric(pod.address, "driftd_baseline_errors_total") or 0  # noqa: E731
        wait_for("that the baseline is told to be bad", lambda: errors() > 0, self.cluster.running)

        self.cluster.api.apply({**config_map, "data": {"credit.json": good}})
        loaded = lambda: support.metric(pod.address, "driftd_baseline_info")  # noqa: E731
        wait_for("the baseline", loaded, self.cluster.running)
        before = support.metric(pod.address, "driftd_rows_total", role="feature") or 0
        self.assertEqual(ask(), 200)
        counted = lambda: (support.metric(pod.address, "driftd_rows_total", role="feature") or 0) - before  # noqa: E731
        wait_for("rows", lambda: counted() >= 7, self.cluster.running)
        self.assertEqual(counted(), 7)
        self.assertEqual(pod.container("driftd").n_restarts, 0)
        self.cluster.delete(service)
        wait_for("its pod is gone", lambda: not pod.thread.is_alive())


if __name__ == "__main__":
    unittest.main()
