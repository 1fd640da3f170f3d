"""Lines of JSON from the other scripts (files named as arguments) as one table."""

import json
import sys

values, engines, rows = {}, [], []
for name in sys.argv[1:]:
    for line in open(name, encoding="utf-8"):
        found = json.loads(line)
        engine, what = found["engine"], found["what"]
        if engine not in engines:
            engines.append(engine)
        if what not in rows:
            rows.append(what)
        values[what, engine] = found["value"]
widths = [max([len(row) for row in rows] + [4])] + [max(len(engine), 8) for engine in engines]


def line(cells):
    print("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(cells, widths)) + " |")


line(["what"] + engines)
print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
for row in rows:
    line([row] + [values.get((row, engine), "") for engine in engines])
