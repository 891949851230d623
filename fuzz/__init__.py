"""Fuzzing with coverage: harnesses for what reads bytes of strangers, run by hand.

Nothing in the package imports from here. What a run finds becomes a case in the tests.
"""
