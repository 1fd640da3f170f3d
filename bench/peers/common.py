"""What the other databases are asked, and how that is timed.

Every script takes ROWS (a folder made by `palisade-bench rows`) and WORK (an
empty folder), loads all rows durably, and prints lines of JSON:
{"engine", "what", "value"}; times are medians of several in milliseconds.
"""

import json
import os
import resource
import sys
import time
from collections import Counter
from pathlib import Path

TEXTS = "text"
TYPES = {"id_high": "u64", "id_low": "u64", "observed_at": "i64", "received_at": "i64",
         "src_port": "u16", "dst_port": "u16", "asn": "u32", "lat": "f64", "lon": "f64"}
DAY = 86_400_000
REPEATS = 7
MOST_SECONDS = 20


class Rows:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.columns = (self.folder / "columns").read_text().split("\n")
        self.end = int((self.folder / "end").read_text())
        self.files = sorted(self.folder.glob("*.tsv"))

    def type_of(self, column):
        return TYPES.get(column, TEXTS)

    def address(self):
        """One that is seen now and then: the 300th of the last file."""
        at = self.columns.index("src_ip")
        with open(self.files[-1], encoding="utf-8") as lines:
            seen = Counter(line.split("\t")[at] for line in lines)
        return seen.most_common(300)[-1][0]


class Report:
    def __init__(self, engine):
        self.engine = engine

    def say(self, what, value):
        print(json.dumps({"engine": self.engine, "what": what, "value": value}), flush=True)

    def loaded(self, events, seconds, folder):
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.say("load events/s", round(events / seconds))
        self.say("load CPU us/event (client and engine)",
                 round((used.ru_utime + used.ru_stime) * 1e6 / events, 2))
        self.say("bytes/event", round(size_of(folder) / events, 1))
        self.say("resident MB after load", round(resident_mb(os.getpid())))

    def ask(self, questions, run):
        for what, queries in questions:
            times = []
            begun = time.monotonic()
            while len(times) < REPEATS and (not times or time.monotonic() - begun < MOST_SECONDS):
                at = time.monotonic()
                for query in queries:
                    run(query)
                times.append((time.monotonic() - at) * 1e3)
            times.sort()
            self.say(what, round(times[len(times) // 2], 1))


def size_of(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def resident_mb(pid):
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


def questions(rows, divide, has_word):
    """The questions of `palisade-bench store`, in SQL. `divide(a, n)` is whole
    division, `has_word(word)` a condition on the request."""
    end = rows.end
    since = lambda days: f"observed_at >= {end - days * DAY}"
    hours = 6 * 3_600_000

    def tops(field):
        best = (f"SELECT {field} FROM events WHERE {since(7)} AND {field} <> {empty(field)} "
                f"GROUP BY {field} ORDER BY count(*) DESC LIMIT 10")
        return (f"SELECT {field}, {divide('observed_at', hours)} AS b, count(*) AS n FROM events "
                f"WHERE {since(7)} AND {field} IN ({best}) GROUP BY {field}, b")

    def empty(field):
        return "0" if rows.type_of(field) != TEXTS else "''"

    def pairs(days):
        return (f"SELECT username, password, count(*) AS n FROM events WHERE {since(days)} AND country = 'CN' "
                f"AND category = 'SSH/console(cowrie)' AND username <> '' "
                f"GROUP BY username, password ORDER BY n DESC LIMIT 10")

    return [
        ("day by type", [f"SELECT category, count(*) AS n FROM events WHERE {since(1)} GROUP BY category ORDER BY n DESC LIMIT 40"]),
        ("30 days by type", [f"SELECT {divide('observed_at', DAY)} AS d, category, count(*) AS n FROM events WHERE {since(30)} GROUP BY d, category"]),
        ("countries of 30 days", [f"SELECT country, count(*) AS n FROM events WHERE {since(30)} GROUP BY country ORDER BY n DESC LIMIT 100"]),
        ("top 10 requests and ports of 7 days, each with histogram of 6 h", [tops("request"), tops("dst_port")]),
        ("top 10 addresses of 24 h", [f"SELECT src_ip, count(*) AS n FROM events WHERE {since(1)} GROUP BY src_ip ORDER BY n DESC LIMIT 10"]),
        ("lat/lon of 24 h", [f"SELECT lat, lon, count(*) AS n FROM events WHERE {since(1)} GROUP BY lat, lon ORDER BY n DESC LIMIT 500"]),
        ("country and type, top user and password, 7 days", [pairs(7)]),
        ("country and type, top user and password, 30 days", [pairs(30)]),
        ("one user, top addresses, 30 days", [f"SELECT src_ip, count(*) AS n FROM events WHERE {since(30)} AND username = 'admin' GROUP BY src_ip ORDER BY n DESC LIMIT 10"]),
        ("country, port and outcome, count, 30 days", [f"SELECT count(*) FROM events WHERE {since(30)} AND country = 'CN' AND dst_port = 22 AND outcome = 'failed'"]),
        ("newest 1,000 of one address", [f"SELECT * FROM events WHERE src_ip = '{rows.address()}' ORDER BY observed_at DESC LIMIT 1000"]),
        ("newest 35", ["SELECT * FROM events ORDER BY observed_at DESC LIMIT 35"]),
        ("newest 50 with a rare word, 30 days", [f"SELECT * FROM events WHERE {has_word('kinsing')} ORDER BY observed_at DESC LIMIT 50"]),
    ]


def arguments():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} ROWS WORK")
    work = Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    return Rows(sys.argv[1]), work
