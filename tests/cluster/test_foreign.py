"""driftd beside a mesh's sidecar: another webhook works on the same pods, before ours and after it, and the service is updated."""

import unittest

import support
from foreign import PROXY, ForeignWebhook, probers_of
from rig.cluster import shared
from rig.pod import Pod
from rig.processes import wait_for

# Ours is `inferencetap.driftd.io`, KServe's `inferenceservice.serving.kserve.io`.
BEFORE_ALL = "a-mesh.example.com"
BETWEEN = "inferencet-mesh.example.com"
AFTER = "istio-sidecar-injector"


class Foreign(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster = shared()
        for version in ("1", "2"):
            support.put_model(cluster, f"models/meshed/{version}", "diabetes", "meshed")
        cls.webhook = support.install_webhook(cluster)

    def reviews(self, outcome: str) -> float:
        return sum(support.metric(pod.address, "driftd_webhook_reviews_total", outcome=outcome) or 0 for pod in self.webhook)

    def created(self, name: str, form: str, reinvoked: bool) -> dict:
        """The pod as the API server makes it of KServe's, with a foreign webhook of that name."""
        namespace = self.cluster.namespace()
        pod = support.pod_of(self.cluster, support.sklearn_service(namespace, "meshed", "s3://models/meshed/1", support.ASKS))
        with ForeignWebhook(self.cluster, namespace, name, form, reinvoked):

            def meshed() -> dict | None:
                # The API server needs a moment to learn of a new webhook.
                made = support.create(self.cluster, pod)
                names = [each["name"] for each in [*made["spec"]["initContainers"], *made["spec"]["containers"]]]
                return made if PROXY in names else None

            return wait_for("the foreign webhook", meshed, self.cluster.running)

    def check_created(self, name: str, form: str, reinvoked: bool) -> dict:
        """However the two meet: one driftd, one proxy, and no probe that passes by driftd."""
        before = self.reviews("unchanged"), self.reviews("skipped")
        made = self.created(name, form, reinvoked)
        names = [each["name"] for each in [*made["spec"]["initContainers"], *made["spec"]["containers"]]]
        self.assertEqual(sorted(names), sorted(["storage-initializer", "kserve-container", "driftd", PROXY]))
        self.assertEqual(made["metadata"]["annotations"]["driftd.io/injected"], "tap=move_port,listen=8080,upstream=18081")
        self.assertEqual(self.reviews("skipped"), before[1])
        if name == AFTER:
            # We were asked again, and had nothing to add.
            self.assertGreater(self.reviews("unchanged"), before[0])
        return made

    def test_after_ours_it_finds_our_probes_and_rewrites_them(self):
        for form in ("container", "first", "native"):
            for reinvoked in (False, True):
                with self.subTest(form, reinvoked=reinvoked):
                    probers = probers_of(self.check_created(AFTER, form, reinvoked))
                    self.assertEqual(probers["/app-health/kserve-container/readyz"], {"tcpSocket": {"port": 18081}})
                    self.assertEqual(probers["/app-health/driftd/readyz"]["httpGet"]["port"], 9464)
                    self.assertEqual(probers["/app-health/driftd/livez"]["httpGet"]["port"], 9464)

    def test_before_ours_its_probes_of_the_server_go_through_driftd(self):
        for name in (BEFORE_ALL, BETWEEN):
            for form in ("container", "native"):
                with self.subTest(name, form=form):
                    made = self.check_created(name, form, reinvoked=True)
                    # Where it asked the server there is driftd now, and driftd's own readiness is the server's.
                    self.assertEqual(probers_of(made)["/app-health/kserve-container/readyz"], {"tcpSocket": {"port": 8080}})
                    [driftd] = [each for each in made["spec"]["containers"] if each["name"] == "driftd"]
                    self.assertEqual(driftd["readinessProbe"]["httpGet"], {"path": "/readyz", "port": 9464, "scheme": "HTTP"})

    def test_first_of_the_containers_before_ours_it_keeps_driftd_away_and_nothing_else(self):
        made = self.created(BETWEEN, "first", reinvoked=False)
        self.assertFalse(support.is_watched(made))
        self.assertTrue(made["metadata"]["annotations"]["driftd.io/skipped"].startswith("unknown_wiring"))

    def check_served(self, pod: Pod, name: str) -> None:
        body = support.request_of(support.rows_of("diabetes", 20))
        through = support.ask(pod.address, 8080, f"/v1/models/{name}:predict", body)
        self.assertEqual(through.status, 200, through.body)
        self.assertEqual(through, support.ask(pod.address, 18081, f"/v1/models/{name}:predict", body))
        counted = lambda: support.metric(pod.address, "driftd_rows_total", role="prediction")  # noqa: E731
        wait_for("rows", lambda: (counted() or 0) >= 20, self.cluster.running)
        self.assertEqual(counted(), 20)

    def test_a_service_in_a_mesh_is_served_updated_and_rolled(self):
        for name, form in ((AFTER, "native"), (BEFORE_ALL, "container")):
            with self.subTest(name):
                self.roll(name, form)

    def roll(self, name: str, form: str) -> None:
        cluster, namespace = self.cluster, self.cluster.namespace()
        with ForeignWebhook(cluster, namespace, name, form, reinvoked=True) as foreign:
            probe = support.pod_of(cluster, support.sklearn_service(namespace, "probe", "s3://models/meshed/1"))
            wait_for("the foreign webhook", lambda: support.create(cluster, probe) and foreign.n_calls, cluster.running)
            service = support.sklearn_service(namespace, "meshed", "s3://models/meshed/1", support.ASKS)
            first = cluster.inference_service(service)
            self.check_served(first, "meshed")

            service["spec"]["predictor"]["model"]["storageUri"] = "s3://models/meshed/2"
            cluster.api.apply(service)

            def rolled() -> Pod | None:
                pods = cluster.pods(namespace, "serving.kserve.io/inferenceservice=meshed")
                return pods[0] if len(pods) == 1 and pods[0].uid != first.uid else None

            second = wait_for("the new pod alone", rolled, cluster.running)
            self.check_served(second, "meshed")
            for pod, version in ((first, "1"), (second, "2")):
                names = [container.name for container in [*pod.init, *pod.main]]
                self.assertEqual(names.count(PROXY), 1)
                self.assertEqual(names.count("driftd"), 1)
                self.assertEqual(pod.object["metadata"]["annotations"]["internal.serving.kserve.io/storage-initializer-sourceuri"], f"s3://models/meshed/{version}")
            cluster.delete(service)
            wait_for("its pod is gone", lambda: not second.thread.is_alive())


if __name__ == "__main__":
    unittest.main()
