"""The endpoint that gives processes on Azure their managed identity's tokens, on loopback.

Container Apps name theirs in IDENTITY_ENDPOINT and IDENTITY_HEADER. The tokens are what Azurite
checks with `--oauth basic`: well-formed, in time, and for storage; nobody signed them.
"""

import base64
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Identity:
    """A running endpoint, as the environment tells of it."""

    endpoint: str
    header: str

    @property
    def environ(self) -> dict[str, str]:
        return {
            "IDENTITY_ENDPOINT": self.endpoint,
            "IDENTITY_HEADER": self.header,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }


@contextlib.contextmanager
def managed_identity() -> Iterator[Identity]:
    header = secrets.token_hex(8)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("X-IDENTITY-HEADER") != header:
                self.send_error(403)
                return
            expires = int(time.time()) + 3600
            body = json.dumps(
                {
                    "access_token": token(expires),
                    "expires_on": str(expires),
                    "resource": "https://storage.azure.com",
                    "token_type": "Bearer",
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Identity(f"http://127.0.0.1:{server.server_port}/token", header)
        finally:
            server.shutdown()
            thread.join()


def token(expires: int) -> str:
    """A JSON web token for storage."""
    tenant = "00000000-0000-0000-0000-000000000000"
    claims = {
        "aud": "https://storage.azure.com",
        "iss": f"https://sts.windows.net/{tenant}/",
        "iat": expires - 7200,
        "nbf": expires - 7200,
        "exp": expires,
        "oid": tenant,
        "tid": tenant,
    }
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    return ".".join(_part(part) for part in (*parts, b"nobody signed this"))


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
