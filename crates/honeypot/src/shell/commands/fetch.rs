//! `wget`, `curl`, `tftp`, `ftpget`, `scp`, `nc`: what they print for each way
//! a fetch can end.

use super::list::date;
use super::{Options, Run};
use crate::shell::Shell;
use crate::shell::fetch::{Outcome, Url};

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "wget" => wget,
        "curl" => curl,
        "tftp" => tftp,
        "ftpget" => ftpget,
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

/// What a host is shown as: its address, where it has one.
fn shown(url: &Url) -> String {
    url.address().map_or_else(|| url.host.clone(), |address| address.to_string())
}

fn wget(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "OPToUteiQ");
    let urls: Vec<String> = options.rest.clone();
    if urls.is_empty() {
        let text = if shell.gnu() {
            "missing URL\nUsage: wget [OPTION]... [URL]...\n\nTry `wget --help' for more options."
        } else {
            "missing URL"
        };
        return shell.fails("wget", text);
    }
    let mut status = 0;
    for text in urls {
        let Some(url) = Url::parse(&text) else {
            let message = if shell.gnu() {
                format!("{text}: Unsupported scheme.")
            } else {
                format!("not an http or ftp url: {text}")
            };
            shell.err(format!("{message}\n").as_bytes());
            status = 1;
            continue;
        };
        let prefix =
            options.value('P').map(|p| format!("{}/", p.trim_end_matches('/'))).unwrap_or_default();
        let output = options
            .value('O')
            .map_or_else(|| format!("{prefix}{}", url.file_name()), str::to_owned);
        let full = format!("{}://{}{}{}", url.scheme, url.host, port(&url), url.path);
        let quiet = options.has('q')
            || options.has('n') && shell.gnu() && words.iter().any(|w| w == b"-nv");
        let outcome = shell.fetch("wget", &url, &full);
        let code = if shell.gnu() {
            gnu_wget(shell, &url, &full, &output, &outcome, quiet)
        } else {
            busybox_wget(shell, &url, &output, &outcome, quiet)
        };
        if code != 0 {
            status = code;
        }
        if !shell.budget.take(10) {
            break;
        }
    }
    status
}

fn port(url: &Url) -> String {
    let usual = matches!(
        (url.scheme.as_str(), url.port),
        ("http", 80) | ("https", 443) | ("ftp", 21) | ("tftp", 69)
    );
    if usual { String::new() } else { format!(":{}", url.port) }
}

fn keep(shell: &mut Shell, name: &str, output: &str, bytes: &[u8]) -> u8 {
    if output == "-" {
        shell.put(bytes);
        return 0;
    }
    u8::from(!shell.write_file(name, output, bytes, false))
}

fn gnu_wget(
    shell: &mut Shell,
    url: &Url,
    full: &str,
    output: &str,
    outcome: &Outcome,
    quiet: bool,
) -> u8 {
    let when = date(shell.files.now, "%Y-%m-%d %H:%M:%S");
    let host = shown(url);
    let mut text = format!("--{when}--  {full}\n");
    let named = url.address().is_none();
    if named {
        text.push_str(&format!("Resolving {0} ({0})... ", url.host));
    }
    let connecting = format!("Connecting to {host}:{}... ", url.port);
    let code = match outcome {
        Outcome::Unresolved => {
            text.push_str(&format!("failed: Temporary failure in name resolution.\nwget: unable to resolve host address ‘{}’\n", url.host));
            4
        }
        Outcome::Refused => {
            text.push_str(&format!("{connecting}failed: Connection refused.\n"));
            4
        }
        Outcome::TimedOut => {
            text.push_str(&format!("{connecting}failed: Connection timed out.\nRetrying.\n\n"));
            4
        }
        Outcome::Unreachable => {
            text.push_str(&format!("{connecting}failed: No route to host.\n"));
            4
        }
        Outcome::NotFound => {
            text.push_str(&format!("{connecting}connected.\nHTTP request sent, awaiting response... 404 Not Found\n{when} ERROR 404: Not Found.\n\n"));
            8
        }
        Outcome::Fetched { bytes, kind } => {
            let size = bytes.len();
            let kind = kind.as_deref().unwrap_or("application/octet-stream");
            let name = if output == "-" { "STDOUT" } else { output };
            text.push_str(&format!(
                "{connecting}connected.\nHTTP request sent, awaiting response... 200 OK\nLength: {size} ({}) [{kind}]\nSaving to: ‘{name}’\n\n\r{:<20}100%[===================>] {:>7}  --.-KB/s    in 0.1s    \n\n{when} (1.02 MB/s) - ‘{name}’ saved [{size}/{size}]\n\n",
                super::list::human(size as u64), name.rsplit('/').next().unwrap_or(name), super::list::human(size as u64)
            ));
            0
        }
    };
    if !quiet {
        shell.err(text.as_bytes());
    }
    match outcome {
        Outcome::Fetched { bytes, .. } => keep(shell, "wget", output, bytes),
        _ => {
            // GNU's opens -O first, and leaves it empty.
            if output != "-" && output != url.file_name() {
                shell.write_file("wget", output, &[], false);
            }
            code
        }
    }
}

fn busybox_wget(shell: &mut Shell, url: &Url, output: &str, outcome: &Outcome, quiet: bool) -> u8 {
    let host = shown(url);
    if !quiet && !matches!(outcome, Outcome::Unresolved) {
        shell.err(format!("Connecting to {} ({host}:{})\n", url.host, url.port).as_bytes());
    }
    let message = match outcome {
        Outcome::Unresolved => format!("bad address '{}'", url.host),
        Outcome::Refused => format!("can't connect to remote host ({host}): Connection refused"),
        Outcome::TimedOut => format!("can't connect to remote host ({host}): Connection timed out"),
        Outcome::Unreachable => format!("can't connect to remote host ({host}): No route to host"),
        Outcome::NotFound => "server returned error: HTTP/1.1 404 Not Found".to_owned(),
        Outcome::Fetched { bytes, .. } => {
            if !quiet && output != "-" {
                let name = output.rsplit('/').next().unwrap_or(output);
                shell.err(
                    format!(
                        "\r{name:<20} 100% |*******************************| {:>5}  0:00:00 ETA\n",
                        super::list::human(bytes.len() as u64)
                    )
                    .as_bytes(),
                );
            }
            return keep(shell, "wget", output, bytes);
        }
    };
    shell.fails("wget", &message)
}

fn curl(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "oTmHAXdubeFwxKrCYyUcDEPQt");
    if options.has('V') || options.long("version").is_some() {
        shell.say("curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1 OpenSSL/3.0.11 zlib/1.2.13");
        return 0;
    }
    // Values of long options stand apart; what looks like an address counts.
    let Some(text) = options
        .rest
        .iter()
        .find(|word| word.contains('.') || word.contains("://") || word.contains("localhost"))
        .cloned()
    else {
        shell.err(b"curl: try 'curl --help' or 'curl --manual' for more information\n");
        return 2;
    };
    let Some(url) = Url::parse(&text) else {
        shell.err(b"curl: (3) URL using bad/illegal format or missing URL\n");
        return 3;
    };
    let quiet = options.has('s') && !options.has('S');
    let full = format!("{}://{}{}{}", url.scheme, url.host, port(&url), url.path);
    let output = options
        .value('o')
        .or_else(|| options.long("output").filter(|o| !o.is_empty()))
        .map(str::to_owned)
        .or_else(|| options.any("OJ").then(|| url.file_name().to_owned()));
    let outcome = shell.fetch("curl", &url, &full);
    let (code, message) = match &outcome {
        Outcome::Unresolved => (6, format!("Could not resolve host: {}", url.host)),
        Outcome::Refused => (
            7,
            format!(
                "Failed to connect to {} port {} after 82 ms: Couldn't connect to server",
                url.host, url.port
            ),
        ),
        Outcome::TimedOut => (
            28,
            format!(
                "Failed to connect to {} port {} after 129843 ms: Couldn't connect to server",
                url.host, url.port
            ),
        ),
        Outcome::Unreachable => (
            7,
            format!(
                "Failed to connect to {} port {} after 3062 ms: Couldn't connect to server",
                url.host, url.port
            ),
        ),
        Outcome::NotFound if options.has('f') => {
            (22, "The requested URL returned error: 404".to_owned())
        }
        Outcome::NotFound => {
            shell.put(b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n</body>\r\n</html>\r\n");
            return 0;
        }
        Outcome::Fetched { bytes, .. } => {
            return match output {
                Some(output) => keep(shell, "curl", &output, bytes),
                None => {
                    shell.put(bytes);
                    0
                }
            };
        }
    };
    if !quiet {
        shell.err(format!("curl: ({code}) {message}\n").as_bytes());
    }
    code
}

fn tftp(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "rlbc");
    let host = options.rest.iter().find(|word| *word != "get").cloned();
    // `tftp HOST -c get FILE` of the other tftp.
    let remote = options
        .value('r')
        .map(str::to_owned)
        .or_else(|| options.has('c').then(|| options.rest.last().cloned()).flatten());
    let (Some(host), Some(remote)) = (host, remote) else {
        let (version, built) = shell.world.machine.busybox.clone();
        shell.err(format!("BusyBox v{version} ({built}) multi-call binary.\n\nUsage: tftp [OPTIONS] HOST [PORT]\n\nTransfer a file from/to tftp server\n\n\t-l FILE\tLocal FILE\n\t-r FILE\tRemote FILE\n\t-g\tGet file\n\t-p\tPut file\n").as_bytes());
        return 1;
    };
    let full = format!("tftp://{host}/{}", remote.trim_start_matches('/'));
    let Some(url) = Url::parse(&full) else {
        return shell.fails("tftp", &format!("bad address '{host}'"));
    };
    let output = options.value('l').map_or_else(|| url.file_name().to_owned(), str::to_owned);
    match shell.fetch("tftp", &url, &full) {
        Outcome::Fetched { bytes, .. } => keep(shell, "tftp", &output, &bytes),
        Outcome::Unresolved => shell.fails("tftp", &format!("bad address '{host}'")),
        Outcome::NotFound => shell.fails("tftp", "server error: (1) File not found"),
        // UDP has no refusal that it would show.
        _ => shell.fails("tftp", "timeout"),
    }
}

fn ftpget(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "upP");
    let [host, rest @ ..] = options.rest.as_slice() else {
        let (version, built) = shell.world.machine.busybox.clone();
        shell.err(format!("BusyBox v{version} ({built}) multi-call binary.\n\nUsage: ftpget [OPTIONS] HOST [LOCAL_FILE] REMOTE_FILE\n").as_bytes());
        return 1;
    };
    let remote = rest.last().cloned().unwrap_or_default();
    let port = options.value('P').map(|p| format!(":{p}")).unwrap_or_default();
    let full = format!("ftp://{host}{port}/{}", remote.trim_start_matches('/'));
    let output = rest.first().cloned().unwrap_or_else(|| remote.clone());
    let Some(url) = Url::parse(&full) else {
        return shell.fails("ftpget", &format!("bad address '{host}'"));
    };
    match shell.fetch("ftpget", &url, &full) {
        Outcome::Fetched { bytes, .. } => keep(shell, "ftpget", &output, &bytes),
        Outcome::Unresolved => shell.fails("ftpget", &format!("bad address '{host}'")),
        Outcome::TimedOut => shell.fails(
            "ftpget",
            &format!("can't connect to remote host ({host}): Connection timed out"),
        ),
        Outcome::Unreachable => shell
            .fails("ftpget", &format!("can't connect to remote host ({host}): No route to host")),
        _ => shell
            .fails("ftpget", &format!("can't connect to remote host ({host}): Connection refused")),
    }
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
