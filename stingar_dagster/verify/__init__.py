"""The proof: captures read again, and every event found once, cleaned or quarantined.

One function, `verify`, for the command and for every test: identities in captures = published +
quarantined + duplicates, none twice; daily tables equal to a second count; and, where asked, every
step done again comes to the same bytes. Not here: any repair; running the partition again repairs.
"""

from stingar_dagster.verify.proof import Count, Problem, Proof
from stingar_dagster.verify.verifier import verify

__all__ = ["Count", "Problem", "Proof", "verify"]
