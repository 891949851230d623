"""A visit (one source at one sensor) and the fields that every honeypot's events share.

What one honeypot adds stands in `cowrie` and `honeypots`; time stamps are added by `traffic`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from stingar_dagster.samples.population import Campaign, Sensor, Source

Event: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Visit:
    rng: Random
    source: Source
    sensor: Sensor
    src_port: int

    @property
    def campaign(self) -> Campaign:
        return self.source.campaign

    def credentials(self) -> tuple[str, str]:
        return self.source.credentials.pick(self.rng)

    def event(
        self,
        type: str,
        vendor_product: str,
        app: str | None,
        *,
        dest_port: int | str,
        signature: str = "Connection to Honeypot",
        severity: str = "high",
        transport: str = "tcp",
        protocol: str = "ip",
    ) -> Event:
        """The fields that are always there; the honeypot overrides and adds."""
        return {
            "ids_type": "network",
            "direction": "inbound",
            "type": type,
            "vendor_product": vendor_product,
            "app": app,
            "severity": severity,
            "signature": signature,
            "sensor": self.sensor.name,
            "src_ip": self.source.address,
            "src_port": self.src_port,
            "dest_ip": self.sensor.address,
            "dest_port": dest_port,
            "transport": transport,
            "protocol": protocol,
            "tags": self.sensor.tags,
        }


def prune(event: Event) -> Event:
    """As most shippers do: without nulls and empty lists, nor `direction`, which says nothing.

    `tags` stay, whatever they hold: shippers write them themselves.
    """
    return {
        name: value
        for name, value in event.items()
        if name == "tags" or not (value is None or value == [] or name == "direction")
    }
