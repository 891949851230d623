"""The lake: what is published, and the internal files it is made from.

`layout` holds every path; `ledger`, `segments`, `quarantine`, `hours` and `daily` one kind of file
each; `publication` the compare-and-swap by which a published object is replaced; `backlog` what is
staged and not yet published; `reader` what readers need. Not here: in which order the steps go
(`pipeline`), and nothing of Dagster.
"""
