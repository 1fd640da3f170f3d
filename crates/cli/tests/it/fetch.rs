//! Files that shells ask for: fetched by a process of its own from real servers
//! on loopback, some of which lie; kept, never from where it must not reach.

use crate::support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::{BINARY, PATIENCE, Palisade, wait};

/// Bytes that a shell prints as they are, and more of them than one message has.
fn payload() -> Vec<u8> {
    b"#!/bin/sh\necho run-by-nobody\n".iter().copied().cycle().take(150_000).collect()
}

/// What a server does with each connection.
type Serve = dyn Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// A server on loopback, and how many came.
struct Server {
    address: SocketAddr,
    came: Arc<AtomicUsize>,
}

impl Server {
    fn start(
        serve: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(AtomicUsize::new(0));
        let (count, serve): (_, Arc<Serve>) = (Arc::clone(&came), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || {
                    let mut stream = stream;
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    // The client may go in the middle.
                    let _ = serve(&mut stream);
                });
            }
        });
        Self { address, came }
    }

    /// An HTTP server that answers by the path of the request.
    fn http(
        answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |stream| {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            answer(head.split(' ').nth(1).unwrap_or_default(), stream)
        })
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }
}

fn ok(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/x-sh\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)
}

/// Settings with shells that let everybody in, and `fetch` as `[honeypot.fetch]`.
fn up(home: &Path, fetch: &str) -> Palisade {
    let kind = "type = \"telnet\"\n";
    let open = "telnet = { accept = \"always\", fail_delay_ms = 0 }\n";
    let text = support::settings(home).replace(kind, &format!("{kind}{open}"));
    let ssh = "[[honeypot.services]]\ntype = \"ssh\"\nlisten = \"127.0.0.1:0\"\nssh = { accept = \"always\" }\n[honeypot.persona]\nserver = \"debian12\"\n";
    fs::write(home.join("palisade.toml"), format!("{text}\n{ssh}\n[honeypot.fetch]\n{fetch}\n"))
        .unwrap();
    Palisade::up(home)
}

const LOCAL: &str = "enabled = true\nallow = [\"127.0.0.1/32\"]\nper_host_per_minute = 100\n";

/// What a device's shell shows for some lines.
fn device(palisade: &Palisade, lines: &[String]) -> String {
    let mut stream = TcpStream::connect(palisade.telnet()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let typed = format!("root\r\nx\r\n{}\r\nexit\r\n", lines.join("\r\n"));
    stream.write_all(typed.as_bytes()).unwrap();
    let mut shown = Vec::new();
    let _ = stream.read_to_end(&mut shown);
    String::from_utf8_lossy(&shown).into_owned()
}

/// What a server's shell shows for a command; OpenSSH's client asks.
fn server(palisade: &Palisade, command: &str) -> Output {
    let ask = palisade.home.join("ask");
    fs::write(&ask, "#!/bin/sh\necho x\n").unwrap();
    fs::set_permissions(&ask, fs::Permissions::from_mode(0o755)).unwrap();
    let address = palisade.wait_printed("honeypot ssh on");
    let port = address.rsplit(':').next().unwrap().to_owned();
    Command::new("ssh")
        .args(["-p", &port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "PreferredAuthentications=password", "-o", "LogLevel=ERROR", "root@127.0.0.1"])
        .arg(command)
        .env("SSH_ASKPASS", &ask)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

/// How the fetch of the address with this end is told to have ended.
fn outcome(palisade: &Palisade, ends: &str) -> Value {
    wait(&format!("an event about {ends}"), || {
        let all = palisade.query("kind:download.attempted");
        all.into_iter().find(|event| event["request"].as_str().unwrap().ends_with(ends))
    })
}

fn sha256(bytes: &[u8]) -> String {
    palisade_honeypot::shell::sha256(bytes).to_string()
}

#[test]
fn files_come_over_every_protocol_and_are_kept_with_their_hash() {
    let home = tempfile::tempdir().unwrap();
    let whole = payload();
    let body = whole.clone();
    let http = Server::http(move |path, stream| match path {
        "/bot.sh" => ok(stream, &body),
        "/moved" => write!(stream, "HTTP/1.1 302 Found\r\nLocation: /bot.sh\r\n\r\n"),
        _ => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    });
    let ftp = ftp_server(b"by ftp\n");
    let tftp = tftp_server(&payload()[..1_024]);
    let palisade = up(home.path(), LOCAL);
    let shown = device(
        &palisade,
        &[
            "cd /tmp".into(),
            format!("wget http://{}/bot.sh -O a; wc -c a; head -n 2 a", http.address),
            format!("wget http://{}/none", http.address),
            format!("tftp -g -l b -r dir/b 127.0.0.1 {}; wc -c b", tftp.port()),
            format!("ftpget -P {} 127.0.0.1 c some/c; cat c", ftp.address.port()),
        ],
    );
    for part in [
        "150000 a",
        "echo run-by-nobody",
        "wget: server returned error: HTTP/1.1 404 Not Found",
        "1024 b",
        "by ftp",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = server(
        &palisade,
        &format!("wget http://{}/moved -O /tmp/d && head -n 1 /tmp/d", http.address),
    );
    let errors = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(errors.contains("200 OK\nLength: 150000 (14"), "{errors}");
    assert!(errors.contains("‘/tmp/d’ saved [150000/150000]"), "{errors}");

    for (ends, bytes) in [
        ("/bot.sh", whole.as_slice()),
        ("/moved", whole.as_slice()),
        ("/dir/b", &whole[..1_024]),
        ("/some/c", b"by ftp\n"),
    ] {
        let event = outcome(&palisade, ends);
        assert_eq!(event["attributes"]["outcome"], "fetched", "{event}");
        assert_eq!(event["attributes"]["bytes"], bytes.len());
        assert_eq!(event["payload"], sha256(bytes));
    }
    assert_eq!(outcome(&palisade, "/none")["attributes"]["outcome"], "not-found");
    let hash = sha256(&whole);
    let kept = home.path().join(format!("data/hub/payloads/{}/{hash}", &hash[..2]));
    wait("the file is kept", || fs::read(&kept).ok().filter(|kept| *kept == whole));
    assert_eq!(palisade.terminate(), Some(0));
}

/// A server of FTP that names a wrong host for the data, as some do to make
/// clients connect elsewhere.
fn ftp_server(body: &'static [u8]) -> Server {
    Server::start(move |stream| {
        let data = TcpListener::bind("127.0.0.1:0")?;
        let [high, low] = data.local_addr()?.port().to_be_bytes();
        stream.write_all(b"220-hello\r\n220 ready\r\n")?;
        let mut line = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            line.push(byte[0]);
            if byte[0] != b'\n' {
                continue;
            }
            let said = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
            let answer = match said.split_ascii_whitespace().next().unwrap_or_default() {
                "USER" => "331 password".to_owned(),
                "PASS" => "230 welcome".to_owned(),
                "TYPE" => "200 binary".to_owned(),
                "EPSV" => "500 no".to_owned(),
                "PASV" => format!("227 Entering Passive Mode (10,0,0,1,{high},{low})."),
                "RETR" if said.contains("some/c") => {
                    stream.write_all(b"150 here\r\n")?;
                    data.accept()?.0.write_all(body)?;
                    "226 done".to_owned()
                }
                _ => "550 no".to_owned(),
            };
            write!(stream, "{answer}\r\n")?;
        }
        Ok(())
    })
}

/// A server of TFTP; says each block twice.
fn tftp_server(body: &[u8]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let body = body.to_vec();
    std::thread::spawn(move || {
        let mut buffer = [0; 600];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            // From a port of its own, as the protocol has it.
            let transfer = UdpSocket::bind("127.0.0.1:0").unwrap();
            transfer.set_read_timeout(Some(PATIENCE)).unwrap();
            let blocks = body.chunks(512).chain([[].as_slice()]);
            for (number, block) in (1u16..).zip(blocks) {
                let said = [&[0, 3], &number.to_be_bytes(), block].concat();
                transfer.send_to(&said, client).unwrap();
                transfer.send_to(&said, client).unwrap();
                let wanted = [&[0, 4], number.to_be_bytes().as_slice()].concat();
                while !buffer.starts_with(&wanted) {
                    if transfer.recv(&mut buffer).is_err() {
                        return;
                    }
                }
            }
        }
    });
    address
}

#[test]
fn servers_that_lie_end_in_time_and_in_the_words_of_the_program() {
    let home = tempfile::tempdir().unwrap();
    let address: Arc<Mutex<String>> = Arc::default();
    let own = Arc::clone(&address);
    let http = Server::http(move |path, stream| {
        let head = "HTTP/1.1 200 OK\r\n";
        match path {
            "/endless" => {
                write!(stream, "{head}\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 65_536])?;
                }
            }
            "/long" => write!(stream, "{head}Content-Length: 99999999999\r\n\r\nx"),
            "/short" => write!(stream, "{head}Content-Length: 1000\r\n\r\nx"),
            "/header" => {
                write!(stream, "{head}X: ")?;
                loop {
                    stream.write_all(&[b'x'; 65_536])?;
                }
            }
            "/loop" => write!(
                stream,
                "HTTP/1.1 301 x\r\nLocation: http://{}/loop\r\n\r\n",
                own.lock().unwrap()
            ),
            "/inside" => {
                write!(stream, "HTTP/1.1 301 x\r\nLocation: http://10.0.0.1/secret\r\n\r\n")
            }
            "/mapped" => write!(
                stream,
                "HTTP/1.1 301 x\r\nLocation: http://[::ffff:10.0.0.1]/secret\r\n\r\n"
            ),
            "/forbidden" => write!(stream, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
            "/garbage" => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"),
            "/silent" => stream.read(&mut [0]).map(drop),
            _ => Ok(()),
        }
    });
    *address.lock().unwrap() = http.address.to_string();
    let limits = "max_bytes = 200000\ntimeout_secs = 3\nredirects = 3\n";
    let palisade = up(home.path(), &format!("{LOCAL}{limits}"));
    for (path, outcome_name, words) in [
        ("/endless", "too-large", "Read error at byte"),
        ("/long", "too-large", "Read error at byte"),
        ("/short", "broken", "No data received."),
        ("/header", "broken", "No data received."),
        ("/loop", "too-many-redirects", "redirections exceeded."),
        ("/inside", "withheld-not-public", "Connection timed out."),
        ("/mapped", "withheld-not-public", "Connection timed out."),
        ("/forbidden", "status", "ERROR 403: Forbidden."),
        ("/garbage", "broken", "No data received."),
        ("/closed", "broken", "No data received."),
        ("/silent", "timeout", "Connection timed out."),
    ] {
        let shown = server(&palisade, &format!("wget http://{}{path}", http.address));
        let errors = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert!(errors.contains(words), "{path}: {errors}");
        let event = outcome(&palisade, path);
        assert_eq!(event["attributes"]["outcome"], outcome_name, "{event}");
    }
    assert_eq!(outcome(&palisade, "/forbidden")["attributes"]["status"], 403);
    // The loop was followed three times and no further.
    assert_eq!(http.came(), 11 + 3);
    assert_eq!(palisade.count("kind:payload.captured"), 0);
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn a_certificate_counts_unless_the_client_was_told_not_to_care() {
    let home = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let https = Server::start(move |stream| {
        let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, stream);
        let _ = stream.read(&mut [0; 1_024])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nby tls\n")?;
        stream.conn.send_close_notify();
        stream.flush()
    });
    let palisade = up(home.path(), LOCAL);
    let url = format!("https://{}", https.address);
    let shown = server(&palisade, &format!("curl {url}/strict"));
    let errors = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(errors.contains("curl: (60) SSL certificate problem"), "{errors}");
    let shown = server(&palisade, &format!("curl -sk {url}/careless"));
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "by tls\n");
    assert_eq!(outcome(&palisade, "/strict")["attributes"]["outcome"], "bad-certificate");
    assert_eq!(outcome(&palisade, "/careless")["payload"], sha256(b"by tls\n"));
    // No TLS at all.
    let plain = Server::start(|stream| stream.write_all(b"220 hello\r\n"));
    server(&palisade, &format!("curl -sk https://{}/plain", plain.address));
    assert_eq!(outcome(&palisade, "/plain")["attributes"]["outcome"], "broken");
    assert_eq!(palisade.terminate(), Some(0));
}

/// A name server: answers each question for an address with the next of those
/// that the name has, and counts.
fn name_server(asked: &Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::clone(asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 600];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let question = &buffer[..length];
            let label = &question[13..13 + usize::from(question[12])];
            let name = String::from_utf8_lossy(label).into_owned();
            let times = {
                let mut asked = asked.lock().unwrap();
                asked.push(name.clone());
                asked.iter().filter(|other| **other == name).count()
            };
            let four = question[question.len() - 3] == 1;
            let addresses: &[[u8; 4]] = match name.as_str() {
                // Good when it is checked, bad when it is asked for again.
                "rebinding" if times == 1 => &[[127, 0, 0, 1]],
                "rebinding" | "inside" => &[[10, 0, 0, 7]],
                "mixed" => &[[10, 0, 0, 7], [127, 0, 0, 1]],
                _ => &[],
            };
            let addresses = if four { addresses } else { &[] };
            let mut answer = question.to_vec();
            answer[2] = 0x81;
            answer[3] = if name == "nowhere" { 0x83 } else { 0x80 };
            answer[7] = addresses.len() as u8;
            for four in addresses {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(four);
            }
            // Something else first: a wrong number is no answer.
            let mut forged = answer.clone();
            forged[0] ^= 0xff;
            socket.send_to(&forged, client).unwrap();
            socket.send_to(&answer, client).unwrap();
        }
    });
    address
}

#[test]
fn the_address_that_was_checked_is_the_one_connected_to_and_hosts_are_not_flooded() {
    let home = tempfile::tempdir().unwrap();
    let asked = Arc::default();
    let names = name_server(&asked);
    let http = Server::http(|_, stream| ok(stream, b"got it\n"));
    let port = http.address.port();
    let rules = format!(
        "enabled = true\nallow = [\"127.0.0.1/32\"]\nper_host_per_minute = 2\nname_servers = [\"{names}\"]\n"
    );
    let palisade = up(home.path(), &rules);
    let urls = ["rebinding", "rebinding", "mixed", "inside", "nowhere", "mixed"];
    let lines: Vec<String> = urls
        .iter()
        .enumerate()
        .map(|(n, name)| format!("wget -O - http://{name}.test:{port}/{n}"))
        .collect();
    let shown = device(&palisade, &lines);
    assert_eq!(shown.matches("got it").count(), 2, "{shown}");
    assert!(shown.contains("bad address 'nowhere.test'"), "{shown}");
    for (ends, wanted) in [
        ("/0", "fetched"),
        ("/1", "withheld-not-public"),
        ("/2", "fetched"),
        ("/3", "withheld-not-public"),
        ("/4", "unresolved"),
        ("/5", "withheld-too-often"),
    ] {
        assert_eq!(outcome(&palisade, ends)["attributes"]["outcome"], wanted, "{ends}");
    }
    assert_eq!(http.came(), 2);
    let times = |name: &str| asked.lock().unwrap().iter().filter(|n| *n == name).count();
    assert_eq!(times("rebinding"), 2, "once for each fetch");
    assert_eq!(palisade.terminate(), Some(0));
}

/// The process of the fetcher, by its name.
fn fetcher_of(parent: u32) -> Option<u32> {
    let mut processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = status.contains(&format!("PPid:\t{parent}\n"));
        (ours && command.starts_with("palisade-fetch")).then_some(pid)
    });
    processes.next()
}

#[test]
fn a_fetcher_that_is_killed_is_replaced_and_is_confined_but_for_connections() {
    let home = tempfile::tempdir().unwrap();
    let http = Server::http(|_, stream| ok(stream, b"here\n"));
    let palisade = up(home.path(), LOCAL);
    let parent = palisade.child.id();
    let first = fetcher_of(parent).expect("a fetcher");
    let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(!status.contains("Uid:\t0\t"), "{status}");
    let open = fs::read_dir(format!("/proc/{first}/task")).unwrap().count();
    assert_eq!(open, 1);
    assert!(Command::new("kill").args(["-KILL", &first.to_string()]).status().unwrap().success());
    wait("another fetcher", || fetcher_of(parent).filter(|pid| *pid != first));
    let shown = device(&palisade, &[format!("wget -O - http://{}/x", http.address)]);
    assert!(shown.contains("here"), "{shown}");
    assert!(palisade.errors().contains("the fetcher ended by itself"));
    let successor = fetcher_of(parent).unwrap();
    let failed = palisade.first("kind:sensor.failed");
    assert_eq!(failed["attributes"]["process"], "fetcher");
    assert_eq!((&failed["attributes"]["signal"], &failed["sensor"]), (&9.into(), &"test-1".into()));
    palisade.kill();
    wait("it ends with its parent", || {
        (!Path::new(&format!("/proc/{successor}")).exists()).then_some(())
    });

    // What an intruder in it would try.
    let attempt = |what: &str| {
        let mut command = Command::new(BINARY);
        command.args(["zone", "--try", what, "--outward"]).current_dir("/").output().unwrap().status
    };
    assert!(attempt("connect").success(), "it is there to connect");
    for what in [
        "read-file",
        "list-folder",
        "write-file",
        "execute",
        "become-root",
        "trace",
        "signal",
        "bind",
        "local-socket",
        "new-process",
    ] {
        let status = attempt(what);
        assert!(status.code() == Some(10) || status.signal() == Some(31), "{what}: {status:?}");
    }
}

#[test]
fn nothing_is_fetched_unless_it_is_switched_on_nor_from_here_unless_that_is_allowed() {
    let home = tempfile::tempdir().unwrap();
    let http = Server::http(|_, stream| ok(stream, b"here\n"));
    for (fetch, process) in [("", false), ("enabled = true\n", true)] {
        let folder = home.path().join(format!("{process}"));
        fs::create_dir(&folder).unwrap();
        let palisade = up(&folder, fetch);
        assert_eq!(fetcher_of(palisade.child.id()).is_some(), process);
        let shown = device(&palisade, &[format!("wget http://{}/x", http.address)]);
        assert!(shown.contains("Connection refused"), "{shown}");
        assert_eq!(outcome(&palisade, "/x")["attributes"]["outcome"], "refused");
        assert_eq!(palisade.terminate(), Some(0));
    }
    assert_eq!(http.came(), 0);
}
