"""Telling people: which problems are told to whom and when, in which words, over which wires.

Not here: what a problem is (`alerting` reads Dagster's runs and checks), and how checks judge
(`health`).
"""
