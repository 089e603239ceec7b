"""A real Prometheus in a pod, with the account and the files of `deploy/overlays/prometheus` and nothing else, finds and scrapes driftd."""

import json
import unittest
import urllib.parse

import support
from rig.cluster import ROOT, shared
from rig.processes import wait_for

PORT = 9090


class Scrape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster = shared()
        cls.namespace = cluster.namespace()
        for version in ("1", "2"):
            support.put_model(cluster, f"models/scraped/{version}", "diabetes", "scraped")
        cls.webhook = support.install_webhook(cluster)
        cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}})
        cluster.kubectl("apply", "--server-side", "-k", ROOT / "deploy/overlays/prometheus")
        cls.prometheus = support.start_prometheus(cluster, "prometheus")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.delete(cls.prometheus.object)

    def query(self, text: str) -> list[dict]:
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": text})
        answer = json.loads(support.ask(self.prometheus.address, PORT, path).body)
        self.assertEqual(answer["status"], "success", answer)
        return answer["data"]["result"]

    def value(self, text: str) -> float | None:
        found = self.query(text)
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def test_sidecars_and_the_webhook_are_found_and_their_series_have_the_right_labels(self):
        services = [support.sklearn_service(self.namespace, f"scraped-{n}", f"s3://models/scraped/{n}", support.ASKS) for n in ("1", "2")]
        services.append(support.sklearn_service(self.namespace, "silent", "s3://models/scraped/1"))
        for service in services:
            self.cluster.api.apply(service)
        pods = [self.cluster.inference_service(service) for service in services]
        for n, (service, pod) in enumerate(zip(services[:2], pods), start=1):
            body = support.request_of(support.rows_of("diabetes", 10 * n))
            answer = support.ask(pod.address, 8080, f"/v1/models/{service['metadata']['name']}:predict", body)
            self.assertEqual(answer.status, 200, answer.body)

        for n, pod in enumerate(pods[:2], start=1):
            labels = {"namespace": self.namespace, "inferenceservice": f"scraped-{n}", "role": "prediction"}
            selector = ",".join(f'{name}="{value}"' for name, value in labels.items())
            rows = f"driftd_rows_total{{{selector}}}"
            wait_for(f"rows of {n} in Prometheus", lambda: self.value(rows) == 10 * n, self.cluster.running)  # noqa: B023
            [series] = self.query(rows)
            metadata = pod.object["metadata"]
            expected = {**labels, "job": "driftd", "pod": metadata["name"], "node": "rig", "instance": f"{pod.address}:9464"}
            self.assertEqual({name: series["metric"].get(name) for name in expected}, expected)
            [info] = self.query(f'driftd_model_info{{namespace="{self.namespace}",inferenceservice="scraped-{n}"}}')
            self.assertEqual(info["metric"]["component"], "predictor")
            self.assertEqual(info["metric"]["revision"], metadata["labels"]["pod-template-hash"])
            self.assertEqual(info["metric"]["version"], series["metric"]["version"])
        versions = {each["metric"]["version"] for each in self.query(f'driftd_rows_total{{namespace="{self.namespace}",role="prediction"}}')}
        self.assertEqual(len(versions), 2, versions)

        # The webhook's series are of the pod's namespace. A pod without driftd, and Prometheus itself, are no targets.
        wait_for("the webhook in Prometheus", lambda: len(self.query('driftd_webhook_in_flight{namespace="driftd-system"}')) == 2, self.cluster.running)
        up = {each["metric"]["pod"]: float(each["value"][1]) for each in self.query('up{job="driftd"}')}
        for pod in [*pods[:2], *self.webhook]:
            self.assertEqual(up.get(pod.object["metadata"]["name"]), 1, up)
        for pod in (pods[2], self.prometheus):
            self.assertNotIn(pod.object["metadata"]["name"], up)
        self.check_rules_are_loaded()
        for service in services:
            self.cluster.delete(service)
        for pod in pods:
            wait_for("its pod is gone", lambda: not pod.thread.is_alive())  # noqa: B023

    def check_rules_are_loaded(self) -> None:
        groups = json.loads(support.ask(self.prometheus.address, PORT, "/api/v1/rules").body)["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertGreater(len(rules), 5)
        self.assertEqual([rule for rule in rules if rule["health"] == "err"], [])


if __name__ == "__main__":
    unittest.main()
