//! The network as the machine would show it. Nothing is sent anywhere.

use std::fmt::Write as _;

use super::{Options, Run};
use crate::shell::Shell;
use crate::shell::fetch::{Url, is_private};

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "ifconfig" => ifconfig,
        "ip" => ip,
        "netstat" => netstat,
        "ss" => netstat,
        "arp" => arp,
        "route" => route,
        "ping" | "ping6" => ping,
        "traceroute" | "tracepath" | "arping" => |shell, words| {
            let host = Options::new(words, "mqwI").rest.first().cloned().unwrap_or_default();
            shell.say(&format!("traceroute to {host} ({host}), 30 hops max, 60 byte packets"));
            0
        },
        "nslookup" | "dig" | "host" => nslookup,
        "iptables" | "ip6tables" | "nft" | "iptables-save" | "ufw" => iptables,
        "iwconfig" => |shell, _| {
            shell.err(b"lo        no wireless extensions.\n");
            0
        },
        "ethtool" | "tc" | "brctl" | "ifup" | "ifdown" | "iptables-restore" | "udhcpc"
        | "dhclient" => |_, _| 0,
        _ => return None,
    })
}

fn six(mac: &str) -> String {
    let bytes: Vec<u8> =
        mac.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let [a, b, c, d, e, f] = bytes.as_slice() else { return "fe80::1".to_owned() };
    format!(
        "fe80::{:x}:{:x}:{:x}:{:x}",
        u16::from_be_bytes([a ^ 2, *b]),
        u16::from_be_bytes([*c, 0xff]),
        u16::from_be_bytes([0xfe, *d]),
        u16::from_be_bytes([*e, *f])
    )
}

fn ifconfig(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "").rest;
    let m = &shell.world.machine;
    let (rx, tx) = m.traffic(shell.files.now);
    let [a, b, c, _] = m.address.octets();
    let name = m.interface;
    let wanted = rest.first().cloned();
    if wanted.as_deref().is_some_and(|wanted| wanted != name && wanted != "lo") {
        let wanted = wanted.unwrap_or_default();
        let text = if shell.gnu() {
            format!("{wanted}: error fetching interface information: Device not found")
        } else {
            format!("ifconfig: {wanted}: error fetching interface information: Device not found")
        };
        shell.err(format!("{text}\n").as_bytes());
        return 1;
    }
    let mut text = String::new();
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
    if shell.gnu() {
        if wanted.as_deref() != Some("lo") {
            let _ = write!(
                text,
                "{name}: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500\n        inet {}  netmask 255.255.255.0  broadcast {a}.{b}.{c}.255\n        inet6 {}  prefixlen 64  scopeid 0x20<link>\n        ether {}  txqueuelen 1000  (Ethernet)\n        RX packets {}  bytes {rx} ({})\n        RX errors 0  dropped 0  overruns 0  frame 0\n        TX packets {}  bytes {tx} ({})\n        TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0\n\n",
                m.address,
                six(&m.mac),
                m.mac,
                rx / 290,
                mib(rx),
                tx / 310,
                mib(tx)
            );
        }
        if wanted.as_deref() != Some(name) {
            let lo = tx / 90;
            let _ = write!(
                text,
                "lo: flags=73<UP,LOOPBACK,RUNNING>  mtu 65536\n        inet 127.0.0.1  netmask 255.0.0.0\n        inet6 ::1  prefixlen 128  scopeid 0x10<host>\n        loop  txqueuelen 1000  (Local Loopback)\n        RX packets {0}  bytes {lo} ({1})\n        RX errors 0  dropped 0  overruns 0  frame 0\n        TX packets {0}  bytes {lo} ({1})\n        TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0\n\n",
                lo / 290,
                mib(lo)
            );
        }
    } else {
        if wanted.as_deref() != Some("lo") {
            let _ = write!(
                text,
                "{name:<9} Link encap:Ethernet  HWaddr {}  \n          inet addr:{}  Bcast:{a}.{b}.{c}.255  Mask:255.255.255.0\n          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1\n          RX packets:{} errors:0 dropped:0 overruns:0 frame:0\n          TX packets:{} errors:0 dropped:0 overruns:0 carrier:0\n          collisions:0 txqueuelen:1000 \n          RX bytes:{rx} ({})  TX bytes:{tx} ({})\n\n",
                m.mac,
                m.address,
                rx / 290,
                tx / 310,
                mib(rx),
                mib(tx)
            );
        }
        if wanted.as_deref() != Some(name) {
            let lo = tx / 90;
            let _ = write!(
                text,
                "lo        Link encap:Local Loopback  \n          inet addr:127.0.0.1  Mask:255.0.0.0\n          UP LOOPBACK RUNNING  MTU:65536  Metric:1\n          RX packets:{0} errors:0 dropped:0 overruns:0 frame:0\n          TX packets:{0} errors:0 dropped:0 overruns:0 carrier:0\n          collisions:0 txqueuelen:0 \n          RX bytes:{lo} ({1})  TX bytes:{lo} ({1})\n\n",
                lo / 290,
                mib(lo)
            );
        }
    }
    shell.put(text.as_bytes());
    0
}

fn ip(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "").rest;
    let m = &shell.world.machine;
    let [a, b, c, _] = m.address.octets();
    let (name, mac) = (m.interface, m.mac.to_lowercase());
    let what = rest.first().map_or("", String::as_str);
    let text = match what {
        "a" | "addr" | "address" => format!(
            "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000\n    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n    inet 127.0.0.1/8 scope host lo\n       valid_lft forever preferred_lft forever\n    inet6 ::1/128 scope host noprefixroute \n       valid_lft forever preferred_lft forever\n2: {name}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP group default qlen 1000\n    link/ether {mac} brd ff:ff:ff:ff:ff:ff\n    inet {}/{} brd {a}.{b}.{c}.255 scope global dynamic {name}\n       valid_lft 41220sec preferred_lft 41220sec\n    inet6 {}/64 scope link \n       valid_lft forever preferred_lft forever\n",
            m.address,
            m.prefix,
            six(&m.mac)
        ),
        "l" | "link" => format!(
            "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\n    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n2: {name}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP mode DEFAULT group default qlen 1000\n    link/ether {mac} brd ff:ff:ff:ff:ff:ff\n"
        ),
        "r" | "ro" | "route" if rest.get(1).is_some_and(|w| w == "get") => {
            let to = rest.get(2).cloned().unwrap_or_default();
            format!(
                "{to} via {} dev {name} src {} uid {} \n    cache \n",
                m.gateway, m.address, shell.files.uid
            )
        }
        "r" | "ro" | "route" => format!(
            "default via {} dev {name} \n{a}.{b}.{c}.0/{} dev {name} proto kernel scope link src {} \n",
            m.gateway, m.prefix, m.address
        ),
        "n" | "neigh" => format!("{} dev {name} lladdr 00:1c:73:00:00:99 REACHABLE\n", m.gateway),
        _ => {
            shell.err(b"Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }\n       ip [ -force ] -batch filename\n");
            return 255;
        }
    };
    shell.put(text.as_bytes());
    0
}

fn netstat(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    if options.has('r') {
        return route(shell, words);
    }
    let m = &shell.world.machine;
    let seat = &shell.files.seat;
    let gnu = shell.gnu();
    let door = if seat.daemon.is_some() { 22 } else { 23 };
    let pid =
        |name: &str| m.processes.iter().find(|p| p.command.contains(name)).map_or(1, |p| p.pid);
    let mut listening = vec![(80, if gnu { "nginx" } else { "lighttpd" })];
    listening.push(if gnu { (22, "sshd") } else { (23, "telnetd") });
    listening.sort_unstable();
    let mut text = "Active Internet connections (servers and established)\nProto Recv-Q Send-Q Local Address           Foreign Address         State       ".to_owned();
    text.push_str(if options.has('p') { "PID/Program name    \n" } else { "\n" });
    let program = |number: u32, name: &str| {
        if options.has('p') { format!("{number}/{name}") } else { String::new() }
    };
    for (port, name) in listening {
        let _ = writeln!(
            text,
            "tcp        0      0 {:<23} {:<23} {:<11} {}",
            format!("0.0.0.0:{port}"),
            "0.0.0.0:*",
            "LISTEN",
            program(pid(name), name)
        );
    }
    if !options.has('l') {
        let _ = writeln!(
            text,
            "tcp        0      0 {:<23} {:<23} {:<11} {}",
            format!("{}:{door}", m.address),
            format!("{}:{}", seat.address, seat.port),
            "ESTABLISHED",
            program(
                seat.daemon.as_ref().map_or(seat.pid, |d| d.0),
                if gnu { "sshd: root@pts/0" } else { "telnetd" }
            )
        );
    }
    shell.put(text.as_bytes());
    0
}

fn arp(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let table = shell.files.read("/proc/net/arp", 0, 4_096).unwrap_or_default();
    let table = String::from_utf8_lossy(&table).into_owned();
    let mut words = table.lines().nth(1).unwrap_or("").split_whitespace();
    let (address, mac) = (words.next().unwrap_or(""), words.nth(2).unwrap_or(""));
    let name = shell.world.machine.interface;
    shell.say(&format!("? ({address}) at {mac} [ether] on {name}"));
    0
}

fn route(shell: &mut Shell, _: &[Vec<u8>]) -> u8 {
    let m = &shell.world.machine;
    let [a, b, c, _] = m.address.octets();
    let name = m.interface;
    let text = format!(
        "Kernel IP routing table\nDestination     Gateway         Genmask         Flags Metric Ref    Use Iface\n{:<15} {:<15} {:<15} UG    0      0        0 {name}\n{:<15} {:<15} {:<15} U     0      0        0 {name}",
        "0.0.0.0",
        m.gateway.to_string(),
        "0.0.0.0",
        format!("{a}.{b}.{c}.0"),
        "0.0.0.0",
        "255.255.255.0"
    );
    shell.say(&text);
    0
}

fn ping(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "cisWwIt");
    let Some(host) = options.rest.first().cloned() else {
        shell.err(b"ping: usage error: Destination address required\n");
        return 1;
    };
    let count = options.number('c').unwrap_or(3).clamp(1, 5);
    let url = Url::parse(&host);
    let address = url.as_ref().and_then(Url::address);
    shell.note_fetch("ping", &format!("icmp://{host}"), "timeout");
    let Some(address) = address else {
        let text = if shell.gnu() {
            format!("ping: {host}: Temporary failure in name resolution\n")
        } else {
            format!("ping: bad address '{host}'\n")
        };
        shell.err(text.as_bytes());
        return 2;
    };
    let mut text = if shell.gnu() {
        format!("PING {host} ({address}) 56(84) bytes of data.\n")
    } else {
        format!("PING {host} ({address}): 56 data bytes\n")
    };
    let near = is_private(address);
    if near {
        for index in 1..=count {
            let _ = writeln!(
                text,
                "64 bytes from {address}: icmp_seq={index} ttl=64 time=0.0{} ms",
                40 + index
            );
        }
    }
    let (got, loss) = if near { (count, 0) } else { (0, 100) };
    let _ = write!(
        text,
        "\n--- {host} ping statistics ---\n{count} packets transmitted, {got} received, {loss}% packet loss, time {}ms\n",
        count * 1_011
    );
    shell.budget.sleep(count.unsigned_abs() * 1_000);
    shell.put(text.as_bytes());
    u8::from(!near)
}

fn nslookup(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let host = Options::new(words, "t").rest.first().cloned().unwrap_or_default();
    let gateway = shell.world.machine.gateway;
    shell.note_fetch("nslookup", &format!("dns://{host}"), "timeout");
    shell.budget.sleep(5_000);
    shell.say(&format!(
        ";; communications error to {gateway}#53: timed out\n;; no servers could be reached\n"
    ));
    1
}

fn iptables(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    if words.iter().any(|w| w == b"-L" || w == b"-nL" || w == b"-S") {
        shell.put(b"Chain INPUT (policy ACCEPT)\ntarget     prot opt source               destination         \n\nChain FORWARD (policy ACCEPT)\ntarget     prot opt source               destination         \n\nChain OUTPUT (policy ACCEPT)\ntarget     prot opt source               destination         \n");
    } else if words.first().is_some_and(|w| w == b"status") {
        shell.say("Status: inactive");
    }
    0
}
