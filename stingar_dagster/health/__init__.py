"""Whether a stream is well: what its checks look at and how they judge.

`landings` and `activity` gather an hour's figures once and keep them, `fields` what bodies were
seen to carry; each other module is one check, a pure function of those. Not here: Dagster
(`checks`), and proof by reading captures again (`verify`).
"""
