"""What is lost is seen: the tests that say nothing is lost rest on it. Takes no cluster."""

import http.server
import itertools
import threading
import time
import unittest

from rig.load import Load


class Server(http.server.BaseHTTPRequestHandler):
    """Answers of ten requests: seven by version 1, one by version 2, one with 503, and one by closing the connection."""

    protocol_version = "HTTP/1.1"
    numbers = itertools.count()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        number = next(self.numbers) % 10
        if number == 9:
            self.close_connection = True
            return
        body = b"2" if number == 5 else b"1"
        self.send_response(503 if number == 8 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class LoadTest(unittest.TestCase):
    def test_every_request_is_written_down_with_how_it_ended(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        with Load("127.0.0.1", server.server_address[1], "/", b"{}", rate=100) as load:
            time.sleep(2)
        n_sent = len(load.samples)
        self.assertGreater(n_sent, 50)
        ends = {status: sum(1 for sample in load.lost() if sample.status == status) for status in (0, 503)}
        for n_lost in ends.values():
            self.assertAlmostEqual(n_lost, n_sent / 10, delta=1)
        self.assertEqual(len(load.lost()), sum(ends.values()))
        self.assertEqual(load.versions().total() + len(load.lost()), n_sent)
        self.assertAlmostEqual(load.share("2"), 1 / 8, delta=0.05)
        self.assertEqual(sum(load.versions(second, second + 1).total() for second in range(4)), load.versions().total())
        self.assertGreater(load.samples[-1].at, load.samples[0].at + 1)


if __name__ == "__main__":
    unittest.main()
