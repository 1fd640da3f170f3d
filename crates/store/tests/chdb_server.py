"""A current ClickHouse for the tests: chdb behind as much of ClickHouse's HTTP
interface as the store uses. Prints its port. Usage: chdb_server.py DIRECTORY"""

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

DIRECTORY = sys.argv[1]
SESSION = Session(os.path.join(DIRECTORY, "data"))
TURN = threading.Lock()
# Of the interface, and not of the engine.
NO_SETTINGS = {"query", "database", "wait_end_of_query", "buffer_size"}


def quoted(value):
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def run(sql, body, settings):
    with TURN:
        if settings:
            SESSION.query("SET " + ", ".join(f"{n} = {quoted(v)}" for n, v in settings))
        try:
            if body and sql:
                path = os.path.join(DIRECTORY, "body")
                with open(path, "wb") as file:
                    file.write(body)
                head, form = sql.rsplit(" FORMAT ", 1)
                SESSION.query(f"{head} FROM INFILE {quoted(path)} FORMAT {form}")
                return b""
            answer = SESSION.query(sql or body.decode("utf-8"), "TabSeparated")
            return b"" if answer is None else bytes(answer.bytes() or b"")
        finally:
            if settings:
                SESSION.query("SET " + ", ".join(f"{n} = DEFAULT" for n, _ in settings))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        parameters = parse_qsl(urlsplit(self.path).query, keep_blank_values=True)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        settings = [(n, v) for n, v in parameters if n not in NO_SETTINGS]
        try:
            status, answer = 200, run(dict(parameters).get("query", ""), body, settings)
        except Exception as error:  # The engine's own words go to the client.
            status, answer = 500, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


SERVER = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
SERVER.daemon_threads = True
print(SERVER.server_address[1], flush=True)
SERVER.serve_forever()
