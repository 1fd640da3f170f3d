//! Hears from the kernel that a device was plugged in or out (netlink(7),
//! NETLINK_KOBJECT_UEVENT). Only that something happened is used; what is there is
//! read from /sys.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The group of the kernel's own messages; udev's are in another one.
const KERNEL_GROUP: u32 = 1;
/// Most bytes of a message that are looked at.
const MESSAGE_BYTES: usize = 4_096;

/// The kernel's messages about devices.
#[derive(Debug)]
pub(crate) struct Plugged {
    socket: AsyncFd<OwnedFd>,
}

impl Plugged {
    /// Listens.
    ///
    /// # Errors
    /// The system does not let us, as in some containers.
    #[allow(
        deprecated,
        reason = "its successor is unsafe code; what it asks for is given: the descriptor is ours and stays the same"
    )]
    pub(crate) fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP))?;
        Ok(Self { socket: AsyncFd::with_interest(socket, Interest::READABLE)? })
    }

    /// Waits until a device of USB or PCI came or went.
    ///
    /// # Errors
    /// The socket failed; a full buffer is no failure.
    pub(crate) async fn happened(&self) -> io::Result<()> {
        let mut message = [0u8; MESSAGE_BYTES];
        loop {
            let mut ready = self.socket.readable().await?;
            let got = ready.try_io(|socket| {
                match recv(socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                    // So much happened that some of it was dropped.
                    Err(nix::errno::Errno::ENOBUFS) => Ok(None),
                    Err(error) => Err(io::Error::from(error)),
                    Ok(length) => Ok(Some(length)),
                }
            });
            match got {
                Err(_would_block) => {}
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) => return Ok(()),
                Ok(Ok(Some(length))) => {
                    if message.get(..length).is_some_and(tells_of_a_device) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Whether a message tells of a device of USB or PCI that came or went.
fn tells_of_a_device(message: &[u8]) -> bool {
    let parts = || message.split(|byte| *byte == 0);
    parts().any(|part| matches!(part, b"ACTION=add" | b"ACTION=remove"))
        && parts().any(|part| matches!(part, b"SUBSYSTEM=usb" | b"SUBSYSTEM=pci"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_about_usb_and_pci_are_told_from_others() {
        assert!(tells_of_a_device(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=usb\0SEQNUM=1\0"));
        assert!(!tells_of_a_device(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=block\0"));
        assert!(!tells_of_a_device(b"change@/x\0ACTION=change\0SUBSYSTEM=usb\0"));
        assert!(!tells_of_a_device(b""));
        assert!(!tells_of_a_device(&[0xff; 4096]));
    }
}
