"""Debian's ClickHouse, started here with a configuration of its own on free
loopback ports: 100,000 rows an insert."""

import socket
import subprocess
import time
import urllib.parse
import urllib.request
from itertools import islice

from clickhouse_sql import asked, table
from common import Report, arguments, resident_mb

BATCH = 100_000
CONFIG = """<yandex>
<logger><level>warning</level><log>{work}/log</log><errorlog>{work}/errors</errorlog></logger>
<http_port>{http}</http_port><tcp_port>{tcp}</tcp_port><listen_host>127.0.0.1</listen_host>
<path>{work}/data/</path><tmp_path>{work}/tmp/</tmp_path><user_files_path>{work}/files/</user_files_path>
<format_schema_path>{work}/schemas/</format_schema_path><users_config>{work}/users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>1073741824</mark_cache_size><max_concurrent_queries>20</max_concurrent_queries>
</yandex>"""
USERS = """<yandex><profiles><default><max_threads>2</max_threads></default></profiles>
<users><default><password></password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota></default></users>
<quotas><default></default></quotas></yandex>"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    rows, work = arguments()
    work = work.resolve()
    http = free_port()
    for name in ("data", "tmp", "files", "schemas"):
        (work / name).mkdir(exist_ok=True)
    (work / "users.xml").write_text(USERS)
    (work / "config.xml").write_text(CONFIG.format(work=work, http=http, tcp=free_port()))
    server = subprocess.Popen(["clickhouse-server", f"--config-file={work}/config.xml"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=work)

    def query(text, body=None):
        url = f"http://127.0.0.1:{http}/?query=" + urllib.parse.quote(text)
        with urllib.request.urlopen(urllib.request.Request(url, data=body or b""), timeout=600) as answer:
            return answer.read().decode()

    def cpu_seconds():
        fields = open(f"/proc/{server.pid}/stat", encoding="ascii").read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    try:
        for _ in range(200):
            try:
                version = query("SELECT version()").strip()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit("clickhouse-server did not start")
        report = Report(f"ClickHouse {version}")
        report.say("resident MB empty", round(resident_mb(server.pid)))
        query(table(rows, ""))
        before, begun, loaded = cpu_seconds(), time.monotonic(), 0
        for file in rows.files:
            with open(file, "rb") as lines:
                while batch := list(islice(lines, BATCH)):
                    query("INSERT INTO events FORMAT TabSeparated", b"".join(batch))
                    loaded += len(batch)
        seconds = time.monotonic() - begun
        report.say("load events/s", round(loaded / seconds))
        report.say("load CPU us/event (server alone)", round((cpu_seconds() - before) * 1e6 / loaded, 2))
        # Merges go on for a while after the last insert.
        for _ in range(300):
            if query("SELECT count() FROM system.merges").strip() == "0":
                break
            time.sleep(1)
        size = int(query("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'events'"))
        report.say("bytes/event", round(size / loaded, 1))
        report.say("resident MB after load", round(resident_mb(server.pid)))
        report.ask(asked(rows), query)
        report.say("resident MB after questions", round(resident_mb(server.pid)))
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()


main()
