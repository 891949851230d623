"""Sample traffic, generated: what honeypots, shippers and networks really send, faults included.

For the demo, the tests and the benchmarks. `traffic.traffic` is the entrance; `honeypots`
declares what each honeypot says, `drift` and `damage` what becomes of it on the way.

Nothing here knows Event Hubs Capture, storage or Dagster, and nothing here is real: addresses
are from the documentation ranges (RFC 5737, RFC 3849) and domains from RFC 2606.
"""
