"""The loop where Argo CD does not apply what is pushed: sync windows, and a sync that is stuck, with a token that may end it and one that
may not."""

import unittest

from loop import STUCK, Loop, Target
from rig.cluster import shared


class WhatKeepsACommitOut(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.loop = Loop(shared(), dict.fromkeys(("barred", "shut", "kept", "stuck"), "Standard"), terminate_stuck=True)
        cls.addClassCleanup(cls.loop.stop)

    def started(self, *names: str) -> list[Target]:
        targets = [self.loop.targets[name] for name in names]
        self.loop.start(*targets)
        return targets

    def wait_told(self, text: str) -> None:
        """By the log of the replica that acts, before the time is over."""
        self.loop.wait_for(f"{text!r} in the log", lambda: text in self.loop.leader().container("driftd").log())

    def test_windows_are_named_and_waited_for_and_a_token_that_may_not_end_a_stuck_sync_is_told(self):
        """One window is lifted in time, one is not, and the token may `get` alone, which is enough to read them."""
        argocd = self.loop.argocd
        self.loop.use_argocd_account("driftd")
        barred, shut, kept = self.started("barred", "shut", "kept")
        with barred.load(rate=20, n_rows=5) as load, shut.load(rate=20, n_rows=5) as other, kept.load(rate=20, n_rows=5) as third:
            self.addCleanup(argocd.close_window)
            for target in (barred, shut, kept):
                target.wait_good("1")
            kept.deploy("2", check=STUCK.format(name="kept"))
            for target, deployed in [(target, target.deploy("2")) for target in (barred, shut)]:
                argocd.wait_synced(target.name, deployed)
            argocd.close_window("barred", "shut")
            denied = "a sync window denies it: `* * * * *` for 1h"
            commit = barred.wait_incident("SYNCING")["commit"]["commit"]
            self.wait_told(f"{denied}; `argocd app sync barred`")
            self.assertEqual(barred.versions(), {"2"})
            argocd.close_window("shut")
            self.assertEqual(barred.wait_incident("RECOVERED")["commit"]["commit"], commit)
            closed, forbidden = (target.wait_incident("NEEDS_HUMAN") for target in (shut, kept))
            print(f"\nwindow: {closed['reason']}\nforbidden: {forbidden['reason']}", flush=True)
            self.assertIn(f"{denied}; `argocd app sync shut`", closed["reason"])
            self.assertIn("it could not be ended, which takes the right `sync`: Argo CD answered 403 Forbidden: permission denied", forbidden["reason"])
            self.assertIn("`argocd app terminate-op kept`", forbidden["reason"])
            # The commits are made, and nothing is forced.
            for target in (shut, kept):
                self.assertEqual(target.versions(), {"2"})
                self.assertEqual(len(target.commits()), 3)
            self.assertEqual(argocd.status("kept")["operationState"]["phase"], "Running")
            # What was said is what helps.
            shut.sync()
            shut.wait_served("1")

    def test_a_stuck_sync_of_the_accused_version_is_ended_where_policy_and_token_allow_it(self):
        self.loop.use_argocd_account("driftd-terminates")
        [stuck] = self.started("stuck")
        with stuck.load(rate=20, n_rows=5) as load:
            deployed = self.loop.bad_version(stuck, load, check=STUCK.format(name="stuck"))
            running = lambda: self.loop.argocd.status("stuck")["operationState"]  # noqa: E731
            self.loop.wait_for("the check", lambda: "hook" in running()["message"] and running()["phase"] == "Running")
            self.loop.wait_for("its pod", lambda: self.loop.cluster.pods(self.loop.namespace, "job-name=stuck-check"))
            stuck.end_later_checks()
            stuck.wait_incident("SERVING")
            self.wait_told("ended what was in the way")
            stuck.wait_incident("OBSERVING")
            # The accused pods are gone, so that no alert tells the other replica, whose journal knows nothing of it either.
            self.loop.kill_leader()
            incident = stuck.wait_incident("RECOVERED", "NOT_RECOVERED", "INCONCLUSIVE", "NEEDS_HUMAN", "SUPPRESSED")
        self.assertEqual(incident["state"], "RECOVERED", incident)
        self.assertIsNone(incident["entered"].get("COMMITTING"))
        self.assertEqual(len(stuck.commits()), 3, stuck.commits())
        self.assertEqual(stuck.versions(), {"1"})
        # The sync of the bad version was ended and is in no history; that of ours ran its check to the end.
        history = [entry["revision"] for entry in self.loop.argocd.status("stuck")["history"]]
        self.assertNotIn(deployed, history)
        self.assertEqual(history[-1], incident["commit"]["commit"])
        self.assertEqual(running()["phase"], "Succeeded")


if __name__ == "__main__":
    unittest.main()
