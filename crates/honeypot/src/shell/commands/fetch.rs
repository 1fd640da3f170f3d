//! Programs that reach for other machines and get no file from there: `nc`,
//! `ssh`, `scp`, `ftp`. Those that get one are in [`super::download`].

use super::{Options, Run, download};
use crate::shell::Shell;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "wget" => download::wget,
        "curl" => download::curl,
        "tftp" => download::tftp,
        "ftpget" => download::ftpget,
        "ftpput" => |shell, words| {
            let rest = Options::new(words, "uPp").rest;
            let host = rest.first().cloned().unwrap_or_default();
            shell.note_fetch("ftpput", &format!("ftp://{host}"), "refused");
            shell.fails(
                "ftpput",
                &format!("can't connect to remote host ({host}): Connection refused"),
            )
        },
        "ftp" | "lftp" => ftp,
        "nc" | "ncat" | "netcat" | "telnet" => nc,
        "ssh" | "scp" | "sftp" | "rsync" | "ssh-copy-id" => ssh,
        "ssh-keygen" => ssh_keygen,
        "rdate" | "ntpdate" | "nmap" | "masscan" | "zmap" => |_, _| 0,
        _ => return None,
    })
}

fn ftp(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let rest = Options::new(words, "").rest;
    let host = rest.first().cloned().unwrap_or_default();
    shell.read_all();
    if host.is_empty() {
        return 0;
    }
    shell.note_fetch("ftp", &format!("ftp://{host}"), "refused");
    shell.err(b"ftp: connect: Connection refused\n");
    1
}

fn nc(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "weipsqc");
    if options.has('l') {
        return 0;
    }
    let [host, port, ..] = options.rest.as_slice() else {
        if let [host] = options.rest.as_slice() {
            shell.note_fetch("telnet", &format!("tcp://{host}:23"), "refused");
            shell.err(format!("Trying {host}...\ntelnet: Unable to connect to remote host: Connection refused\n").as_bytes());
            return 1;
        }
        shell.err(b"usage: nc [-46CDdFhklNnrStUuvZz] [-I length] [-i interval] [-M ttl]\n\t  [destination] [port]\n");
        return 1;
    };
    let (host, port) = (host.clone(), port.clone());
    shell.read_all();
    shell.note_fetch("nc", &format!("tcp://{host}:{port}"), "refused");
    if options.any("vz") || !shell.gnu() {
        let text = if shell.gnu() {
            format!("nc: connect to {host} port {port} (tcp) failed: Connection refused\n")
        } else {
            format!("nc: can't connect to remote host ({host}): Connection refused\n")
        };
        shell.err(text.as_bytes());
    }
    shell.budget.sleep(100);
    1
}

fn ssh(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "poiIlLRDFcbmSWwe");
    let remote = options.rest.iter().find(|word| word.contains('@') || word.contains('.'));
    let remote = remote.or(options.rest.first()).cloned().unwrap_or_default();
    if options.has('V') {
        shell.err(b"OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.13 30 Jan 2024\n");
        return 0;
    }
    if remote.is_empty() {
        shell.err(b"usage: ssh [-46AaCfGgKkMNnqsTtVvXxYy] destination [command [argument ...]]\n");
        return 255;
    }
    let host = remote
        .rsplit('@')
        .next()
        .unwrap_or(&remote)
        .split([':', '/'])
        .next()
        .unwrap_or("")
        .to_owned();
    let port = options.value('p').or_else(|| options.value('P')).unwrap_or("22").to_owned();
    shell.note_fetch("ssh", &format!("ssh://{remote}"), "refused");
    shell.err(format!("ssh: connect to host {host} port {port}: Connection refused\n").as_bytes());
    shell.budget.sleep(100);
    255
}

fn ssh_keygen(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "tfNCbR");
    if options.has('R') {
        return 0;
    }
    let kind = options.value('t').unwrap_or("rsa").to_owned();
    let home = shell.files.seat.home.clone();
    let file = options.value('f').map_or_else(|| format!("{home}/.ssh/id_{kind}"), str::to_owned);
    let (user, host) = (shell.files.seat.user.clone(), shell.world.machine.hostname.clone());
    let mut draw = crate::persona::Draw(shell.seed);
    let noise: String = (0..68)
        .map(|_| {
            char::from(*draw.one(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"))
        })
        .collect();
    let private = format!(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ{noise}\n-----END OPENSSH PRIVATE KEY-----\n"
    );
    if !shell.write_file("ssh-keygen", &file, private.as_bytes(), false) {
        return 1;
    }
    shell.write_file(
        "ssh-keygen",
        &format!("{file}.pub"),
        format!("ssh-{kind} AAAAC3NzaC1lZDI1NTE5AAAAI{noise} {user}@{host}\n").as_bytes(),
        false,
    );
    let print: String = noise.chars().take(43).collect();
    shell.say(&format!("Generating public/private {kind} key pair.\nYour identification has been saved in {file}\nYour public key has been saved in {file}.pub\nThe key fingerprint is:\nSHA256:{print} {user}@{host}"));
    0
}
