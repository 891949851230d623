"""The settings of `stingar capture`: environment variables, also read from `.env`.

Here: names, defaults, parsing, what librdkafka is told of them, and what of them is secret. Not
here: the settings that every command has (`stingar_dagster.settings`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stingar_dagster.capture.names import can_be_named
from stingar_dagster.errors import SettingsError
from stingar_dagster.kafka.windows import Limits
from stingar_dagster.settings import environment, whole_number

EVENT_HUBS: Final = (
    ".servicebus.windows.net",
    ".servicebus.chinacloudapi.cn",
    ".servicebus.usgovcloudapi.net",
)
"""How the names of Event Hubs namespaces end, in Azure's clouds."""

EVENT_HUBS_PORT: Final = 9093
EVENT_HUBS_USER: Final = "$ConnectionString"
USER_AND_PASSWORD: Final = "STINGAR_KAFKA_USER and STINGAR_KAFKA_PASSWORD"
_SECURITY: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SHORTEST_SECRET: Final = 4


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where messages come from, as whom, and how they are cut into captures.

    Attributes:
        brokers: `host:port`, several parted by commas.
        topics: each is captured as the Event Hub of its name.
        namespace: that the captures claim to be of.
        security: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        mechanism, user, password: how to log in; None without SASL.
        ca: file of certificates that the broker's is checked with; None: the system's.
        limits: when windows close.
        credential: the settings that hold the credential, for messages.
    """

    brokers: str
    topics: tuple[str, ...]
    namespace: str
    security: str = "PLAINTEXT"
    mechanism: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    limits: Limits = field(default_factory=Limits)
    credential: str = USER_AND_PASSWORD

    def librdkafka(self) -> dict[str, str]:
        """The connection, in librdkafka's own names; holds secrets."""
        told = {"bootstrap.servers": self.brokers, "security.protocol": self.security}
        if self.security.startswith("SASL"):
            told["sasl.mechanism"] = self.mechanism or "PLAIN"
            told["sasl.username"] = self.user or ""
            told["sasl.password"] = self.password or ""
        if self.ca is not None:
            told["ssl.ca.location"] = self.ca
        return told

    def without_secrets(self, text: str) -> str:
        """A text of librdkafka's, safe to print."""
        password = self.password or ""
        parts = [part.partition("=")[2] for part in password.split(";")]
        for secret in sorted((password, *parts), key=len, reverse=True):
            # Shorter ones could be any word, and are not shown by librdkafka either.
            if len(secret) >= _SHORTEST_SECRET and not secret.startswith("sb://"):
                text = text.replace(secret, "***")
        return text


def load_kafka_settings(environ: Mapping[str, str] | None = None) -> KafkaSettings:
    """Read the settings from `environ` (default: `.env`, overridden by the process environment).

    Raises:
        SettingsError: one is missing or can't be used; the message names it, and no secret.
    """
    if environ is None:
        environ = environment()
    hub, password = _connection_string(environ)
    brokers = environ.get("STINGAR_KAFKA_BROKERS") or (
        f"{hub.host}:{EVENT_HUBS_PORT}" if hub else ""
    )
    if not brokers:
        raise SettingsError(
            "STINGAR_KAFKA_BROKERS is not set: write the address of a Kafka broker, like "
            "broker.example.org:9092, or for Event Hubs set STINGAR_KAFKA_CONNECTION_STRING"
        )
    _check_brokers(brokers)
    namespace = environ.get("STINGAR_KAFKA_NAMESPACE") or _namespace(brokers)
    _check_name("STINGAR_KAFKA_NAMESPACE", namespace)
    default_topic = hub.entity if hub and hub.entity else "stingar"
    topics = [
        topic.strip()
        for topic in (environ.get("STINGAR_KAFKA_TOPICS") or default_topic).split(",")
        if topic.strip()
    ]
    for topic in topics:
        _check_name("STINGAR_KAFKA_TOPICS", topic)
    user: str | None = EVENT_HUBS_USER
    mechanism, credential = "PLAIN", "STINGAR_KAFKA_CONNECTION_STRING"
    if not hub:
        user = environ.get("STINGAR_KAFKA_USER") or None
        password = environ.get("STINGAR_KAFKA_PASSWORD") or None
        mechanism = _one_of(environ, "STINGAR_KAFKA_MECHANISM", _MECHANISMS, "PLAIN")
        credential = USER_AND_PASSWORD
        if (user is None) != (password is None):
            missing = "STINGAR_KAFKA_USER" if user is None else "STINGAR_KAFKA_PASSWORD"
            raise SettingsError(f"{missing} is not set: a user needs a password, and both are set")
    ca = _file(environ, "STINGAR_KAFKA_CA")
    # A password never goes over the network in clear unless that is asked for.
    usual = "SASL_SSL" if user else ("SSL" if ca else "PLAINTEXT")
    security = _one_of(environ, "STINGAR_KAFKA_SECURITY", _SECURITY, usual)
    if security.startswith("SASL") and user is None:
        raise SettingsError(
            f"STINGAR_KAFKA_SECURITY={security}: set STINGAR_KAFKA_USER and STINGAR_KAFKA_PASSWORD"
        )
    if user is not None and not security.startswith("SASL"):
        raise SettingsError(
            f"STINGAR_KAFKA_SECURITY={security}: a user logs in by SASL_SSL, or SASL_PLAINTEXT"
        )
    return KafkaSettings(
        brokers=brokers,
        topics=tuple(dict.fromkeys(topics)),
        namespace=namespace,
        security=security,
        mechanism=mechanism if user is not None else None,
        user=user,
        password=password,
        ca=ca,
        limits=Limits(
            seconds=whole_number(environ, "STINGAR_CAPTURE_SECONDS", Limits().seconds, most=900),
            size=whole_number(
                environ, "STINGAR_CAPTURE_BYTES", Limits().size, most=524_288_000, least=1000
            ),
        ),
        credential=credential,
    )


@dataclass(frozen=True, slots=True)
class _Hub:
    """What a connection string of Event Hubs says besides its key."""

    host: str
    entity: str | None


def _connection_string(environ: Mapping[str, str]) -> tuple[_Hub | None, str | None]:
    text = environ.get("STINGAR_KAFKA_CONNECTION_STRING")
    if not text:
        return None, None
    fields = dict(part.strip().partition("=")[::2] for part in text.split(";") if part.strip())
    try:
        host = urlsplit(fields.get("Endpoint", "")).hostname
    except ValueError:
        host = None
    if not host or not (fields.get("SharedAccessKey") or fields.get("SharedAccessSignature")):
        raise SettingsError(
            "STINGAR_KAFKA_CONNECTION_STRING is no connection string of Event Hubs: copy it from "
            "the shared access policies of the hub, or of its namespace; it begins with "
            "Endpoint=sb:// and holds a SharedAccessKey"
        )
    return _Hub(host, fields.get("EntityPath") or None), text


def _namespace(brokers: str) -> str:
    """Of Event Hubs the first part of the host's name, else not the one of `stingar land`."""
    host = brokers.split(",")[0].rsplit(":", 1)[0].strip().lower()
    return host.split(".")[0] if host.endswith(EVENT_HUBS) else "kafka"


def _check_brokers(brokers: str) -> None:
    if any(word in brokers for word in ("@", "=", ";")):
        raise SettingsError(
            "STINGAR_KAFKA_BROKERS: write host:port without a password or key; those go into "
            "STINGAR_KAFKA_PASSWORD, or for Event Hubs into STINGAR_KAFKA_CONNECTION_STRING"
        )
    for broker in brokers.split(","):
        host, colon, port = broker.strip().rpartition(":")
        if not host or not colon or not port.isascii() or not port.isdigit():
            raise SettingsError(
                f"STINGAR_KAFKA_BROKERS={brokers!r}: {broker!r} is not host:port, like "
                "broker.example.org:9092"
            )


def _check_name(variable: str, name: str) -> None:
    if not can_be_named(name):
        raise SettingsError(f"{variable}={name!r} can't be part of a capture's name")


def _one_of(environ: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    text = (environ.get(name) or default).upper()
    if text not in allowed:
        raise SettingsError(f"{name}={text[:40]!r} is none of {', '.join(allowed)}")
    return text


def _file(environ: Mapping[str, str], name: str) -> str | None:
    text = environ.get(name)
    if not text:
        return None
    if not Path(text).is_file():
        raise SettingsError(f"{name}={text}: there is no such file; name one of PEM certificates")
    return text
