"""KServe in Standard mode: a model server alone, and with driftd in its pod."""

import copy
import json
import unittest

import support
from rig.api import objects_in
from rig.cluster import ROOT, shared
from rig.processes import wait_for


class Serving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = shared()
        cls.namespace = cls.cluster.namespace()
        support.put_model(cls.cluster, "models/credit/3", "diabetes", "credit")

    def service(self, name: str) -> dict:
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/credit/3"}}},
        }

    def test_a_model_becomes_ready_and_answers_without_driftd(self):
        service = self.service("plain")
        pod = self.cluster.inference_service(service)
        self.assertEqual([container.name for container in pod.main], ["kserve-container"])
        self.assertEqual([container.name for container in pod.init], ["storage-initializer"])
        answer = support.ask(pod.address, 8080, "/v1/models/plain:predict", support.request_of(support.rows_of("diabetes", 3)))
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(len(json.loads(answer.body)["predictions"]), 3)
        self.cluster.delete(service)
        wait_for("its pod is gone", lambda: not pod.thread.is_alive())

    def test_the_example_with_driftd_counts_every_row_and_changes_no_answer(self):
        [example] = objects_in(ROOT / "deploy/kubernetes/inferenceservice.yaml")
        service = copy.deepcopy(example)
        service["metadata"]["namespace"] = self.namespace
        pod = self.cluster.inference_service(service)
        self.assertIn("transformer-container", [container.name for container in pod.main])
        n_rows = 0
        for n in (1, 2, 5, 40, 100):
            body = support.request_of(support.rows_of("diabetes", n))
            through = support.ask(pod.address, 18080, "/v1/models/credit:predict", body)
            direct = support.ask(pod.address, 8080, "/v1/models/credit:predict", body)
            self.assertEqual(through.status, 200, through.body)
            self.assertEqual(through, direct)
            n_rows += n
        # Refused requests are passed on as they are, and not counted.
        self.assertEqual(
            support.ask(pod.address, 18080, "/v1/models/credit:predict", b'{"instances": [["x"]]}'),
            support.ask(pod.address, 8080, "/v1/models/credit:predict", b'{"instances": [["x"]]}'),
        )
        labels = {"namespace": self.namespace, "inferenceservice": "credit", "model": "credit"}
        for role in ("feature", "prediction"):
            counted = lambda: support.metric(pod.address, "driftd_rows_total", role=role, **labels)  # noqa: B023, E731
            wait_for(f"{role} rows", lambda: (counted() or 0) >= n_rows, self.cluster.running)
            self.assertEqual(counted(), n_rows)
        self.cluster.delete(service)
        wait_for("its pod is gone", lambda: not pod.thread.is_alive())

    def test_what_kserves_agent_logs_is_counted_by_a_sink(self):
        api, namespace = self.cluster.api, self.namespace
        baseline = (self.cluster.models / "models/credit/3/driftd-baseline.json").read_text()
        settings = {
            "admin": "0.0.0.0:9464",
            "models": [{"namespace": namespace, "inferenceservice": "logged", "baseline": "/etc/driftd/credit.json"}],
            "taps": [{"cloudevents": {"listen": "0.0.0.0:8081"}}],
        }
        data = {"driftd.yaml": json.dumps(settings), "credit.json": baseline}
        api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sink", "namespace": namespace}, "data": data})
        container = {
            "name": "driftd",
            "image": "driftd:0.1.0",
            "args": ["run", "--config=/etc/driftd/driftd.yaml"],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9464}, "periodSeconds": 1},
            "volumeMounts": [{"name": "settings", "mountPath": "/etc/driftd", "readOnly": True}],
        }
        sink = self.cluster.run_pod(namespace, "sink", {"containers": [container], "volumes": [{"name": "settings", "configMap": {"name": "sink"}}]})
        wait_for("the sink", lambda: sink.container("driftd").is_ready, self.cluster.running)

        service = self.service("logged")
        # The agent stays until its grace is over.
        service["spec"]["predictor"] |= {"logger": {"mode": "all", "url": f"http://{sink.address}:8081"}, "terminationGracePeriodSeconds": 2}
        pod = self.cluster.inference_service(service)
        self.assertEqual([container.name for container in pod.main], ["kserve-container", "agent"])
        n_rows = 0
        for n in (1, 3, 50):
            answer = support.ask(pod.address, 9081, "/v1/models/logged:predict", support.request_of(support.rows_of("diabetes", n)))
            self.assertEqual(answer.status, 200, answer.body)
            n_rows += n
        counted = lambda: support.metric(sink.address, "driftd_rows_total", role="prediction", namespace=namespace)  # noqa: E731
        wait_for("rows", lambda: (counted() or 0) >= n_rows, self.cluster.running)
        self.assertEqual(counted(), n_rows)
        self.cluster.delete(service)
        self.cluster.delete(sink.object)
        wait_for("both pods are gone", lambda: not pod.thread.is_alive() and not sink.thread.is_alive())


if __name__ == "__main__":
    unittest.main()
