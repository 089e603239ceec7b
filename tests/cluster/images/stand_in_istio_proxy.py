"""Stands in for the part of Istio's sidecar that a pod's readiness hangs on: on port 15021 it says that it is ready itself, on 15020
it asks the probes of the other containers that were rewritten to it (`ISTIO_KUBE_APP_PROBERS`, as pilot-agent reads it). It
captures no traffic."""

import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROBERS = json.loads(os.environ["ISTIO_KUBE_APP_PROBERS"])


def ask(handler: dict) -> int:
    """200 where the probe as it was before would have succeeded."""
    try:
        if tcp := handler.get("tcpSocket"):
            socket.create_connection(("127.0.0.1", tcp["port"]), 1).close()
            return 200
        get = handler["httpGet"]
        with urllib.request.urlopen(f"http://127.0.0.1:{get['port']}{get['path']}", timeout=1) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 500


class Probes(BaseHTTPRequestHandler):
    def do_GET(self):
        handler = PROBERS.get(self.path)
        self.send_response(ask(handler) if handler else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Own(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


# The first process of a container ignores what it has no handler for.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
threading.Thread(target=ThreadingHTTPServer(("", 15021), Own).serve_forever, daemon=True).start()
ThreadingHTTPServer(("", 15020), Probes).serve_forever()
