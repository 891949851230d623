"""What is published, for those who read it: search, frames for notebooks, one page on an address.

`query` says what to look for, `hours` which objects of a range there are and reads them ahead,
`presence` in which of them a source can stand by the daily tables, `candidates` which lines of an
object may match, `search` puts these together; `sessions` rebuilds sessions, `profile` is what is
known of an address, `frames` is what `from stingar_dagster import lake` offers. Nothing here
writes. Not here: how results are shown (`cli`).
"""
