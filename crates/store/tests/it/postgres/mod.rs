//! A PostgreSQL server of the tests' own: made with initdb in a temporary
//! directory, on a Unix socket and a free port, without fsync. It ends with the
//! last test that holds it, and with the process however that ends.
//!
//! Other crates' tests use this file through `#[path]`.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Longest wait for a server to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something that cannot be awaited is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Who owns the cluster; initdb refuses root.
const OWNER: &str = "nobody";

/// A server, running or stopped.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
    running: Mutex<Option<Running>>,
    databases: AtomicU32,
}

/// The process, held by a thread of its own: the kernel kills it with the
/// thread that made it, and that one must not be a test's.
struct Running {
    stop: mpsc::SyncSender<()>,
    ended: mpsc::Receiver<()>,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The server that the tests of one process share.
pub(crate) fn shared() -> Arc<Server> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start(&[]));
    *shared = Arc::downgrade(&server);
    server
}

impl Server {
    /// A server of one's own, with lines of `postgresql.conf`.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("palisade-pg").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let bin = binaries();
        let own = dir.path().join("own");
        fs::create_dir(&own).unwrap();
        if is_root() {
            let status = Command::new("chown").arg(OWNER).arg(&own).status().unwrap();
            assert!(status.success());
        }
        let data = own.join("data");
        let mut initdb = as_owner(&bin.join("initdb"));
        initdb.args([
            "--no-sync",
            "--username",
            "root",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
        ]);
        initdb.args(["--auth-local", "trust", "--auth-host", "scram-sha-256", "-D"]).arg(&data);
        let made = initdb.current_dir(&own).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let conf = data.join("postgresql.conf");
        let text = format!(
            "fsync = off\nport = {port}\nlisten_addresses = '127.0.0.1'\nmax_connections = 100\n\
             unix_socket_directories = '{}'\n{}\n",
            own.display(),
            settings.join("\n")
        );
        fs::write(&conf, text).unwrap();
        let server =
            Self { dir, bin, port, running: Mutex::new(None), databases: AtomicU32::new(0) };
        server.run();
        server
    }

    fn own(&self) -> PathBuf {
        self.dir.path().join("own")
    }

    /// Files of the cluster, for tests that change them before a start.
    pub(crate) fn data(&self) -> PathBuf {
        self.own().join("data")
    }

    /// Starts the stopped server and waits until it answers.
    pub(crate) fn run(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(running.is_none(), "it runs already");
        let mut command = as_owner(&self.bin.join("postgres"));
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        command.arg("-D").arg(self.data()).current_dir(self.own());
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        let (stop, asked) = mpsc::sync_channel(1);
        let (done, ended) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut child = command.spawn().unwrap();
            // Asked to stop, or nobody is left who could ask.
            while asked.recv_timeout(POLL) == Err(mpsc::RecvTimeoutError::Timeout) {
                if matches!(child.try_wait(), Ok(Some(_))) {
                    break;
                }
            }
            end(&mut child);
            let _ = done.send(());
        });
        let deadline = Instant::now() + PATIENCE;
        while self.psql("postgres", "SELECT 1").is_err() {
            let failed = ended.try_recv().is_ok() || Instant::now() > deadline;
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(!failed, "PostgreSQL does not start:\n{log}");
            pause();
        }
        *running = Some(Running { stop, ended });
    }

    /// Stops it as a failed machine would: connections are cut.
    pub(crate) fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        drop(running.stop);
        let _ = running.ended.recv_timeout(PATIENCE);
    }

    /// A new, empty database that `root` owns.
    pub(crate) fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Its address through the socket, where everybody is let in.
    pub(crate) fn url(&self, database: &str) -> String {
        let own = self.own();
        format!("postgres://root@localhost:{}/{database}?host={}", self.port, own.display())
    }

    /// Its address through TCP, where a password is needed.
    pub(crate) fn tcp_url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL as an administrator.
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        self.psql(database, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn psql(&self, database: &str, text: &str) -> Result<String, String> {
        let output = Command::new(self.bin.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username", "root"])
            .args(["--set", "ON_ERROR_STOP=1", "--port", &self.port.to_string(), "--host"])
            .arg(self.own())
            .args(["--dbname", database, "--command", text])
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Runs another program of PostgreSQL against a database.
    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> std::process::Output {
        Command::new(self.bin.join(program))
            .args(["--username", "root", "--port", &self.port.to_string(), "--host"])
            .arg(self.own())
            .args(args)
            .output()
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// SIGQUIT: ends at once, without waiting for clients.
fn end(child: &mut Child) {
    let pid = child.id().to_string();
    let _ = Command::new("kill").args(["-QUIT", &pid]).status();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        pause();
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[allow(clippy::disallowed_methods, reason = "waits for another process, not for a clock")]
fn pause() {
    std::thread::sleep(POLL);
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

/// A program as an unprivileged user that ends with this process.
fn as_owner(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", OWNER, "--regid", "nogroup", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT", "--"]).arg(program).env_remove("PGOPTIONS");
    command
}

/// Where Debian keeps the programs: the newest version.
fn binaries() -> PathBuf {
    let version =
        |dir: &PathBuf| -> Option<u32> { dir.parent()?.file_name()?.to_str()?.parse().ok() };
    let found = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .max_by_key(version);
    found.unwrap_or_else(|| panic!("no PostgreSQL here; `make test` installs what is needed"))
}
