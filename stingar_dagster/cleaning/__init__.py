"""From the bytes of a body to typed events, or to quarantine with a reason.

`gate` decodes what is as declared, fast; `exact` decodes everything else, slowly and without loss;
`columns`, `times` and `clean` turn decoded rows into typed columns with polars. Both ways give the
same events for the same body. Not here: where bodies come from (`capture`) and where events go
(`lake`); no module here knows storage.
"""
