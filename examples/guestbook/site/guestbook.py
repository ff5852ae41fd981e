#!/usr/bin/env python3
"""A guestbook: writes go to the Redis primary, reads come from its replicas."""
import html
import os
import signal
import socket
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

KEY = "guestbook"
SHOWN = 100
PRIMARY = redis.Redis(host=os.environ.get("PRIMARY", "redis-primary"), socket_timeout=5, decode_responses=True)
REPLICA = redis.Redis(host=os.environ.get("REPLICA", "redis-replica"), socket_timeout=5, decode_responses=True)


class Page(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """The entries, or whether both stores answer."""
        if self.path == "/healthz":
            PRIMARY.ping()
            REPLICA.ping()
            return self.answer(200, "ok\n", "text/plain")
        if self.path != "/":
            return self.answer(404, "not found\n", "text/plain")
        entries = "".join(f"<li>{html.escape(entry)}</li>" for entry in REPLICA.lrange(KEY, 0, SHOWN - 1))
        body = (
            "<!doctype html><title>Guestbook</title><h1>Guestbook</h1>"
            '<form method="post"><input name="entry" required><button>Sign</button></form>'
            f"<ul>{entries}</ul><p>served by {socket.gethostname()}</p>"
        )
        return self.answer(200, body, "text/html; charset=utf-8")

    def do_POST(self):
        """Takes an entry."""
        length = min(int(self.headers.get("Content-Length", 0)), 65536)
        form = urllib.parse.parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        entry = form.get("entry", [""])[0].strip()
        if not entry:
            return self.answer(400, "entry is needed\n", "text/plain")
        PRIMARY.lpush(KEY, entry[:1000])
        return self.answer(303, "", "text/plain", ("Location", "/"))

    def answer(self, code, body, kind, *headers):
        """Sends a whole answer."""
        data = body.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def main():
    """Serves until asked to end."""
    server = ThreadingHTTPServer(("0.0.0.0", 8080), Page)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
