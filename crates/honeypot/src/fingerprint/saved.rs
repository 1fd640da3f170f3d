//! The kernel keeps the SYN of each connection of a listener that asks for it
//! (`TCP_SAVE_SYN`, Linux 4.2) and gives it out once. No rights are needed.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{getsockopt, setsockopt};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

sockopt_impl!(SaveSyn, SetOnly, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, bool);

/// Has the SYNs of all connections kept that `listener` will accept.
pub(crate) fn keep(listener: &impl AsFd) -> nix::Result<()> {
    setsockopt(listener, SaveSyn, &true)
}

/// Defines [`take`] over the given sizes. A socket option has one size for the
/// library, which panics where the kernel says another. But the kernel refuses
/// a size below the packet's with EINVAL and keeps the packet: asking upwards
/// meets its size, for headers are whole multiples of four bytes. Most have 60
/// (IPv4) or 80 (IPv6) bytes, so that few questions are asked.
macro_rules! sizes {
    ($($name:ident: $bytes:literal),* $(,)?) => {
        $(sockopt_impl!($name, GetOnly, libc::IPPROTO_TCP, libc::TCP_SAVED_SYN, [u8; $bytes]);)*

        /// The IP and TCP headers of the SYN that `connection` began with.
        /// `None` where there is none, as with SYN cookies, or it was taken.
        pub(crate) fn take(connection: &impl AsFd) -> Option<Vec<u8>> {
            $(
                match getsockopt(connection, $name) {
                    // Nothing is answered to the smallest size where nothing is kept.
                    Ok(bytes) => return (!bytes.is_empty()).then(|| bytes.to_vec()),
                    Err(Errno::EINVAL) => {}
                    Err(_) => return None,
                }
            )*
            None
        }
    };
}

sizes! {
    Bytes0: 0, Bytes40: 40, Bytes44: 44, Bytes48: 48, Bytes52: 52, Bytes56: 56, Bytes60: 60,
    Bytes64: 64, Bytes68: 68, Bytes72: 72, Bytes76: 76, Bytes80: 80, Bytes84: 84, Bytes88: 88,
    Bytes92: 92, Bytes96: 96, Bytes100: 100, Bytes104: 104, Bytes108: 108, Bytes112: 112,
    Bytes116: 116, Bytes120: 120, Bytes124: 124, Bytes128: 128, Bytes132: 132, Bytes136: 136,
    Bytes140: 140, Bytes144: 144, Bytes148: 148, Bytes152: 152, Bytes156: 156, Bytes160: 160,
}
