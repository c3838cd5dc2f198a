"""A chat endpoint on loopback that plays what a test tells it to, and stops with the test."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sirl.rollouts.arrivals import HELLO


class Server(ThreadingHTTPServer):
    """Plays an endpoint: `play` maps a request's body to status, headers and answer."""

    request_queue_size = 128  # a connection beyond the queue is tried again after a second

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.play = lambda body: fine(body["messages"][-1]["content"])
        self.seen = []
        self.lock = threading.Lock()
        self.ending = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def asked(self):
        """The last turns of the requests, without greetings."""
        texts = [said_in(body) for _, _, body in self.seen]
        return [text for text in texts if text != HELLO[0].content]


class Handler(BaseHTTPRequestHandler):
    """Notes each request and lets the server's play answer it."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers), body))
        status, headers, answer = self.server.play(body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:  # the client's patience was over
            self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def served():
    """A server that runs as long as the block."""
    with Server() as played:
        thread = threading.Thread(target=played.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield played
        finally:
            played.ending.set()
            played.shutdown()
            thread.join()


def fine(text, **more):
    return 200, {}, {"choices": [{"message": {"content": text}, "finish_reason": "stop", **more}]}


def in_turn(*answers):
    """A play that gives each answer once, and the last one ever after."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def said_in(body):
    return body["messages"][-1]["content"]


def choice(message, reason="stop"):
    return 200, {}, {"choices": [{"message": message, "finish_reason": reason}]}
