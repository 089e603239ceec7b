"""Argo CD brings what is in Git into the cluster, and the token that driftd is given may look and refresh, and nothing else."""

import json
import time
import unittest

import requests
from rig.argocd import NAMESPACE, NotAllowed
from rig.cluster import shared


def settings(value: str) -> dict[str, str]:
    thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"value": value}}
    return {"app/settings.json": json.dumps(thing)}


class ArgoCD(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = shared()
        cls.argocd = cls.cluster.argocd()
        cls.token = cls.argocd.token("driftd")

    def check_that_a_push_is_synced_after_a_refresh(self, name: str, url_of) -> str:
        argocd, namespace = self.argocd, self.cluster.namespace()
        repository = argocd.repository(name)
        first = repository.push(settings("one"))
        argocd.application(name, url_of(repository), namespace, path="app")
        argocd.wait_synced(name, first)
        self.assertEqual(self.value(namespace), "one")

        second = repository.push(settings("two"))
        # Argo CD looks by itself every two minutes at the earliest, so that it is synced now is by the refresh.
        began = time.monotonic()
        seen = argocd.call("GET", f"/applications/{name}", token=self.token, refresh="normal")
        self.assertEqual(seen["status"]["sync"]["revision"], second)
        argocd.wait_synced(name, second)
        self.assertEqual(self.value(namespace), "two")
        self.assertLess(time.monotonic() - began, 60)
        return namespace

    def value(self, namespace: str) -> str:
        return self.cluster.api.get("ConfigMap", "settings", namespace)["data"]["value"]

    def test_a_push_to_a_folder_is_synced_after_a_refresh_with_the_least_token(self):
        self.check_that_a_push_is_synced_after_a_refresh("folder", lambda repository: repository.url)

    def test_a_push_over_http_is_synced_after_a_refresh_with_the_least_token(self):
        self.check_that_a_push_is_synced_after_a_refresh("web", self.argocd.web.url)

    def test_the_least_token_may_neither_sync_nor_change_nor_delete(self):
        argocd, name, namespace = self.argocd, "guarded", self.cluster.namespace()
        repository = argocd.repository(name)
        argocd.application(name, repository.url, namespace, path="app", automated=False)
        repository.push(settings("one"))
        seen = argocd.call("GET", f"/applications/{name}", token=self.token, refresh="hard")
        self.assertEqual(seen["status"]["sync"]["status"], "OutOfSync")
        attempts = {
            "sync": lambda: argocd.call("POST", f"/applications/{name}/sync", {}, token=self.token),
            "roll back": lambda: argocd.call("POST", f"/applications/{name}/rollback", {"id": 0}, token=self.token),
            "change": lambda: argocd.call("PUT", f"/applications/{name}/spec", {**seen["spec"], "project": "other"}, token=self.token),
            "delete": lambda: argocd.call("DELETE", f"/applications/{name}", token=self.token),
            "make another": lambda: argocd.call("POST", "/applications", {"metadata": {"name": "other"}, "spec": seen["spec"]}, token=self.token),
        }
        for what, attempt in attempts.items():
            with self.subTest(what), self.assertRaises(NotAllowed):
                attempt()
        with self.assertRaises(NotAllowed):
            argocd.call("GET", f"/applications/{name}")
        # All of it works for who may, so it is the account that is refused.
        argocd.call("POST", f"/applications/{name}/sync", {}, token=argocd.admin)
        argocd.wait_synced(name, repository.head())
        argocd.call("DELETE", f"/applications/{name}", token=argocd.admin, cascade="false")
        with self.assertRaises((requests.HTTPError, NotAllowed)):
            argocd.call("GET", f"/applications/{name}", token=argocd.admin)
        self.assertNotIn(name, [each["metadata"]["name"] for each in self.cluster.api.list("Application", NAMESPACE, "argoproj.io/v1alpha1")])


if __name__ == "__main__":
    unittest.main()
