"""The loop in KServe's Serverless mode, under load through the ingress: a canary of 10 % that is bad is stopped by one commit that moves its
traffic, and cleaned up by another; a bad version after its promotion; and a good version that never comes up again."""

import math
import unittest
from pathlib import Path

import yaml
from loop import Loop, Target
from rig.cluster import shared
from rig.load import Load

RATE, N_ROWS = 40, 3


class ServerlessLoop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.loop = Loop(shared(), dict.fromkeys(("canary", "promoted", "hung", "broken"), "Knative"))
        cls.addClassCleanup(cls.loop.stop)

    def predictor(self, target: Target, commit: str) -> dict:
        return yaml.safe_load(self.loop.git("show", f"{commit}:{target.file}"))["spec"]["predictor"]

    def check_shares(self, load: Load, since: int, until: int) -> None:
        """Of each whole second, within four standard deviations of a tenth."""
        for second in range(since, until):
            n = load.versions(second, second + 1).total()
            self.assertLessEqual(abs(load.share("2", second, second + 1) - 0.1), 4 * math.sqrt(0.1 * 0.9 / n) + 1 / n, (second, n))

    def test_a_bad_canary_is_stopped_by_one_commit_that_moves_its_traffic_and_then_cleaned_up(self):
        target = self.loop.targets["canary"]
        self.loop.start(target)
        with target.load(RATE, N_ROWS) as load:
            target.wait_good("1")
            released = target.deploy("2", percent=10)
            self.loop.wait_for("the canary", lambda: load.versions()["2"] > 0)
            began = math.ceil(load.now()) + 1
            incident = target.wait_incident("RECOVERED", "NOT_RECOVERED", "INCONCLUSIVE", "NEEDS_HUMAN", "SUPPRESSED")
            self.assertEqual(incident["state"], "RECOVERED", incident)
            target.refresh()
            # Long enough to see that the clean-up leads nothing to version 2.
            cleaned = load.now()
            self.loop.wait_for("some more seconds", lambda: load.now() > cleaned + 10)
        stop, cleanup = incident["commit"]["commit"], incident["cleanup"]["commit"]
        self.assertEqual(self.loop.git("rev-parse", f"{stop}^"), released)
        before, after, clean = (self.predictor(target, commit) for commit in (released, stop, cleanup))
        self.assertEqual((after["canaryTrafficPercent"], after["model"]["storageUri"]), (0, target.uri("1")))
        self.assertEqual(self.loop.git("diff", "--numstat", released, stop), f"2\t2\t{target.file}")
        self.assertEqual(self.loop.git("diff", "--numstat", stop, cleanup), f"0\t1\t{target.file}")
        self.assertEqual(clean, {name: value for name, value in after.items() if name != "canaryTrafficPercent"})
        self.assertEqual(before["canaryTrafficPercent"], 10)
        # Argo CD writes whole seconds, which the first second here is for.
        last, applied = load.last("2"), target.deployed_at(stop) - load.wall(0)
        self.assertLess(last, applied + 1 + 1)
        self.check_shares(load, began, math.floor(min(last, applied)))
        print(f"\n{load.share('2', began, last):.1%} of {load.versions(began, last).total()} to the canary; {len(load.lost())} of {len(load.samples)} lost", flush=True)
        target.tell(load, incident)
        self.assertEqual(load.lost(), [])

    def test_after_its_promotion_a_bad_version_is_rolled_back_and_serves_until_the_good_one_is_ready(self):
        target = self.loop.targets["promoted"]
        self.loop.start(target)
        with target.load(RATE, N_ROWS) as load:
            target.wait_good("1")
            released = target.deploy("2")
            self.loop.wait_for("version 2 alone", lambda: load.now() > 5 and load.share("2", since=load.now() - 3) == 1)
            incident = target.wait_incident("RECOVERED", "NOT_RECOVERED", "INCONCLUSIVE", "NEEDS_HUMAN", "SUPPRESSED")
            self.assertEqual(incident["state"], "RECOVERED", incident)
            ended = load.now()
            self.loop.wait_for("some more seconds", lambda: load.now() > ended + 3)
            self.assertEqual(load.share("1", since=ended), 1.0)
            self.assertEqual(self.loop.git("diff", "--numstat", released, incident["commit"]["commit"]), f"1\t1\t{target.file}")
        self.assertEqual(load.lost(), [])

    def test_a_promoted_version_serves_on_where_the_good_one_gets_no_pods_any_more(self):
        target = self.loop.targets["hung"]
        self.loop.start(target)
        with target.load(RATE, N_ROWS) as load:
            target.wait_good("1")
            released = target.deploy("2")
            self.loop.wait_for("version 2 alone", lambda: load.now() > 5 and load.share("2", since=load.now() - 3) == 1)
            self.take_away_version_1(target)
            promoted = load.now()
            incident = target.wait_incident("NEEDS_HUMAN")
            ended = load.now()
            self.loop.wait_for("some more seconds", lambda: load.now() > ended + 3)
        print(f"\nhung: {incident['reason']}", flush=True)
        self.assertIn("pod hung-predictor-", incident["reason"])
        self.assertIn("storage-initializer", incident["reason"])
        self.assertIn(f"traffic: {target.uri('2')} 100 %", incident["reason"])
        self.assertEqual(self.loop.git("diff", "--numstat", released, incident["commit"]["commit"]), f"1\t1\t{target.file}")
        self.assertEqual(load.share("2", since=promoted), 1.0)
        self.assertEqual(load.lost(), [])

    def take_away_version_1(self, target: Target) -> Path:
        """What it is started from: its pods serve on, and new ones never become ready. Renamed to `1` again it is back."""
        models = self.loop.cluster.models / "models" / target.name
        return (models / "1").rename(models / "gone")

    def test_a_canary_is_stopped_and_cleaned_up_once_the_good_version_gets_new_pods_by_whoever_acts_then(self):
        target = self.loop.targets["broken"]
        self.loop.start(target)
        with target.load(RATE, N_ROWS) as load:
            target.wait_good("1")
            target.deploy("2", percent=10)
            self.loop.wait_for("the canary", lambda: load.versions()["2"] > 0)
            gone = self.take_away_version_1(target)
            target.wait_incident("CLEANING")
            stopped = load.now()
            self.loop.wait_for("some more seconds", lambda: load.now() > stopped + 10)
            incident = target.wait_incident("CLEANING")
            # Without its percent all traffic would go to the last revision that was ready, the bad one.
            self.assertIsNone(incident["cleanup"])
            self.assertEqual(self.predictor(target, "main")["canaryTrafficPercent"], 0)
            self.loop.kill_leader()
            taken_over = target.wait_incident("CLEANING")
            self.assertEqual(taken_over["commit"]["commit"], incident["commit"]["commit"])
            gone.rename(gone.with_name("1"))
            cleaned = target.wait_incident("RECOVERED")
            # The one that was killed has it open.
            self.loop.kill_leader()
            late = target.wait_incident("RECOVERED")
            self.assertEqual(load.share("1", since=stopped), 1.0)
        self.assertEqual(self.loop.git("log", "-1", "--format=%H", "main", "--", target.file), cleaned["cleanup"]["commit"])
        self.assertEqual(late["cleanup"]["commit"], cleaned["cleanup"]["commit"])
        self.assertNotIn("canaryTrafficPercent", self.predictor(target, "main"))
        self.assertEqual(len(target.commits()), 4, target.commits())
        self.loop.verify_journals()
        self.assertEqual(load.lost(), [])


if __name__ == "__main__":
    unittest.main()
