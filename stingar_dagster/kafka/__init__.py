"""From any Kafka-protocol endpoint to Capture files in landing, as Event Hubs Capture writes them.

`settings` says where the broker is, `client` talks to it, `windows` holds the rules by which
captures are cut and named, `openings` and `partition` keep those rules over crashes and between
instances, `capturing` drives them all. Not here: the file format (`capture.writer`), and anything
about logs.
"""
