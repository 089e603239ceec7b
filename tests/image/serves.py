"""Starts driftd as the image does: user 65532, in a root folder that holds the binary and nothing else. In a network of its own, so
that ports are free and port 53 is ours.

    unshare --net python3 tests/image/serves.py BINARY
"""

import fcntl
import http.server
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

NAME = "model.test"
ANSWER = b'{"predictions": [1]}'
PATIENCE_S = 30


def loopback_up():
    SIOCSIFFLAGS, IFF_UP = 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


class MockModelServer(http.server.BaseHTTPRequestHandler):
    """Answers everything alike."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_):
        pass


def mock_name_server(server):
    """Says that NAME is 127.0.0.1, and knows no other name and no other type of record."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in NAME.split(".")) + b"\0"
    while True:
        query, peer = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        known = query[12 : end - 4].lower() == question
        is_address = known and query[end - 4 : end - 2] == b"\0\1"
        head = query[:2] + struct.pack(">HHHHH", 0x8580 if known else 0x8583, 1, int(is_address), 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
        server.sendto(head + query[12:end] + (record if is_address else b""), peer)


def serve_stand_ins():
    threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", 8081), MockModelServer).serve_forever, daemon=True).start()
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    threading.Thread(target=mock_name_server, args=(names,), daemon=True).start()


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_for(driftd, url, status):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert driftd.poll() is None, f"driftd ended with {driftd.returncode}"
        try:
            seen = get(url)
        except OSError as error:
            seen = (error, b"")
        if seen[0] == status:
            return seen[1]
        assert time.monotonic() < deadline, f"{url}: {seen}, expected {status}"
        time.sleep(0.05)


def check(root, upstream):
    arguments = ["/driftd", "run", "--listen=127.0.0.1:8080", "--admin=127.0.0.1:9464", f"--upstream={upstream}"]
    driftd = subprocess.Popen([shutil.which("chroot"), "--userspec=65532:65532", root, *arguments], env={})
    try:
        wait_for(driftd, "http://127.0.0.1:9464/livez", 200)
        wait_for(driftd, "http://127.0.0.1:9464/readyz", 200)
        assert b"driftd_build_info" in wait_for(driftd, "http://127.0.0.1:9464/metrics", 200)
        answer = wait_for(driftd, "http://127.0.0.1:8080/v1/models/credit", 200)
        assert answer == ANSWER, answer
        with open(f"/proc/{driftd.pid}/status") as status:
            users = next(line for line in status if line.startswith("Uid:")).split()[1:]
        assert set(users) == {"65532"}, users
        driftd.send_signal(signal.SIGTERM)
        assert driftd.wait(PATIENCE_S) == 0, driftd.returncode
    finally:
        driftd.kill()
        driftd.wait()


def main(binary):
    loopback_up()
    serve_stand_ins()
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        shutil.copy(binary, os.path.join(root, "driftd"))
        check(root, "http://127.0.0.1:8081")
        print("tests/image: serves as user 65532 in a root folder with nothing but the binary", file=sys.stderr)
        # What a kubelet puts into every container. A C library that is linked statically could not look names up by plug-ins.
        os.mkdir(os.path.join(root, "etc"), 0o755)
        with open(os.path.join(root, "etc", "resolv.conf"), "w") as file:
            file.write("nameserver 127.0.0.1\n")
        check(root, f"http://{NAME}:8081")
        with open(os.path.join(root, "etc", "hosts"), "w") as file:
            file.write("127.0.0.1 localhost\n127.0.0.1 hosts-file.test\n")
        check(root, "http://hosts-file.test:8081")
        print("tests/image: finds names by DNS and by /etc/hosts", file=sys.stderr)


main(sys.argv[1])
