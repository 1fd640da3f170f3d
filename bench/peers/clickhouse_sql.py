"""The table and the questions for ClickHouse, old and new."""

from common import questions

KINDS = {"text": "String", "u64": "UInt64", "i64": "Int64", "u32": "UInt32", "u16": "UInt16", "f64": "Float64"}


def table(rows, settings):
    columns = ", ".join(f"{name} {KINDS[rows.type_of(name)]}" for name in rows.columns)
    return (f"CREATE TABLE events ({columns}) ENGINE = MergeTree PARTITION BY intDiv(observed_at, 86400000) "
            f"ORDER BY observed_at SETTINGS index_granularity = 8192{settings}")


def structure(rows):
    return ", ".join(f"{name} {KINDS[rows.type_of(name)]}" for name in rows.columns)


def asked(rows):
    return questions(rows, lambda a, n: f"intDiv({a}, {n})", lambda word: f"position(request, '{word}') > 0")
