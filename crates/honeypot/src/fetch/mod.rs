//! The parts of the fetcher that are apart from sockets: who may be reached
//! ([`reach`]), what is said between the honeypots and the fetcher's process
//! ([`wire`], [`client`]), and readers of what servers answer ([`ftp`],
//! [`tftp`], [`names`]). Pure but for [`client`]; nothing here connects to
//! anybody. The process itself is the binary's.

pub mod client;
pub mod ftp;
pub mod names;
pub mod reach;
pub mod tftp;
pub mod wire;
