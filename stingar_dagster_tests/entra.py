"""Loopback stand-ins for what gives out tokens, and for a storage service that refuses.

`Entra` speaks as much of Microsoft Entra's token endpoint, and of the identity endpoint that Azure
gives to a container app or a web app, as azure-identity asks for; its tokens are what Azurite's
`--oauth basic` looks at: issuer, audience and times, no signature. `refusing` answers every request
as Azure's blob service does when it says no, which Azurite can't be made to. Both are real servers,
asked by the real libraries. Not here: Azurite (`azurite`).
"""

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from stingar_dagster_tests.certificates import Certificate

TENANT: Final = "11111111-2222-3333-4444-555555555555"
CLIENT: Final = "66666666-7777-8888-9999-aaaaaaaaaaaa"
CLIENT_SECRET: Final = "a-secret-of-the-principal"
IDENTITY_HEADER: Final = "a-secret-of-the-machine"
AUDIENCE: Final = "https://storage.azure.com"


@dataclass
class Entra:
    """Who asked for tokens, and how.

    Attributes:
        address: of the server.
        asked: "secret", "assertion" or "machine" for each token that was given, "refused" for each
            that was not.
    """

    address: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def as_a_machines(self) -> dict[str, str]:
        """The variables by which a container app or a web app knows of its identity."""
        return {
            "IDENTITY_ENDPOINT": f"{self.address}/msi/token",
            "IDENTITY_HEADER": IDENTITY_HEADER,
        }

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, Any]]:
        url = urlsplit(handler.path)
        if url.path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            base = f"{self.address}/{TENANT}"
            return 200, {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            }
        if url.path == "/msi/token":
            if handler.headers.get("X-IDENTITY-HEADER") != IDENTITY_HEADER:
                return 401, {"message": "no identity"}
            self.asked.append("machine")
            ends = str(int(time.time()) + 3600)
            return 200, {"access_token": token(), "expires_on": ends, "token_type": "Bearer"}
        form = parse_qs(_body(handler).decode())
        self.asked.append("refused")
        if url.path != f"/{TENANT}/oauth2/v2.0/token":
            return 400, _refusal("AADSTS90002", "Tenant not found")
        if form.get("client_id") != [CLIENT]:
            return 400, _refusal("AADSTS700016", "Application was not found")
        if "client_assertion" not in form and form.get("client_secret") != [CLIENT_SECRET]:
            return 401, _refusal("AADSTS7000215", "Invalid client secret provided")
        self.asked[-1] = "assertion" if "client_assertion" in form else "secret"
        return 200, {"access_token": token(), "expires_in": 3600, "token_type": "Bearer"}


def token(audience: str = AUDIENCE) -> str:
    """A token as Entra gives it out, but for its signature."""
    now = int(time.time())
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{TENANT}/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 3600,
        "oid": CLIENT,
        "tid": TENANT,
    }
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


@contextlib.contextmanager
def entra(certificate: Certificate | None = None) -> Iterator[Entra]:
    """Over HTTPS where there is a certificate: authorities have to be, machines' endpoints not."""
    told = Entra()

    class Handler(_Handler):
        def do_GET(self) -> None:
            status, answer = told.answer(self)
            self.send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        do_POST = do_GET

    with _serving(Handler, certificate) as told.address:
        yield told


@contextlib.contextmanager
def refusing(status: int, code: str, certificate: Certificate | None = None) -> Iterator[str]:
    """A blob service that answers every request with one of Azure's errors; its endpoint."""
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code>'
        "<Message>This request is not authorized.\nRequestId:0\nTime:0</Message></Error>"
    ).encode()

    class Handler(_Handler):
        def do_GET(self) -> None:
            _body(self)
            self.send(status, body, {"x-ms-error-code": code, "Content-Type": "application/xml"})

        do_PUT = do_HEAD = do_DELETE = do_GET

    with _serving(Handler, certificate) as address:
        yield f"{address}/account"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *text: Any) -> None:
        pass


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


def _refusal(code: str, text: str) -> dict[str, str]:
    return {"error": "invalid_client", "error_description": f"{code}: {text}.\nTrace ID: 0"}


@contextlib.contextmanager
def _serving(
    handler: type[BaseHTTPRequestHandler], certificate: Certificate | None
) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        scheme = "https"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
