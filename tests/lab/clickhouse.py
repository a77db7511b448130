"""clickhouse.py FOLDER: ClickHouse's engine behind as much of its HTTP interface as Telegraf and a test need, on a
free port of loopback, which it prints: POST or GET /?query=QUERY, with the data of an INSERT as the body."""

import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

from chdb import session

engine = session.Session(sys.argv[1])


class Interface(BaseHTTPRequestHandler):
    def do_POST(self):
        address = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(address.query)["query"][0]
        data = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        try:
            status, answer = 200, str(engine.query(f"{query}\n{data}", "TabSeparated"))
        except Exception as error:
            status, answer = 500, str(error)
        body = answer.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Interface)
print(f"listens on port {server.server_port}", flush=True)
server.serve_forever()
