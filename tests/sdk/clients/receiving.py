"""A small receiver of webhooks, as somebody would write one: it notes what comes, and answers as it is told."""

import contextlib
import dataclasses
import http.server
import json
import os
import threading
import urllib.parse

from waiting import until

URLS = json.loads(os.environ["OFFPEAK_TEST_RECEIVERS"])
SECRETS = json.loads(os.environ["OFFPEAK_TEST_SECRETS"])


@dataclasses.dataclass(frozen=True)
class Webhook:
    """One as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict:
        return json.loads(self.body)

    def is_about(self, name: str) -> bool:
        """Whether it tells of the deferral with this id, or of the group with this name."""
        return name in (self.event["data"].get("id"), self.event["data"].get("name"))


class Receiver:
    """What has come, and what the next ones are answered; 204 when nothing is said."""

    def __init__(self):
        self.received: list[Webhook] = []
        self.statuses: dict[str, list[int]] = {}

    def of(self, name: str, count: int = 1) -> list[Webhook]:
        """All that came about a deferral or a group, as soon as there are so many."""

        def about() -> list[Webhook]:
            return [webhook for webhook in self.received if webhook.is_about(name)]

        return until(about, lambda seen: len(seen) >= count)

    def take(self, webhook: Webhook) -> int:
        self.received.append(webhook)
        statuses = self.statuses.get(webhook.path, [])
        return statuses.pop(0) if statuses else 204


@contextlib.contextmanager
def listening(port: int = 0):
    """A receiver that listens on this port of loopback, or on a free one; gives it and its port."""
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.take(Webhook(self.path, dict(self.headers), body)))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield receiver, server.server_address[1]
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def port_of(url: str) -> int:
    return urllib.parse.urlsplit(url).port
