"""Messages over the wire: a mail server, and HTTP.

What goes wrong is one line without an address or a password: texts of libraries quote both. Every
wait is bounded. Not here: what is sent (`messages`), and when (`problems`).
"""

import smtplib
import ssl
from collections.abc import Callable
from threading import Thread
from typing import Any, Final

import requests

from stingar_dagster.alerts import messages
from stingar_dagster.alerts.messages import Message
from stingar_dagster.alerts.settings import AlertSettings, Mail, Security
from stingar_dagster.errors import Transient

SECONDS: Final = 10.0
"""For a connection, and for each answer."""


class NotDelivered(Transient):
    """A sink did not take a message; the text is one line without secrets."""


def deliver(sink: str, message: Message, settings: AlertSettings) -> str:
    """Send a message to one of the settings' sinks.

    Returns:
        what is to be mended though it was taken; mostly empty.

    Raises:
        NotDelivered: it was not taken.
    """
    if sink == "e-mail" and settings.mail is not None:
        return _send(message, settings.mail)
    if sink == "Slack":
        _post(sink, settings.slack, messages.slack(message))
    elif sink == "Teams":
        _post(sink, settings.teams, messages.teams(message))
    else:
        _post(sink, settings.webhook, messages.webhook(message))
    return ""


class Sending:
    """A message on its way in a thread of its own: a slow server holds up nobody.

    Attributes:
        notices: what it tells, by problem and phase.
        failure: why it was not taken, once it is done; empty: it was taken.
        note: what is to be mended though it was.
    """

    def __init__(self, send: Callable[[], str], notices: list[tuple[str, Any]]) -> None:
        self.notices = notices
        self.failure = self.note = ""
        self._send = send
        # A daemon: it must not keep the process from ending.
        self._thread = Thread(target=self._run, name="stingar alert", daemon=True)
        self._thread.start()

    def is_done(self, wait_seconds: float = 0.0) -> bool:
        self._thread.join(wait_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.note = self._send()
        except NotDelivered as error:
            self.failure = str(error)
        except Exception as error:
            # Its text may hold the address.
            self.failure = f"the message could not be made or sent ({type(error).__name__})"


def _send(message: Message, settings: Mail) -> str:
    made = messages.mail(message, settings)
    place = f"e-mail: the server {settings.host}:{settings.port}"
    try:
        with _connected(settings) as server:
            if settings.user:
                server.login(settings.user, settings.password)
            refused = server.send_message(made, settings.sender, settings.to)
    except smtplib.SMTPAuthenticationError as error:
        raise NotDelivered(
            f"{place} refused the login (code {error.smtp_code}); check "
            "STINGAR_ALERT_EMAIL_USER and STINGAR_ALERT_EMAIL_PASSWORD"
        ) from None
    except smtplib.SMTPNotSupportedError:
        raise NotDelivered(
            f"{place} does not offer what is asked of it (STARTTLS or a login); check "
            "STINGAR_ALERT_EMAIL_SECURITY"
        ) from None
    except smtplib.SMTPRecipientsRefused:
        raise NotDelivered(f"{place} refused every address in STINGAR_ALERT_EMAIL_TO") from None
    except smtplib.SMTPResponseException as error:
        raise NotDelivered(f"{place} refused the message (code {error.smtp_code})") from None
    except ssl.SSLCertVerificationError:
        raise NotDelivered(
            f"{place} has a certificate that is not trusted; SSL_CERT_FILE names another authority"
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise NotDelivered(
            f"{place} can't be reached or does not answer ({type(error).__name__}); check "
            "STINGAR_ALERT_EMAIL_SERVER and the network"
        ) from None
    if refused:
        # The others have it: sending to all again would tell them twice.
        return f"{place} refused {len(refused)} of {len(settings.to)} addresses; check them"
    return ""


def _connected(settings: Mail) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if settings.security is Security.TLS:
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=SECONDS, context=context)
    server = smtplib.SMTP(settings.host, settings.port, timeout=SECONDS)
    if settings.security is Security.STARTTLS:
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server


def _post(sink: str, url: str, payload: dict[str, Any]) -> None:
    try:
        # Not redirected: the address is a secret, and goes to nobody else.
        with requests.post(
            url, json=payload, timeout=(SECONDS, SECONDS), allow_redirects=False, stream=True
        ) as answer:
            status = answer.status_code
    except (requests.RequestException, OSError, ValueError) as error:
        raise NotDelivered(
            f"{sink} can't be reached ({type(error).__name__}); check the network and "
            f"STINGAR_ALERT_{sink.upper()}"
        ) from None
    if not 200 <= status < 300:
        raise NotDelivered(
            f"{sink} answered {status}; check STINGAR_ALERT_{sink.upper()}, which may have been "
            "revoked"
            if status != 429
            else f"{sink} answered 429: too many messages"
        )
