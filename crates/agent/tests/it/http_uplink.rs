//! The HTTP uplink against a small real server, with and without TLS.
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use palisade_agent::{HttpUplink, HubConfig, SendError, Uplink as _};
use palisade_event::wire::Batch;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// What the server has seen, and what it answers next.
#[derive(Default)]
struct Seen {
    connections: usize,
    batches: Vec<usize>,
    keys: Vec<String>,
    paths: Vec<String>,
    answers: VecDeque<Answer>,
}

#[derive(Clone)]
enum Answer {
    Status(u16, Option<&'static str>, &'static str),
    /// The connection is cut in the middle of the answer.
    Cut,
}

struct Server {
    seen: Arc<Mutex<Seen>>,
    port: u16,
    certificate: CertificateDer<'static>,
    folder: TempDir,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn start(tls: bool, answers: Vec<Answer>) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = tls.then(|| TlsAcceptor::from(Arc::new(settings)));
        let seen = Arc::new(Mutex::new(Seen { answers: answers.into(), ..Seen::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(serve(listener, acceptor, Arc::clone(&seen)));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "pal_key\n").unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        Self { seen, port, certificate, folder, _task: AbortOnDropHandle::new(task) }
    }

    fn config(&self, scheme: &str, host: &str) -> HubConfig {
        HubConfig {
            url: format!("{scheme}://{host}:{}/base/", self.port),
            key_file: self.folder.path().join("key"),
            ..HubConfig::default()
        }
    }

    fn pinned(&self) -> HubConfig {
        let pin: Vec<String> =
            Sha256::digest(&self.certificate).iter().map(|byte| format!("{byte:02X}")).collect();
        HubConfig { pin: Some(pin.join(":")), ..self.config("https", "127.0.0.1") }
    }
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, seen: Arc<Mutex<Seen>>) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        tasks.spawn(async move {
            seen.lock().unwrap().connections += 1;
            let cut = matches!(seen.lock().unwrap().answers.front(), Some(Answer::Cut));
            match acceptor {
                _ if cut => cut_off(stream, &seen).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(TokioIo::new(stream), seen).await;
                    }
                }
                None => answer(TokioIo::new(stream), seen).await,
            }
        });
    }
}

/// Reads the whole request and answers half of what it promises.
async fn cut_off(mut stream: tokio::net::TcpStream, seen: &Mutex<Seen>) {
    seen.lock().unwrap().answers.pop_front();
    let mut buffer = vec![0; 64 * 1024];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"accepted\":";
    stream.write_all(half).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn answer<I>(io: I, seen: Arc<Mutex<Seen>>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let body = zstd::bulk::decompress(&body, 1 << 24).unwrap_or_default();
            let count = Batch::decode(&body).map_or(0, |batch| batch.events.len());
            let mut seen = seen.lock().unwrap();
            seen.batches.push(count);
            seen.paths.push(head.uri.path().to_owned());
            seen.keys.push(head.headers.get("authorization").unwrap().to_str().unwrap().to_owned());
            let mut answer = http::Response::builder();
            let text = match seen.answers.pop_front() {
                Some(Answer::Status(status, retry, text)) => {
                    answer = answer.status(status);
                    if let Some(retry) = retry {
                        answer = answer.header("retry-after", retry);
                    }
                    text.to_owned()
                }
                _ => format!(r#"{{"accepted":{count},"duplicate":0}}"#),
            };
            Ok::<_, hyper::Error>(answer.body(Full::new(Bytes::from(text))).unwrap())
        }
    });
    // A client that refuses the certificate ends it early.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

fn records(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("{{\"n\":{number}}}").into_bytes()).collect()
}

#[tokio::test]
async fn batches_go_over_one_kept_connection_with_key_and_base_path() {
    let server = Server::start(true, Vec::new()).await;
    let uplink = HttpUplink::new(&server.pinned()).unwrap();
    for count in [1, 1_000, 3] {
        let receipt = uplink.send(&records(count)).await.unwrap();
        assert_eq!(receipt.accepted as usize, count);
    }
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.batches, [1, 1_000, 3]);
    assert_eq!(seen.connections, 1);
    assert_eq!(seen.paths[0], "/base/api/v1/events");
    assert_eq!(seen.keys[0], "Bearer pal_key");
}

#[tokio::test]
async fn a_certificate_with_another_fingerprint_is_refused() {
    let server = Server::start(true, Vec::new()).await;
    let config = HubConfig { pin: Some("00".repeat(32)), ..server.pinned() };
    let error = HttpUplink::new(&config).unwrap().send(&records(1)).await.unwrap_err();
    let SendError::Unreachable(reason) = error else { panic!("{error:?}") };
    assert!(reason.contains("not the pinned one"), "{reason}");
    assert!(server.seen.lock().unwrap().batches.is_empty());
}

#[tokio::test]
async fn without_a_pin_an_authority_must_have_signed_for_the_name() {
    let server = Server::start(true, Vec::new()).await;
    let ca = HubConfig {
        ca_file: Some(server.folder.path().join("ca.pem")),
        ..server.config("https", "localhost")
    };
    assert!(HttpUplink::new(&ca).unwrap().send(&records(1)).await.is_ok());
    let other_name = HubConfig { url: server.config("https", "127.0.0.1").url, ..ca };
    let error = HttpUplink::new(&other_name).unwrap().send(&records(1)).await.unwrap_err();
    assert!(matches!(error, SendError::Unreachable(_)), "{error:?}");
    let stranger = Server::start(true, Vec::new()).await;
    let other_ca = HubConfig {
        ca_file: Some(stranger.folder.path().join("ca.pem")),
        ..server.config("https", "localhost")
    };
    assert!(HttpUplink::new(&other_ca).unwrap().send(&records(1)).await.is_err());
    assert_eq!(server.seen.lock().unwrap().batches.len(), 1);
}

#[tokio::test]
async fn refusals_say_what_to_do_next() {
    let answers = vec![
        Answer::Status(401, None, r#"{"title":"Unauthorized","detail":"unknown key"}"#),
        Answer::Status(413, None, ""),
        Answer::Status(503, Some("7"), ""),
        Answer::Status(422, None, "{}"),
    ];
    let server = Server::start(false, answers).await;
    let uplink = HttpUplink::new(&server.config("http", "127.0.0.1")).unwrap();
    let error = uplink.send(&records(1)).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Unauthorised(said) if said.contains("unknown key")),
        "{error:?}"
    );
    assert_eq!(uplink.send(&records(1)).await, Err(SendError::TooLarge));
    let later = SendError::Refused { retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(uplink.send(&records(1)).await, Err(later));
    assert!(matches!(uplink.send(&records(1)).await, Err(SendError::Malformed(_))));
    assert!(uplink.send(&records(1)).await.is_ok());
    assert_eq!(server.seen.lock().unwrap().connections, 1);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_no_receipt_and_the_next_try_works() {
    let server = Server::start(false, vec![Answer::Cut]).await;
    let uplink = HttpUplink::new(&server.config("http", "127.0.0.1")).unwrap();
    let error = uplink.send(&records(2)).await.unwrap_err();
    assert!(matches!(error, SendError::Unreachable(_)), "{error:?}");
    assert_eq!(uplink.send(&records(2)).await.unwrap().accepted, 2);
    assert_eq!(server.seen.lock().unwrap().connections, 2);
}

#[tokio::test]
async fn a_new_key_needs_no_restart() {
    let server = Server::start(false, Vec::new()).await;
    let uplink = HttpUplink::new(&server.config("http", "127.0.0.1")).unwrap();
    uplink.send(&records(1)).await.unwrap();
    std::fs::write(server.folder.path().join("key"), "pal_other").unwrap();
    uplink.send(&records(1)).await.unwrap();
    std::fs::remove_file(server.folder.path().join("key")).unwrap();
    let error = uplink.send(&records(1)).await.unwrap_err();
    assert!(matches!(error, SendError::Unauthorised(_)), "{error:?}");
    assert_eq!(server.seen.lock().unwrap().keys, ["Bearer pal_key", "Bearer pal_other"]);
}
