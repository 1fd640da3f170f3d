//! Files over TFTP. The server answers from another port than it is asked at;
//! only the host that was checked is heard, and of it only the first such port.

use std::net::SocketAddr;
use std::time::Duration;

use palisade_honeypot::fetch::tftp::{
    MAX_DATAGRAM_BYTES, Step, Transfer, acknowledgement, request,
};
use palisade_honeypot::shell::fetch::{Outcome, Url};
use tokio::net::UdpSocket;

use super::net::{Getter, datagrams, fault};
use super::{File, Got};

/// How long a block may take before it is asked for again.
const BLOCK_DEADLINE: Duration = Duration::from_secs(2);
/// How often a block is asked for.
const TRIES: u32 = 5;

/// Gets a file.
pub(super) async fn get(getter: &Getter, url: &Url) -> Got {
    let name = url.path.strip_prefix('/').unwrap_or(&url.path);
    let asked = request(name).ok_or(Outcome::Broken)?;
    let place = getter.place(url).await?;
    let socket = datagrams(place.ip()).map_err(|error| fault(&error))?;
    let mut transfer = Transfer::new(getter.config.max_bytes);
    let mut last = (asked, place);
    let mut server = None;
    let mut tries = 0;
    send(&socket, &last).await?;
    // One byte more than is of interest, so that a longer one shows.
    let mut buffer = [0; MAX_DATAGRAM_BYTES + 1];
    loop {
        let received = tokio::time::timeout(BLOCK_DEADLINE, socket.recv_from(&mut buffer)).await;
        let (length, from) = match received {
            Ok(Ok(received)) => received,
            Ok(Err(error)) => return Err(fault(&error)),
            Err(_) => {
                tries += 1;
                if tries >= TRIES {
                    return Err(Outcome::TimedOut);
                }
                send(&socket, &last).await?;
                continue;
            }
        };
        let known = server.is_none_or(|server: SocketAddr| server == from);
        if from.ip().to_canonical() != place.ip() || !known {
            continue;
        }
        match transfer.take(buffer.get(..length).unwrap_or_default()) {
            Step::More(block) | Step::Again(block) => {
                server = Some(from);
                tries = 0;
                last = (acknowledgement(block).to_vec(), from);
                send(&socket, &last).await?;
            }
            Step::Complete(block) => {
                send(&socket, &(acknowledgement(block).to_vec(), from)).await?;
                return Ok(File { bytes: transfer.into_bytes(), kind: None });
            }
            Step::Ignored => {}
            Step::NoSuchFile => return Err(Outcome::NotFound),
            Step::Refused => return Err(Outcome::LoginRefused),
            Step::TooLarge => return Err(Outcome::TooLarge),
        }
    }
}

async fn send(socket: &UdpSocket, (bytes, to): &(Vec<u8>, SocketAddr)) -> Result<(), Outcome> {
    socket.send_to(bytes, to).await.map(drop).map_err(|error| fault(&error))
}
