"""What the webhook adds to the creation of a pod, through the real API server: not a test but a measurement, of a quiet machine.

./test.sh --cluster --release -v latency
"""

import copy
import re
import statistics
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import support
from rig.api import Object
from rig.cluster import shared

N_WARM, N, N_RUNS = 50, 500, 3
OURS = "pods.driftd.io"
KSERVES = "inferenceservice.kserve-webhook-server.pod-mutator"


def quantile(values: list[float], q: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(q * 1000) - 1]


def histogram(text: str, series: str, **labels: str) -> dict[float, float]:
    """Upper bounds → counts up to them, of all series that carry these labels."""
    found: dict[float, float] = {}
    for match in re.finditer(rf'^{series}_bucket{{(.*)}} (\S+)$', text, re.MULTILINE):
        if all(f'{label}="{value}"' in match[1] for label, value in labels.items()):
            bound = float(re.search(r'le="([^"]+)"', match[1])[1])
            found[bound] = found.get(bound, 0) + float(match[2])
    return found


def of_histogram(after: dict[float, float], before: dict[float, float], q: float) -> float:
    """As Prometheus' `histogram_quantile` has it: straight lines between bounds."""
    counts = sorted((bound, count - before.get(bound, 0)) for bound, count in after.items())
    wanted, low, n_low = q * counts[-1][1], 0.0, 0.0
    for bound, count in counts:
        if count >= wanted:
            return low if bound == float("inf") else low + (bound - low) * (wanted - n_low) / max(count - n_low, 1)
        low, n_low = bound, count
    return low


class Latency(unittest.TestCase):
    def test_what_the_webhook_adds(self):
        cluster = shared()
        namespace = cluster.namespace()
        support.put_model(cluster, "models/timed/1", "diabetes", "timed")
        self.webhook = support.install_webhook(cluster)
        with_it = support.pod_of(cluster, support.sklearn_service(namespace, "timed", "s3://models/timed/1", support.ASKS))
        without = copy.deepcopy(with_it)
        without["metadata"]["labels"]["driftd.io/inject"] = "false"
        self.assertTrue(support.is_watched(support.create(cluster, with_it)))
        self.assertFalse(support.is_watched(support.create(cluster, without)))
        for n_callers in (1, 8):
            for run in range(N_RUNS):
                self.measure(cluster, {"without": without, "with": with_it}, n_callers, run)

    def measure(self, cluster, pods: dict[str, Object], n_callers: int, run: int) -> None:
        """Both in turn, so that what else the machine does meets both."""
        names = list(pods)
        seconds: dict[str, list[float]] = {name: [] for name in names}

        def create(number: int) -> tuple[str, float]:
            name = names[number % 2]
            began = time.perf_counter()
            support.create(cluster, pods[name])
            return name, time.perf_counter() - began

        with ThreadPoolExecutor(n_callers) as pool:
            list(pool.map(create, range(N_WARM)))
            before = self.histograms(cluster)
            for name, took in pool.map(create, range(2 * N)):
                seconds[name].append(took)
        after = self.histograms(cluster)
        row = [f"{n_callers} at once, run {run + 1}"]
        for q in (0.5, 0.99):
            there, bare = quantile(seconds["with"], q), quantile(seconds["without"], q)
            row.append(f"p{q * 100:.0f} {1e3 * bare:.2f} → {1e3 * there:.2f} ms (× {there / bare:.2f})")
        for name in after:
            values = " / ".join(f"{1e3 * of_histogram(after[name], before[name], q):.2f}" for q in (0.5, 0.99))
            row.append(f"{name} {values} ms")
        print(" | ".join(row), flush=True)

    def histograms(self, cluster) -> dict[str, dict[float, float]]:
        server = cluster.api.call("GET", "/metrics")
        found = {
            f"call of {name}": histogram(server, "apiserver_admission_webhook_admission_duration_seconds", name=webhook)
            for name, webhook in (("ours", OURS), ("KServe's", KSERVES))
        }
        own = "\n".join(support.ask(pod.address, 9464, "/metrics").body.decode() for pod in self.webhook)
        for name in ("driftd_webhook_request_seconds", "driftd_webhook_review_seconds"):
            found[name] = histogram(own, name)
        return found


if __name__ == "__main__":
    unittest.main()
