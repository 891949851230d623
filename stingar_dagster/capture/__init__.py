"""Event Hubs Capture files: their names, their listing, Avro in and Avro out.

Everything that is particular to how Event Hubs Capture lays files down belongs here. What stands
inside a body does not: this package hands over bytes, and knows neither logs nor Dagster.
"""
