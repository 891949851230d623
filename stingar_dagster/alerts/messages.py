"""Notices in words, and in the form of each sink, with text from events made harmless.

Checks quote what attackers sent. In every form such text is only ever text: no markup, no mention
of a channel, no link. Links lead to Dagster's UI alone. Not here: sending (`delivery`).
"""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import blake2b
from typing import Any, Final

from stingar_dagster.alerts.problems import Notice, Phase
from stingar_dagster.alerts.settings import AlertSettings, Mail
from stingar_dagster.safe_text import visible

FORMAT: Final = 1
"""Of the generic webhook's JSON; raised when the meaning of a member changes."""

_MOST_ITEMS: Final = 20
_MOST_TEXT: Final = 900
_MOST_SLACK: Final = 2900
"""Slack takes 3,000 characters in a text, escapes included."""
_MOST_TEAMS: Final = 27_000
"""Teams takes 28 KB in all."""
_HOST_DOT: Final = re.compile(r"(?<=[^\W_])[.\u3002\uff0e\uff61](?=[^\W\d_])")
"""The dots that hosts' names are written with; the last three count as dots in browsers (IDNA)."""
_WORDS: Final = {Phase.STARTED: "Problem", Phase.LASTING: "Still", Phase.OVER: "Over"}


@dataclass(frozen=True, slots=True)
class Item:
    """One problem in a message.

    Attributes:
        key: tells it from others.
        phase: where it stands.
        title, text: harmless in plain text, and not yet escaped for any markup.
        link: to Dagster's UI; empty: none.
        since, until: when it started and ended (UTC); None: it lasts.
        failed: for runs: how many failed.
    """

    key: str
    phase: Phase
    title: str
    text: str
    link: str
    since: datetime
    until: datetime | None = None
    failed: int = 0

    @property
    def headline(self) -> str:
        return f"{_WORDS[self.phase]}: {self.title}"

    @property
    def times(self) -> str:
        if self.until is None:
            return f"since {_time(self.since)}"
        return f"{_time(self.since)} to {_time(self.until)}"


@dataclass(frozen=True, slots=True)
class Message:
    """What a sink is told at once: one message, however many problems."""

    items: tuple[Item, ...]
    at: datetime
    more: int = 0

    @property
    def subject(self) -> str:
        if len(self.items) == 1:
            return f"[stingar] {self.items[0].headline}"
        counts = [
            f"{count} {word}"
            for phase, word in (
                (Phase.STARTED, "new"),
                (Phase.LASTING, "lasting"),
                (Phase.OVER, "over"),
            )
            if (count := sum(item.phase is phase for item in self.items))
        ]
        return f"[stingar] {len(self.items) + self.more} problems: {', '.join(counts)}"


def message_of(notices: Sequence[Notice], settings: AlertSettings, now: float) -> Message:
    """The message that tells of some notices."""
    items = [
        Item(
            notice.problem.key,
            notice.phase,
            harmless(notice.problem.title, 120),
            harmless(_text(notice), _MOST_TEXT),
            f"{settings.ui}{notice.problem.link}" if settings.ui and notice.problem.link else "",
            _utc(notice.problem.since),
            _utc(notice.problem.good_since) if notice.phase is Phase.OVER else None,
            notice.problem.failed,
        )
        for notice in notices[:_MOST_ITEMS]
    ]
    return Message(tuple(items), _utc(now), max(len(notices) - _MOST_ITEMS, 0))


def message_for_test(settings: AlertSettings, now: float) -> Message:
    """What `stingar alert-test` sends."""
    text = "This is a test: nothing is wrong. Problems of the pipeline will be told here."
    link = f"{settings.ui}/overview" if settings.ui else ""
    return Message(
        (Item("test", Phase.STARTED, "a test of alerts", text, link, _utc(now)),), _utc(now)
    )


def harmless(text: str, longest: int) -> str:
    """Text on one line, without characters that are not seen, and without whole addresses.

    Clients make links of `https://...` and `www....`, some also of bare names of hosts: so a dot
    between letters or digits is broken where what follows is no number, as it is in an address
    of a host and not in `192.0.2.1` or `1.5`.
    """
    text = _HOST_DOT.sub("[.]", visible(text, longest).replace("://", "[:]//"))
    # What is not seen came out longer than it was.
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


# ---- forms


def plain(message: Message) -> str:
    parts = []
    for item in message.items:
        parts.append("\n".join([item.headline, item.times, item.text, *filter(None, [item.link])]))
    if message.more:
        parts.append(f"and {message.more} more")
    return "\n\n".join(parts) + "\n"


def mail(message: Message, settings: Mail) -> EmailMessage:
    """As an e-mail, plain and in HTML."""
    made = EmailMessage()
    made["Subject"] = message.subject
    made["From"] = settings.sender
    made["To"] = ", ".join(settings.to)
    made["Date"] = format_datetime(message.at)
    # No holiday notes in answer (RFC 3834).
    made["Auto-Submitted"] = "auto-generated"
    domain = settings.sender.rpartition("@")[2]
    made["Message-ID"] = f"<{_digest(message.at.isoformat(), *_keys(message))}@{domain}>"
    if len(message.items) == 1:
        # Clients show what is told of one problem together.
        item = message.items[0]
        made["References"] = f"<{_digest(item.key, item.since.isoformat())}@{domain}>"
    made.set_content(plain(message))
    made.add_alternative(_html(message), subtype="html")
    return made


def slack(message: Message) -> dict[str, Any]:
    """As Slack's incoming webhooks take it.

    Text stands in objects of type plain_text, which know no formatting, and `&<>` are escaped, as
    Slack's rules for every text ask: so `<!channel>` calls nobody.
    See https://docs.slack.dev/messaging/formatting-message-text
    """
    blocks: list[dict[str, Any]] = []
    for item in message.items:
        text = f"{item.headline}\n{item.text}\n({item.times})"
        blocks.append({"type": "section", "text": _slack_text(text)})
        if item.link:
            link = f"<{_slack(item.link)}|Open in Dagster>"
            blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": link}]})
    if message.more:
        blocks.append({"type": "section", "text": _slack_text(f"and {message.more} more")})
    return {"text": _slack(message.subject), "blocks": blocks, "unfurl_links": False}


def teams(message: Message) -> dict[str, Any]:
    """As a workflow "When a Teams webhook request is received" takes it: an Adaptive Card.

    Text runs, unlike text blocks, know no Markdown.
    See https://adaptivecards.io/explorer/TextRun.html
    """
    body: list[dict[str, Any]] = []
    for item in message.items:
        run = {"type": "TextRun", "text": item.headline, "weight": "Bolder"}
        if item.phase is not Phase.OVER:
            run["color"] = "Attention"
        body.append({"type": "RichTextBlock", "inlines": [run], "separator": True})
        body.append({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": item.text}]})
        small = {"type": "TextRun", "text": item.times, "isSubtle": True, "size": "Small"}
        body.append({"type": "RichTextBlock", "inlines": [small]})
        if item.link:
            action = {"type": "Action.OpenUrl", "title": "Open in Dagster", "url": item.link}
            body.append({"type": "ActionSet", "actions": [action]})
    if message.more:
        rest = {"type": "TextRun", "text": f"and {message.more} more"}
        body.append({"type": "RichTextBlock", "inlines": [rest]})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": message.subject,
        "body": body,
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    made = {"type": "message", "attachments": [attachment]}
    if len(message.items) > 1 and len(json.dumps(made)) > _MOST_TEAMS:
        return teams(Message(message.items[:-1], message.at, message.more + 1))
    return made


def webhook(message: Message) -> dict[str, Any]:
    """As JSON for other programs; docs/checks.md names the members."""
    return {
        "format": FORMAT,
        "source": "stingar-dagster",
        "at": _time(message.at),
        "subject": message.subject,
        "more": message.more,
        "problems": [
            {
                "key": item.key,
                "phase": str(item.phase),
                "title": item.title,
                "text": item.text,
                "since": _time(item.since),
                "until": _time(item.until) if item.until else None,
                "failed_runs": item.failed,
                "link": item.link or None,
            }
            for item in message.items
        ],
    }


def _html(message: Message) -> str:
    parts = []
    for item in message.items:
        link = f'<p><a href="{html.escape(item.link)}">Open in Dagster</a></p>' if item.link else ""
        parts.append(
            f"<h3>{html.escape(item.headline)}</h3><p>{html.escape(item.text)}</p>"
            f"<p><small>{html.escape(item.times)}</small></p>{link}"
        )
    if message.more:
        parts.append(f"<p>and {message.more} more</p>")
    return f"<!doctype html><html><body>{''.join(parts)}</body></html>"


def _text(notice: Notice) -> str:
    problem = notice.problem
    if notice.phase is not Phase.OVER:
        return problem.text
    return f"All is well again. It was: {problem.text}"


def _slack_text(text: str) -> dict[str, Any]:
    escaped = _slack(text)
    while len(escaped) > _MOST_SLACK:
        text = text[: len(text) * 3 // 4]
        escaped = _slack(text) + "…"
    return {"type": "plain_text", "text": escaped, "emoji": False}


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _keys(message: Message) -> list[str]:
    return [f"{item.key} {item.phase}" for item in message.items]


def _digest(*parts: str) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=12).hexdigest()


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
