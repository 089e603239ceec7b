"""Git repositories for Argo CD to follow, as folders (`file://`) and over HTTP by Git's own `git http-backend`."""

import contextlib
import http.server
import os
import subprocess
import threading
from pathlib import Path
from typing import Iterator

from .network import GATEWAY

WHO = {"GIT_AUTHOR_NAME": "rig", "GIT_AUTHOR_EMAIL": "rig@example.com", "GIT_COMMITTER_NAME": "rig", "GIT_COMMITTER_EMAIL": "rig@example.com"}
# Nothing of this machine's settings and no question to anybody.
QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}


def git(*arguments: object, folder: Path) -> str:
    done = subprocess.run(["git", *map(str, arguments)], cwd=folder, env={**os.environ, **WHO, **QUIET}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout.strip()


class Repository:
    """A bare repository with the branch `main`, and a clone of it to make commits in."""

    def __init__(self, parent: Path, name: str):
        self.name = name
        self.bare, self.clone = parent / f"{name}.git", parent / f"{name}-clone"
        parent.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--bare", "--initial-branch=main", self.bare, folder=parent)
        git("config", "http.receivepack", "true", folder=self.bare)
        git("clone", "--quiet", self.bare, self.clone, folder=parent)

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    def push(self, files: dict[str, str], message: str = "change") -> str:
        """Commits `files` (path → content) on what is there by now; returns the commit once it is pushed."""
        if git("branch", "--remotes", folder=self.clone):
            git("pull", "--quiet", "--rebase", "origin", "main", folder=self.clone)
        for path, content in files.items():
            (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
            (self.clone / path).write_text(content)
        git("add", "--all", folder=self.clone)
        git("commit", "--quiet", "--message", message, folder=self.clone)
        git("push", "--quiet", "origin", "HEAD:main", folder=self.clone)
        return self.head()

    def head(self) -> str:
        return git("rev-parse", "main", folder=self.bare)


class Backend(http.server.BaseHTTPRequestHandler):
    """Runs `git http-backend` for each request, as a web server does: it reads and writes as CGI says."""

    protocol_version = "HTTP/1.1"
    root: Path

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.body()
        gate = self.server.gate
        if gate and gate.holds(path, query):
            gate.arrived.set()
            gate.opened.wait()
            if gate.is_lost:
                self.close_connection = True
                return
        env = {
            **os.environ,
            **QUIET,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": self.client_address[0],
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Gate:
    """Holds pushes back once all of them has arrived, or fetches before anything is said, until it is opened: let through, or lost."""

    def __init__(self, of_fetches: bool = False):
        self.arrived, self.opened = threading.Event(), threading.Event()
        self.of_fetches, self.is_lost = of_fetches, False

    def holds(self, path: str, query: str) -> bool:
        if self.of_fetches:
            return path.endswith("/info/refs") and query == "service=git-upload-pack"
        return path.endswith("/git-receive-pack")

    def open(self, is_lost: bool = False) -> None:
        self.is_lost = is_lost
        self.opened.set()


class Server:
    """Serves all repositories under `root` to the host and to pods, without asking who they are."""

    def __init__(self, root: Path):
        handler = type("Handler", (Backend,), {"root": root})
        self.server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), handler)
        self.server.daemon_threads = True
        # Clients that are gone before their answer are no trouble of ours.
        self.server.handle_error = lambda *_: None
        self.server.gate = None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @contextlib.contextmanager
    def gate(self, of_fetches: bool = False) -> Iterator[Gate]:
        """A gate for the pushes, or the fetches, that come while the block runs."""
        self.server.gate = gate = Gate(of_fetches)
        try:
            yield gate
        finally:
            self.server.gate = None
            gate.open()

    def url(self, repository: Repository) -> str:
        return f"http://{GATEWAY}:{self.server.server_address[1]}/{repository.bare.name}"
