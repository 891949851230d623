-- Attack trends with DuckDB 1.1 or newer, over the published lake. From the project's folder:
--
--     duckdb -f examples/attack_trends.sql
--
-- On Azure, put the lake's address into the next line, and before it:
--     INSTALL azure; LOAD azure;
--     CREATE SECRET (TYPE azure, PROVIDER credential_chain, ACCOUNT_NAME 'youraccount');
-- DuckDB writes the container behind the account:
--     'abfss://youraccount.dfs.core.windows.net/lake/honeypots'
SET VARIABLE lake = 'data/lake';

-- What is looked at: from this day on.
SET VARIABLE since = (today() - 14)::DATE;

-- Columns and types are the declared ones, which stand beside the events. Without them DuckDB infers
-- from the first rows, and fields that come later are lost without a word.
SET VARIABLE event_columns = (
    SELECT declared
    FROM read_json(getvariable('lake') || '/stingar/schema/events.duckdb.json') AS declared
);

-- `date` and `hour` come from the folders. A condition on them keeps DuckDB from reading the others.
CREATE TEMP VIEW events AS
SELECT * FROM read_json(
    getvariable('lake') || '/stingar/events/*/*/events*.json*',
    format = 'newline_delimited', columns = getvariable('event_columns'), hive_partitioning = true
)
WHERE date >= getvariable('since');

-- Daily trends, from the daily tables: small, exact, and there long after the raw data went.
SELECT
    date,
    sum(events)::BIGINT AS events,
    sum(login_attempts)::BIGINT AS logins,
    sum(login_successes)::BIGINT AS let_in,
    sum(commands)::BIGINT AS commands,
    sum(downloads)::BIGINT AS downloads,
    count(DISTINCT sensor) AS sensors
FROM read_json(
    getvariable('lake') || '/stingar/daily/daily_summary/*/daily_summary.json',
    format = 'newline_delimited', hive_partitioning = true,
    columns = {
        sensor: 'VARCHAR', events: 'BIGINT', login_attempts: 'BIGINT', login_successes: 'BIGINT',
        commands: 'BIGINT', downloads: 'BIGINT'
    }
)
WHERE date >= getvariable('since')
GROUP BY date
ORDER BY date;

-- Credentials tried most, and by how many sources.
SELECT username, password, count(*) AS tries, count(DISTINCT src_ip) AS sources
FROM events
WHERE event_kind IN ('login_attempt', 'login_success')
  AND (username IS NOT NULL OR password IS NOT NULL)
GROUP BY username, password
ORDER BY tries DESC, username, password
LIMIT 20;

-- Overlap: of the sources that one sensor saw, how many did another see, too?
WITH seen AS (
    SELECT DISTINCT sensor, src_ip FROM events WHERE sensor IS NOT NULL AND src_ip IS NOT NULL
),
sizes AS (SELECT sensor, count(*) AS sources FROM seen GROUP BY sensor)
SELECT
    a.sensor AS sensor,
    b.sensor AS other,
    any_value(sizes.sources) AS sources,
    count(*) AS shared,
    round(count(*) / any_value(sizes.sources), 3) AS share
FROM seen AS a
JOIN seen AS b ON a.src_ip = b.src_ip AND a.sensor != b.sensor
JOIN sizes ON sizes.sensor = a.sensor
GROUP BY a.sensor, b.sensor
ORDER BY share DESC, sensor, other;

-- Sources that several sensors saw, and who saw them first.
SELECT
    src_ip,
    count(DISTINCT sensor) AS sensors,
    min("@timestamp") AS first_seen,
    arg_min(sensor, "@timestamp") AS first_sensor,
    count(*) AS events
FROM events
WHERE src_ip IS NOT NULL AND sensor IS NOT NULL
GROUP BY src_ip
HAVING count(DISTINCT sensor) > 1
ORDER BY sensors DESC, events DESC, src_ip
LIMIT 20;

-- Features for a model of attack trends: a row an hour. An hour in which nothing was published
-- counts as none: whether it was processed at all, `stingar verify` tells.
CREATE TEMP TABLE features AS
WITH hourly AS (
    SELECT
        date_trunc('hour', "@timestamp"::TIMESTAMP) AS hour,
        count(*) AS events,
        count(DISTINCT src_ip) AS sources,
        count(*) FILTER (event_kind IN ('login_attempt', 'login_success')) AS logins,
        count(*) FILTER (event_kind = 'command') AS commands,
        count(DISTINCT sensor) AS sensors
    FROM events
    GROUP BY ALL
),
grid AS (
    SELECT unnest(generate_series(min(hour), max(hour), INTERVAL 1 HOUR)) AS hour FROM hourly
),
filled AS (
    SELECT grid.hour, COLUMNS(['events', 'sources', 'logins', 'commands', 'sensors'])
    FROM grid LEFT JOIN hourly USING (hour)
)
SELECT
    hour,
    coalesce(events, 0) AS events,
    coalesce(sources, 0) AS sources,
    coalesce(logins, 0) AS logins,
    coalesce(commands, 0) AS commands,
    coalesce(sensors, 0) AS sensors,
    isodow(hour) AS weekday,
    hour(hour) AS hour_of_day,
    -- Only what was known before the hour: a model that sees more is no forecast.
    lag(coalesce(events, 0)) OVER hours AS events_1h_before,
    lag(coalesce(events, 0), 24) OVER hours AS events_24h_before,
    avg(coalesce(events, 0)) OVER (hours ROWS BETWEEN 24 PRECEDING AND 1 PRECEDING) AS mean_of_24h
FROM filled
WINDOW hours AS (ORDER BY hour)
ORDER BY hour;

SELECT * FROM features ORDER BY hour DESC LIMIT 24;

-- To keep them: COPY features TO 'features.parquet';
