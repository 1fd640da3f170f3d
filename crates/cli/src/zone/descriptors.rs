//! Hands open sockets to another process over a socket pair (SCM_RIGHTS of
//! unix(7)).

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use tokio::io::Interest;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Room for one read.
const READ_BYTES: usize = 16 * 1024;
/// Sockets of one message; the kernel takes 253.
const SOCKETS_A_MESSAGE: usize = 64;

/// Sends them in order. Blocks while the other side does not take them.
///
/// # Errors
/// The other side is gone.
pub(crate) fn send(stream: &UnixStream, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    for some in sockets.chunks(SOCKETS_A_MESSAGE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_A_MESSAGE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // They ride on a byte.
        let byte = [IoSlice::new(b"+")];
        rustix::net::sendmsg(stream.as_fd(), &byte, &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Sends bytes, with sockets that ride on the first of them.
///
/// # Errors
/// The other side is gone.
pub(crate) async fn send_with(
    stream: &tokio::net::UnixStream,
    bytes: &[u8],
    sockets: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut sent = 0;
    for some in sockets.chunks(SOCKETS_A_MESSAGE) {
        let byte = bytes.get(sent..=sent).ok_or(io::ErrorKind::InvalidInput)?;
        stream
            .async_io(Interest::WRITABLE, || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_A_MESSAGE))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !control.push(SendAncillaryMessage::ScmRights(some)) {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                let byte = [IoSlice::new(byte)];
                Ok(rustix::net::sendmsg(stream, &byte, &mut control, SendFlags::NOSIGNAL)?)
            })
            .await?;
        sent += 1;
    }
    Ok(sent)
}

/// Reads some bytes, and takes the sockets that ride on them; 0 at the end.
///
/// # Errors
/// The other side is gone.
pub(crate) async fn receive_with(
    stream: &tokio::net::UnixStream,
    buffer: &mut Vec<u8>,
    sockets: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut room = vec![0; READ_BYTES];
    let count = stream
        .async_io(Interest::READABLE, || {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_A_MESSAGE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut room)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = rustix::net::recvmsg(stream, &mut into, &mut control, flags)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    sockets.extend(some);
                }
            }
            Ok(received.bytes)
        })
        .await?;
    buffer.extend_from_slice(room.get(..count).unwrap_or_default());
    Ok(count)
}

/// Takes `count` of them.
///
/// # Errors
/// The other side is gone or sends something else.
pub(crate) fn receive(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_A_MESSAGE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut into = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(stream.as_fd(), &mut into, &mut control, flags)?;
        let before = sockets.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                sockets.extend(some);
            }
        }
        if received.bytes == 0 || sockets.len() == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(sockets)
}
