"""Steady requests to a service, each written down: when it was sent, how it ended, and which version answered."""

import collections
import http.client
import threading
import time
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Sample:
    at: float
    """Seconds after the load began."""
    took: float
    status: int
    """0 where there was no answer."""
    version: str
    """What `version_of` makes of the answer's body, or what went wrong."""


class Load:
    """Sends `body`, or what it returns each time, to `path` `rate` times a second while its `with` block runs.

    A request is due at its time whether or not the one before has been answered, as long as one of `n_workers` connections is free. An
    answer that is missing or not 200 is lost: nothing is sent twice.
    """

    def __init__(self, address: str, port: int, path: str, body: bytes | Callable[[], bytes], host: str | None = None, rate: float = 20, n_workers: int = 8, version_of: Callable[[bytes], str] = bytes.decode):
        self.address, self.port, self.path, self.body = address, port, path, body
        self.headers = {"Content-Type": "application/json"} | ({"Host": host} if host else {})
        self.rate, self.version_of = rate, version_of
        self.samples: list[Sample] = []
        self.lock = threading.Lock()
        self.n_sent = 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(n_workers)]

    def __enter__(self) -> "Load":
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        """Waits for the answers that are due."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.samples.sort(key=lambda sample: sample.at)

    def now(self) -> float:
        return time.monotonic() - self.began

    def wall(self, at: float) -> float:
        """Seconds since 1970 of a time of this load."""
        return time.time() - self.now() + at

    def lost(self) -> list[Sample]:
        return [sample for sample in list(self.samples) if sample.status != 200]

    def versions(self, since: float = 0, until: float = float("inf")) -> collections.Counter[str]:
        """How many requests sent in that time each version has answered."""
        return collections.Counter(each.version for each in list(self.samples) if each.status == 200 and since <= each.at < until)

    def share(self, version: str, since: float = 0, until: float = float("inf")) -> float:
        counts = self.versions(since, until)
        return counts[version] / counts.total() if counts else 0.0

    def shares(self, version: str) -> list[float]:
        """The share of `version` in each second."""
        return [self.share(version, second, second + 1) for second in range(int(self.samples[-1].at) + 1)]

    def last(self, version: str) -> float | None:
        """When the last request was sent that `version` answered."""
        return max((each.at for each in list(self.samples) if each.version == version), default=None)

    def _work(self) -> None:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=60)
        while True:
            with self.lock:
                due = self.n_sent / self.rate
                self.n_sent += 1
            if self.stopping.wait(max(0.0, due - self.now())):
                connection.close()
                return
            at = self.now()
            try:
                connection.request("POST", self.path, self.body() if callable(self.body) else self.body, self.headers)
                answer = connection.getresponse()
                body = answer.read()
                status, version = answer.status, self.version_of(body) if answer.status == 200 else body.decode(errors="replace")[:200]
            except (OSError, http.client.HTTPException) as error:
                connection.close()  # the next request opens it again
                status, version = 0, repr(error)
            self.samples.append(Sample(at, self.now() - at, status, version))
