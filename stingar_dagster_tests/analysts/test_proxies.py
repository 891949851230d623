"""The proxies of deploy/analysts in front of the analysts' server, as real processes on loopback.

nginx and Caddy run with the files as they are but for names, ports and folders. oauth2-proxy is no
package here: a server with its two answers stands in for it.
"""

import base64
import contextlib
import http.client
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from stingar_dagster_tests.certificates import make_certificate
from stingar_dagster_tests.reliability.serving import ROOT, free_port

DEPLOY = ROOT / "deploy" / "analysts"
PASSWORD = "a passphrase"
PERSON = "analyst:$2y$05$1fczJ246d7HGcT0exBQ9Ou3mNBF1arjX6zCg9gsChTa9QtnYdwrXe\n"
"""As `htpasswd -B` writes it of that."""
SECONDS_TO_START = 30.0
UPSTREAM = "127.0.0.1:3001"
SESSION = "_oauth2_proxy=good"

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def ask(address: str, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer."""
    scheme, _, place = address.partition("://")
    connection = (
        http.client.HTTPSConnection(place, timeout=30, context=trusting())
        if scheme == "https"
        else http.client.HTTPConnection(place, timeout=30)
    )
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def subscribed(address: str, **headers: str) -> str:
    """What the UI's WebSocket is answered with."""
    context = trusting() if address.startswith("https") else None
    with connect(
        address.replace("http", "ws", 1) + "/graphql",
        subprotocols=[Subprotocol("graphql-ws")],
        additional_headers=headers,
        ssl=context,
        proxy=None,
    ) as opened:
        opened.send('{"type": "connection_init", "payload": {}}')
        return str(opened.recv(timeout=30))


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"analyst:{password}".encode()).decode()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(log.read_text()[-2000:])


@contextlib.contextmanager
def nginx(site: str, upstream: str, folder: Path) -> Iterator[str]:
    """The address of an nginx with one of the files as its only site."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).is_file():
        pytest.skip("nginx is not there: apt-get install nginx-light")
    port = free_port()
    certificate = make_certificate(folder)
    text = site
    for said, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/stingar/analysts.crt", str(certificate.cert)),
        ("/etc/ssl/stingar/analysts.key", str(certificate.key)),
        (UPSTREAM, upstream.removeprefix("http://")),
    ):
        assert said in text, said
        text = text.replace(said, here)
    (folder / "site.conf").write_text(text)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    # The master keeps root, as it does on a server; its workers may not read a test's folder.
    user = "user root;" if folder.owner() == "root" else ""
    main.write_text(
        f"daemon off; {user} pid {folder}/pid; error_log {folder}/error.log; events {{}} "
        f"http {{ access_log off; {temporary} include {folder}/site.conf; }}"
    )
    command = [program, "-c", str(main), "-e", str(folder / "error.log")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30)
    assert tested.returncode == 0, tested.stderr
    assert "warn" not in tested.stderr
    with running(command, port, folder, {}):
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def running(
    command: list[str], port: int, folder: Path, variables: dict[str, str]
) -> Iterator[None]:
    log = folder / "told.log"
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": str(folder), **variables}
    with (
        log.open("wb") as told,
        subprocess.Popen(command, env=environment, stdout=told, stderr=told) as process,
    ):
        try:
            wait_for(port, process, log)
            yield
        finally:
            process.terminate()


def test_nginx_asks_for_a_password_and_passes_the_ui_on(address: str, tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.write_text(PERSON)
    said = "/etc/nginx/stingar-analysts.htpasswd"
    site = (DEPLOY / "nginx-password.conf").read_text()
    assert f"auth_basic_user_file {said};" in site
    site = site.replace(said, str(people))
    with nginx(site, address, tmp_path) as proxy:
        check(proxy, "Authorization", basic(PASSWORD), basic("wrong"), refused_with=401)


def test_caddy_asks_for_a_password_and_passes_the_ui_on(address: str, tmp_path: Path) -> None:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("Caddy is not there: apt-get install caddy")
    hashed = subprocess.run(
        [program, "hash-password", "--plaintext", PASSWORD],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.strip()
    port = free_port()
    text = (DEPLOY / "Caddyfile").read_text()
    for said, here in (
        ("\nanalysts.example.org {", f"\nhttp://127.0.0.1:{port} {{\n\tbind 127.0.0.1"),
        (UPSTREAM, address.removeprefix("http://")),
    ):
        assert said in text, said
        text = text.replace(said, here)
    file = tmp_path / "Caddyfile"
    file.write_text("{\n\tadmin off\n}\n" + text)
    variables = {"STINGAR_ANALYST_HASH": hashed, "XDG_CONFIG_HOME": str(tmp_path)}
    command = [program, "run", "--config", str(file), "--adapter", "caddyfile"]
    with running(command, port, tmp_path, variables):
        proxy = f"http://127.0.0.1:{port}"
        check(proxy, "Authorization", basic(PASSWORD), basic("wrong"), refused_with=401)


def test_nginx_asks_oauth2_proxy_about_every_request(address: str, tmp_path: Path) -> None:
    settings = tomllib.loads((DEPLOY / "oauth2-proxy.cfg").read_text())
    site = (DEPLOY / "nginx-oauth2-proxy.conf").read_text()
    place = settings["http_address"]
    assert site.count(f"http://{place};") == 2
    assert settings["reverse_proxy"] is True
    name = re.search(r"server_name (\S+);", site)
    assert name is not None
    assert settings["redirect_url"] == f"https://{name[1]}/oauth2/callback"
    with stand_in() as sign_in, nginx(site.replace(place, sign_in), address, tmp_path) as proxy:
        check(proxy, "Cookie", SESSION, "_oauth2_proxy=forged", refused_with=403)
        status, page = ask(proxy, "/runs")
        assert (status, page) == (403, b"sign in, then go to /runs")
        # The part that answers requests about requests is for nginx alone.
        assert ask(proxy, "/oauth2/auth", Cookie=SESSION)[0] == 404


def check(proxy: str, header: str, good: str, bad: str, *, refused_with: int) -> None:
    """With what proves who asks, pages and the WebSocket come; without, neither does."""
    for given in ({}, {header: bad}):
        for path in ("/", "/server_info", "/graphql", "/report_asset_check/x", "/runs?a=b"):
            status, body = ask(proxy, path, **given)
            assert status == refused_with, path
            assert b"dagster" not in body.lower()
        with pytest.raises(InvalidStatus, match=str(refused_with)):
            subscribed(proxy, **given)
    status, body = ask(proxy, "/server_info", **{header: good})
    assert status == 200
    assert b"dagster_version" in body
    assert b'<div id="root">' in ask(proxy, "/assets/stingar/cleaned_events", **{header: good})[1]
    assert "connection_ack" in subscribed(proxy, **{header: good})


@contextlib.contextmanager
def stand_in() -> Iterator[str]:
    """What oauth2-proxy answers: 202 to a good session, and a page to sign in."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = SESSION in (self.headers.get("Cookie") or "")
            if self.path == "/oauth2/auth":
                self._tell(202 if good else 401, b"")
            else:
                wanted = self.headers.get("X-Auth-Request-Redirect", "nowhere")
                self._tell(200, b"sign in, then go to " + wanted.encode())

        def _tell(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
