//! From an address as it was typed to a connection: names are looked up here,
//! every address is checked, and the address that was checked is the one that
//! is connected to. Nothing asks for a name a second time in between.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use palisade_honeypot::FetchConfig;
use palisade_honeypot::fetch::names::{self, Answer};
use palisade_honeypot::fetch::reach::{Rates, Reach};
use palisade_honeypot::shell::fetch::{Outcome, Request, Url, Withheld};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Got, Start, ftp, http, tftp};

/// How long one name server has for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// How often all name servers are asked.
const ROUNDS: usize = 2;

/// Gets files.
#[derive(Debug)]
pub(super) struct Getter {
    pub(super) config: FetchConfig,
    reach: Reach,
    rates: Mutex<Rates>,
    servers: Vec<SocketAddr>,
    verifying: Arc<ClientConfig>,
    /// For clients that were told not to care.
    careless: Arc<ClientConfig>,
}

impl Getter {
    /// Reads the authorities of the system; nothing is read later.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn new(start: &Start) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        // Those that cannot be read are no reason to fetch nothing.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .context("TLS")
        };
        let verifying = builder()?.with_root_certificates(roots).with_no_client_auth();
        let careless = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Careless(Arc::clone(&provider))))
            .with_no_client_auth();
        Ok(Self {
            config: start.config.clone(),
            reach: Reach::new(&start.config, &start.own, &start.hub),
            rates: Mutex::new(Rates::new(start.config.per_host_per_minute)),
            servers: start.servers.clone(),
            verifying: Arc::new(verifying),
            careless: Arc::new(careless),
        })
    }

    /// Gets a file within the time and size that it may have.
    pub(super) async fn get(&self, request: &Request) -> Outcome {
        let since = Instant::now();
        let getting = async {
            match request.url.scheme.as_str() {
                "http" | "https" => http::get(self, request).await,
                "ftp" => ftp::get(self, &request.url).await,
                "tftp" => tftp::get(self, &request.url).await,
                _ => Err(Outcome::Broken),
            }
        };
        let got: Got = match tokio::time::timeout(self.config.timeout(), getting).await {
            Ok(got) => got,
            Err(_) => Err(Outcome::TimedOut),
        };
        let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        match got {
            Ok(file) => Outcome::Fetched { bytes: file.bytes, kind: file.kind, millis },
            Err(outcome) => outcome,
        }
    }

    /// Where to connect to for `url`: an address that may be reached, and that
    /// was not reached too often.
    pub(super) async fn place(&self, url: &Url) -> Result<SocketAddr, Outcome> {
        let addresses = match url.address() {
            Some(address) => vec![address],
            None => self.addresses(&url.host).await?,
        };
        if addresses.is_empty() {
            return Err(Outcome::Unresolved);
        }
        let permitted = addresses.into_iter().find(|address| self.reach.permits(*address));
        let address = permitted.ok_or(Outcome::Withheld(Withheld::NotPublic))?;
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if !rates.take(address, Instant::now()) {
            return Err(Outcome::Withheld(Withheld::TooOften));
        }
        Ok(SocketAddr::new(address.to_canonical(), url.port))
    }

    /// Connects to an address of [`Self::place`], or to another port there.
    pub(super) async fn connect(&self, place: SocketAddr) -> Result<TcpStream, Outcome> {
        TcpStream::connect(place).await.map_err(|error| fault(&error))
    }

    /// Begins TLS with `host`.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        host: &str,
        verify: bool,
    ) -> Result<TlsStream<TcpStream>, Outcome> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Outcome::BadCertificate)?;
        let config = if verify { &self.verifying } else { &self.careless };
        let connector = TlsConnector::from(Arc::clone(config));
        connector.connect(name, stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(_)) => Outcome::BadCertificate,
                _ => fault(&error),
            }
        })
    }

    /// The addresses of a name, those of IPv4 if there are any.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Outcome> {
        for six in [false, true] {
            let found = self.look_up(host, six).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    async fn look_up(&self, host: &str, six: bool) -> Result<Vec<IpAddr>, Outcome> {
        let id = rand::random();
        let question = names::question(id, host, six).ok_or(Outcome::Unresolved)?;
        for server in std::iter::repeat_n(&self.servers, ROUNDS).flatten() {
            let asked = ask(*server, id, host, &question);
            match tokio::time::timeout(ANSWER_DEADLINE, asked).await {
                Ok(Ok(Answer::Addresses(addresses))) => return Ok(addresses),
                Ok(Ok(Answer::NoName)) => return Err(Outcome::Unresolved),
                Ok(Ok(Answer::Failed) | Err(_)) | Err(_) => {}
            }
        }
        Err(Outcome::Unresolved)
    }
}

/// One question to one server, from a port of the kernel's choice that hears
/// nobody else.
async fn ask(server: SocketAddr, id: u16, host: &str, question: &[u8]) -> io::Result<Answer> {
    let socket = datagrams(server.ip())?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; names::MAX_ANSWER_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if let Some(answer) = names::answer(id, host, bytes) {
            return Ok(answer);
        }
    }
}

/// A socket for datagrams of the family of `address`. It is not bound: the
/// kernel does that with the first datagram, and this process may not.
pub(super) fn datagrams(address: IpAddr) -> io::Result<UdpSocket> {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let family = Domain::for_address(SocketAddr::new(any, 0));
    let socket = Socket::new(family, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// How it went where the system says so.
pub(super) fn fault(error: &io::Error) -> Outcome {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Outcome::Refused,
        Kind::TimedOut => Outcome::TimedOut,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable => {
            Outcome::Unreachable
        }
        _ => Outcome::Broken,
    }
}

/// Takes any certificate, as a client does that was told to. What comes is an
/// attacker's file either way.
#[derive(Debug)]
struct Careless(Arc<CryptoProvider>);

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
