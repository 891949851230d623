"""The ledger held against what Event Hubs said when it wrote the captures, where notices came.

It sees what nothing in the captures themselves shows: that the last capture of a partition is
missing, or was cut between two blocks. Not here: identities (`identities`), which do not depend on
notices.
"""

from datetime import datetime

from stingar_dagster.lake.expected import disagreements, expected_of
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.verify.proof import Problem, Proof


def prove_as_told(pipeline: Pipeline, hour: datetime, proof: Proof) -> None:
    """Add to a proof what is otherwise than every notice of one landed hour's captures."""
    told = expected_of(pipeline.lake, hour)
    there = {capture.name.path for capture in pipeline.landing.hour(hour)}
    # Read after landing was listed: what was landed meanwhile is in it.
    ledger = read_ledger(pipeline.lake.store, pipeline.lake.layout, hour)
    for capture, detail in disagreements(ledger, told, damaged=False):
        proof.problems.append(Problem("told", capture, detail))
    for capture, detail in disagreements(ledger, told, damaged=True):
        proof.notes.append(f"{capture} is damaged: {detail}")
    for capture, ways in sorted(told.items()):
        if capture not in there and capture not in ledger.lines and ways[-1].events:
            detail = f"Event Grid told of {ways[-1]}; it is neither in landing nor in the ledger"
            proof.problems.append(Problem("told", capture, detail))
