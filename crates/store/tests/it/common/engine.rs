//! The engines that the same tests run on: the embedded one, Debian's ClickHouse
//! (a server of our own, started here), and a current ClickHouse by way of chdb.
//!
//! One server serves a test binary, one database a test. A server ends with the
//! last test that uses it, and with this process however that ends: it runs under
//! a shell that kills it when its standard input closes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use palisade_store::{ClickHouseConfig, Config, Store};

/// Where Debian's package puts the server.
pub const SERVER: &str = "/usr/sbin/clickhouse-server";
/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Embedded,
    /// Debian's ClickHouse.
    Debian,
    /// A current ClickHouse, where chdb is installed.
    Current,
}

/// An empty store of an engine; what is in it goes with this.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub config: Config,
    /// Keeps the server alive.
    _server: Option<Arc<Server>>,
}

impl Place {
    /// `None` where the engine is not installed and nobody asked for it.
    pub fn new(engine: Engine) -> Option<Self> {
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        if engine == Engine::Embedded {
            return Some(Self { dir, config: Config::default(), _server: None });
        }
        let server = match engine {
            Engine::Current => Server::current()?,
            _ => Server::debian(),
        };
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let config = Config {
            clickhouse: Some(server.config(&format!("test_{number}"))),
            ..Config::default()
        };
        Some(Self { dir, config, _server: Some(server) })
    }

    pub fn open(&self) -> Store {
        Store::open(self.dir.path(), &self.config).unwrap()
    }

    /// Another hub's store on the same data (of a server).
    pub fn open_as(&self, dir: &Path) -> Store {
        Store::open(dir, &self.config).unwrap()
    }

    /// Runs a statement at the server.
    pub fn sql(&self, sql: &str) -> String {
        let settings = self.config.clickhouse.as_ref().unwrap();
        ask(&settings.urls[0], &sql.replace("{db}", &settings.database)).unwrap()
    }

    pub fn url(&self) -> String {
        self.config.clickhouse.as_ref().unwrap().urls[0].clone()
    }
}

/// A running server.
pub struct Server {
    child: Child,
    pub http_port: u16,
    pub tcp_port: u16,
    pub dir: PathBuf,
    /// Goes with the server.
    #[allow(dead_code, reason = "held until the server ended")]
    temporary: Option<tempfile::TempDir>,
}

impl Server {
    /// Debian's, shared by the tests of this binary.
    pub fn debian() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        shared(&SHARED, || Some(Self::start(None))).unwrap()
    }

    /// A current one, where Python finds chdb; a must where PALISADE_TEST_CHDB is set.
    pub fn current() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        shared(&SHARED, Self::start_chdb)
    }

    /// Starts Debian's server with its own files, as a cluster `two` of these
    /// shards where they are given.
    pub fn start(cluster: Option<&[(u16, u16)]>) -> Self {
        let own = [(free_port(), free_port())];
        Self::start_at(own[0], cluster.unwrap_or(&own))
    }

    pub fn start_at(ports: (u16, u16), shards: &[(u16, u16)]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().to_owned();
        Self::start_in(&dir, ports, shards, Some(temporary))
    }

    /// Starts Debian's server in a directory that stays when it ends.
    pub fn start_in(
        dir: &Path,
        ports: (u16, u16),
        shards: &[(u16, u16)],
        temporary: Option<tempfile::TempDir>,
    ) -> Self {
        let shards: String = shards.iter().map(|ports| shard(&[*ports])).collect();
        let mut server = Self::start_with(dir, ports, &shards, "");
        server.temporary = temporary;
        server
    }

    /// Starts Debian's server in a directory that stays, as a part of a cluster
    /// `two` of these shards, with more settings.
    pub fn start_with(dir: &Path, ports: (u16, u16), shards: &str, more: &str) -> Self {
        assert!(
            Path::new(SERVER).exists(),
            "{SERVER} is missing; install what the tests need with scripts/test-packages.sh"
        );
        let root = dir.display();
        let config = format!(
            "<?xml version=\"1.0\"?><yandex><logger><level>warning</level>\
             <log>{root}/log</log><errorlog>{root}/errors</errorlog></logger>\
             <http_port>{}</http_port><tcp_port>{}</tcp_port><listen_host>127.0.0.1</listen_host>\
             <path>{root}/data/</path><tmp_path>{root}/tmp/</tmp_path>\
             <users_config>{root}/users.xml</users_config><default_profile>default</default_profile>\
             <default_database>default</default_database><timezone>Europe/Berlin</timezone>\
             <mark_cache_size>67108864</mark_cache_size><remote_servers><two>{shards}</two>\
             </remote_servers>{more}</yandex>",
            ports.0, ports.1
        );
        let users = "<?xml version=\"1.0\"?><yandex><profiles><default/></profiles><users><default>\
             <password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
             <quota>default</quota></default><hub><password>se'cret</password><networks>\
             <ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></hub>\
             </users><quotas><default/></quotas></yandex>";
        std::fs::create_dir_all(dir.join("data")).unwrap();
        std::fs::create_dir_all(dir.join("tmp")).unwrap();
        std::fs::write(dir.join("config.xml"), config).unwrap();
        std::fs::write(dir.join("users.xml"), users).unwrap();
        let mut command = guarded();
        command.arg(SERVER).arg(format!("--config-file={root}/config.xml"));
        command.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let server = Self {
            child,
            http_port: ports.0,
            tcp_port: ports.1,
            dir: dir.to_owned(),
            temporary: None,
        };
        server.wait();
        server
    }

    fn start_chdb() -> Option<Self> {
        let wanted = std::env::var_os("PALISADE_TEST_CHDB").is_some_and(|value| value == "1");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kept = root.join("../../target/chdb/bin/python");
        let python = match std::env::var_os("PALISADE_CHDB_PYTHON") {
            Some(python) => python,
            None if kept.exists() => kept.into_os_string(),
            None => "python3".into(),
        };
        let found = Command::new(&python)
            .args(["-c", "import importlib.util as u, sys; sys.exit(u.find_spec('chdb') is None)"])
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            assert!(
                !wanted,
                "PALISADE_TEST_CHDB is set and chdb is missing; scripts/test-packages.sh installs it"
            );
            return None;
        }
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().to_owned();
        let mut command = guarded();
        command.arg(python).arg(root.join("../store/tests/chdb_server.py")).arg(&dir);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let http_port = line.trim().parse().unwrap();
        let server = Self { child, http_port, tcp_port: 0, dir, temporary: Some(temporary) };
        server.wait();
        Some(server)
    }

    /// Waits until it answers.
    fn wait(&self) {
        let began = Instant::now();
        while ask(&self.url(), "SELECT 1").is_err() {
            assert!(
                began.elapsed() < START,
                "the server did not start: {}",
                std::fs::read_to_string(self.dir.join("errors")).unwrap_or_default()
            );
            #[allow(clippy::disallowed_methods, reason = "a server of its own says nothing")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    pub fn config(&self, database: &str) -> ClickHouseConfig {
        ClickHouseConfig {
            urls: vec![self.url()],
            database: database.to_owned(),
            user: "default".to_owned(),
            password_file: None,
            cluster: None,
            replicated: false,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The shell kills the server when this closes, and ends.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// A shard of these replicas, in the words of the server's settings.
pub fn shard(replicas: &[(u16, u16)]) -> String {
    let replica = |(_, tcp): &(u16, u16)| {
        format!("<replica><host>127.0.0.1</host><port>{tcp}</port></replica>")
    };
    let replicas: String = replicas.iter().map(replica).collect();
    format!("<shard><internal_replication>true</internal_replication>{replicas}</shard>")
}

/// A shell that runs what follows, and kills it when this process is gone.
pub fn guarded() -> Command {
    let mut command = Command::new("sh");
    // The shell has no part in the output, which so ends with the server.
    let script =
        r#""$@" </dev/null & pid=$!; exec >/dev/null; cat; kill -9 $pid 2>/dev/null; wait $pid"#;
    command.args(["-c", script, "guard"]).stdin(Stdio::piped());
    command
}

fn shared(
    slot: &Mutex<Weak<Server>>,
    start: impl FnOnce() -> Option<Server>,
) -> Option<Arc<Server>> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = slot.upgrade() {
        return Some(server);
    }
    let server = Arc::new(start()?);
    *slot = Arc::downgrade(&server);
    Some(server)
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One request to ClickHouse, as simple as can be.
pub fn ask(url: &str, sql: &str) -> Result<String, String> {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).map_err(|e| e.to_string())?;
    let request =
        format!("POST / HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{sql}", sql.len());
    stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|e| e.to_string())?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(answer);
    }
    Ok(body.to_owned())
}

/// Runs each named test on every engine.
#[macro_export]
macro_rules! on_every_engine {
    ($($name:ident)*) => {
        mod embedded {
            $(#[test] fn $name() { super::$name($crate::common::engine::Engine::Embedded); })*
        }
        mod clickhouse_debian {
            $(#[test] fn $name() { super::$name($crate::common::engine::Engine::Debian); })*
        }
        mod clickhouse_current {
            $(#[test] fn $name() { super::$name($crate::common::engine::Engine::Current); })*
        }
    };
}
