//! A hub with real doors in a temporary folder, and a client for it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use palisade_api::{Config, Listener, Server};
use palisade_event::{
    Credentials, Endpoint, Event, EventId, EventKind, SensorId, Timestamp, Untrusted, wire,
};
use palisade_hub::{Hub, Principal, Role, Scope};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Password of the account `anna`, who may do all.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// Longest wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running hub. Listeners: 0 speaks TLS, 1 does not.
pub(crate) struct Doors {
    pub(crate) hub: Hub,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) hpfeeds: Vec<SocketAddr>,
    pub(crate) data: tempfile::TempDir,
    pub(crate) fingerprint: String,
    pub(crate) ingest: String,
    pub(crate) read: String,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
    /// The detail of a problem of this status.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// Starts a hub whose configuration `adjust` has changed.
pub(crate) async fn start(adjust: impl FnOnce(&mut Config)) -> Doors {
    start_with(&palisade_hub::Config::default(), adjust).await
}

/// The same, with settings of the hub.
pub(crate) async fn start_with(
    config: &palisade_hub::Config,
    adjust: impl FnOnce(&mut Config),
) -> Doors {
    let data = tempfile::tempdir().unwrap();
    let hub = Hub::open(data.path(), config).await.unwrap();
    let me = Principal::local(None);
    hub.add_account(&me, "anna", PASSWORD, Role::Admin, now()).await.unwrap();
    let key = async |name: &str, scope| {
        let name = SensorId::new(name).unwrap();
        hub.add_key(&me, name, &[scope], palisade_event::Domain::Private, now()).await.unwrap().key
    };
    let ingest = key("edge-1", Scope::Ingest).await;
    let read = key("reader", Scope::Read).await;

    let address = "127.0.0.1:0".parse().unwrap();
    let tls = Listener { address, ..Listener::default() };
    let plain = Listener { tls: false, ..tls.clone() };
    let mut config = Config { listeners: vec![tls, plain], ..Config::default() };
    adjust(&mut config);
    config.validate().unwrap();
    let mut server = Server::bind(&config, hub.clone(), data.path()).await.unwrap();
    server.serve_unix(&data.path().join("palisade.sock")).unwrap();
    let addresses = server.addresses().iter().map(|address| address.socket).collect();
    let hpfeeds = server.hpfeeds_addresses().into_iter().map(|(address, _)| address).collect();
    let fingerprint = server.certificate_fingerprint().unwrap_or_default().to_owned();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(server.run(cancel.clone()));
    Doors { hub, addresses, hpfeeds, data, fingerprint, ingest, read, cancel, task }
}

/// What a test client speaks over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

impl Doors {
    /// Stops the doors and the hub; tells what must end in time.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the doors close").unwrap();
        self.hub.close().await;
    }

    /// Asks the doors to close, without waiting.
    pub(crate) fn close(&self) {
        self.cancel.cancel();
    }

    pub(crate) async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.addresses[1]).await.unwrap()
    }

    pub(crate) async fn tls(&self) -> impl Stream + use<> {
        let pem = std::fs::read(self.data.path().join("tls/cert.pem")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let certificate =
            <rustls_pki_types::CertificateDer as rustls_pki_types::pem::PemObject>::from_pem_slice(
                &pem,
            );
        roots.add(certificate.unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tcp = TcpStream::connect(self.addresses[0]).await.unwrap();
        connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap()
    }

    /// One request over the listener without TLS.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        send_over(self.plain().await, request).await
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Answer {
        self.send(request(Method::GET, path, key, "")).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &str) -> Answer {
        self.send(request(Method::POST, path, key, body)).await
    }

    /// Delivers events and waits until searches see them.
    pub(crate) async fn deliver(&self, events: &[Event]) {
        let records: Vec<Vec<u8>> = events.iter().map(wire::encode_event).collect();
        let body = String::from_utf8(wire::encode_batch(&records)).unwrap();
        let answer = self.post("/api/v1/events", &self.ingest, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["accepted"], events.len());
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // Each day is committed by itself: shortly after midnight there are two.
        for event in [events.first(), events.last()].into_iter().flatten() {
            let path = format!("/api/v1/events/{}", event.id);
            while self.get(&path, &self.read).await.status != 200 {
                assert!(tokio::time::Instant::now() < deadline, "events become visible");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Signs in as `anna` and returns the cookie.
    pub(crate) async fn sign_in(&self) -> String {
        let body = format!(r#"{{"username":"anna","password":"{PASSWORD}"}}"#);
        let answer = self.post("/api/v1/session", "", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("set-cookie").split(';').next().unwrap().to_owned()
    }
}

/// A JSON request, with a bearer key unless that is empty.
pub(crate) fn request(method: Method, path: &str, key: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json");
    if !key.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

/// One request over any stream.
pub(crate) async fn send_over(stream: impl Stream, request: Request<Full<Bytes>>) -> Answer {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let answer = tokio::time::timeout(PATIENCE, async {
        let answer = sender.send_request(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body }
    });
    let answer = answer.await.expect("an answer in time");
    driver.abort();
    answer
}

/// A failed login of `username` from 198.51.100.7, `index` seconds ago.
pub(crate) fn attempt(index: u64, username: &[u8]) -> Event {
    let at = now().plus_millis(-i64::try_from(index).unwrap() * 1000);
    let id = EventId::new(at, u128::from(index) + 1);
    let mut event = Event::new(id, EventKind::AuthAttempted, at, SensorId::new("x").unwrap());
    event.source = Some(Endpoint::tcp("198.51.100.7:40022".parse().unwrap()));
    event.credentials = Some(Credentials {
        username: Some(Untrusted::new(username.to_vec())),
        ..Credentials::default()
    });
    event
}
