"""Measurements of the pipeline and of what it replaces; run by hand, never by the tests.

Nothing in the package imports from here.
"""
