"""Whatever happens to the webhook, pods are created; and when it is there, with driftd in them."""

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import support
from rig.api import Object, Refused
from rig.cluster import shared
from rig.pod import Pod
from rig.processes import wait_for

HOST = "driftd-webhook.driftd-system.svc"
N_AT_ONCE = 500


class Robust(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster = shared()
        cls.namespace = cluster.namespace()
        support.put_model(cluster, "models/robust/1", "diabetes", "robust")
        cls.webhook = support.install_webhook(cluster)
        cls.pod = support.pod_of(cluster, support.sklearn_service(cls.namespace, "robust", "s3://models/robust/1", support.ASKS))

    def setUp(self):
        # Whatever the test before did, this one begins with a webhook that works.
        type(self).webhook = support.wait_for_webhook(self.cluster)
        wait_for("an injected pod", lambda: support.is_watched(support.create(self.cluster, self.pod)), self.cluster.running)

    def count(self, name: str, **labels: str) -> float:
        return sum(support.metric(pod.address, name, **labels) or 0 for pod in self.webhook)

    def review(self, pod: Object) -> Object:
        kind = {"group": "", "version": "v1", "kind": "Pod"}
        request = {"uid": "f3b3e1b2-0000-4000-8000-000000000000", "kind": kind, "operation": "CREATE", "namespace": self.namespace, "object": pod}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}

    def connect(self, webhook: Pod) -> http.client.HTTPSConnection:
        """As the API server does: by the name of the Service, trusting what the configuration says."""
        configuration = self.cluster.api.get("MutatingWebhookConfiguration", "inferencetap.driftd.io", version="admissionregistration.k8s.io/v1")
        bundle = base64.b64decode(configuration["webhooks"][0]["clientConfig"]["caBundle"]).decode()
        context = ssl.create_default_context(cadata=bundle)
        connection = http.client.HTTPSConnection(HOST, 443, timeout=30, context=context)
        # There is no DNS here.
        connection._create_connection = lambda _, timeout, source: socket.create_connection((webhook.address, 9443), timeout)
        return connection

    def post(self, connection: http.client.HTTPSConnection, body: bytes) -> tuple[int, Object]:
        connection.request("POST", "/mutate", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    @contextlib.contextmanager
    def creating(self):
        """Pods are created all the while, and every one has driftd in it."""
        missed, n_created, ended = [], [0, 0], threading.Event()

        def create(number: int) -> None:
            while not ended.is_set():
                if support.is_watched(made := support.create(self.cluster, self.pod)):
                    n_created[number] += 1
                else:
                    missed.append(made["metadata"])

        creators = [threading.Thread(target=create, args=(number,), daemon=True) for number in range(2)]
        for creator in creators:
            creator.start()
        try:
            yield
            time.sleep(1)
        finally:
            ended.set()
            for creator in creators:
                creator.join(30)
        print(f"{sum(n_created)} pods meanwhile, {len(missed)} without driftd", flush=True)
        self.assertGreater(sum(n_created), 20)
        self.assertEqual(missed, [])

    def test_a_rotated_certificate_is_taken_without_a_restart_and_no_pod_is_missed(self):
        loads = self.count("driftd_webhook_certificate_loads_total", outcome="loaded")
        served = lambda: {self.certificate(pod) for pod in self.webhook}  # noqa: E731
        [before] = served()
        with self.creating():
            support.certify(self.cluster)
            wait_for("the new certificate in both pods", lambda: len(served()) == 1 and before not in served(), self.cluster.running)
        self.assertEqual(self.count("driftd_webhook_certificate_loads_total", outcome="loaded"), loads + 2)
        self.assertEqual([pod.container("driftd").n_restarts for pod in self.webhook], [0, 0])
        for pod in self.webhook:
            connection = self.connect(pod)
            self.assertEqual(self.post(connection, json.dumps(self.review(self.pod)).encode())[0], 200)
            connection.close()

    def test_a_rollout_of_the_webhook_misses_no_pod(self):
        with self.creating():
            self.cluster.kubectl("rollout", "restart", "--namespace=driftd-system", "deployment/driftd-webhook")
            old = self.webhook
            wait_for("that the old pods are gone", lambda: not any(pod.thread.is_alive() for pod in old), self.cluster.running)

    def certificate(self, pod: Pod) -> str:
        return ssl.get_server_certificate((pod.address, 9443))

    def test_an_api_server_that_comes_back_finds_it(self):
        plane = self.cluster.plane
        plane.program("kube-apiserver").stop()
        plane.start_api_server()
        # Webhooks are in force once the server has read them, which it has when it is ready: the first pod is injected.
        self.assertTrue(support.is_watched(support.create(self.cluster, self.pod)))
        self.assertEqual([pod.container("driftd").n_restarts for pod in self.webhook], [0, 0])

    def test_what_is_no_review_is_allowed_and_counted(self):
        good = json.dumps(self.review(self.pod)).encode()
        malformed = [b"", b"{", b"null", b"[]", b"\xff\xfe\x00", good[:-20], b'{"apiVersion": 1}', b"[" * 10_000, b'"' + b"x" * 1000]
        for pod in self.webhook:
            before = support.metric(pod.address, "driftd_webhook_reviews_total", outcome="malformed")
            connection = self.connect(pod)
            for body in malformed:
                status, answer = self.post(connection, body)
                self.assertEqual((status, answer["response"]["allowed"]), (200, True), body[:40])
                self.assertNotIn("patch", answer["response"])
            self.assertEqual(support.metric(pod.address, "driftd_webhook_reviews_total", outcome="malformed"), before + len(malformed))
            # On the same connection, as if nothing had been.
            status, answer = self.post(connection, good)
            self.assertEqual(status, 200)
            self.assertIn("patch", answer["response"])
            connection.close()

    def padded(self, n_bytes: int) -> Object:
        """The pod with variables that make it so long."""
        pod = json.loads(json.dumps(self.pod))
        server = pod["spec"]["containers"][0]
        server["env"] = [*server.get("env", []), *({"name": f"PAD_{n}", "value": "x" * 65_536} for n in range(n_bytes // 65_600))]
        return pod

    def test_a_review_of_three_mebibytes_is_answered_and_a_longer_one_allowed(self):
        # Through the API server, which takes requests of 3 MiB.
        made = support.create(self.cluster, self.padded(2_900_000))
        self.assertTrue(support.is_watched(made))
        pod = self.webhook[0]
        connection = self.connect(pod)
        body = json.dumps(self.review(self.padded(3 << 20))).encode()
        self.assertGreater(len(body), 3_000_000)
        status, answer = self.post(connection, body)
        self.assertEqual(status, 200)
        self.assertIn("patch", answer["response"])
        before = support.metric(pod.address, "driftd_webhook_reviews_total", outcome="too_large")
        status, answer = self.post(connection, json.dumps(self.review(self.padded(6 << 20))).encode())
        self.assertEqual((status, answer["response"]["allowed"]), (200, True))
        self.assertNotIn("patch", answer["response"])
        self.assertEqual(support.metric(pod.address, "driftd_webhook_reviews_total", outcome="too_large"), before + 1)

    def test_five_hundred_pods_at_once_are_created_with_driftd(self):
        barrier = threading.Barrier(N_AT_ONCE)

        def create(_) -> bool:
            barrier.wait(60)
            while True:
                try:
                    return support.is_watched(support.create(self.cluster, self.pod))
                except Refused as error:
                    # KServe's own webhook must answer within ten seconds, or the pod is refused; a controller would ask again.
                    if "kserve-webhook-server" not in error.message:
                        raise
                    refused.append(error)

        refused: list[Refused] = []
        began = time.monotonic()
        with ThreadPoolExecutor(N_AT_ONCE) as pool:
            watched = list(pool.map(create, range(N_AT_ONCE)))
        print(f"{N_AT_ONCE} pods at once through the API server in {time.monotonic() - began:.1f} s, {len(refused)} refused by KServe", flush=True)
        self.assertEqual(watched.count(False), 0)

    def test_five_hundred_reviews_on_connections_of_their_own_are_answered(self):
        body = json.dumps(self.review(self.pod)).encode()
        barrier = threading.Barrier(N_AT_ONCE)
        webhook = self.webhook[0]
        before = support.metric(webhook.address, "driftd_webhook_reviews_total", outcome="injected")
        connections = [self.connect(webhook) for _ in range(N_AT_ONCE)]

        def post(connection: http.client.HTTPSConnection) -> bool:
            barrier.wait(60)
            status, answer = self.post(connection, body)
            connection.close()
            return status == 200 and "patch" in answer["response"]

        began = time.monotonic()
        with ThreadPoolExecutor(N_AT_ONCE) as pool:
            answered = list(pool.map(post, connections))
        print(f"{N_AT_ONCE} reviews at once to one pod in {time.monotonic() - began:.1f} s", flush=True)
        self.assertEqual(answered.count(False), 0)
        self.assertEqual(support.metric(webhook.address, "driftd_webhook_reviews_total", outcome="injected"), before + N_AT_ONCE)

    def test_one_that_hangs_delays_a_pod_and_does_not_keep_it_away(self):
        """Stopped by a signal, both of them: connections are taken, and nothing is answered."""
        for pod in self.webhook:
            pod.container("driftd").signal("STOP")
        try:
            began = time.monotonic()
            made = support.create(self.cluster, self.pod)
            seconds = time.monotonic() - began
        finally:
            for pod in self.webhook:
                pod.container("driftd").signal("CONT")
        self.assertFalse(support.is_watched(made))
        self.assertGreater(seconds, 4)
        # The API server gives it five seconds, and asks once more as others have changed the pod since.
        self.assertLess(seconds, 30)
        print(f"a pod is created {seconds:.1f} s after a webhook hangs", flush=True)

    def test_while_it_is_down_pods_serve_without_driftd_and_have_it_once_it_is_back(self):
        cluster = self.cluster
        service = support.sklearn_service(self.namespace, "patient", "s3://models/robust/1", support.ASKS)
        first = cluster.inference_service(service)
        self.assertTrue(support.is_watched(first.object))
        cluster.kubectl("scale", "--namespace=driftd-system", "deployment/driftd-webhook", "--replicas=0")
        wait_for("that the webhook is down", lambda: all(not pod.thread.is_alive() for pod in self.webhook), cluster.running)

        second = self.replaced(first)
        self.assertFalse(support.is_watched(second.object))
        body = support.request_of(support.rows_of("diabetes", 2))
        self.assertEqual(support.ask(second.address, 8080, "/v1/models/patient:predict", body).status, 200)

        cluster.kubectl("scale", "--namespace=driftd-system", "deployment/driftd-webhook", "--replicas=2")
        type(self).webhook = support.wait_for_webhook(cluster)
        wait_for("an injected pod", lambda: support.is_watched(support.create(cluster, self.pod)), cluster.running)
        third = self.replaced(second)
        self.assertTrue(support.is_watched(third.object))
        self.assertEqual(support.ask(third.address, 8080, "/v1/models/patient:predict", body).status, 200)
        cluster.delete(service)
        wait_for("its pod is gone", lambda: not third.thread.is_alive())

    def replaced(self, pod: Pod) -> Pod:
        """The pod that comes after it is deleted."""
        self.cluster.delete(pod.object)

        def another() -> Pod | None:
            pods = self.cluster.pods(self.namespace, "serving.kserve.io/inferenceservice=patient")
            return pods[0] if len(pods) == 1 and pods[0].uid != pod.uid else None

        return wait_for("another pod", another, self.cluster.running)


if __name__ == "__main__":
    unittest.main()
