"""Measurements of the pipeline, of what it replaces and of what could stand in its place.

Run by hand, never by the tests; nothing in the package imports from here. `bench` is the command
and `quick` the guard; `captures` generates, `measuring` runs whole processes, `contenders` and
`peers` do the same work in several ways, `comparisons` lets them take turns, `scenarios` measures
one situation a module, `results` keeps figures, and `targets`, `report` and `plot` show them.
"""
