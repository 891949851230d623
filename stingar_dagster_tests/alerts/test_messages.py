"""Messages in every form: complete, and harmless whatever attackers sent."""

import json
from datetime import UTC, datetime

import pytest

from stingar_dagster.alerts import messages
from stingar_dagster.alerts.messages import Message, message_of
from stingar_dagster.alerts.problems import Notice, Phase, Problem, Told
from stingar_dagster.alerts.settings import AlertSettings, Mail, Security

SINCE = datetime(2026, 11, 18, 10, tzinfo=UTC).timestamp()
MAIL = Mail("smtp.example.edu", 587, Security.STARTTLS, "stingar@example.edu", ("soc@example.edu",))
UI = AlertSettings(ui="https://dagster.example.edu")
HOSTILE = (
    "<!channel> <@U123> <https://evil.example|click> & *bold* _it_ `code` :smile:\n"
    "[link](https://evil.example) www.evil.example <script>alert(1)</script> <at>all</at> "
    "\u202egnp.exe \x1b[31m"
)


def message(text: str, phase: Phase = Phase.STARTED, count: int = 1, ui: bool = True) -> Message:
    notices = [
        Notice(
            phase,
            Problem(
                key=f"check:stingar/cleaned_events:{n}",
                title=f"stingar/cleaned_events {text if n else 'sensors_are_heard'}",
                text=text,
                link="/assets/stingar/cleaned_events?view=checks&checkDetail=x",
                since=SINCE,
                good_since=SINCE + 7200 if phase is Phase.OVER else 0,
                told={"e-mail": Told(SINCE)},
            ),
        )
        for n in range(count)
    ]
    return message_of(notices, UI if ui else AlertSettings(), SINCE + 60)


def slack_texts(sent: dict[str, object]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if value.get("type") in ("mrkdwn", "plain_text"):
                found.append(value)
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk(sent["blocks"])
    return found


def test_one_problem_is_the_subject_and_several_are_counted() -> None:
    assert message("bad").subject == "[stingar] Problem: stingar/cleaned_events sensors_are_heard"
    assert message("bad", Phase.OVER).subject.startswith("[stingar] Over: ")
    assert message("bad", count=30).subject == "[stingar] 30 problems: 20 new"


def test_an_end_says_from_when_to_when() -> None:
    told = messages.plain(message("bad", Phase.OVER))
    assert "2026-11-18T10:00:00Z to 2026-11-18T12:00:00Z" in told
    assert "All is well again. It was: bad" in told


def test_slack_reads_no_mention_link_or_markup_in_what_attackers_sent() -> None:
    sent = messages.slack(message(HOSTILE, count=2))
    assert "<" not in sent["text"]
    for text in slack_texts(sent):
        if text["type"] == "mrkdwn":
            assert text["text"] == (
                "<https://dagster.example.edu/assets/stingar/cleaned_events"
                "?view=checks&amp;checkDetail=x|Open in Dagster>"
            )
        else:
            assert "<" not in text["text"]
            assert ">" not in text["text"]
    assert "evil[.]example" in json.dumps(sent)
    assert "https://evil" not in json.dumps(sent)


def test_teams_reads_no_markdown_or_mention_in_what_attackers_sent() -> None:
    sent = messages.teams(message(HOSTILE))
    (attachment,) = sent["attachments"]
    assert sent["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert "entities" not in json.dumps(card)
    kinds = {block["type"] for block in card["body"]}
    # A TextBlock would read Markdown.
    assert kinds == {"RichTextBlock", "ActionSet"}
    urls = [a["url"] for b in card["body"] for a in b.get("actions", ())]
    assert urls == [
        "https://dagster.example.edu/assets/stingar/cleaned_events?view=checks&checkDetail=x"
    ]


def test_mail_in_html_shows_what_attackers_sent_as_text() -> None:
    made = messages.mail(message(HOSTILE, count=2), MAIL)
    part = made.get_body(("html",))
    assert part is not None
    shown = part.get_content()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert shown.count("<a ") == 2
    assert shown.count('<a href="https://dagster.example.edu/') == 2


def test_mail_headers_hold_one_line_and_say_that_nobody_is_to_answer() -> None:
    made = messages.mail(message("bad\r\nBcc: all@example.edu", count=1), MAIL)
    assert made["Auto-Submitted"] == "auto-generated"
    assert made["Bcc"] is None
    assert made["To"] == "soc@example.edu"
    assert "\n" not in made["Subject"]


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize(
    "text", [HOSTILE, "x" * 50_000, "\u202e" * 5000, "é" * 3000, "&" * 3000, "😀" * 3000]
)
def test_every_form_stays_within_what_sinks_take(text: str, count: int) -> None:
    told = message(text, count=count)
    assert len(json.dumps(messages.teams(told))) < 28_000
    slack = messages.slack(told)
    assert len(slack["blocks"]) <= 50
    assert all(len(part["text"]) <= 3000 for part in slack_texts(slack))
    for form in (json.dumps(slack), json.dumps(messages.webhook(told)), messages.plain(told)):
        assert "\u202e" not in form
        assert "\x1b" not in form


def test_the_webhook_names_problem_phase_times_and_link() -> None:
    sent = messages.webhook(message("bad", Phase.OVER))
    assert sent["format"] == 1
    (problem,) = sent["problems"]
    assert problem["phase"] == "over"
    assert problem["since"] == "2026-11-18T10:00:00Z"
    assert problem["until"] == "2026-11-18T12:00:00Z"
    assert problem["link"].startswith("https://dagster.example.edu/assets/")


def test_without_an_address_of_the_ui_there_is_no_link() -> None:
    told = message("bad", ui=False)
    assert messages.webhook(told)["problems"][0]["link"] is None
    assert "Open in Dagster" not in json.dumps(messages.slack(told))
    assert "Action.OpenUrl" not in json.dumps(messages.teams(told))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("HTTPS://Evil.example/x", "HTTPS[:]//Evil[.]example/x"),
        ("WWW.evil.example", "WWW[.]evil[.]example"),
        ("evil.example/x.sh", "evil[.]example/x[.]sh"),
        ("bad.xn--p1ai", "bad[.]xn--p1ai"),
        ("evil\u3002example", "evil[.]example"),
        ("192.0.2.1 sent 1.5 MB. Then", "192.0.2.1 sent 1.5 MB. Then"),
    ],
)
def test_names_of_hosts_are_broken_whatever_their_case(text: str, shown: str) -> None:
    assert messages.harmless(text, 100) == shown
