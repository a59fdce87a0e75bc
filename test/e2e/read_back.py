"""Says what other programs find in a Parquet file or an Arrow stream: types, counts and values, as one JSON object.

read_back.py parquet <file>    read by pyarrow and by DuckDB
read_back.py arrow <file>      read by pyarrow
read_back.py http <url>        an Arrow stream over HTTP, read by pyarrow as it comes
"""

import base64
import datetime
import json
import sys
import urllib.request

import duckdb
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

ROWS_SHOWN = 400
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def plain(value):
    """Instants as microseconds, days as text, whole numbers beyond 2^53 as text: as the test compares them."""
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    if isinstance(value, float) and value != value:
        return None
    return value


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def opened(source, found=None):
    """What DuckDB sees: the types, and a relation with instants as microseconds."""
    connection = duckdb.connect()
    if found is not None:
        connection.register(source, found)
    types = {row[0]: row[1] for row in connection.sql(f"describe select * from {source}").fetchall()}
    instants = "TIMESTAMP WITH TIME ZONE"
    columns = [f"epoch_us({quoted(n)}) as {quoted(n)}" if t == instants else quoted(n) for n, t in types.items()]
    return types, connection, f"(select {', '.join(columns)} from {source})"


def number(value):
    """SQLite's least and greatest of booleans are numbers."""
    return int(value) if isinstance(value, bool) else plain(value)


def summary(connection, relation, names):
    columns = [f"count({quoted(n)}), min({quoted(n)}), max({quoted(n)})" for n in names]
    found = connection.sql(f"select {', '.join(columns)} from {relation}").fetchall()[0]
    return {n: [number(v) for v in found[3 * i : 3 * i + 3]] for i, n in enumerate(names)}


def told(table):
    table.validate(full=True)
    types, connection, relation = opened("found", table)
    return {
        "types": {field.name: str(field.type) for field in table.schema},
        "rows": table.num_rows,
        "first": [[plain(v) for v in row.values()] for row in table.slice(0, ROWS_SHOWN).to_pylist()],
        "summary": summary(connection, relation, types),
    }


def parquet(path):
    types, connection, relation = opened(f"read_parquet('{path}')")
    rows = connection.sql(f"select * from {relation} limit {ROWS_SHOWN}").fetchall()
    duck = {
        "types": types,
        "rows": connection.sql(f"select count(*) from {relation}").fetchall()[0][0],
        "first": [[plain(v) for v in row] for row in rows],
        "summary": summary(connection, relation, types),
    }
    return {"pyarrow": told(pa.parquet.read_table(path)), "duckdb": duck}


def main(kind, place):
    if kind == "parquet":
        return parquet(place)
    if kind == "arrow":
        return {"pyarrow": told(pa.ipc.open_stream(place).read_all())}
    request = urllib.request.Request(place, headers={"Accept": "application/vnd.apache.arrow.stream"})
    with urllib.request.urlopen(request) as response:
        return {"pyarrow": told(pa.ipc.open_stream(response).read_all())}


print(json.dumps(main(*sys.argv[1:])))
