//! Files over FTP, passive. The server names a port for the data; the host is
//! the one that was checked, whatever it names.

use std::net::SocketAddr;

use palisade_honeypot::fetch::ftp::{Replies, Reply, command, data_port};
use palisade_honeypot::shell::fetch::{Outcome, Url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::net::{Getter, fault};
use super::{File, Got};

/// Most replies of one fetch; a server may not talk for ever.
const MAX_REPLIES: usize = 32;
/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

struct Control {
    stream: TcpStream,
    replies: Replies,
    heard: usize,
}

impl Control {
    /// The next reply.
    async fn hear(&mut self) -> Result<Reply, Outcome> {
        loop {
            if let Some(reply) = self.replies.next_reply().map_err(|_| Outcome::Broken)? {
                self.heard += 1;
                return if self.heard > MAX_REPLIES { Err(Outcome::Broken) } else { Ok(reply) };
            }
            let mut buffer = [0; 1_024];
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err(Outcome::Broken),
                Ok(length) => self.replies.push(buffer.get(..length).unwrap_or_default()),
                Err(error) => return Err(fault(&error)),
            }
        }
    }

    /// Says a command and hears the reply to it.
    async fn say(&mut self, word: &str, argument: &str) -> Result<Reply, Outcome> {
        let line = command(word, argument).ok_or(Outcome::Broken)?;
        self.stream.write_all(&line).await.map_err(|error| fault(&error))?;
        self.hear().await
    }
}

/// Gets a file.
pub(super) async fn get(getter: &Getter, url: &Url) -> Got {
    let place = getter.place(url).await?;
    let stream = getter.connect(place).await?;
    let mut control = Control { stream, replies: Replies::default(), heard: 0 };
    if control.hear().await?.code != 220 {
        return Err(Outcome::Broken);
    }
    let anonymous = ("anonymous".to_owned(), "busybox@".to_owned());
    let (user, password) = url.login.as_ref().unwrap_or(&anonymous);
    let mut reply = control.say("USER", user).await?;
    if reply.code == 331 {
        reply = control.say("PASS", password).await?;
    }
    if reply.code != 230 {
        return Err(Outcome::LoginRefused);
    }
    control.say("TYPE", "I").await?;
    let mut named = control.say("EPSV", "").await?;
    if named.code != 229 {
        named = control.say("PASV", "").await?;
    }
    let port = data_port(&named).ok_or(Outcome::Broken)?;
    let mut data = getter.connect(SocketAddr::new(place.ip(), port)).await?;
    let path = url.path.strip_prefix('/').unwrap_or(&url.path);
    match control.say("RETR", path).await?.code {
        125 | 150 => {}
        450 | 550 => return Err(Outcome::NotFound),
        _ => return Err(Outcome::Broken),
    }
    let mut bytes = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = data.read(&mut buffer).await.map_err(|error| fault(&error))?;
        if length == 0 {
            // What the server says after it makes no difference to what came.
            return Ok(File { bytes, kind: None });
        }
        if bytes.len() + length > getter.config.max_bytes {
            return Err(Outcome::TooLarge);
        }
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
}
