"""The settings of alerts: environment variables, like all others, in one place.

Nothing is told where none of them is set. Addresses of webhooks are secrets: who has one can post
there. So they are never shown, in no error either.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlsplit

from stingar_dagster.errors import SettingsError
from stingar_dagster.settings import environment

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_PREFIX: Final = "STINGAR_ALERT_"
_Part = TypeVar("_Part")


class Security(StrEnum):
    """How a connection to a mail server is encrypted."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


_PORTS: Final = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail server, and whom to write to."""

    host: str
    port: int
    security: Security
    sender: str
    to: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Where problems are told.

    Attributes:
        mail: by e-mail; None: not.
        slack: address of a Slack webhook; empty: not. The same for the next two.
        teams: address of a workflow in Microsoft Teams ("When a Teams webhook request is
            received").
        webhook: any address that takes JSON.
        ui: Dagster's address as people open it, for links; empty: no links.
    """

    mail: Mail | None = None
    slack: str = field(default="", repr=False)
    teams: str = field(default="", repr=False)
    webhook: str = field(default="", repr=False)
    ui: str = ""

    @property
    def sinks(self) -> tuple[str, ...]:
        """The names of those that are set."""
        each = {
            "e-mail": self.mail,
            "Slack": self.slack,
            "Teams": self.teams,
            "webhook": self.webhook,
        }
        return tuple(name for name, value in each.items() if value)


def load_alert_settings(environ: Mapping[str, str] | None = None) -> AlertSettings:
    """Read the settings from `environ` (default: `.env`, overridden by the process environment).

    Raises:
        SettingsError: a value can't be used; the message names the variable, never its value.
    """
    settings, wrong = readable_alert_settings(environ)
    if wrong:
        raise SettingsError(wrong[0])
    return settings


def readable_alert_settings(
    environ: Mapping[str, str] | None = None, before: AlertSettings | None = None
) -> tuple[AlertSettings, list[str]]:
    """The same as far as they can be used: one that can't be must not silence the others.

    Args:
        environ: as above.
        before: what counts in place of one that can't be used; without it, that one is off.

    Returns:
        the settings, and a line for each that can't be used, which never holds its value.
    """
    environ = environment() if environ is None else environ
    before = before or AlertSettings()
    wrong: list[str] = []

    def read(part: Callable[[], _Part], otherwise: _Part) -> _Part:
        try:
            return part()
        except SettingsError as error:
            wrong.append(str(error))
            return otherwise

    settings = AlertSettings(
        mail=read(lambda: _mail(environ), before.mail),
        slack=read(lambda: _secret_url(environ, f"{_PREFIX}SLACK"), before.slack),
        teams=read(lambda: _secret_url(environ, f"{_PREFIX}TEAMS"), before.teams),
        webhook=read(lambda: _secret_url(environ, f"{_PREFIX}WEBHOOK"), before.webhook),
        ui=read(lambda: _ui(environ), before.ui),
    )
    return settings, wrong


def _mail(environ: Mapping[str, str]) -> Mail | None:
    names = {name: f"{_PREFIX}EMAIL_{name}" for name in ("TO", "FROM", "USER", "PASSWORD")}
    names |= {"SERVER": f"{_PREFIX}EMAIL_SERVER", "SECURITY": f"{_PREFIX}EMAIL_SECURITY"}
    values = {name: environ.get(variable, "").strip() for name, variable in names.items()}
    to = tuple(part.strip() for part in values["TO"].split(",") if part.strip())
    if not to:
        return None
    for name in ("SERVER", "FROM"):
        if not values[name]:
            raise SettingsError(f"{names['TO']} is set and {names[name]} is not; set both")
    for address in (*to, values["FROM"]):
        if not _is_address(address):
            raise SettingsError(
                f"{names['TO']} or {names['FROM']} holds {address[:80]!r}, which is no address: "
                "write it like soc@example.edu, several with commas between them"
            )
    try:
        security = Security(values["SECURITY"].lower() or Security.STARTTLS)
    except ValueError:
        raise SettingsError(f"{names['SECURITY']} must be starttls, tls or none") from None
    host, _, port = values["SERVER"].partition(":")
    if not host or "@" in host or "/" in host or (port and not _is_port(port)):
        raise SettingsError(
            f"{names['SERVER']} is no server: write it like smtp.example.edu or "
            "smtp.example.edu:587"
        )
    if bool(values["USER"]) != bool(values["PASSWORD"]):
        raise SettingsError(f"set {names['USER']} and {names['PASSWORD']} both, or neither")
    if values["PASSWORD"] and security is Security.NONE and host not in _LOOPBACK:
        raise SettingsError(
            f"{names['SECURITY']}=none would send {names['PASSWORD']} in clear; set starttls or tls"
        )
    return Mail(
        host,
        int(port) if port else _PORTS[security],
        security,
        values["FROM"],
        to,
        values["USER"],
        values["PASSWORD"],
    )


def _is_address(text: str) -> bool:
    name, at, host = text.partition("@")
    plain = text.isascii() and text.isprintable() and not any(c in text for c in " \t<>,;\"'")
    return bool(name and at and host) and "@" not in host and plain


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536


def _secret_url(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "").strip()
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        host = ""
    if not host or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(f"{name} is not a web address: copy it whole, from https:// on")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise SettingsError(f"{name} must begin with https://: the address itself is the password")
    return text


def _ui(environ: Mapping[str, str]) -> str:
    text = environ.get("STINGAR_UI_URL", "").strip().rstrip("/")
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        raise SettingsError("STINGAR_UI_URL must be like https://dagster.example.edu")
    if not text.isascii() or any(c in text for c in " <>\"'|\\^`{}?#") or not text.isprintable():
        raise SettingsError(
            "STINGAR_UI_URL must be a plain address like https://dagster.example.edu"
        )
    return text
