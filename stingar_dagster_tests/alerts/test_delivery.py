"""Messages over real wires: they arrive, and what goes wrong is one line without secrets."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from stingar_dagster.alerts import delivery
from stingar_dagster.alerts.delivery import NotDelivered, Sending, deliver
from stingar_dagster.alerts.messages import Message, message_for_test
from stingar_dagster.alerts.settings import AlertSettings, Mail, Security
from stingar_dagster.cli import main
from stingar_dagster_tests.alerts.sinks import (
    PASSWORD,
    MailSink,
    WebSink,
    mail_server,
    web_server,
)
from stingar_dagster_tests.certificates import Certificate, make_certificate

NOW = 1_790_000_000.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.cert))


@pytest.fixture
def web() -> Iterator[WebSink]:
    with web_server() as sink:
        yield sink


def message() -> Message:
    return message_for_test(AlertSettings(ui="https://dagster.example.edu"), NOW)


def mail(sink: MailSink, security: Security, **changes: object) -> AlertSettings:
    to = ("soc@example.edu", "night@example.edu")
    made = Mail("127.0.0.1", sink.port, security, "stingar@example.edu", to)
    return AlertSettings(mail=replace(made, **changes))  # type: ignore[arg-type]


LOGIN = {"user": "stingar", "password": PASSWORD}


# ---- e-mail


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
@pytest.mark.usefixtures("trusted")
def test_mail_goes_encrypted_with_a_login(tls: ssl.SSLContext, security: Security) -> None:
    with mail_server(tls, implicit=security is Security.TLS) as sink:
        assert deliver("e-mail", message(), mail(sink, security, **LOGIN)) == ""
    (made,) = sink.taken
    assert made["Subject"] == "[stingar] Problem: a test of alerts"
    assert sink.to == [["soc@example.edu", "night@example.edu"]]
    assert sink.encrypted == [True]
    assert sink.logins == [b"stingar"]
    assert "This is a test" in made.get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_mail_goes_in_clear_where_that_is_set() -> None:
    with mail_server() as sink:
        deliver("e-mail", message(), mail(sink, Security.NONE))
    assert sink.encrypted == [False]


def test_a_server_that_offers_no_encryption_gets_nothing() -> None:
    with (
        mail_server() as sink,
        pytest.raises(NotDelivered, match="does not offer what is asked of it"),
    ):
        deliver("e-mail", message(), mail(sink, Security.STARTTLS))
    assert sink.taken == []


def test_a_certificate_that_is_not_trusted_ends_it_before_the_login(tls: ssl.SSLContext) -> None:
    with mail_server(tls) as sink, pytest.raises(NotDelivered, match="is not trusted"):
        deliver("e-mail", message(), mail(sink, Security.STARTTLS, **LOGIN))
    assert sink.logins == []


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_told_without_it(tls: ssl.SSLContext) -> None:
    with mail_server(tls) as sink:
        settings = mail(sink, Security.STARTTLS, user="stingar", password="other-word")
        with pytest.raises(NotDelivered) as told:
            deliver("e-mail", message(), settings)
    assert "refused the login (code 535); check" in str(told.value)
    assert "other-word" not in str(told.value)


def test_refused_addresses_are_told_and_the_others_get_it_once() -> None:
    with mail_server() as sink:
        sink.refuses = {"night@example.edu"}
        note = deliver("e-mail", message(), mail(sink, Security.NONE))
        assert "refused 1 of 2 addresses" in note
        assert sink.to == [["soc@example.edu"]]
        sink.refuses = {"night@example.edu", "soc@example.edu"}
        with pytest.raises(NotDelivered, match="refused every address"):
            deliver("e-mail", message(), mail(sink, Security.NONE))


def test_a_server_that_can_not_take_it_now_is_told() -> None:
    with mail_server() as sink:
        sink.answer = "451 try again later"
        with pytest.raises(NotDelivered, match=r"refused the message \(code 451\)"):
            deliver("e-mail", message(), mail(sink, Security.NONE))
        settings = mail(sink, Security.NONE)
    with pytest.raises(NotDelivered, match="can't be reached or does not answer"):
        deliver("e-mail", message(), settings)


# ---- webhooks


@pytest.mark.parametrize(
    ("sink", "member"), [("Slack", "blocks"), ("Teams", "attachments"), ("webhook", "problems")]
)
def test_each_webhook_gets_its_form_as_json(web: WebSink, sink: str, member: str) -> None:
    settings = replace(AlertSettings(), **{sink.lower(): web.url()})  # type: ignore[arg-type]
    assert settings.sinks == (sink,)
    deliver(sink, message(), settings)
    ((path, sent),) = web.posted
    assert path == "/secret-path"
    assert member in sent


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (404, "Slack answered 404; check STINGAR_ALERT_SLACK, which may have been revoked"),
        (500, "Slack answered 500"),
        (429, "Slack answered 429: too many messages"),
        (302, "Slack answered 302"),
    ],
)
def test_an_answer_that_is_no_success_is_told(web: WebSink, status: int, line: str) -> None:
    web.status = status
    with pytest.raises(NotDelivered) as told:
        deliver("Slack", message(), AlertSettings(slack=web.url()))
    assert line in str(told.value)
    assert "secret-path" not in str(told.value)
    # It is not sent on to where the answer points.
    assert web.posted == []


def test_a_server_that_is_not_there_is_told_without_its_address(web: WebSink) -> None:
    with pytest.raises(NotDelivered) as told:
        deliver("Teams", message(), AlertSettings(teams="http://127.0.0.1:1/secret-path"))
    assert "Teams can't be reached (ConnectionError)" in str(told.value)
    assert "secret-path" not in str(told.value)
    assert "127.0.0.1" not in str(told.value)
    assert told.value.__cause__ is None


def test_a_server_that_does_not_answer_is_given_up(
    web: WebSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SECONDS", 0.2)
    web.hang = threading.Event()
    with pytest.raises(NotDelivered, match="ReadTimeout"):
        deliver("webhook", message(), AlertSettings(webhook=web.url()))


def test_sending_waits_no_longer_than_it_is_told_to(web: WebSink) -> None:
    web.hang = threading.Event()
    sending = Sending(lambda: deliver("webhook", message(), AlertSettings(webhook=web.url())), [])
    assert not sending.is_done(0.05)
    web.hang.set()
    assert sending.is_done(20)
    assert sending.failure == ""


def test_an_error_that_nobody_thought_of_is_a_line_without_its_text() -> None:
    def broken() -> str:
        raise RuntimeError("https://hooks.example.com/secret-path")

    sending = Sending(broken, [])
    assert sending.is_done(20)
    assert "RuntimeError" in sending.failure
    assert "secret-path" not in sending.failure


# ---- the command


def test_alert_test_sends_to_all_and_fails_where_one_did_not_take_it(
    web: WebSink, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EMAIL_TO", "SLACK", "TEAMS", "WEBHOOK"):
        monkeypatch.delenv(f"STINGAR_ALERT_{name}", raising=False)
    run = CliRunner().invoke(main, ["alert-test"])
    assert run.exit_code == 2
    assert "nobody is told of problems: set STINGAR_ALERT_EMAIL_TO" in run.output
    monkeypatch.setenv("STINGAR_ALERT_SLACK", web.url())
    monkeypatch.setenv("STINGAR_ALERT_WEBHOOK", web.url("other"))
    run = CliRunner().invoke(main, ["alert-test"])
    assert run.exit_code == 0
    assert run.output.splitlines() == ["Slack: sent", "webhook: sent"]
    assert [path for path, _ in web.posted] == ["/secret-path", "/other"]
    monkeypatch.setenv("STINGAR_ALERT_TEAMS", "http://127.0.0.1:1/secret-path")
    run = CliRunner().invoke(main, ["alert-test"])
    assert run.exit_code == 1
    assert "stingar: Teams can't be reached" in run.output
    assert "secret-path" not in run.output
