"""What `deploy/` holds is taken by a real API server that has the real CRDs."""

import copy
import os
import pathlib
import subprocess
import tempfile
import unittest

from rig.api import objects_in, objects_of
from rig.cluster import ROOT, shared
from rig.crds import dry_run, install


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = shared()
        cls.names = install(cls.cluster.api, cls.cluster.programs / "crds")

    def test_the_kinds_that_deploy_may_use_are_there(self):
        there = {thing["metadata"]["name"] for thing in self.cluster.api.list("CustomResourceDefinition", version="apiextensions.k8s.io/v1")}
        wanted = {
            "inferenceservices.serving.kserve.io",
            "podmonitors.monitoring.coreos.com",
            "prometheusrules.monitoring.coreos.com",
            "certificates.cert-manager.io",
            "virtualservices.networking.istio.io",
            "httproutes.gateway.networking.k8s.io",
            "applicationsets.argoproj.io",
            "services.serving.knative.dev",
        }
        self.assertEqual(wanted - there, set())

    def test_every_overlay_and_every_plain_manifest_is_accepted(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{self.cluster.programs / 'bin'}:{os.environ['PATH']}"
            environment = {name: value for name, value in os.environ.items() if name != "KUSTOMIZE"}
            subprocess.run([ROOT / "deploy/render", folder], check=True, env={**environment, "PATH": path})
            files = sorted(pathlib.Path(folder).rglob("*.yaml"))
            self.assertGreater(len(files), 10)
            for file in files:
                with self.subTest(file.name):
                    things = objects_of(file.read_text())
                    self.assertTrue(things)
                    namespaces = {thing["metadata"].get("namespace", "default") for thing in things}
                    made = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(namespaces)]
                    self.assertEqual(dry_run(self.cluster.api, made + things), [])

    def test_what_is_misspelt_or_unknown_is_refused(self):
        [monitor] = [thing for thing in objects_in(ROOT / "deploy/kubernetes") if thing["kind"] == "PodMonitor"]
        misspelt = copy.deepcopy(monitor)
        misspelt["spec"]["podMetricsEndpoint"] = misspelt["spec"].pop("podMetricsEndpoints")
        unknown = {"apiVersion": "example.com/v1", "kind": "Nothing", "metadata": {"name": "nothing"}}
        complaints = dry_run(self.cluster.api, [misspelt, unknown])
        self.assertEqual(len(complaints), 2)
        self.assertIn("podMetricsEndpoint", complaints[0])


if __name__ == "__main__":
    unittest.main()
