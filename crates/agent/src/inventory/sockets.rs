//! Sockets that wait for somebody, and whose they are (proc(5), `/proc/net`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::root::{Root, Unseen};

/// Most sockets that are kept.
pub(crate) const MAX_SOCKETS: usize = 2_000;
/// Most processes whose open files are looked at to find a socket's owner.
const MAX_PROCESSES: usize = 20_000;
/// Most open files of one process that are looked at.
const MAX_OPEN_FILES: usize = 4_096;

/// A socket that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Socket {
    /// `tcp` or `udp`, for both versions of IP.
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
    pub(crate) address: IpAddr,
    pub(crate) uid: u32,
    pub(crate) inode: u64,
    pub(crate) process: Option<(u32, String)>,
}

impl Socket {
    /// Whether somebody elsewhere can reach it, as far as the address says.
    pub(crate) fn is_open(&self) -> bool {
        !self.address.to_canonical().is_loopback()
    }
}

/// Sockets, and how many were left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) list: Vec<Socket>,
    pub(crate) left_out: usize,
}

/// Reads the sockets that wait; without their processes.
///
/// # Errors
/// The kernel's lists cannot be read.
pub(crate) fn read(root: &Root) -> Result<Sockets, Unseen> {
    let mut found = Sockets::default();
    for (file, protocol, needed) in [
        ("/proc/net/tcp", "tcp", true),
        ("/proc/net/tcp6", "tcp", false),
        ("/proc/net/udp", "udp", false),
        ("/proc/net/udp6", "udp", false),
    ] {
        let text = match root.read(file) {
            Ok(text) => text,
            Err(reason) if needed => return Err(reason),
            // A kernel without IPv6.
            Err(_) => continue,
        };
        for line in text.lines().skip(1) {
            let Some((state, socket)) = parse(line, protocol) else { continue };
            match (protocol, state) {
                // Listening, or of UDP: without a peer.
                ("tcp", 0x0a) | ("udp", 0x07) if found.list.len() < MAX_SOCKETS => {
                    found.list.push(socket);
                }
                ("tcp", 0x0a) | ("udp", 0x07) => found.left_out += 1,
                _ => {}
            }
        }
    }
    found.list.sort();
    found.list.dedup_by(|one, other| one.inode == other.inode && one.inode != 0);
    Ok(found)
}

/// How many connections of TCP are established.
pub(crate) fn established(root: &Root) -> Option<u64> {
    // The kernel's own count; its lists can have a hundred thousand lines.
    let text = root.read("/proc/net/snmp").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split(' ').position(|name| name == "CurrEstab")?;
    values.split(' ').nth(place)?.parse().ok()
}

/// Finds the processes that hold the sockets. Says whose could not be seen.
pub(crate) fn name_processes(root: &Root, sockets: &mut Sockets) -> Option<Unseen> {
    let mut wanted: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, socket) in sockets.list.iter().enumerate() {
        wanted.entry(socket.inode).or_default().push(index);
    }
    let (processes, _) = match root.list("/proc") {
        Ok(list) => list,
        Err(reason) => return Some(reason),
    };
    let mut hidden = None;
    let pids = processes.iter().filter_map(|(name, _)| name.parse::<u32>().ok());
    for pid in pids.take(MAX_PROCESSES) {
        if wanted.is_empty() {
            break;
        }
        let folder = format!("/proc/{pid}/fd");
        let files = match root.list(&folder) {
            Ok((files, _)) => files,
            Err(Unseen::Denied(_)) => {
                hidden = Some(Unseen::Denied("which process holds a socket".to_owned()));
                continue;
            }
            Err(_) => continue,
        };
        let mut name = None;
        for (file, _) in files.iter().take(MAX_OPEN_FILES) {
            let Ok(target) = root.link_target(&format!("{folder}/{file}")) else { continue };
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            let Some(inode) = inode.and_then(|text| text.parse().ok()) else { continue };
            for index in wanted.remove(&inode).unwrap_or_default() {
                let name = name.get_or_insert_with(|| {
                    root.read_value(&format!("/proc/{pid}/comm")).unwrap_or_default()
                });
                if let Some(socket) = sockets.list.get_mut(index) {
                    socket.process = Some((pid, name.clone()));
                }
            }
        }
    }
    hidden
}

/// A line of `/proc/net/tcp` and the like: the state and the socket.
fn parse(line: &str, protocol: &'static str) -> Option<(u8, Socket)> {
    let mut fields = line.split_whitespace();
    let (local, _remote) = (fields.nth(1)?, fields.next()?);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in the machine's own order.
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes()).into(),
        32 => {
            let mut bytes = [0u8; 16];
            for (index, word) in bytes.chunks_exact_mut(4).enumerate() {
                let text = address.get(index * 8..index * 8 + 8)?;
                word.copy_from_slice(&u32::from_str_radix(text, 16).ok()?.to_ne_bytes());
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some((state, Socket { protocol, port, address, uid, inode, process: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read_and_strange_ones_are_not() {
        let line = "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 23456 1 0000000000000000 100 0 0 10 0";
        let (state, socket) = parse(line, "tcp").unwrap();
        assert_eq!((state, socket.port, socket.uid, socket.inode), (0x0a, 22, 101, 23456));
        assert!(!socket.is_open());
        let line = "0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7";
        assert!(parse(line, "tcp").unwrap().1.is_open());
        let mapped = "0: 0000000000000000FFFF00000100007F:1F90 0:0 0A 0:0 0:0 0 0 0 7";
        assert!(!parse(mapped, "tcp").unwrap().1.is_open());
        for strange in
            ["", "x", "0: 0100007F:FFFFF 0:0 0A 0 0 0 0 0 1", "0: zz:0016 0:0 0A 0:0 0:0 0 0 0 1"]
        {
            assert!(parse(strange, "tcp").is_none(), "{strange}");
        }
    }

    #[test]
    fn our_own_socket_is_found_with_our_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let root = Root::here();
        let mut found = read(&root).unwrap();
        name_processes(&root, &mut found);
        let own = found.list.iter().find(|socket| socket.port == port).unwrap();
        assert_eq!(own.process.as_ref().map(|(pid, _)| *pid), Some(std::process::id()));
    }
}
