"""The node itself, with pods that need nothing but a shell: what the other tests take for granted."""

import unittest

from rig.cluster import condition, shared
from rig.processes import wait_for


def shell(name: str, script: str, **more) -> dict:
    return {"name": name, "image": "shell", "args": ["-c", script], **more}


class Node(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = shared()
        cls.namespace = cls.cluster.namespace()

    def ended(self, pod) -> str:
        wait_for(f"{pod.object['metadata']['name']} ends", lambda: pod.phase() in ("Succeeded", "Failed"))
        return pod.phase()

    def test_a_pod_is_told_its_volumes_its_fields_and_its_account(self):
        api, namespace = self.cluster.api, self.namespace
        api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": namespace}, "data": {"a": "one", "b": "two"}})
        api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": namespace}, "data": {"token": "c2VjcmV0"}})
        script = "cat /conf/a /conf/renamed/b /secret/token /labels/app /shared/made; echo $GREETING $APP $A; wc -c < /var/run/secrets/kubernetes.io/serviceaccount/token"
        pod = self.cluster.run_pod(
            namespace,
            "told",
            {
                "restartPolicy": "Never",
                "initContainers": [shell("first", "printf init > /shared/made", volumeMounts=[{"name": "shared", "mountPath": "/shared"}])],
                "containers": [
                    shell(
                        "main",
                        script,
                        env=[
                            {"name": "NAME", "value": "world"},
                            {"name": "GREETING", "value": "hello-$(NAME)-$$(NAME)"},
                            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                        ],
                        envFrom=[{"configMapRef": {"name": "upper"}}, {"configMapRef": {"name": "absent", "optional": True}}],
                        volumeMounts=[
                            {"name": "conf", "mountPath": "/conf"},
                            {"name": "secret", "mountPath": "/secret", "readOnly": True},
                            {"name": "labels", "mountPath": "/labels"},
                            {"name": "shared", "mountPath": "/shared"},
                        ],
                    )
                ],
                "volumes": [
                    {"name": "conf", "configMap": {"name": "settings", "items": [{"key": "a", "path": "a"}, {"key": "b", "path": "renamed/b"}]}},
                    {"name": "secret", "secret": {"secretName": "key"}},
                    {"name": "labels", "downwardAPI": {"items": [{"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}]}},
                    {"name": "shared", "emptyDir": {}},
                ],
            },
            labels={"app": "credit"},
        )
        # It waits for what it needs.
        wait_for("the reason", lambda: "upper" in str(pod.container("main").state))
        api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "upper", "namespace": namespace}, "data": {"A": "from"}})
        self.assertEqual(self.ended(pod), "Succeeded", self.cluster.what_pods_say(namespace))
        told, size = pod.container("main").log().splitlines()[0], int(pod.container("main").log().splitlines()[1])
        self.assertEqual(told, "onetwosecretcreditinithello-world-$(NAME) credit from")
        self.assertGreater(size, 500, "a service account's token")

    def test_a_config_map_that_changes_changes_in_the_pod(self):
        settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "changing", "namespace": self.namespace}, "data": {"a": "old"}}
        self.cluster.api.apply(settings)
        script = "while [ $(cat /conf/a) = old ]; do sleep 0.1; done; cat /conf/a"
        pod = self.cluster.run_pod(
            self.namespace,
            "changing",
            {
                "restartPolicy": "Never",
                "containers": [shell("main", script, volumeMounts=[{"name": "conf", "mountPath": "/conf"}])],
                "volumes": [{"name": "conf", "configMap": {"name": "changing"}}],
            },
        )
        wait_for("it runs", lambda: "running" in pod.container("main").state)
        self.cluster.api.apply({**settings, "data": {"a": "new"}})
        self.assertEqual(self.ended(pod), "Succeeded")
        self.assertEqual(pod.container("main").log(), "new")

    def test_security_contexts_hold(self):
        context = {"runAsNonRoot": True, "runAsUser": 4321, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        script = "id -u; touch /etc/x 2>/dev/null || echo read-only; grep CapBnd /proc/self/status; ip -o link | wc -l; hostname"
        pod = self.cluster.run_pod(self.namespace, "confined", {"restartPolicy": "Never", "containers": [shell("main", script, securityContext=context)]})
        self.assertEqual(self.ended(pod), "Succeeded", pod.container("main").log())
        lines = pod.container("main").log().split()
        self.assertEqual(lines, ["4321", "read-only", "CapBnd:", "0000000000000000", "2", "confined"])
        refused = self.cluster.run_pod(self.namespace, "root", {"containers": [shell("main", "id", securityContext={"runAsNonRoot": True})]})
        wait_for("the reason", lambda: "would run as root" in str(refused.container("main").state))

    def test_a_sidecar_starts_before_the_container_and_ends_after_it(self):
        volume = [{"name": "shared", "mountPath": "/shared"}]
        aside = 'trap "echo sidecar-end >> /shared/log; exit 0" TERM; echo sidecar-begin >> /shared/log; touch /shared/up; while :; do sleep 0.1; done'
        main = 'trap "echo main-end >> /shared/log; exit 0" TERM; echo main-begin >> /shared/log; while :; do sleep 0.1; done'
        pod = self.cluster.run_pod(
            self.namespace,
            "aside",
            {
                "terminationGracePeriodSeconds": 20,
                "initContainers": [
                    shell("aside", aside, restartPolicy="Always", volumeMounts=volume, startupProbe={"exec": {"command": ["test", "-e", "/shared/up"]}, "periodSeconds": 1})
                ],
                "containers": [shell("main", main, volumeMounts=volume)],
                "volumes": [{"name": "shared", "emptyDir": {}}],
            },
        )
        log = pod.volumes / "shared/log"
        wait_for("both run", lambda: condition(self.cluster.api.get("Pod", "aside", self.namespace), "Ready") and "main-begin" in log.read_text())
        before = log.open()  # it outlives the folder
        self.addCleanup(before.close)
        self.cluster.api.delete(pod.object)
        wait_for("it is gone", lambda: not pod.thread.is_alive())
        self.assertEqual(before.read().split(), ["sidecar-begin", "main-begin", "main-end", "sidecar-end"])

    def test_who_ignores_sigterm_is_killed_after_the_grace(self):
        pod = self.cluster.run_pod(self.namespace, "deaf", {"terminationGracePeriodSeconds": 1, "containers": [shell("main", 'trap "" TERM; while :; do sleep 0.1; done')]})
        wait_for("it runs", lambda: condition(self.cluster.api.get("Pod", "deaf", self.namespace), "Ready"))
        self.cluster.api.delete(pod.object)
        wait_for("it is gone", lambda: not pod.thread.is_alive())
        self.assertEqual(pod.container("main").state["terminated"]["exitCode"], 137)

    def test_probes_decide_who_is_ready_and_who_is_started_again(self):
        volume = [{"name": "shared", "mountPath": "/shared"}]
        script = "touch /shared/alive; echo run; while :; do sleep 0.1; done"
        alive = {"exec": {"command": ["test", "-e", "/shared/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
        ready = {"exec": {"command": ["test", "-e", "/shared/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
        pod = self.cluster.run_pod(
            self.namespace,
            "probed",
            {
                "terminationGracePeriodSeconds": 1,
                "containers": [shell("main", script, volumeMounts=volume, startupProbe={**alive, "failureThreshold": 60}, livenessProbe=alive, readinessProbe=ready)],
                "volumes": [{"name": "shared", "emptyDir": {}}],
            },
        )
        main = pod.container("main")
        is_ready = lambda: condition(self.cluster.api.get("Pod", "probed", self.namespace), "Ready")  # noqa: E731
        wait_for("it is started", lambda: main.is_started)
        self.assertFalse(is_ready())
        (pod.volumes / "shared/ready").touch()
        wait_for("it is ready", is_ready)
        (pod.volumes / "shared/ready").unlink()
        wait_for("it is ready no more", lambda: not is_ready())
        (pod.volumes / "shared/alive").unlink()
        wait_for("it is started again", lambda: main.n_restarts > 0 and main.is_started)
        self.assertIn("run\nrun\n", main.log())


if __name__ == "__main__":
    unittest.main()
