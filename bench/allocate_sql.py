"""The same join in DuckDB's SQL, as a contender of `bench.allocate`: whole numbers of 10^-18, so that no digit is lost.

It makes what allocation makes of a billed day: a row for each share of each charge with its owner, every metric split over the
usage behind it by the largest remainder, and the sums by owner. It writes no version, no evidence and no other sums.
"""

from __future__ import annotations

import sys
from decimal import Decimal

import duckdb

from attribution.charges import COST_METRICS
from bench.allocate_ours import ALLOCATE, READ, Told
from bench.usage_day import KINDS

_SCALE = 18
_SPLIT = (*COST_METRICS, "units")


def _whole(text: str) -> str:
    """SQL for an amount in plain notation as a whole number of 10^-18."""
    return f"CAST(split_part({text}, '.', 1) || rpad(split_part({text}, '.', 2), {_SCALE}, '0') AS HUGEINT)"


_COSTS = ", ".join(f"{metric} VARCHAR" for metric in COST_METRICS)
_READ_CHARGES = f"""
CREATE TABLE charges AS
SELECT row_number() OVER () AS charge, account_id, region, line_item_type, meter[1] AS model, meter[2] AS kind,
    meter[3] AS tier, meter[4] AS routing, iam_principal AS principal,
    CASE WHEN contains(resource_id, 'application-inference-profile/') THEN resource_id ELSE '' END AS profile,
    tags['iamPrincipal/team'] AS team, currency, CAST(units AS HUGEINT) AS billed, {_whole("units")} AS units,
    {", ".join(f"{_whole(f'costs.{metric}')} AS {metric}" for metric in COST_METRICS)}
FROM read_json(?, format = 'newline_delimited', compression = 'gzip', columns = {{
    account_id: 'VARCHAR', region: 'VARCHAR', line_item_type: 'VARCHAR', meter: 'VARCHAR[]', iam_principal: 'VARCHAR',
    resource_id: 'VARCHAR', tags: 'MAP(VARCHAR, VARCHAR)', currency: 'VARCHAR', units: 'VARCHAR', costs: 'STRUCT({_COSTS})'}})
"""
_BUCKET = ("account_id", "region", "model", "tier", "routing")
_OF_COUNTER = (*_BUCKET, "iam_principal", "inference_profile")
_NUMBER, _TEXT = 'STRUCT("N" VARCHAR)', 'STRUCT("S" VARCHAR)'
_UNITS_OF_KINDS = " UNION ALL ".join(
    f"""SELECT counter, {", ".join(f"{name}.S AS {name}" for name in _OF_COUNTER)}, '{kind.value}' AS kind,
        request_metadata.M['team'].S AS team, CAST(u_{kind.value}.N AS HUGEINT) AS weight
    FROM numbered WHERE u_{kind.value}.N IS NOT NULL"""
    for kind in KINDS
)
_READ_COUNTERS = f"""
CREATE TABLE counters AS
WITH read AS (
    SELECT * FROM read_json(?, format = 'newline_delimited', columns = {{
        {", ".join(f"{name}: '{_TEXT}'" for name in _OF_COUNTER)}, request_metadata: 'STRUCT("M" MAP(VARCHAR, {_TEXT}))',
        {", ".join(f"u_{kind.value}: '{_NUMBER}'" for kind in KINDS)}}})),
numbered AS (
    SELECT row_number() OVER (ORDER BY account_id.S, region.S, model.S, routing.S, tier.S, iam_principal.S,
        inference_profile.S, CAST(request_metadata.M AS VARCHAR)) AS counter, *
    FROM read)
{_UNITS_OF_KINDS}
"""


def _line(alias: str, principal: str, profile: str) -> str:
    """SQL that finds the line of a bucket that names these, if there is one."""
    same = " AND ".join(f"{alias}.{name} = u.{name}" for name in (*_BUCKET, "kind"))
    return f"LEFT JOIN lines {alias} ON {same} AND {alias}.principal = {principal} AND {alias}.profile = {profile}"


_FLOORS = ", ".join(
    f"c.{m} AS {m}_all, (c.{m} * w.weight) // w.whole AS {m}, abs((c.{m} * w.weight) % w.whole) AS {m}_loss" for m in _SPLIT
)
_RANKS = ", ".join(
    f"{m}_all - sum({m}) OVER (PARTITION BY charge) AS {m}_rest, "
    f"row_number() OVER (PARTITION BY charge ORDER BY {m}_loss DESC, weight DESC, counter) AS {m}_rank"
    for m in _SPLIT
)
_SHARES = ", ".join(f"{m} + CASE WHEN {m}_rank <= abs({m}_rest) THEN sign({m}_rest) ELSE 0 END AS {m}" for m in _SPLIT)
_JOIN = f"""
CREATE TEMP TABLE lines AS
SELECT row_number() OVER () AS line, *
FROM (
    SELECT {", ".join(_BUCKET)}, kind, principal, profile, sum(billed) AS billed
    FROM charges WHERE line_item_type = 'Usage' GROUP BY ALL);

CREATE TEMP TABLE behind AS
SELECT coalesce(a.line, b.line, c.line, d.line) AS line, u.counter, u.team, u.weight
FROM counters u
{_line("a", "u.iam_principal", "u.inference_profile")} {_line("b", "u.iam_principal", "''")}
{_line("c", "''", "u.inference_profile")} {_line("d", "''", "''")}
WHERE coalesce(a.line, b.line, c.line, d.line) IS NOT NULL;

CREATE TEMP TABLE weights AS
WITH logged AS (SELECT line, sum(weight) AS logged FROM behind GROUP BY line)
SELECT line, counter, team, weight, greatest(logged, billed) AS whole
FROM behind JOIN logged USING (line) JOIN lines USING (line)
UNION ALL
SELECT line, 9223372036854775807, NULL, billed - logged, billed FROM lines JOIN logged USING (line) WHERE billed > logged;

CREATE TABLE allocated AS
WITH floors AS (
    SELECT c.charge, c.currency, w.counter, w.weight, coalesce(w.team, c.team, '(unallocated)') AS owner, {_FLOORS}
    FROM charges c
    JOIN lines l ON c.line_item_type = 'Usage'
        AND {" AND ".join(f"l.{name} = c.{name}" for name in (*_BUCKET, "kind", "principal", "profile"))}
    JOIN weights w USING (line)),
ranked AS (SELECT *, {_RANKS} FROM floors)
SELECT charge, currency, owner, {_SHARES} FROM ranked
UNION ALL
SELECT charge, currency, coalesce(team, '(unallocated)'), {", ".join(_SPLIT)}
FROM charges c WHERE charge NOT IN (SELECT charge FROM ranked);
"""
_OWNERS = f"""SELECT owner, currency, {", ".join(f"sum({m})" for m in COST_METRICS)} FROM allocated GROUP BY ALL ORDER BY ALL"""


def main() -> None:
    """Print what the join of a day finds and what it takes: the files of its charges and counters are arguments."""
    charges, counters = sys.argv[1:]
    told = Told()
    database = duckdb.connect()
    with told.step(READ):
        database.execute(_READ_CHARGES, [charges])
        database.execute(_READ_COUNTERS, [counters])
    with told.step(ALLOCATE):
        database.execute(_JOIN)
        found = database.execute(_OWNERS).fetchall()
    (told.counters,) = database.execute("SELECT count(DISTINCT counter) FROM counters").fetchone() or (0,)
    (told.allocated,) = database.execute("SELECT count(*) FROM allocated").fetchone() or (0,)
    for owner, currency, *amounts in found:
        told.owners[f"{owner} {currency}"] = [f"{Decimal(int(a)).scaleb(-_SCALE).normalize():f}" for a in amounts]
    told.print()


if __name__ == "__main__":
    main()
