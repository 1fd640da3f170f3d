//! ClickHouse beside the embedded engine: a server of our own on loopback,
//! Debian's or a current one (chdb, as the tests run it), or one that is there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use palisade_store::{ClickHouseConfig, Config, Store};

use super::figures::Rows;
use super::{Clock, store_dir};
use crate::process;

/// Where Debian's package puts the server.
const DEBIAN: &str = "/usr/sbin/clickhouse-server";
/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
/// How long merges may go on after the last insert.
const MERGES: Duration = Duration::from_secs(600);
/// The database of the figures.
const DATABASE: &str = "palisade_bench";

/// A server; one that was started here ends when dropped.
pub(super) struct Server {
    child: Option<Child>,
    url: String,
}

impl Server {
    /// `debian`, `chdb`, or the URL of a server that runs.
    pub(super) fn start(which: &str, data: &Path) -> anyhow::Result<Self> {
        match which {
            "debian" => Self::debian(&data.join("clickhouse")),
            "chdb" => Self::chdb(&data.join("clickhouse")),
            url => Ok(Self { child: None, url: url.to_owned() }),
        }
    }

    fn debian(dir: &Path) -> anyhow::Result<Self> {
        if !Path::new(DEBIAN).exists() {
            bail!("{DEBIAN} is missing; it is in Debian's package clickhouse-server");
        }
        for part in ["data", "tmp"] {
            std::fs::create_dir_all(dir.join(part))?;
        }
        let (http, tcp) = (free_port()?, free_port()?);
        let root = dir.display();
        let config = format!(
            "<yandex><logger><level>warning</level><log>{root}/log</log>\
             <errorlog>{root}/errors</errorlog></logger><http_port>{http}</http_port>\
             <tcp_port>{tcp}</tcp_port><listen_host>127.0.0.1</listen_host>\
             <path>{root}/data/</path><tmp_path>{root}/tmp/</tmp_path>\
             <users_config>{root}/users.xml</users_config>\
             <default_profile>default</default_profile>\
             <default_database>default</default_database>\
             <mark_cache_size>1073741824</mark_cache_size></yandex>"
        );
        let users = "<yandex><profiles><default/></profiles><users><default><password></password>\
             <networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
             <quota>default</quota></default></users><quotas><default/></quotas></yandex>";
        std::fs::write(dir.join("config.xml"), config)?;
        std::fs::write(dir.join("users.xml"), users)?;
        let child = Command::new(DEBIAN)
            .arg(format!("--config-file={root}/config.xml"))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Self { child: Some(child), url: format!("http://127.0.0.1:{http}") }.ready()
    }

    fn chdb(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = std::env::var_os("PALISADE_CHDB_PYTHON")
            .map_or_else(|| root.join("target/chdb/bin/python"), PathBuf::from);
        let mut child = Command::new(&python)
            .arg(root.join("crates/store/tests/chdb_server.py"))
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", python.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let port: u16 = line.trim().parse().context("chdb says no port")?;
        Self { child: Some(child), url: format!("http://127.0.0.1:{port}") }.ready()
    }

    fn ready(self) -> anyhow::Result<Self> {
        let began = Instant::now();
        while self.ask("SELECT 1").is_err() {
            anyhow::ensure!(began.elapsed() < START, "the server did not start");
            pause(50);
        }
        Ok(self)
    }

    /// What makes a store use it.
    pub(super) fn config(&self) -> Config {
        let clickhouse = ClickHouseConfig {
            urls: vec![self.url.clone()],
            database: DATABASE.to_owned(),
            user: "default".to_owned(),
            password_file: None,
            cluster: None,
            replicated: false,
        };
        Config { clickhouse: Some(clickhouse), ..Config::default() }
    }

    /// CPU seconds and resident bytes, where it was started here.
    pub(super) fn usage(&self) -> Option<(f64, u64)> {
        let (cpu, rss, _) = process::usage(self.child.as_ref()?.id()).ok()?;
        Some((cpu, rss))
    }

    /// One request, as simple as can be.
    fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let address = self.url.strip_prefix("http://").context("a http:// URL is needed")?;
        let mut stream = TcpStream::connect(address.trim_end_matches('/'))?;
        let length = sql.len();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{sql}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::ensure!(answer.split(' ').nth(1) == Some("200"), "{answer}");
        Ok(answer)
    }

    /// Waits until it merges nothing any more.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let merging = "SELECT if(count() > 0, 'yes', 'no') FROM system.merges";
        while self.ask(merging)?.contains("yes") && began.elapsed() < MERGES {
            pause(500);
        }
        Ok(())
    }

    /// Drops the oldest day.
    pub(super) fn retention(
        &self,
        data: &Path,
        clock: Clock,
        config: &Config,
        rows: &mut Rows,
    ) -> anyhow::Result<()> {
        let config = Config { retention_days: super::DAYS - 1, ..config.clone() };
        let store = Store::open(&store_dir(data), &config)?;
        let before = store.stats();
        let begun = Instant::now();
        let gone = store.retain(clock.now())?;
        let took = begun.elapsed();
        let events = before.events - store.stats().events;
        let found = format!("{:.1} ms ({gone} days, {events} events)", took.as_secs_f64() * 1e3);
        rows.plain("retention of the oldest days", found);
        if let Some((_, rss)) = self.usage() {
            rows.plain("resident memory of the server", format!("{} MB", rss >> 20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[allow(clippy::disallowed_methods, reason = "waits for another process, on a thread of its own")]
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}
