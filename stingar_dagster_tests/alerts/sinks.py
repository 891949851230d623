"""Where alerts go in tests: a mail server and an HTTP server on loopback that keep what they get.

Both are real servers of their protocols; what they answer can be set. Not here: what is expected.
"""

import asyncio
import contextlib
import email
import email.policy
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

PASSWORD = "pass-word-of-tests"


@dataclass
class MailSink:
    """A mail server: what it took, and whom it refuses."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    to: list[list[str]] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    answer: str = "250 taken"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuses:
            return "550 no such address"
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            made = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(made, EmailMessage)
            self.taken.append(made)
            self.to.append(list(envelope.rcpt_tos))
            transport = server.transport
            assert transport is not None
            self.encrypted.append(transport.get_extra_info("sslcontext") is not None)
        return self.answer

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login)
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)


@contextlib.contextmanager
def mail_server(tls: ssl.SSLContext | None = None, implicit: bool = False) -> Iterator[MailSink]:
    """A mail server; with `tls` it asks for STARTTLS and a login, or is TLS from the start."""
    sink = MailSink()
    options: dict[str, Any] = {"hostname": "localhost", "timeout": 20}
    if tls is not None:
        options |= {"authenticator": sink.authenticate}
        if implicit:
            options |= {"auth_require_tls": False}  # it does not see that it is encrypted already
        else:
            options |= {"tls_context": tls, "require_starttls": True}
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        loop.create_server(
            lambda: SMTP(sink, loop=loop, **options),
            "127.0.0.1",
            0,
            ssl=tls if implicit else None,
        )
    )
    sink.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@dataclass
class WebSink:
    """An HTTP server: what was posted to it, and what it answers."""

    port: int = 0
    posted: list[tuple[str, Any]] = field(default_factory=list)
    status: int = 202
    hang: threading.Event | None = None

    def url(self, path: str = "secret-path") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


@contextlib.contextmanager
def web_server() -> Iterator[WebSink]:
    sink = WebSink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if sink.hang is not None:
                sink.hang.wait(20)
            if 200 <= sink.status < 300:
                sink.posted.append((self.path, json.loads(body)))
            self.send_response(sink.status)
            if sink.status == 302:
                self.send_header("Location", sink.url("elsewhere"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    sink.port = server.server_address[1]
    try:
        yield sink
    finally:
        if sink.hang is not None:
            sink.hang.set()
        server.shutdown()
        server.server_close()
        thread.join()
