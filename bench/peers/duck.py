"""DuckDB: two threads, 4 GB at most, one commit a file of a million rows."""

import time

import duckdb

from common import Report, arguments, questions, resident_mb

KINDS = {"text": "VARCHAR", "u64": "UBIGINT", "i64": "BIGINT", "u32": "UINTEGER", "u16": "USMALLINT", "f64": "DOUBLE"}


def main():
    rows, work = arguments()
    report = Report(f"DuckDB {duckdb.__version__}")
    db = duckdb.connect(str(work / "events.duckdb"), config={"threads": 2, "memory_limit": "4GB"})
    types = {name: KINDS[rows.type_of(name)] for name in rows.columns}
    db.execute(f"CREATE TABLE events ({', '.join(f'{name} {kind}' for name, kind in types.items())})")
    shape = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
    begun = time.monotonic()
    for file in rows.files:
        db.execute(
            f"INSERT INTO events SELECT * FROM read_csv('{file}', delim='\\t', header=false, quote='', "
            f"escape='', nullstr='\\N', columns={{{shape}}}, auto_detect=false, strict_mode=false)")
    seconds = time.monotonic() - begun
    db.execute("CHECKPOINT")
    loaded = db.execute("SELECT count(*) FROM events").fetchone()[0]
    report.loaded(loaded, seconds, work)
    asked = questions(rows, lambda a, n: f"{a} // {n}", lambda word: f"contains(request, '{word}')")
    report.ask(asked, lambda query: db.execute(query).fetchall())
    report.say("resident MB after questions", round(resident_mb("self")))


main()
