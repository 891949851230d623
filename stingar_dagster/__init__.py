"""Honeypot events from Event Hubs Capture files to cleaned hours and daily tables.

The promise: every captured event comes out exactly once, cleaned or quarantined with a reason,
and the pipeline can prove it. `pipeline` holds the three steps, `orchestration` the Dagster
assets around them, `cli` the `stingar` command.
"""
