//! The kernel keeps the SYN of each connection of a listener that asks for it
//! (`TCP_SAVE_SYN`, Linux 4.2) and gives it out once. No rights are needed.
//!
//! A crate of its own, for its calls are not in the libraries that we know: those
//! ask for an option of one size and end the program where the kernel says another,
//! and headers have many sizes.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// The largest headers: 40 bytes of IPv6, extensions that the kernel keeps too, and
/// 60 bytes of TCP. What is longer stays in the kernel.
pub const MAX_BYTES: usize = 256;

/// Has the SYNs of all connections kept that `listener` will accept.
///
/// # Errors
/// The kernel has no such option.
pub fn keep(listener: &impl AsFd) -> io::Result<()> {
    let yes: libc::c_int = 1;
    let socket = listener.as_fd().as_raw_fd();
    let size = size_of_val(&yes) as libc::socklen_t;
    #[allow(unsafe_code, reason = "no library sets this option")]
    // SAFETY: the kernel reads `size` bytes of `yes`, which lives until the call has
    // ended, and the descriptor is open, for it is borrowed.
    let answer = unsafe {
        let yes = std::ptr::from_ref(&yes).cast();
        libc::setsockopt(socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, yes, size)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The IP and TCP headers of the SYN that `connection` began with, in memory of the
/// caller. `None` where there is none, as with SYN cookies, it was taken, or it is
/// longer than the memory.
pub fn take<'a>(connection: &impl AsFd, memory: &'a mut [u8; MAX_BYTES]) -> Option<&'a [u8]> {
    let socket = connection.as_fd().as_raw_fd();
    let mut size = MAX_BYTES as libc::socklen_t;
    #[allow(unsafe_code, reason = "no library gets an option of any size")]
    // SAFETY: the kernel writes at most `size` bytes, which is how large the memory
    // is, and how many it wrote to `size`; both are borrowed for writing until the
    // call has ended, and the descriptor is open, for it is borrowed.
    let answer = unsafe {
        let memory = memory.as_mut_ptr().cast();
        libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_SAVED_SYN, memory, &raw mut size)
    };
    let size = usize::try_from(size).ok()?;
    memory.get(..size).filter(|packet| answer == 0 && !packet.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

    use std::net::{TcpListener, TcpStream};

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    fn accepted(address: &str, asked: bool) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        if asked {
            keep(&listener).unwrap();
        }
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn the_headers_of_both_versions_are_given_once() {
        for (address, version, ip) in [("127.0.0.1:0", 4, 20), ("[::1]:0", 6, 40)] {
            let (client, server) = accepted(address, true);
            let mut memory = [0; MAX_BYTES];
            let packet = take(&server, &mut memory).unwrap();
            assert_eq!(packet[0] >> 4, version);
            let tcp = &packet[ip..];
            assert_eq!(tcp[..2], client.local_addr().unwrap().port().to_be_bytes());
            assert_eq!(tcp.len(), usize::from(tcp[12] >> 4) * 4, "TCP says how long it is");
            assert_eq!(tcp[13], 2, "it is a SYN");
            assert!(take(&server, &mut memory).is_none());
        }
    }

    #[test]
    fn nothing_is_given_where_nothing_was_kept() {
        let (_client, server) = accepted("127.0.0.1:0", false);
        assert!(take(&server, &mut [0; MAX_BYTES]).is_none());
        let pipe = std::fs::File::open("/dev/null").unwrap();
        assert!(take(&pipe, &mut [0; MAX_BYTES]).is_none());
        assert!(keep(&pipe).is_err());
    }

    #[test]
    fn options_of_every_length_are_read_whole() {
        // Fewer options than usual: a segment size and nothing else that is optional.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        keep(&listener).unwrap();
        let client = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::empty(),
            None,
        )
        .unwrap();
        setsockopt(&client, sockopt::TcpMaxSeg, &536).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let address: nix::sys::socket::SockaddrIn = address.parse().unwrap();
        nix::sys::socket::connect(client.as_raw_fd(), &address).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut memory = [0; MAX_BYTES];
        let tcp = &take(&server, &mut memory).unwrap()[20..];
        assert_eq!(tcp[20..24], [2, 4, 2, 24], "segments of 536 bytes");
    }
}
