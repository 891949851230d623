"""Dagster's UI as people see it, in a real browser, over generated traffic."""
