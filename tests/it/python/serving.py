"""What the two start-up programs share: free ports, the ready line, an end that follows the parent's."""

import json
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

# One thread a server: the machine is shared with the tests, and small models are slower with a pool.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to outgoing connections: one of these may be taken between
    this call and the server's."""
    found = []
    while len(found) < n:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def announce_when_ready(ready_urls: list[str], report: dict) -> None:
    """Prints `ready {json}` on standard output, once, when every URL answers 200."""
    begin = time.monotonic()

    def wait() -> None:
        pending = list(ready_urls)
        while pending:
            try:
                with urllib.request.urlopen(pending[0], timeout=2) as answer:
                    if answer.status == 200:
                        pending.pop(0)
                        continue
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        report["start_seconds"] = round(time.monotonic() - begin, 3)
        print("ready " + json.dumps(report), flush=True)

    threading.Thread(target=wait, daemon=True).start()


def stop_with_stdin() -> None:
    """Ends this process when standard input is closed, so that no server outlives a test run that was killed.
    The parent keeps a pipe open; a terminal works as well, /dev/null does not."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def fail(message: str) -> None:
    sys.exit(f"{os.path.basename(sys.argv[0])}: {message}")
