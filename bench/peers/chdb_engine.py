"""A current ClickHouse inside the process (chdb): fsync after each insert of a million rows."""

import time

import chdb
from chdb import session

from clickhouse_sql import asked, structure, table
from common import Report, arguments, resident_mb


def main():
    rows, work = arguments()
    db = session.Session(str(work / "data"))
    version = str(db.query("SELECT version()")).strip().strip('"')
    report = Report(f"chdb {version}")
    db.query("SET max_threads = 2")
    db.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
    db.query("USE bench")
    db.query(table(rows, ", fsync_after_insert = 1, fsync_part_directory = 1"))
    begun = time.monotonic()
    for file in rows.files:
        db.query(f"INSERT INTO bench.events SELECT * FROM file('{file}', 'TSV', '{structure(rows)}')")
    seconds = time.monotonic() - begun
    db.query("OPTIMIZE TABLE bench.events FINAL")
    loaded = int(str(db.query("SELECT count() FROM bench.events", "TSV")).strip())
    size = int(str(db.query("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'events'", "TSV")).strip())
    report.loaded(loaded, seconds, work)
    report.say("bytes/event", round(size / loaded, 1))
    report.ask(asked(rows), lambda query: db.query(query.replace("FROM events", "FROM bench.events"), "TSV"))
    report.say("resident MB after questions", round(resident_mb("self")))


main()
