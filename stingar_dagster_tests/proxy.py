"""A proxy on loopback, before a service that speaks HTTP, which spoils requests on request.

A `Script` says which request is hit, and how; everything else is passed on as it is. Not here:
faults without a network (`faulty_store`).
"""

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

_LONGER_THAN_ANY_TIME_OUT: Final = 20
_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "proxy-connection"}


class Wire(StrEnum):
    """What happens to a request."""

    ERROR_500 = "500"
    ERROR_503 = "503"
    ERROR_429 = "429"
    HANG = "hang"
    """No answer until the client goes."""
    DROP = "drop"
    """The connection ends before the request is passed on."""
    LOSE = "lose"
    """The connection ends after the service answered: what was asked for is done."""
    TRUNCATE = "truncate"
    """The answer ends in the middle of its body."""
    FLIP = "flip"
    """One bit of the answer's body is another."""
    STALE = "stale"
    """A listing is answered as when the script was set."""


class Seen(NamedTuple):
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]

    @property
    def is_listing(self) -> bool:
        return self.query.get("comp") == ["list"]


def any_request(seen: Seen) -> bool:
    return True


@dataclass
class Script:
    """Which requests are hit: of those chosen, `times` from the `first` on.

    Attributes:
        seen: requests that were chosen, in the order of their arrival.
        hit: those of them that were hit.
        outstayed: those of them whose answer the client waited for, longer than it should.
    """

    wire: Wire | None = None
    first: int = 0
    times: int = 1
    chosen: Callable[[Seen], bool] = any_request
    seen: list[Seen] = field(default_factory=list)
    hit: list[Seen] = field(default_factory=list)
    outstayed: list[Seen] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def hits(self, request: Seen) -> Wire | None:
        with self._lock:
            if not self.chosen(request):
                return None
            number = len(self.seen)
            self.seen.append(request)
            if self.wire is None or not self.first <= number < self.first + self.times:
                return None
            self.hit.append(request)
            return self.wire


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Proxy:
    """Passes requests on to a service, as the script says."""

    def __init__(self, host: str, port: int) -> None:
        self._service = host, port
        self._connections: dict[socket.socket, http.client.HTTPConnection] = {}
        self._listings: dict[str, _Answer] = {}
        self.script = Script()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()
                if (connection := proxy._connections.pop(self.connection, None)) is not None:
                    connection.close()

            def log_message(self, *text: Any) -> None:
                pass

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return lambda: proxy._handle(self)
                raise AttributeError(name)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @contextlib.contextmanager
    def running(self) -> Iterator["Proxy"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            for client, connection in list(self._connections.items()):
                connection.close()
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def follow(self, script: Script) -> Script:
        """Follow this script from now on."""
        self.script = script
        return script

    def remember_listings(self) -> None:
        """From now on the stale answer to a listing is the last one that was given."""
        self._remembered = dict(self._listings)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = self._body_of(handler)
        address = urlsplit(handler.path)
        seen = Seen(handler.command, address.path, parse_qs(address.query))
        wire = self.script.hits(seen)
        if wire is Wire.HANG and not _left(handler.connection):
            self.script.outstayed.append(seen)
        if wire in (Wire.HANG, Wire.DROP):
            return self._drop(handler)
        if wire in (Wire.ERROR_500, Wire.ERROR_503, Wire.ERROR_429):
            headers = [("Retry-After", "1")] if wire is Wire.ERROR_429 else []
            return self._send(handler, _Answer(int(wire), headers, b""))
        if wire is Wire.STALE and handler.path in self._remembered:
            return self._send(handler, self._remembered[handler.path])
        answer = self._ask(handler, body)
        if seen.is_listing:
            self._listings[handler.path] = answer
        if wire is Wire.LOSE:
            return self._drop(handler)
        if wire is Wire.FLIP and answer.body:
            middle = len(answer.body) // 2
            flipped = bytes([answer.body[middle] ^ 4])
            answer = answer._replace(
                body=answer.body[:middle] + flipped + answer.body[middle + 1 :]
            )
        self._send(handler, answer, whole=wire is not Wire.TRUNCATE)
        return None

    def _body_of(self, handler: BaseHTTPRequestHandler) -> bytes:
        if "chunked" in (handler.headers.get("Transfer-Encoding") or ""):
            parts = []
            while size := int(handler.rfile.readline().split(b";")[0], 16):
                parts.append(handler.rfile.read(size))
                handler.rfile.readline()
            handler.rfile.readline()
            return b"".join(parts)
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    def _ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> _Answer:
        connection = self._connections.get(handler.connection)
        if connection is None:
            connection = http.client.HTTPConnection(*self._service, timeout=30)
            self._connections[handler.connection] = connection
        try:
            connection.putrequest(
                handler.command, handler.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in handler.headers.items():
                if name.lower() not in _HOP:
                    connection.putheader(name, value)
            if body and "Content-Length" not in handler.headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            headers = [(k, v) for k, v in response.getheaders() if k.lower() not in _HOP]
            return _Answer(response.status, headers, response.read())
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    def _send(self, handler: BaseHTTPRequestHandler, answer: _Answer, whole: bool = True) -> None:
        handler.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() != "content-length":
                handler.send_header(name, value)
        length = str(len(answer.body))
        if handler.command == "HEAD":
            length = {k.lower(): v for k, v in answer.headers}.get("content-length", "0")
        handler.send_header("Content-Length", length)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        handler.wfile.write(answer.body if whole else answer.body[: len(answer.body) // 2])
        if not whole:
            self._drop(handler)

    def _drop(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.flush()
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)


def _left(connection: socket.socket) -> bool:
    """Wait for the client to close its end; False where it is more patient than any test."""
    connection.settimeout(_LONGER_THAN_ANY_TIME_OUT)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
