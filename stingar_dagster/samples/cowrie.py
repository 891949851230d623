"""What Cowrie (and Kippo before it) says of a session. Other honeypots stand in `honeypots`.

A session's events are emitted when it closes, kind by kind: connection, logins, downloads tried,
commands, unknown commands (a second time), files. All carry what is known by then: `loggedin`
stands on the failed attempts too. Equal attempts give equal events.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from random import Random

from stingar_dagster.samples import vocabulary as words
from stingar_dagster.samples.population import SshClient
from stingar_dagster.samples.visits import Event, Visit

_TELNET_SHARE = 0.1
_LONGEST_GUESSING = 50
_OTHER_WORDING = 0.02
# How much of the client a release reports: nothing, its name and fingerprint, or everything.
_RELEASES = ("lean", "fingerprint", "full")
_RELEASE_SHARES = (0.70, 0.24, 0.06)
_DETAILS = (
    "ssh_version", "arch", "client_heigth", "client_width", "authentication_keys", "kex_hassh",
    "kex_hassh_algorithms", "kex_kex_algorithms", "kex_key_algorithms", "kex_enc_cs", "kex_mac_cs",
    "kex_comp_cs", "kex_lang_cs",
)  # fmt: skip


def cowrie(visit: Visit) -> Iterator[Event]:
    telnet = visit.rng.random() < _TELNET_SHARE
    connection = visit.event(
        "cowrie.sessions",
        "Cowrie",
        "cowrie",
        dest_port=2223 if telnet else 2222,
        protocol="telnet" if telnet else "ssh",
    )
    return _worded(visit.rng, _session(visit, connection))


def kippo(visit: Visit) -> Iterator[Event]:
    connection = visit.event("kippo.sessions", "Kippo", "kippo", dest_port=2222, protocol="ssh")
    return _worded(visit.rng, _session(visit, connection))


def _worded(rng: Random, session: Iterator[Event]) -> Iterator[Event]:
    """As most releases word their signatures, or as others do."""
    if rng.random() >= _OTHER_WORDING:
        return session
    return (event | {"signature": _other_wording(event)} for event in session)


def _other_wording(event: Event) -> str:
    signature, honeypot = str(event["signature"]), f"{event['app']} honeypot"
    if signature == "Connection to Honeypot":
        return f"SSH session on {honeypot}"
    return signature.replace(honeypot, "Honeypot")


def _session(visit: Visit, connection: Event) -> Iterator[Event]:
    rng = visit.rng
    course = rng.random()
    if course < 0.2:  # only looks
        attempts, entered = 0, False
    elif course < 0.82:  # guesses in vain
        attempts, entered = _guesses(rng, spread=0.6), False
    else:  # guesses right in the end
        attempts, entered = _guesses(rng, spread=0.25) - 1, True
    key = _public_key(rng) if attempts and rng.random() < 0.02 else None

    session = dict.fromkeys(("loggedin", *_DETAILS)) | connection
    winner = visit.credentials() if entered else None
    session["loggedin"] = winner
    session |= _details(rng, visit.campaign.client, entered, str(connection["protocol"]))
    session["authentication_keys"] = [key] if key else []

    app = connection["app"]
    yield session
    if key:
        yield session | {
            "signature": f"SSH login attempted on {app} honeypot using public key",
            "ssh_username": "root",
        }
    for username, password in _attempts(visit, attempts):
        yield session | {
            "signature": f"SSH login attempted on {app} honeypot",
            "ssh_username": username,
            "ssh_password": password,
        }
    if winner:
        yield session | {
            "signature": f"SSH login successful on {app} honeypot",
            "ssh_username": winner[0],
            "ssh_password": winner[1],
        }
        for found in _inside(visit, str(app)):
            yield session | found


def _guesses(rng: Random, *, spread: float) -> int:
    """At least one; few in most sessions, dozens in some."""
    return min(1 + int(spread * math.expm1(rng.expovariate(1.0))), _LONGEST_GUESSING)


def _attempts(visit: Visit, attempts: int) -> Iterator[tuple[str, str]]:
    """Pairs to try; simple tools send the same pair again on a failure of the network."""
    pair = visit.credentials()
    for _ in range(attempts):
        yield pair
        if visit.rng.random() > 0.1:
            pair = visit.credentials()


def _inside(visit: Visit, app: str) -> Iterator[Event]:
    loot, script = visit.campaign.loot, visit.campaign.script
    fetches = any("{url}" in line for line in script)
    password = f"{visit.rng.getrandbits(48):012x}"
    commands = [line.format(url=loot.url, file=loot.file, password=password) for line in script]
    if fetches:
        yield {"signature": f"URL download attempted on {app} honeypot", "url": loot.url}
    for command in commands:
        yield {"signature": f"command attempted on {app} honeypot", "command": command}
    for command in commands:
        if command in words.UNKNOWN_COMMANDS:
            yield {"signature": f"unknown command attempted on {app} honeypot", "command": command}
    if fetches and visit.rng.random() < 0.7:
        yield {
            "signature": f"File downloaded on {app} honeypot",
            "hash": loot.sha256,
            "sha256": loot.sha256,
        }


def _details(rng: Random, client: SshClient, entered: bool, protocol: str) -> Event:
    release = rng.choices(_RELEASES, _RELEASE_SHARES)[0]
    if release == "lean" or protocol == "telnet":
        return {}
    version = client.version if rng.random() < 0.8 else repr(client.version.encode())
    details: Event = {"ssh_version": version, "kex_hassh": client.hassh}
    if release == "full":
        details |= {
            "kex_hassh_algorithms": client.algorithms,
            "kex_kex_algorithms": client.kex,
            "kex_key_algorithms": client.keys,
            "kex_enc_cs": client.ciphers,
            "kex_mac_cs": client.macs,
            "kex_comp_cs": ["none"],
            "kex_lang_cs": [""],
        }
        if entered:
            details |= {"arch": "linux-x64-lsb", "client_heigth": 24, "client_width": 80}
    return details


def _public_key(rng: Random) -> Event:
    return {
        "key_fingerprint": rng.randbytes(16).hex(":"),
        "key_content": "ssh-rsa " + base64.b64encode(rng.randbytes(64)).decode(),
        "key_type": "ssh-rsa",
    }
