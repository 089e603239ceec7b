"""From a bad response to the proof that the model is well again, through Git, on the real parts: a push, Argo CD, KServe, injected sidecars,
Prometheus, Alertmanager, two replicas of the controller with the rights of `deploy/` and no others."""

import unittest

import yaml
from loop import STUCK, Loop, Target
from rig import kserve
from rig.cluster import shared
from rig.load import Load


class TheLoop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        names = ("credit", "fares", "ratings", "prices", "claims", "quotes", "orders", "drafts")
        cls.loop = Loop(shared(), dict.fromkeys(names, "Standard"))
        cls.addClassCleanup(cls.loop.stop)

    def bad_version(self, name: str, load: Load, version: str = "2", **others: str) -> tuple[Target, str]:
        target = self.loop.targets[name]
        return target, self.loop.bad_version(target, load, version, **others)

    def started(self, name: str, **options) -> Target:
        target = self.loop.targets[name]
        self.loop.start(target, **options)
        return target

    def test_a_version_that_contradicts_its_baseline_is_rolled_back_and_proved_well(self):
        credit = self.started("credit")
        with credit.load(rate=20, n_rows=5) as load:
            _, deployed = self.bad_version("credit", load)
            incident = credit.wait_incident("RECOVERED", "NOT_RECOVERED", "INCONCLUSIVE", "NEEDS_HUMAN", "SUPPRESSED")
        self.assertEqual(incident["state"], "RECOVERED", incident)
        self.check_the_commit(credit, deployed, incident)
        self.assertEqual(credit.versions(), {"1"})
        # What a person sees, from the journal and from Git alone.
        action = incident["plan"]["action"]
        self.assertRegex(self.loop.driftd("audit", "list"), f"{self.loop.namespace}/credit .* recovered ")
        explained = self.loop.driftd("audit", "explain", action)
        for word in ("DriftdModelDrift", "causality", credit.uri("2"), credit.uri("1")):
            self.assertIn(word, explained)
        self.loop.driftd("audit", "verify")
        self.assertIn(action, self.loop.driftd("audit", "rebuild", "--repo", self.loop.repository.url))
        credit.tell(load, incident)
        self.check_that_git_heals_the_cluster(credit)

    def check_the_commit(self, target: Target, parent: str, incident: dict) -> None:
        commit = incident["commit"]["commit"]
        self.assertEqual(self.loop.git("rev-parse", f"{commit}^"), parent)
        self.assertEqual(self.loop.git("diff", "--numstat", parent, commit), f"1\t1\t{target.file}")
        before, after = (yaml.safe_load(self.loop.git("show", f"{each}:{target.file}")) for each in (parent, commit))
        self.assertEqual(after["spec"]["predictor"]["model"].pop("storageUri"), target.uri("1"))
        self.assertEqual(before["spec"]["predictor"]["model"].pop("storageUri"), target.uri("2"))
        self.assertEqual(after, before)
        self.loop.git("fsck", "--strict")

    def check_that_git_heals_the_cluster(self, target: Target) -> None:
        """What somebody writes past Git does not stay."""
        kind = "InferenceService", target.name, self.loop.namespace, "serving.kserve.io/v1beta1"
        api = self.loop.cluster.api
        model = lambda: api.get(*kind)["spec"]["predictor"]["model"]  # noqa: E731
        api.merge(api.get(*kind), {"spec": {"predictor": {"model": {"storageUri": target.uri("2")}}}})
        self.assertEqual(model()["storageUri"], target.uri("2"))
        self.loop.wait_for("Argo CD's repair", lambda: model()["storageUri"] == target.uri("1"))

    def test_a_version_that_differs_as_its_baseline_says_is_left(self):
        ratings = self.started("ratings")
        with ratings.load(rate=20, n_rows=5) as load:
            self.bad_version("ratings", load, version="3")
            ratings.wait_served("3")
            ratings.wait_good("3")
        self.assertEqual(ratings.incidents(), [])
        self.assertEqual(ratings.commits(), ["release ratings 3", "release ratings 1"])

    def test_the_leader_dies_between_commit_and_push(self):
        fares = self.started("fares")
        with fares.load(rate=20, n_rows=5) as load, self.loop.argocd.web.gate() as gate:
            self.bad_version("fares", load)
            self.loop.wait_for("the push", gate.arrived.is_set)
            leader = self.loop.leader()
            leader.container("driftd").signal("KILL")
            self.loop.argocd.web.server.gate = None  # only that one push is lost
            gate.open(is_lost=True)
            self.loop.wait_for("another leader", lambda: self.loop.leader() is not leader)
            # Its journal knows nothing of it: the alert is found in Prometheus.
            incident = fares.wait_incident("RECOVERED", "NOT_RECOVERED", "INCONCLUSIVE", "NEEDS_HUMAN", "SUPPRESSED")
        self.assertEqual(incident["state"], "RECOVERED", incident)
        self.assertEqual(len(fares.commits()), 3, fares.commits())
        self.assertEqual(fares.versions(), {"1"})

    def test_the_leader_dies_again_and_again_and_there_is_one_commit(self):
        """Killed while it resolves, while Argo CD syncs, while the pods start, and while it observes. The replica that takes over has a
        journal that ends where it was killed itself, or that knows nothing of it."""
        drafts, argocd = self.started("drafts"), self.loop.argocd
        with drafts.load(rate=20, n_rows=5) as load:
            self.bad_version("drafts", load)
            with argocd.stopped():
                with argocd.web.gate(of_fetches=True):
                    drafts.wait_incident("RESOLVING")
                    self.loop.kill_leader()
                drafts.wait_incident("SYNCING")
                self.loop.kill_leader()
                drafts.wait_incident("SYNCING")
            for state in ("SERVING", "OBSERVING"):
                drafts.wait_incident(state)
                self.loop.kill_leader()
            ended = [drafts.wait_incident("RECOVERED")]
            # What the other one had open when it died is old by now.
            self.loop.kill_leader()
            ended.append(drafts.wait_incident("RECOVERED"))
        [commit] = {incident["commit"]["commit"] for incident in ended}
        self.assertEqual(self.loop.git("log", "--format=%H", "-1", "main", "--", drafts.file), commit)
        self.assertEqual(len(drafts.commits()), 3, drafts.commits())
        self.assertEqual(drafts.versions(), {"1"})
        self.loop.verify_journals()

    def test_somebody_pushes_a_newer_version_meanwhile(self):
        prices = self.started("prices")
        with prices.load(rate=20, n_rows=5) as load, self.loop.argocd.web.gate() as gate:
            self.bad_version("prices", load)
            self.loop.wait_for("the push", gate.arrived.is_set)
            newer = prices.push("3")  # not by HTTP
            gate.open()
            incident = prices.wait_incident("SUPERSEDED")
            self.assertIsNone(incident["commit"])
            prices.refresh()
            prices.wait_served("3")
        self.assertEqual(self.loop.git("log", "-1", "--format=%H", "main", "--", prices.file), newer)

    def test_what_hangs_is_told_with_what_hangs_and_nothing_is_forced(self):
        """A sync that never ends, one that is switched off, and a good version whose new pods never become ready."""
        argocd, claims, quotes, orders = self.loop.argocd, self.started("claims"), self.started("quotes", automated=False), self.started("orders")
        with claims.load(rate=20, n_rows=5) as load, quotes.load(rate=20, n_rows=5) as other, orders.load(rate=20, n_rows=5) as third:
            self.bad_version("claims", load, check=STUCK.format(name="claims"))
            _, deployed = self.bad_version("quotes", other)
            self.bad_version("orders", third)
            models = self.loop.cluster.models / "models/orders"
            (models / "1").rename(models / "gone")
            stuck, off, hung = (target.wait_incident("NEEDS_HUMAN") for target in (claims, quotes, orders))
            self.assertIn("`argocd app terminate-op claims`", stuck["reason"])
            self.assertIn(f"`argocd app sync quotes --revision {off['commit']['commit']}`", off["reason"])
            print(f"\nhung: {hung['reason']}", flush=True)
            # Old pods serve, so that KServe calls it ready.
            self.assertIn("KServe says Ready=True", hung["reason"])
            self.assertTrue(kserve.ready(self.loop.cluster.api, self.loop.namespace, "orders"))
            # The commits are made, and nobody has touched the cluster.
            for target in (claims, quotes, orders):
                self.assertEqual(target.versions(), {"2"})
                self.assertEqual(len(target.commits()), 3)
            self.assertEqual(argocd.status("claims")["operationState"]["phase"], "Running")
            self.assertEqual(argocd.status("quotes")["operationState"]["syncResult"]["revision"], deployed)
            # What was said is what helps.
            argocd.call("DELETE", "/applications/claims/operation", token=argocd.admin)
            quotes.sync(off["commit"]["commit"])
            for target in (claims, quotes):
                target.refresh()
                target.wait_served("1")


if __name__ == "__main__":
    unittest.main()
