//! Speaks with a service over a pair of sockets in memory, and tries telnet.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Finding, Subject, Tell, excerpt};
use crate::service::Service;
use crate::session::Zone;
use crate::{Accept, Limits, ServiceConfig, Session, Stream};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes of an answer that are looked at.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Whom the service believes to speak with, and where.
const CLIENT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 40_022);
const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 22);

/// When an answer is complete.
pub(super) enum Until<'a> {
    /// When this holds of it.
    There(&'a (dyn Fn(&[u8]) -> bool + Sync)),
    /// When the service ends; it is told that nothing more comes.
    End,
    /// When the service ends by itself.
    Closed,
}

/// A service and the zone that it belongs to.
pub(super) struct Line<'a> {
    pub(super) service: Service,
    pub(super) zone: &'a Arc<Zone>,
    pub(super) limits: &'a Limits,
}

impl Line<'_> {
    /// Says something and takes what comes. Empty where nothing came.
    pub(super) async fn ask(&self, said: &[u8], until: Until<'_>) -> Vec<u8> {
        let mut heard = Vec::new();
        let Ok((mut ours, theirs)) = pair() else { return heard };
        let mut session = Session::new(Arc::clone(self.zone), None, CLIENT, SERVER);
        let end = CancellationToken::new();
        let mut stream = Stream::new(theirs, Vec::new(), self.limits, end.clone());
        let served = async {
            // How it ended is none of the detector's business.
            let _ = self.service.serve(&mut session, &mut stream).await;
            drop(stream);
            std::future::pending::<()>().await;
        };
        let talk = async {
            if ours.write_all(said).await.is_err() {
                return;
            }
            if matches!(until, Until::End) && ours.shutdown().await.is_err() {
                return;
            }
            let enough = |heard: &[u8]| match until {
                Until::There(holds) => holds(heard),
                Until::End | Until::Closed => false,
            };
            while !enough(&heard) && heard.len() < MAX_ANSWER_BYTES {
                match ours.read_buf(&mut heard).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        tokio::select! {
            () = served => {}
            _ = tokio::time::timeout(PATIENCE, talk) => {}
        }
        end.cancel();
        heard
    }
}

/// Two ends of a line. A socket of the local kind reads, writes and waits as one
/// of TCP does, which is all that a [`Stream`] asks of it.
fn pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let (a, b) = UnixStream::pair()?;
    let stream = |end: UnixStream| {
        end.set_nonblocking(true)?;
        TcpStream::from_std(std::net::TcpStream::from(OwnedFd::from(end)))
    };
    Ok((stream(a)?, stream(b)?))
}

const OPENING: Subject = Subject {
    id: "telnet-first-bytes",
    looks_at: "the first negotiation that a telnet server sends",
    known_from: "nmap -sV: \"Cowrie Honeypot telnetd\" is a server that begins with a lone DO NAWS",
    advice: "report it: BusyBox begins with DO ECHO, DO NAWS, WILL ECHO, WILL SUPPRESS-GO-AHEAD",
};
const PROMPT: Subject = Subject {
    id: "telnet-login-prompt",
    looks_at: "the host name before \"login:\"",
    known_from: "default names of Cowrie (svr04, nas3) and of other honeypots",
    advice: "set honeypot.persona.hostname to a name that your other machines could have, or leave it out",
};

const ANY_PASSWORD: Subject = Subject {
    id: "telnet-any-password",
    looks_at: "whether passwords that nobody can have are let in",
    known_from: "bots and detectors log in with two random passwords",
    advice: "set telnet.accept = \"never\": factory passwords are let in all the same",
};

/// IAC DO NAWS.
const DO_NAWS: &[u8] = &[0xff, 0xfd, 0x1f];
/// How telnet servers that exist begin: BusyBox's since 1.14, inetutils'.
const REAL_OPENINGS: [&[u8]; 2] = [
    &[0xff, 0xfd, 0x01, 0xff, 0xfd, 0x1f, 0xff, 0xfb, 0x01, 0xff, 0xfb, 0x03],
    &[0xff, 0xfd, 0x18, 0xff, 0xfd, 0x20, 0xff, 0xfd, 0x23, 0xff, 0xfd, 0x27],
];

pub(super) async fn try_telnet(
    line: &Line<'_>,
    service: &ServiceConfig,
    place: &str,
    tells: &mut Vec<Tell>,
) {
    let heard = line.ask(b"", Until::There(&|heard| heard.ends_with(b"login: "))).await;
    let hex: Vec<String> = heard.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let real = REAL_OPENINGS.iter().any(|opening| heard.starts_with(opening));
    let found = Finding::of(heard.starts_with(DO_NAWS) || !real, hex.join(" "));
    tells.push(OPENING.tell(place, found));
    let text = heard.iter().position(|byte| byte.is_ascii_alphanumeric());
    let prompt = excerpt(text.and_then(|at| heard.get(at..)).unwrap_or_default());
    let known = super::known_name(&prompt).is_some() || prompt.is_empty();
    tells.push(PROMPT.tell(place, Finding::of(known, prompt)));
    let found = match service.telnet.clone().unwrap_or_default().accept {
        Accept::Never => Finding::hidden("none but factory passwords"),
        Accept::Always => Finding::shown("every password is let in"),
        Accept::After(tries) => {
            Finding::shown(format!("any password is let in at the {tries}. try of a connection"))
        }
    };
    tells.push(ANY_PASSWORD.tell(place, found));
}
