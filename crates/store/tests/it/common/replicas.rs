//! A cluster with replicas: Debian's ZooKeeper and as many of Debian's ClickHouse
//! servers as wanted, all on loopback, each of which can be killed and started
//! again on its files.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use palisade_store::ClickHouseConfig;

use super::engine::{Server, free_port, guarded, shard};

/// Where Debian's package puts ZooKeeper.
const ZOOKEEPER: &str = "/usr/share/java/zookeeper.jar";
/// How long ZooKeeper may take to start.
const START: Duration = Duration::from_secs(60);

/// A ZooKeeper of our own.
struct Keeper {
    child: Child,
    port: u16,
}

impl Keeper {
    fn start(dir: &Path) -> Self {
        assert!(
            Path::new(ZOOKEEPER).exists(),
            "{ZOOKEEPER} is missing; install what the tests need with scripts/test-packages.sh"
        );
        let port = free_port();
        let root = dir.display();
        let settings = format!(
            "tickTime=2000\ndataDir={root}/keeper\nclientPort={port}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
             4lw.commands.whitelist=ruok\n"
        );
        std::fs::write(dir.join("zoo.cfg"), settings).unwrap();
        let mut command = guarded();
        command.args(["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        // What a test writes need not survive the machine.
        command.args(["-Dzookeeper.forceSync=no", "-cp", ZOOKEEPER]);
        command.args(["org.apache.zookeeper.server.quorum.QuorumPeerMain"]);
        command.arg(dir.join("zoo.cfg")).current_dir(dir);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let keeper = Self { child, port };
        let began = Instant::now();
        while !keeper.is_ok() {
            assert!(began.elapsed() < START, "ZooKeeper did not start");
            #[allow(clippy::disallowed_methods, reason = "a server of its own says nothing")]
            std::thread::sleep(Duration::from_millis(20));
        }
        keeper
    }

    fn is_ok(&self) -> bool {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            // It takes connections before it answers.
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"ruok")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        asked().is_ok_and(|answer| answer == "imok")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // As with the servers: the shell kills it when this closes.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// A cluster of shards with replicas.
pub struct Cluster {
    servers: Vec<Vec<Option<Server>>>,
    ports: Vec<Vec<(u16, u16)>>,
    /// Where replicas fetch from each other.
    exchange: Vec<Vec<u16>>,
    keeper: Keeper,
    dir: tempfile::TempDir,
}

impl Cluster {
    pub fn start(shards: usize, replicas: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(dir.path());
        let ports = |_| (0..replicas).map(|_| (free_port(), free_port())).collect();
        let exchange = |_| (0..replicas).map(|_| free_port()).collect();
        let mut cluster = Self {
            servers: (0..shards).map(|_| (0..replicas).map(|_| None).collect()).collect(),
            ports: (0..shards).map(ports).collect(),
            exchange: (0..shards).map(exchange).collect(),
            keeper,
            dir,
        };
        for shard in 0..shards {
            for replica in 0..replicas {
                cluster.start_again(shard, replica);
            }
        }
        cluster
    }

    /// Starts one server on the files it has.
    pub fn start_again(&mut self, number: usize, replica: usize) {
        let dir = self.dir.path().join(format!("{number}-{replica}"));
        std::fs::create_dir_all(&dir).unwrap();
        let shards: String = self.ports.iter().map(|replicas| shard(replicas)).collect();
        let more = format!(
            "<zookeeper><node><host>127.0.0.1</host><port>{}</port></node>\
             <session_timeout_ms>10000</session_timeout_ms></zookeeper>\
             <macros><shard>{number}</shard><replica>{replica}</replica></macros>\
             <interserver_http_port>{}</interserver_http_port>\
             <interserver_http_host>127.0.0.1</interserver_http_host>",
            self.keeper.port, self.exchange[number][replica]
        );
        let server = Server::start_with(&dir, self.ports[number][replica], &shards, &more);
        self.servers[number][replica] = Some(server);
    }

    /// kill -9.
    pub fn kill(&mut self, shard: usize, replica: usize) {
        self.servers[shard][replica] = None;
    }

    /// Where one server answers.
    pub fn url(&self, shard: usize, replica: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[shard][replica].0)
    }

    /// Settings of a hub, which knows all servers, one of them first.
    pub fn config(&self, database: &str, shard: usize, replica: usize) -> ClickHouseConfig {
        let first = self.url(shard, replica);
        let all = self.ports.iter().flatten().map(|ports| format!("http://127.0.0.1:{}", ports.0));
        let mut urls: Vec<String> = all.filter(|url| *url != first).collect();
        urls.insert(0, first);
        ClickHouseConfig {
            urls,
            database: database.to_owned(),
            user: "default".to_owned(),
            password_file: None,
            cluster: Some("two".to_owned()),
            replicated: true,
        }
    }
}
