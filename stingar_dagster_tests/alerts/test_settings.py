"""Settings of alerts: off by default, refused in one line, and secrets are not shown."""

import pytest

from stingar_dagster.alerts.settings import (
    AlertSettings,
    Security,
    load_alert_settings,
    readable_alert_settings,
)
from stingar_dagster.errors import SettingsError

MAIL = {
    "STINGAR_ALERT_EMAIL_TO": "soc@example.edu, night@example.edu",
    "STINGAR_ALERT_EMAIL_FROM": "stingar@example.edu",
    "STINGAR_ALERT_EMAIL_SERVER": "smtp.example.edu",
}
LOGIN = {"STINGAR_ALERT_EMAIL_USER": "stingar", "STINGAR_ALERT_EMAIL_PASSWORD": "hidden-word"}
HOOK = "https://hooks.example.com/services/T0/B0/hidden-word"


def test_nothing_is_told_unless_it_is_set() -> None:
    assert load_alert_settings({}).sinks == ()


def test_every_sink_is_named_when_it_is_set() -> None:
    hooks = {f"STINGAR_ALERT_{name}": HOOK for name in ("SLACK", "TEAMS", "WEBHOOK")}
    settings = load_alert_settings(MAIL | LOGIN | hooks)
    assert settings.sinks == ("e-mail", "Slack", "Teams", "webhook")
    assert "hidden-word" not in repr(settings)


@pytest.mark.parametrize(
    ("security", "port"), [("", 587), ("starttls", 587), ("TLS", 465), ("none", 25)]
)
def test_mail_is_encrypted_by_default_on_the_usual_port(security: str, port: int) -> None:
    settings = load_alert_settings(MAIL | {"STINGAR_ALERT_EMAIL_SECURITY": security})
    assert settings.mail is not None
    assert settings.mail.port == port
    assert settings.mail.security is Security(security.lower() or "starttls")
    assert settings.mail.to == ("soc@example.edu", "night@example.edu")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"STINGAR_ALERT_EMAIL_SERVER": ""}, "STINGAR_ALERT_EMAIL_SERVER is not"),
        ({"STINGAR_ALERT_EMAIL_FROM": ""}, "STINGAR_ALERT_EMAIL_FROM is not"),
        ({"STINGAR_ALERT_EMAIL_TO": "soc"}, "'soc', which is no address"),
        ({"STINGAR_ALERT_EMAIL_TO": "a@b.org\nBcc: c@d.org"}, "which is no address"),
        ({"STINGAR_ALERT_EMAIL_SERVER": "smtp://hidden-word@host"}, "is no server"),
        ({"STINGAR_ALERT_EMAIL_SERVER": "host:99999"}, "is no server"),
        ({"STINGAR_ALERT_EMAIL_SECURITY": "ssl"}, "must be starttls, tls or none"),
        ({"STINGAR_ALERT_EMAIL_USER": "stingar"}, "both, or neither"),
        ({**LOGIN, "STINGAR_ALERT_EMAIL_SECURITY": "none"}, "in clear; set starttls or tls"),
        ({"STINGAR_ALERT_SLACK": HOOK.replace("https", "http")}, "must begin with https://"),
        ({"STINGAR_ALERT_TEAMS": "hidden-word"}, "STINGAR_ALERT_TEAMS is not a web address"),
        ({"STINGAR_ALERT_WEBHOOK": "https://host:hidden-word/"}, "is not a web address"),
        ({"STINGAR_ALERT_WEBHOOK": "file:///etc/hidden-word"}, "is not a web address"),
        ({"STINGAR_UI_URL": "javascript:alert(1)"}, "STINGAR_UI_URL must be like"),
        ({"STINGAR_UI_URL": "https://a:hidden-word@host"}, "STINGAR_UI_URL must be like"),
        ({"STINGAR_UI_URL": "http://[::1"}, "STINGAR_UI_URL must be like"),
        ({"STINGAR_UI_URL": "https://host:hidden-word"}, "STINGAR_UI_URL must be like"),
        ({"STINGAR_UI_URL": "https://host/?a=<b>"}, "STINGAR_UI_URL must be a plain"),
    ],
)
def test_what_can_not_be_used_is_refused_in_one_line_without_secrets(
    changes: dict[str, str], line: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_alert_settings(MAIL | changes)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "hidden-word" not in str(refused.value)


def test_one_that_can_not_be_used_silences_no_other() -> None:
    environ = MAIL | {"STINGAR_ALERT_SLACK": HOOK.replace("https", "http")}
    settings, wrong = readable_alert_settings(environ)
    assert settings.sinks == ("e-mail",)
    (line,) = wrong
    assert line.startswith("STINGAR_ALERT_SLACK must begin with https://")
    # What was read before counts on, so that a typo in `.env` loses no message.
    settings, _ = readable_alert_settings(environ, AlertSettings(slack=HOOK))
    assert settings.slack == HOOK
