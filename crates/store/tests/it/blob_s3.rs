//! Payloads in a real S3 server: moto from PyPI, which
//! `PALISADE_TEST_S3=1 sh scripts/test-packages.sh` installs into target/moto.
//! Without it the tests here say that they did not run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use palisade_event::PayloadHash;
use palisade_store::blob::{Blobs, PayloadConfig, S3Config};

/// Longest wait for the server to listen.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the server where it is installed.
fn server() -> Option<Server> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/moto/bin/moto_server");
    if !program.exists() {
        assert!(std::env::var_os("PALISADE_TEST_S3").is_none(), "{} is missing", program.display());
        eprintln!("not run: {} is missing", program.display());
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, port };
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < PATIENCE, "the S3 server does not listen");
        std::thread::yield_now();
    }
    // The bucket; moto asks for no signature here.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "PUT /payloads HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Some(server)
}

fn config(port: u16, bucket: &str, dir: &Path) -> PayloadConfig {
    let secret_key_file: PathBuf = dir.join("secret");
    std::fs::write(&secret_key_file, "a secret\n").unwrap();
    let s3 = S3Config {
        endpoint: format!("http://127.0.0.1:{port}"),
        bucket: bucket.into(),
        prefix: "palisade/".into(),
        access_key: "someone".into(),
        secret_key_file,
        ..S3Config::default()
    };
    let config = PayloadConfig { s3: Some(s3), ..PayloadConfig::default() };
    config.validate().unwrap();
    config
}

#[test]
fn a_bucket_keeps_bytes_until_they_are_removed() {
    let Some(server) = server() else { return };
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(&config(server.port, "payloads", dir.path()), dir.path()).unwrap();
    let name = PayloadHash([0xab; 32]);
    assert_eq!(blobs.get(name).unwrap(), None);
    let bytes: Vec<u8> = (0..5 * 1024 * 1024u32).map(|n| (n * 7) as u8).collect();
    blobs.put(name, &bytes).unwrap();
    blobs.put(name, &bytes).unwrap();
    assert_eq!(blobs.get(name).unwrap().as_deref(), Some(&bytes[..]));
    blobs.remove(name).unwrap();
    blobs.remove(name).unwrap();
    assert_eq!(blobs.get(name).unwrap(), None);
    let elsewhere = Blobs::open(&config(server.port, "nowhere", dir.path()), dir.path()).unwrap();
    let error = elsewhere.put(name, b"x").unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("NoSuchBucket"), "{error}");
}

#[test]
fn a_request_is_signed_and_a_refusal_is_told() {
    // What goes over the wire, whatever is installed: one answer by hand.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut part = [0u8; 4096];
        while !request.ends_with(b"bytes") {
            let n = stream.read(&mut part).unwrap();
            assert!(n > 0);
            request.extend_from_slice(part.get(..n).unwrap());
        }
        let body = "<Error><Code>AccessDenied</Code></Error>";
        let length = body.len();
        write!(stream, "HTTP/1.1 403 Forbidden\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        String::from_utf8_lossy(&request).into_owned()
    });
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(&config(port, "payloads", dir.path()), dir.path()).unwrap();
    let error = blobs.put(PayloadHash([1; 32]), b"bytes").unwrap_err().to_string();
    assert!(error.contains("403") && error.contains("AccessDenied"), "{error}");
    let request = answering.join().unwrap();
    let line = request.lines().next().unwrap();
    let hash = "01".repeat(32);
    assert!(line.starts_with(&format!("PUT /payloads/palisade/{hash}?")), "{line}");
    assert!(line.contains("X-Amz-Algorithm=AWS4-HMAC-SHA256"), "{line}");
    assert!(line.contains("X-Amz-Signature=") && !request.contains("a secret"), "{line}");
}
