"""SQLite: WAL, synchronous=FULL, 10,000 rows a commit, indexes for time and for address."""

import sqlite3
import time

from common import Report, arguments, questions, resident_mb

BATCH = 10_000


def main():
    rows, work = arguments()
    report = Report(f"SQLite {sqlite3.sqlite_version}")
    db = sqlite3.connect(work / "events.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-262144", "mmap_size=4294967296"):
        db.execute(f"PRAGMA {pragma}")
    kinds = {"text": "TEXT", "f64": "REAL"}
    columns = ", ".join(f"{name} {kinds.get(rows.type_of(name), 'INTEGER')}" for name in rows.columns)
    db.execute(f"CREATE TABLE events ({columns})")
    db.execute("CREATE INDEX by_time ON events (observed_at)")
    db.execute("CREATE INDEX by_address ON events (src_ip, observed_at)")
    insert = f"INSERT INTO events VALUES ({', '.join('?' * len(rows.columns))})"
    low = rows.columns.index("id_low")

    def parsed(line):
        values = line.rstrip("\n").split("\t")
        number = int(values[low])
        values[low] = number - (1 << 64) if number >= 1 << 63 else number
        return values

    begun, loaded = time.monotonic(), 0
    for file in rows.files:
        with open(file, encoding="utf-8") as lines:
            batch = []
            for line in lines:
                batch.append(parsed(line))
                if len(batch) == BATCH:
                    db.execute("BEGIN")
                    db.executemany(insert, batch)
                    db.execute("COMMIT")
                    loaded += len(batch)
                    batch = []
            db.execute("BEGIN")
            db.executemany(insert, batch)
            db.execute("COMMIT")
            loaded += len(batch)
    seconds = time.monotonic() - begun
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    report.loaded(loaded, seconds, work)
    asked = questions(rows, lambda a, n: f"{a} / {n}", lambda word: f"instr(request, '{word}') > 0")
    report.ask(asked, lambda query: db.execute(query).fetchall())
    report.say("resident MB after questions", round(resident_mb("self")))


main()
