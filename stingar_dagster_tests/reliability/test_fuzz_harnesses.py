"""The fuzzing harnesses hold over their own seeds; what fuzzing finds is added here as a case."""

from collections.abc import Callable

import pytest

from fuzz import decoder, gate

HARNESSES = [(decoder.check, decoder.seeds), (gate.check, gate.seeds)]


@pytest.mark.parametrize(("check", "seeds"), HARNESSES, ids=["decoder", "gate"])
def test_seeds_keep_every_promise(
    check: Callable[[bytes], None], seeds: Callable[[], list[bytes]]
) -> None:
    for seed in seeds():
        check(seed)


def test_the_decoders_harness_sees_a_record_that_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = next(seed for seed in decoder.seeds() if seed[0] & 1)
    monkeypatch.setattr(decoder, "_by_fastavro", lambda blob: [(1, b"another")])
    with pytest.raises(AssertionError, match="fastavro"):
        decoder.check(whole)


def test_the_gates_harness_sees_ways_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stingar_dagster.cleaning.kinds._INTEGER", ".*")
    with pytest.raises(AssertionError, match="differ"):
        gate.check(b'{"ip_len":"x"}')
