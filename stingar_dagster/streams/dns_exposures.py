"""The table between honeypots and DNS: clients that looked up what honeypots saw attacks from.

Not here: how a day of it is made (`lake.joined`), and the tables of DNS alone (`dns_tables`).
"""

from typing import Final

from stingar_dagster.streams.dns_recount import Exposures
from stingar_dagster.streams.joined import MOST_SENSORS, Indicators, JoinedTable
from stingar_dagster.streams.lookups import address, host_of

DAYS_BEFORE: Final = 7

EXPOSURES: Final = JoinedTable(
    name="daily_exposures",
    meaning="One row for each client and each host or address it looked up from which honeypots "
    "saw downloads or attacks, that day or in the week before. A look-up is no proof: shared hosts "
    "and content networks are among attackers' addresses, so rows say how many clients asked.",
    who="client_ip",
    asked="query_name",
    answered="answers",
    through="resolver_ip",
    days_before=DAYS_BEFORE,
    indicators=(
        Indicators(
            stream="stingar",
            table="daily_downloads",
            column="artifact",
            of=host_of,
            seen_as="download host",
            counted_as="downloads",
            is_example=True,
        ),
        Indicators(
            stream="stingar",
            table="daily_sources",
            column="src_ip",
            of=address,
            seen_as="attacking source",
            counted_as="attacks",
        ),
    ),
    meanings={
        "client_ip": "Client that looked it up; absent: all other clients of the indicator "
        "together, where they were more than 100",
        "indicator": "Host or address that honeypots saw; absent: all rows beyond the most telling "
        "10,000, and indicators beyond the first 2,000",
        "seen_as": "What honeypots saw it as: download host, attacking source",
        "found_in": "Where it stood: query_name, also as the name for a reverse look-up; answers",
        "queries": "Queries of the day in which it stood",
        "first_query": "The first of them (UTC)",
        "last_query": "The last of them (UTC)",
        "example_name": "The name that the first of them asked for",
        "example_answer": "Its answer: the one that is the indicator, else the first",
        "unique_resolvers": "Distinct resolvers asked",
        "unique_clients": "Distinct clients that looked it up this day: the more, the less it "
        "tells of one; exact up to 255, then within a tenth",
        "downloads": "Events in which honeypots saw a link to it, that day and the seven before; "
        "absent: none",
        "attacks": "Events of honeypots that came from it, that day and the seven before; "
        "absent: none",
        "unique_sensors": "Sensors that saw it",
        "sensors": f"The first {MOST_SENSORS} of them by the alphabet",
        "first_seen": "When honeypots saw it first in these days (UTC)",
        "last_seen": "When they saw it last (UTC)",
        "example_seen": "The first of the links to it by the alphabet",
        "indicators": "Only in the row without an indicator: of how many none is told",
    },
    recount=Exposures,
)
