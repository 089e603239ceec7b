"""Programs of the rig, each with its output in a file, and waiting for what they do."""

import subprocess
import time
from pathlib import Path
from typing import Callable, TypeVar

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds after which something will never come. Nothing is measured by it: on a busy machine all is slower, and passes."""


class Gone(Exception):
    """A program that should run has ended; says where its output is and how it ends."""


class Program:
    def __init__(self, name: str, arguments: list, logs: Path, env: dict[str, str] | None = None):
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as output:
            command = [str(argument) for argument in arguments]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)

    def check(self) -> None:
        if (code := self.process.poll()) is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise Gone(f"{self.name} has ended with {code}; the end of its log:\n{tail}")

    def stop(self, grace: float = 15.0) -> None:
        self.process.terminate()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait_for(what: str, look: Callable[[], T | None], programs: tuple[Program, ...] = (), patience: float = PATIENCE) -> T:
    """What `look` returns once that is neither None nor False. Its exceptions count as "not yet" and are told at the end."""
    deadline = time.monotonic() + patience
    trouble: Exception | None = None
    while True:
        try:
            if (found := look()) not in (None, False):
                return found
            trouble = None
        except Exception as error:  # noqa: BLE001: whatever it is, it may pass
            trouble = error
        for program in programs:
            program.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {patience:.0f} s; last: {trouble!r}") from trouble
        time.sleep(0.05)
