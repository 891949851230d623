"""A broker that refuses every login, or drops it: just the requests of the protocol before that.

The broker of the other tests knows no credentials.
"""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_API_VERSIONS: Final = 18
SASL_HANDSHAKE: Final = 17
SASL_AUTHENTICATE: Final = 36
_UNSUPPORTED_VERSION: Final = 35
_LOGIN_FAILED: Final = 58


def _text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def _answer(api: int, version: int) -> bytes:
    if api == _API_VERSIONS:
        known = ((SASL_HANDSHAKE, 0, 1), (_API_VERSIONS, 0, 0), (SASL_AUTHENTICATE, 0, 0))
        error = _UNSUPPORTED_VERSION if version else 0
        rows = b"".join(struct.pack(">hhh", *row) for row in known)
        return struct.pack(">hi", error, len(known)) + rows
    if api == SASL_HANDSHAKE:
        return struct.pack(">hi", 0, 1) + _text(b"PLAIN")
    # A broker may quote anything.
    return struct.pack(">h", _LOGIN_FAILED) + _text(b"wrong password") + b"\0\0\0\0"


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while len(head := self.rfile.read(4)) == 4:
            request = self.rfile.read(struct.unpack(">i", head)[0])
            api, version, number = struct.unpack(">hhi", request[:8])
            if api == self.server.dropped:  # type: ignore[attr-defined]
                return
            if api == SASL_AUTHENTICATE:
                self.server.logins.append(request)  # type: ignore[attr-defined]
            answer = struct.pack(">i", number) + _answer(api, version)
            self.wfile.write(struct.pack(">i", len(answer)) + answer)


@contextmanager
def refusing_broker(dropped: int | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Its address, and the logins that it got.

    Args:
        dropped: the request at which the connection ends, as when a broker is restarted.
    """
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.dropped = dropped  # type: ignore[attr-defined]
        server.logins = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", server.logins  # type: ignore[attr-defined]
        finally:
            server.shutdown()
