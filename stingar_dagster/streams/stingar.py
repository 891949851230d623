"""The stream `stingar`: honeypot events as CHN's and STINGAR's hpfeeds processors shape them.

Names follow Splunk's Common Information Model (Intrusion Detection), which partners' searches
speak. Fields, quirks and signatures were gathered from those processors' output for twenty
honeypots; spellings differ between releases, so signatures are matched case-insensitively by what
they have in common and published as sent.
"""

import polars as pl

from stingar_dagster.streams.expressions import (
    hashes_in,
    iso_time,
    of_distinct,
    unexpected_members,
    urls_in,
    without_bytes_repr,
    without_mapped_prefix,
)
from stingar_dagster.streams.norms import Origins
from stingar_dagster.streams.stingar_kinds import ENTERED, KIND, TRIES
from stingar_dagster.streams.stingar_recount import RECOUNTS
from stingar_dagster.streams.stingar_sessions import DAILY_SESSIONS
from stingar_dagster.streams.stream import Column, Field, FieldKind, Stream, usual_in_extra
from stingar_dagster.streams.tables import DailyTable, Limit, Picture, TableColumn

TEXT, INTEGER, PORT = FieldKind.TEXT, FieldKind.INTEGER, FieldKind.PORT
LIST, PAIR, FREE = FieldKind.LIST, FieldKind.PAIR, FieldKind.FREE

_COMMON = (
    Field("type", TEXT, "Honeypot and channel that sent the event, such as cowrie.sessions"),
    Field("sensor", TEXT, "Name of the honeypot's host", inside=("hostname", "uuid")),
    Field("src_ip", TEXT, "Address the traffic came from"),
    Field("src_port", PORT, "Port the traffic came from; 0: not known"),
    Field(
        "dest_ip",
        TEXT,
        "Address it went to, often a container's internal one",
        aliases=("dst_ip",),
    ),
    Field("dest_port", PORT, "Port it went to; 0: not known", aliases=("dst_port",)),
    Field("transport", TEXT, "Transport protocol, lower-case: tcp or udp"),
    Field("protocol", TEXT, "Application protocol where known, lower-case: ssh, telnet, ip"),
    Field("app", TEXT, "Honeypot software"),
    Field("vendor_product", TEXT, "Honeypot software as its vendor spells it"),
    Field("signature", TEXT, "What happened, in the honeypot's words"),
    Field("severity", TEXT, "high, medium, low or informational"),
    Field("direction", TEXT, "Seen from the sensor, normally inbound"),
    Field("ids_type", TEXT, "Kind of intrusion detection, normally network"),
    Field("tags", LIST, "Labels that the sensor or a shipper attached", separator=","),
)

_SHELL = (
    Field("command", TEXT, "Command line that the attacker entered"),
    Field("loggedin", PAIR, "User name and password that the whole session was logged in with"),
    Field("ssh_username", TEXT, "User name tried, as the SSH honeypot names it"),
    Field("ssh_password", TEXT, "Password tried, as the SSH honeypot names it"),
    Field("ssh_version", TEXT, "Version banner of the attacker's SSH client"),
    Field("ssh_fingerprint", TEXT, "Fingerprint of the public key that was offered"),
    Field("keytype", TEXT, "Type of the public key that was offered"),
    Field("authentication_keys", FREE, "Public keys that were offered"),
    Field("arch", TEXT, "Processor architecture that the honeypot pretended to have"),
    # The misspelling is the processors' own, and what searches look for.
    Field("client_heigth", INTEGER, "Height of the attacker's terminal, in rows"),
    Field("client_width", INTEGER, "Width of the attacker's terminal, in columns"),
    Field("kex_hassh", TEXT, "HASSH fingerprint of the SSH client (MD5 of its algorithms)"),
    Field("kex_hassh_algorithms", TEXT, "The algorithms that the fingerprint was made from"),
    Field("kex_kex_algorithms", LIST, "Key exchange algorithms offered"),
    Field("kex_key_algorithms", LIST, "Host key algorithms offered"),
    Field("kex_enc_cs", LIST, "Ciphers offered, client to server"),
    Field("kex_mac_cs", LIST, "Message authentication codes offered, client to server"),
    Field("kex_comp_cs", LIST, "Compression methods offered, client to server"),
    Field("kex_lang_cs", LIST, "Languages offered, client to server"),
)

_PAYLOAD = (
    Field("username", TEXT, "User name tried"),
    Field("password", TEXT, "Password tried"),
    Field("url", TEXT, "Link or path in the payload"),
    Field("request_url", TEXT, "Link or path that was requested from the honeypot"),
    Field("hash", TEXT, "Hash of a downloaded file, kind not named"),
    Field("md5", TEXT, "MD5 of a captured file"),
    Field("sha1", TEXT, "SHA-1 of a captured file"),
    Field("sha256", TEXT, "SHA-256 of a captured file"),
    Field("sha512", TEXT, "SHA-512 of a captured file"),
    Field("user_agent", TEXT, "User agent that the client named"),
    Field("eventid", TEXT, "The honeypot's own event name; an HTTP method for web honeypots"),
    Field("message", TEXT, "The honeypot's own message"),
    Field("request", TEXT, "Request as the web honeypot saw it"),
    Field("path", TEXT, "Path requested"),
    Field("full_path", TEXT, "Path requested, with its query"),
    Field("args", FREE, "Query arguments"),
    Field("form_data", FREE, "Form fields"),
    Field("headers", FREE, "HTTP headers"),
    Field("files", FREE, "Uploaded files"),
    Field("data", TEXT, "Payload; base64 for rdphoney"),
    Field("action", TEXT, "What the honeypot did or saw"),
    Field("status", TEXT, "The honeypot's own status"),
    Field("service", TEXT, "Service that honeydb-agent emulated"),
    Field("bytes", INTEGER, "Bytes transferred"),
    Field("hdb_event", TEXT, "honeydb-agent's event: CONNECT, RX or TX"),
    Field("elastichoney_form", TEXT, "Form that was posted"),
    Field("elastichoney_payload", TEXT, "Payload that was posted"),
)

_DIONAEA = (
    Field("dionaea_action", TEXT, "What dionaea did with the connection: accept, reject"),
    Field("cmd", TEXT, "Command in the payload"),
    Field("smb_uuid", TEXT, "SMB interface that was bound"),
    Field("smb_transfersyntax", TEXT, "SMB transfer syntax"),
    Field("smb_opnum", INTEGER, "SMB operation number"),
    Field("virustotal", FREE, "VirusTotal's answer"),
    Field("mqtt_action", TEXT, "MQTT action"),
    Field("mqtt_clientid", TEXT, "MQTT client identifier"),
    Field("mqtt_willtopic", TEXT, "MQTT last-will topic"),
    Field("mqtt_willmessage", TEXT, "MQTT last-will message"),
    Field("mqtt_message", TEXT, "MQTT message"),
    Field("sip_data", FREE, "SIP message"),
)

_DETECTION = (
    Field("snort_header", TEXT, "Generator, signature and revision of the Snort rule"),
    Field("snort_classification", INTEGER, "Snort's classification number"),
    Field("snort_priority", INTEGER, "Snort's priority, 1 the highest"),
    Field("suricata_action", TEXT, "What Suricata did: allowed or blocked"),
    Field("suricata_signature_id", INTEGER, "Suricata's signature number"),
    Field("suricata_signature_rev", INTEGER, "Suricata's signature revision"),
    Field("ip_id", INTEGER, "IP identification"),
    Field("ip_ttl", INTEGER, "IP time to live"),
    Field("ip_len", INTEGER, "IP length in bytes"),
    Field("ip_tos", INTEGER, "IP type of service"),
    Field("eth_src", TEXT, "Source hardware address"),
    Field("eth_dst", TEXT, "Destination hardware address"),
    Field("tcp_len", INTEGER, "TCP payload length in bytes"),
    Field("tcp_flags", TEXT, "TCP flags"),
    Field("udp_len", INTEGER, "UDP length in bytes"),
    Field("p0f_app", TEXT, "Application that p0f recognised"),
    Field("p0f_link", TEXT, "Link type that p0f recognised"),
    Field("p0f_os", TEXT, "Operating system that p0f recognised"),
    Field("p0f_uptime", TEXT, "Uptime that p0f estimated"),
)

_SHIPPER = tuple(
    Field(name, FREE, "Metadata that a shipper added")
    for name in (
        "@version", "@metadata", "host", "agent", "ecs", "input", "log", "beat", "offset",
        "prospector", "fileset", "source",
    )
)  # fmt: skip

EVENT_KINDS = (
    "connection", "login_attempt", "login_success", "command", "download", "exploit", "recon",
    "alert", "other",
)  # fmt: skip
"""What `event_kind` may be."""

_DERIVED = (
    Column("event_kind", pl.String(), ", ".join(EVENT_KINDS), EVENT_KINDS),
    Column("username", pl.String(), "User name of this login attempt, however the sender named it"),
    Column("password", pl.String(), "Password of this login attempt, however the sender named it"),
    Column("urls", pl.List(pl.String()), "Links in the event, also from inside commands"),
    Column("hashes", pl.List(pl.String()), "File hashes in the event, lower-case"),
)


def _kind_of_signature(signature: pl.Expr) -> pl.Expr:
    """The order decides: a "login successful" is no attempt."""
    lower = signature.str.to_lowercase()
    return (
        pl.when(lower.str.contains(r"login success|logged in"))
        .then(pl.lit("login_success"))
        .when(lower.str.contains(r"login attempt|login failed|login event"))
        .then(pl.lit("login_attempt"))
        .when(lower.str.contains(r"download"))
        .then(pl.lit("download"))
        .when(lower.str.contains(r"\bcommand\b"))
        .then(pl.lit("command"))
        .when(lower.str.contains(r"recon\b|\bscan\b|enumeration"))
        .then(pl.lit("recon"))
        .when(lower.str.contains(r"exploit|shellshock"))
        .then(pl.lit("exploit"))
        .when(lower.str.contains(r"connection|session"))
        .then(pl.lit("connection"))
    )


def _event_kind() -> pl.Expr:
    """What kind of event it is, from what its signature alone says in this column so far; a
    login's fields say more than a mere connection."""
    login_fields = pl.any_horizontal(
        pl.col(name).is_not_null()
        for name in ("ssh_username", "ssh_password", "username", "password")
    )
    by_signature = pl.col("event_kind")
    return (
        pl.when(pl.col("type").is_in(["snort.alerts", "suricata.events"]))
        .then(pl.lit("alert"))
        .when(by_signature != "connection")
        .then(by_signature)
        .when(login_fields)
        .then(pl.lit("login_attempt"))
        .otherwise(pl.coalesce(by_signature, pl.lit("other")))
    )


def _credential(name: str, position: int) -> pl.Expr:
    """The credential of this very event.

    `loggedin` is the session's: it stands on failed logins of a session that later succeeded, so
    it counts only for the success itself.
    """
    of_session = pl.col("loggedin").list.get(position, null_on_oob=True)
    counts = (pl.col("event_kind") == "login_success") & (of_session != "")
    return pl.coalesce(name, f"ssh_{name}", pl.when(counts).then(of_session)).alias(name)


_STEPS = (
    (
        without_mapped_prefix("src_ip"),
        without_mapped_prefix("dest_ip"),
        without_bytes_repr("ssh_version"),
        pl.col("transport", "protocol", "severity").str.to_lowercase(),
        of_distinct("signature", _kind_of_signature).alias("event_kind"),
    ),
    (
        _event_kind().alias("event_kind"),
        urls_in("url", "command", "cmd").alias("urls"),
        hashes_in("hash", "md5", "sha1", "sha256", "sha512").alias("hashes"),
    ),
    (_credential("username", 0), _credential("password", 1)),
)

# ---------------------------------------------------------------------------- daily tables

_HOUR_US = 3_600_000_000
_UNIQUE_SOURCES = pl.col("src_ip").drop_nulls().n_unique().alias("unique_sources")
_EVENTS_MEANING = "Events"
_SOURCES_MEANING = "Distinct source addresses over the day"


def _sum(*names: str) -> tuple[pl.Expr, ...]:
    return tuple(pl.col(name).sum() for name in names)


def _text(name: str, meaning: str) -> TableColumn:
    return TableColumn(name, pl.String(), meaning)


def _count(name: str, meaning: str) -> TableColumn:
    return TableColumn(name, pl.Int64(), meaning)


_FIRST_LAST = (pl.col("time_us").min().alias("first_us"), pl.col("time_us").max().alias("last_us"))
_SEEN = (
    iso_time(pl.col("first_us").min()).alias("first_seen"),
    iso_time(pl.col("last_us").max()).alias("last_seen"),
)
_SEEN_COLUMNS = (
    _text("first_seen", "First event of the day (UTC)"),
    _text("last_seen", "Last event of the day (UTC)"),
)

_TIME_FIELDS = ("@timestamp", "timestamp", "start_time")
_FIELDS = (*_COMMON, *_SHELL, *_PAYLOAD, *_DIONAEA, *_DETECTION, *_SHIPPER)
_DECLARED_AS = {
    name: item.kind.value for item in _FIELDS for name in (item.name, *item.aliases)
}  # fmt: skip
_NOT_DECLARED = "not declared"
_MEMBER = pl.col("member").struct


_TABLES = (
    DailyTable(
        name="daily_summary",
        picture=Picture("busiest honeypots", ("sensor", "app"), "events"),
        recount=RECOUNTS["daily_summary"],
        meaning="The day at a glance: one row for each sensor and honeypot software. A row "
        "without both holds what could not become an event.",
        keys=(pl.col("sensor"), pl.col("app")),
        distinct=(pl.col("src_ip"),),
        partial=(
            pl.len().cast(pl.Int64).alias("events"),
            (KIND == "connection").sum().cast(pl.Int64).alias("sessions"),
            TRIES.sum().cast(pl.Int64).alias("login_attempts"),
            (KIND == "login_success").sum().cast(pl.Int64).alias("login_successes"),
            ENTERED.sum().cast(pl.Int64).alias("commands"),
            (KIND == "download").sum().cast(pl.Int64).alias("downloads"),
            ((pl.col("enqueued_us") - pl.col("time_us")) > _HOUR_US)
            .sum()
            .cast(pl.Int64)
            .alias("late"),
        ),
        merged=(
            _UNIQUE_SOURCES,
            *_sum(
                "events",
                "sessions",
                "login_attempts",
                "login_successes",
                "commands",
                "downloads",
                "late",
            ),
            pl.lit(0).alias("quarantined"),
        ),
        columns=(
            _text("sensor", "Name of the honeypot's host"),
            _text("app", "Honeypot software"),
            _count("events", _EVENTS_MEANING),
            _count("unique_sources", _SOURCES_MEANING),
            _count("sessions", "Connections opened, for honeypots that tell"),
            _count("login_attempts", "Logins tried, successful ones included"),
            _count("login_successes", "Logins that the honeypot let succeed"),
            _count("commands", "Commands entered; one sent again as unknown counts once"),
            _count("downloads", "Downloads tried or made"),
            _count("late", "Events that arrived more than an hour after they were logged"),
            _count("quarantined", "What arrived this day and could not become an event"),
        ),
        descending=("events",),
        quarantine_column="quarantined",
    ),
    DailyTable(
        name="daily_sources",
        picture=Picture("top sources", ("src_ip",), "events"),
        recount=RECOUNTS["daily_sources"],
        meaning="One row for each source address: how busy it was, where, and when.",
        keys=(pl.col("src_ip"),),
        distinct=(pl.col("sensor"), pl.col("app"), pl.col("dest_port")),
        where=pl.col("src_ip").is_not_null(),
        partial=(pl.len().cast(pl.Int64).alias("events"), *_FIRST_LAST),
        merged=(
            pl.col("events").sum(),
            pl.col("sensor").drop_nulls().unique().sort().alias("sensors"),
            pl.col("app").drop_nulls().unique().sort().alias("apps"),
            pl.col("dest_port").drop_nulls().unique().sort().alias("ports"),
            *_SEEN,
            pl.col("sensor")
            .sort_by("first_us", "sensor")
            .drop_nulls()
            .first()
            .alias("first_sensor"),
        ),
        columns=(
            _text("src_ip", "Source address"),
            _count("events", _EVENTS_MEANING),
            TableColumn("sensors", pl.List(pl.String()), "Sensors that saw it"),
            TableColumn("apps", pl.List(pl.String()), "Honeypot software that saw it"),
            TableColumn("ports", pl.List(pl.Int64()), "Ports it went to"),
            *_SEEN_COLUMNS,
            _text("first_sensor", "The sensor that saw it first"),
        ),
        descending=("events",),
    ),
    DailyTable(
        name="daily_ports",
        picture=Picture("top ports", ("dest_port", "transport"), "events"),
        recount=RECOUNTS["daily_ports"],
        meaning="One row for each port that was attacked, and its transport protocol.",
        keys=(pl.col("dest_port"), pl.col("transport")),
        distinct=(pl.col("src_ip"),),
        where=pl.col("dest_port").is_not_null(),
        partial=(pl.len().cast(pl.Int64).alias("events"),),
        merged=(pl.col("events").sum(), _UNIQUE_SOURCES),
        columns=(
            _count("dest_port", "Port; 0: the sender did not know"),
            _text("transport", "tcp or udp"),
            _count("events", _EVENTS_MEANING),
            _count("unique_sources", _SOURCES_MEANING),
        ),
        descending=("events",),
    ),
    DailyTable(
        name="daily_credentials",
        picture=Picture("top credentials", ("username", "password"), "attempts"),
        recount=RECOUNTS["daily_credentials"],
        meaning="One row for each user name and password that was tried, and the protocol.",
        keys=(pl.col("username"), pl.col("password"), pl.col("protocol")),
        distinct=(pl.col("src_ip"),),
        where=TRIES,
        partial=(
            pl.len().cast(pl.Int64).alias("attempts"),
            (KIND == "login_success").sum().cast(pl.Int64).alias("successes"),
        ),
        merged=(*_sum("attempts", "successes"), _UNIQUE_SOURCES),
        columns=(
            _text("username", "User name tried; absent where the event named none"),
            _text("password", "Password tried; absent where empty or a key was offered"),
            _text("protocol", "Protocol of the login"),
            _count("attempts", "Logins tried, successful ones included"),
            _count("successes", "Logins that the honeypot let succeed"),
            _count("unique_sources", _SOURCES_MEANING),
        ),
        descending=("attempts",),
    ),
    DailyTable(
        name="daily_commands",
        picture=Picture("top commands", ("command",), "events"),
        recount=RECOUNTS["daily_commands"],
        meaning="One row for each command line that attackers entered.",
        keys=(pl.col("command"),),
        distinct=(pl.col("src_ip"), pl.col("sensor")),
        where=ENTERED & pl.col("command").is_not_null(),
        partial=(pl.len().cast(pl.Int64).alias("events"), *_FIRST_LAST),
        merged=(
            pl.col("events").sum(),
            _UNIQUE_SOURCES,
            pl.col("sensor").drop_nulls().unique().sort().alias("sensors"),
            *_SEEN,
        ),
        columns=(
            _text("command", "Command line"),
            _count("events", "Times it was entered"),
            _count("unique_sources", _SOURCES_MEANING),
            TableColumn("sensors", pl.List(pl.String()), "Sensors that saw it"),
            *_SEEN_COLUMNS,
        ),
        descending=("events",),
    ),
    DailyTable(
        name="daily_downloads",
        picture=Picture("top links and files", ("artifact",), "events"),
        recount=RECOUNTS["daily_downloads"],
        meaning="One row for each link or file hash that attackers fetched or named.",
        keys=(
            pl.col("artifact"),
            pl.when(pl.col("artifact").str.contains("://", literal=True))
            .then(pl.lit("url"))
            .otherwise(pl.lit("hash"))
            .alias("artifact_kind"),
        ),
        distinct=(pl.col("src_ip"), pl.col("sensor")),
        where=pl.col("urls").is_not_null() | pl.col("hashes").is_not_null(),
        explode=pl.concat_list(pl.col("urls").fill_null([]), pl.col("hashes").fill_null([])).alias(
            "artifact"
        ),
        partial=(pl.len().cast(pl.Int64).alias("events"), *_FIRST_LAST),
        merged=(
            pl.col("events").sum(),
            _UNIQUE_SOURCES,
            pl.col("sensor").drop_nulls().unique().sort().alias("sensors"),
            *_SEEN,
        ),
        columns=(
            _text("artifact", "Link or file hash"),
            _text("artifact_kind", "url or hash"),
            _count("events", "Events that named it"),
            _count("unique_sources", _SOURCES_MEANING),
            TableColumn("sensors", pl.List(pl.String()), "Sensors that saw it"),
            *_SEEN_COLUMNS,
        ),
        descending=("events",),
    ),
    DailyTable(
        name="daily_fingerprints",
        picture=Picture("top clients", ("ssh_version", "kex_hassh"), "events"),
        recount=RECOUNTS["daily_fingerprints"],
        meaning="One row for each SSH client: its HASSH fingerprint and version banner.",
        keys=(pl.col("kex_hassh"), pl.col("ssh_version")),
        distinct=(pl.col("src_ip"), pl.col("sensor")),
        where=pl.col("kex_hassh").is_not_null() | pl.col("ssh_version").is_not_null(),
        partial=(pl.len().cast(pl.Int64).alias("events"), *_FIRST_LAST),
        merged=(
            pl.col("events").sum(),
            _UNIQUE_SOURCES,
            pl.col("sensor").drop_nulls().unique().sort().alias("sensors"),
            *_SEEN,
        ),
        columns=(
            _text("kex_hassh", "HASSH fingerprint of the SSH client"),
            _text("ssh_version", "Version banner of the SSH client"),
            _count("events", _EVENTS_MEANING),
            _count("unique_sources", _SOURCES_MEANING),
            TableColumn("sensors", pl.List(pl.String()), "Sensors that saw it"),
            *_SEEN_COLUMNS,
        ),
        descending=("events",),
    ),
    DailyTable(
        name="daily_sensors",
        picture=Picture("top sensors", ("sensor",), "events"),
        recount=RECOUNTS["daily_sensors"],
        meaning="One row for each sensor: is it alive, and how fast do its events arrive?",
        keys=(pl.col("sensor"),),
        where=pl.col("sensor").is_not_null(),
        partial=(
            pl.len().cast(pl.Int64).alias("events"),
            pl.col("src_ip").drop_nulls().unique().sort().alias("sources"),
            *_FIRST_LAST,
            pl.col("enqueued_us").min().alias("first_enqueued_us"),
            pl.col("enqueued_us").max().alias("last_enqueued_us"),
            pl.col("time_us").sort().diff().max().fill_null(0).alias("silence_us"),
            ((pl.col("enqueued_us") - pl.col("time_us")) // 1_000_000)
            .drop_nulls()
            .sort()
            .alias("delays"),
        ),
        merged=(
            pl.col("events").sum(),
            pl.col("sources").list.explode(empty_as_null=False).n_unique().alias("unique_sources"),
            (
                pl.max_horizontal(
                    pl.col("silence_us").max(),
                    (pl.col("first_us").shift(-1) - pl.col("last_us")).max(),
                )
                / 1_000_000
            )
            .round(3)
            .alias("longest_silence_seconds"),
            pl.col("delays")
            .list.explode(empty_as_null=False)
            .median()
            .alias("median_delay_seconds"),
            pl.col("delays").list.explode(empty_as_null=False).max().alias("longest_delay_seconds"),
            *_SEEN,
        ),
        columns=(
            _text("sensor", "Name of the honeypot's host"),
            _count("events", _EVENTS_MEANING),
            _count("unique_sources", _SOURCES_MEANING),
            TableColumn(
                "longest_silence_seconds",
                pl.Float64(),
                "Longest time between two consecutive events of the day",
            ),
            TableColumn(
                "median_delay_seconds",
                pl.Float64(),
                "Median time from logged to received by Event Hubs",
            ),
            _count("longest_delay_seconds", "Longest time from logged to received"),
            *_SEEN_COLUMNS,
        ),
        descending=("events",),
        order_by="first_us",
    ),
    DailyTable(
        name="daily_hours",
        recount=RECOUNTS["daily_hours"],
        meaning="One row for each hour of the day and honeypot software: when was it busy?",
        keys=((pl.col("time_us") // _HOUR_US % 24).alias("hour"), pl.col("app")),
        partial=(pl.len().cast(pl.Int64).alias("events"),),
        merged=(pl.col("events").sum(),),
        columns=(
            _count("hour", "Hour of the day that events were logged in (UTC), 0 to 23"),
            _text("app", "Honeypot software"),
            _count("events", _EVENTS_MEANING),
        ),
    ),
    DailyTable(
        name="daily_drift",
        picture=Picture("drift by sensor", ("sensor", "field"), "events"),
        recount=RECOUNTS["daily_drift"],
        meaning="One row for each field that came otherwise than declared, and sensor: fields "
        "that nobody declared, and declared ones sent as another type. All are kept in `extra`.",
        keys=(
            pl.col("sensor"),
            _MEMBER.field("field"),
            _MEMBER.field("sent_as"),
            _MEMBER.field("field")
            .replace_strict(_DECLARED_AS, default=_NOT_DECLARED, return_dtype=pl.String())
            .alias("declared_as"),
        ),
        where=pl.col("extra").is_not_null(),
        explode=unexpected_members("extra", usual_in_extra(_TIME_FIELDS, _FIELDS)).alias("member"),
        partial=(
            _MEMBER.field("times").sum().alias("events"),
            _MEMBER.field("example").min(),
            *_FIRST_LAST,
        ),
        combined=(
            pl.col("events").sum(),
            pl.col("example").min(),
            pl.col("first_us").min(),
            pl.col("last_us").max(),
        ),
        # Whoever attacks a honeypot may invent names. Declared ones are few; and names that hold
        # data, such as addresses and identifiers, are longer than what a developer calls a field.
        limit=Limit(
            sender="sensor",
            name="field",
            first=(pl.col("declared_as") == _NOT_DECLARED, pl.col("field").str.len_chars()),
            most_of_one=200,
            most=20_000,
        ),
        merged=(pl.col("events").sum(), pl.col("example").min(), *_SEEN),
        columns=(
            _text("sensor", "Name of the honeypot's host"),
            _text(
                "field",
                "Name of the field, its first 100 characters; absent in one row for all further "
                "ones: of one sensor at most 200 names are told, those declared and then the "
                "shortest first, and of one event 64",
            ),
            _text("sent_as", "Its type in JSON: string, number, boolean, list, object or null"),
            _text("declared_as", "Its declared kind, or: not declared"),
            _count("events", "Events that sent it so; in the row without a field, further fields"),
            _text("example", "The beginning of one value, as sent"),
            *_SEEN_COLUMNS,
        ),
        descending=("events",),
    ),
    DAILY_SESSIONS,
)

STINGAR = Stream(
    name="stingar",
    title="STINGAR honeypot events",
    hubs=("*",),
    time_fields=_TIME_FIELDS,
    fields=_FIELDS,
    unwrap=("hp_data",),
    derived=_DERIVED,
    steps=_STEPS,
    tables=_TABLES,
    code_version="2",
    source="src_ip",
    shown=(
        "@timestamp",
        "sensor",
        "src_ip",
        "dest_port",
        "app",
        "event_kind",
        "username",
        "password",
        "command",
    ),
    origins=Origins(
        sensor="sensor",
        software="app",
        table="daily_sensors",
        arrived=("first_enqueued_us", "last_enqueued_us"),
        logged=("first_us", "last_us"),
    ),
)
