//! `wget`, `curl`, `tftp`, `ftpget`: what they are told to get, and what they
//! print for each way that can end.

use super::Options;
use super::list::{date, human};
use crate::shell::Shell;
use crate::shell::fetch::{MAX_AGENT_BYTES, Outcome, Request, Url};

/// Where GNU's wget gives up.
const GNU_REDIRECTS: u8 = 20;

/// What a host is shown as: its address, where it has one.
fn shown(url: &Url) -> String {
    url.address().map_or_else(|| url.host.clone(), |address| address.to_string())
}

/// The whole address without what is usual.
fn full(url: &Url) -> String {
    let usual = matches!(
        (url.scheme.as_str(), url.port),
        ("http", 80) | ("https", 443) | ("ftp", 21) | ("tftp", 69)
    );
    let port = if usual { String::new() } else { format!(":{}", url.port) };
    format!("{}://{}{port}{}", url.scheme, url.host, url.path)
}

/// What a client says that it is, if it was told so.
fn agent(request: &mut Request, told: Option<&str>) {
    if let Some(told) = told.and_then(|told| told.get(..told.len().min(MAX_AGENT_BYTES))) {
        told.clone_into(&mut request.agent);
    }
}

/// Bytes a second as wget shows them, with its space or without.
fn rate(bytes: usize, millis: u64, space: &str) -> String {
    let a_second = bytes as f64 * 1_000.0 / millis.max(1) as f64;
    let units = [("GB/s", 1 << 30), ("MB/s", 1 << 20), ("KB/s", 1 << 10), ("B/s", 1)];
    let (unit, size) =
        units.into_iter().find(|(_, size)| a_second >= f64::from(*size)).unwrap_or(("B/s", 1));
    let number = a_second / f64::from(size);
    let digits = if number >= 99.95 || unit == "B/s" { 0 } else { usize::from(number < 9.995) + 1 };
    format!("{number:.digits$}{space}{unit}")
}

/// Seconds as wget shows them.
fn seconds(millis: u64) -> String {
    let seconds = millis as f64 / 1_000.0;
    match millis {
        0 => "0s".to_owned(),
        1..100 => format!("{}s", (seconds * 1_000.0).round() / 1_000.0),
        100..10_000 => format!("{seconds:.1}s"),
        _ => format!("{seconds:.0}s"),
    }
}

/// The words of a status of HTTP.
fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => "Error",
    }
}

fn keep(shell: &mut Shell, name: &str, output: &str, bytes: &[u8]) -> u8 {
    if output == "-" {
        shell.put(bytes);
        return 0;
    }
    u8::from(!shell.write_file(name, output, bytes, false))
}

pub(super) fn wget(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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
        let Some(url) = Url::parse(&text).filter(|url| url.scheme != "tftp") else {
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
        let gnu = shell.gnu();
        let quiet =
            options.has('q') || options.has('n') && gnu && words.iter().any(|w| w == b"-nv");
        let mut request = Request::new("wget", url.clone());
        // BusyBox's knows no authorities.
        request.verify = gnu && options.long("no-check-certificate").is_none();
        agent(&mut request, if gnu { None } else { Some("Wget") });
        agent(&mut request, options.value('U').or_else(|| options.long("user-agent")));
        let full = full(&url);
        let outcome = shell.request(request, &full);
        let code = if gnu {
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

fn gnu_wget(
    shell: &mut Shell,
    url: &Url,
    full: &str,
    output: &str,
    outcome: &Outcome,
    quiet: bool,
) -> u8 {
    let (text, code) = gnu_wget_says(url, full, output, outcome, shell.files.now);
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

/// What GNU's says, and its exit status.
fn gnu_wget_says(url: &Url, full: &str, output: &str, outcome: &Outcome, now: i64) -> (String, u8) {
    let started = match outcome {
        Outcome::Fetched { millis, .. } => now - i64::try_from(millis / 1_000).unwrap_or(0),
        _ => now,
    };
    let (began, when) = (date(started, "%Y-%m-%d %H:%M:%S"), date(now, "%Y-%m-%d %H:%M:%S"));
    let (host, ftp) = (shown(url), url.scheme == "ftp");
    let mut text = format!("--{began}--  {full}\n");
    if ftp {
        text.push_str(&format!("           => ‘{output}’\n"));
    }
    if url.address().is_none() {
        text.push_str(&format!("Resolving {0} ({0})... ", url.host));
    }
    let connecting = format!("Connecting to {host}:{}... ", url.port);
    let user = url.login.as_ref().map_or("anonymous", |(user, _)| user.as_str());
    let asked = match ftp {
        false => format!("{connecting}connected.\nHTTP request sent, awaiting response... "),
        true => format!("{connecting}connected.\nLogging in as {user} ... "),
    };
    let file = url.file_name();
    let in_ftp = "Logged in!\n==> SYST ... done.    ==> PWD ... done.\n==> TYPE I ... done.  ==> CWD not needed.\n";
    let code = match outcome {
        Outcome::Unresolved => {
            text.push_str(&format!("failed: Temporary failure in name resolution.\nwget: unable to resolve host address ‘{}’\n", url.host));
            4
        }
        Outcome::Refused => {
            text.push_str(&format!("{connecting}failed: Connection refused.\n"));
            4
        }
        Outcome::TimedOut | Outcome::Withheld(_) => {
            text.push_str(&format!("{connecting}failed: Connection timed out.\nRetrying.\n\n"));
            4
        }
        Outcome::Unreachable => {
            text.push_str(&format!("{connecting}failed: No route to host.\n"));
            4
        }
        Outcome::NotFound if ftp => {
            text.push_str(&format!("{asked}{in_ftp}==> SIZE {file} ... done.\n==> PASV ... done.    ==> RETR {file} ... \nNo such file ‘{file}’.\n\n"));
            8
        }
        Outcome::LoginRefused => {
            text.push_str(&format!("{asked}\nLogin incorrect.\n"));
            6
        }
        Outcome::NotFound | Outcome::Status(_) => {
            let status = if let Outcome::Status(status) = outcome { *status } else { 404 };
            let reason = reason(status);
            text.push_str(&format!(
                "{asked}{status} {reason}\n{when} ERROR {status}: {reason}.\n\n"
            ));
            8
        }
        Outcome::TooManyRedirects => {
            text.push_str(&format!("{asked}302 Found\n{GNU_REDIRECTS} redirections exceeded.\n"));
            8
        }
        Outcome::BadCertificate => {
            text.push_str(&format!("{connecting}connected.\nERROR: The certificate of ‘{0}’ is not trusted.\nERROR: The certificate of ‘{0}’ doesn't have a known issuer.\n", url.host));
            5
        }
        Outcome::Broken => {
            text.push_str(&format!("{asked}No data received.\nRetrying.\n\n"));
            4
        }
        Outcome::TooLarge => {
            let name = if output == "-" { "STDOUT" } else { output };
            let answered = if ftp {
                in_ftp
            } else {
                "200 OK\nLength: unspecified [application/octet-stream]\n"
            };
            text.push_str(&format!("{asked}{answered}Saving to: ‘{name}’\n\n\r{:<20}    [     <=>            ]   2.14M  1.02MB/s               \n\n{when} (1.02 MB/s) - Read error at byte 2244608 (Connection reset by peer).Retrying.\n\n", name.rsplit('/').next().unwrap_or(name)));
            4
        }
        Outcome::Fetched { bytes, kind, millis } => {
            let size = bytes.len();
            let shown_size =
                if size < 1_024 { String::new() } else { format!(" ({})", human(size as u64)) };
            let name = if output == "-" { "STDOUT" } else { output };
            match ftp {
                false => {
                    let kind = kind.as_deref().unwrap_or("application/octet-stream");
                    text.push_str(&format!("{asked}200 OK\nLength: {size}{shown_size} [{kind}]\nSaving to: ‘{name}’\n\n"));
                }
                true => text.push_str(&format!("{asked}{in_ftp}==> SIZE {file} ... {size}\n==> PASV ... done.    ==> RETR {file} ... done.\nLength: {size}{shown_size} (unauthoritative)\n\n")),
            }
            let bar_rate =
                if *millis < 200 { "--.-KB/s".to_owned() } else { rate(size, *millis, "") };
            let saved = if ftp { format!("{size}") } else { format!("{size}/{size}") };
            text.push_str(&format!(
                "\r{:<20}100%[===================>] {:>7}  {bar_rate}    in {}    \n\n{when} ({}) - ‘{name}’ saved [{saved}]\n\n",
                name.rsplit('/').next().unwrap_or(name),
                human(size as u64),
                seconds(*millis),
                rate(size, *millis, " "),
            ));
            0
        }
    };
    (text, code)
}

fn busybox_wget(shell: &mut Shell, url: &Url, output: &str, outcome: &Outcome, quiet: bool) -> u8 {
    let host = shown(url);
    if !quiet && !matches!(outcome, Outcome::Unresolved) {
        shell.err(format!("Connecting to {} ({host}:{})\n", url.host, url.port).as_bytes());
    }
    let ftp = url.scheme == "ftp";
    let message = match outcome {
        Outcome::Unresolved => format!("bad address '{}'", url.host),
        Outcome::Refused => format!("can't connect to remote host ({host}): Connection refused"),
        Outcome::TimedOut | Outcome::Withheld(_) => {
            format!("can't connect to remote host ({host}): Connection timed out")
        }
        Outcome::Unreachable => format!("can't connect to remote host ({host}): No route to host"),
        Outcome::NotFound if ftp => "bad response to RETR: 550 Failed to open file.".to_owned(),
        Outcome::LoginRefused => "ftp login: 530 Login incorrect.".to_owned(),
        Outcome::NotFound => "server returned error: HTTP/1.1 404 Not Found".to_owned(),
        Outcome::Status(status) => {
            format!("server returned error: HTTP/1.1 {status} {}", reason(*status))
        }
        Outcome::TooManyRedirects => "too many redirections".to_owned(),
        Outcome::BadCertificate | Outcome::Broken => "error getting response".to_owned(),
        Outcome::TooLarge => "connection closed prematurely".to_owned(),
        Outcome::Fetched { bytes, .. } => {
            let talks = !quiet && output != "-";
            // Since 1.31 it says where to.
            let minor = shell.world.machine.busybox.0.split('.').nth(1);
            let newer = minor.and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|n| n > 30);
            if talks {
                let name = output.rsplit('/').next().unwrap_or(output);
                let saving = if newer { format!("saving to '{output}'\n") } else { String::new() };
                let saved = if newer { format!("'{output}' saved\n") } else { String::new() };
                let size = human(bytes.len() as u64);
                shell.err(
                    format!("{saving}\r{name:<20} 100% |*******************************| {size:>5}  0:00:00 ETA\n{saved}")
                        .as_bytes(),
                );
            }
            return keep(shell, "wget", output, bytes);
        }
    };
    shell.fails("wget", &message)
}

pub(super) fn curl(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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
    let Some(mut url) = Url::parse(&text) else {
        shell.err(b"curl: (3) URL using bad/illegal format or missing URL\n");
        return 3;
    };
    if let Some(login) = options.value('u') {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        url.login = Some((user.to_owned(), password.to_owned()));
    }
    let quiet = options.has('s') && !options.has('S');
    let output = options
        .value('o')
        .or_else(|| options.long("output").filter(|o| !o.is_empty()))
        .map(str::to_owned)
        .or_else(|| options.any("OJ").then(|| url.file_name().to_owned()));
    let mut request = Request::new("curl", url.clone());
    request.verify = !options.has('k') && options.long("insecure").is_none();
    request.follow = options.has('L') || options.long("location").is_some();
    agent(&mut request, options.value('A').or_else(|| options.long("user-agent")));
    let outcome = shell.request(request, &full(&url));
    if let Outcome::Fetched { bytes, millis, .. } = &outcome {
        let Some(output) = output.filter(|output| output != "-") else {
            shell.put(bytes);
            return 0;
        };
        if !options.has('s') && options.long("silent").is_none() {
            shell.err(meter(bytes.len(), *millis).as_bytes());
        }
        return keep(shell, "curl", &output, bytes);
    }
    if let Some(status) = page_status(&outcome, &url).filter(|_| !options.has('f')) {
        let reason = reason(status);
        let page = format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        return match output.filter(|output| output != "-") {
            Some(output) => keep(shell, "curl", &output, page.as_bytes()),
            None => {
                shell.put(page.as_bytes());
                0
            }
        };
    }
    let (code, message) = curl_fails(&outcome, &url);
    if !quiet {
        shell.err(format!("curl: ({code}) {message}\n").as_bytes());
    }
    code
}

/// The status of the page that came in the place of a file.
fn page_status(outcome: &Outcome, url: &Url) -> Option<u16> {
    match outcome {
        Outcome::NotFound if url.scheme.starts_with("http") => Some(404),
        Outcome::Status(status) => Some(*status),
        _ => None,
    }
}

/// The exit status of curl and what it says.
fn curl_fails(outcome: &Outcome, url: &Url) -> (u8, String) {
    let cannot = |millis: u32| {
        let (host, port) = (&url.host, url.port);
        format!(
            "Failed to connect to {host} port {port} after {millis} ms: Couldn't connect to server"
        )
    };
    match outcome {
        Outcome::Unresolved => (6, format!("Could not resolve host: {}", url.host)),
        Outcome::Refused => (7, cannot(82)),
        Outcome::TimedOut | Outcome::Withheld(_) => (28, cannot(129_843)),
        Outcome::Unreachable => (7, cannot(3_062)),
        Outcome::NotFound if url.scheme == "ftp" => (78, "RETR response: 550".to_owned()),
        Outcome::NotFound if url.scheme == "tftp" => (68, "TFTP: File Not Found".to_owned()),
        Outcome::NotFound => (22, "The requested URL returned error: 404".to_owned()),
        Outcome::Status(status) => (22, format!("The requested URL returned error: {status}")),
        Outcome::LoginRefused => (67, "Access denied: 530".to_owned()),
        Outcome::TooManyRedirects => (47, "Maximum (50) redirects followed".to_owned()),
        Outcome::BadCertificate => (
            60,
            "SSL certificate problem: self-signed certificate\nMore details here: https://curl.se/docs/sslcerts.html\n\ncurl failed to verify the legitimacy of the server and therefore could not\nestablish a secure connection to it. To learn more about this situation and\nhow to fix it, please visit the web page mentioned above.".to_owned(),
        ),
        Outcome::TooLarge => (56, "Recv failure: Connection reset by peer".to_owned()),
        Outcome::Broken | Outcome::Fetched { .. } => (52, "Empty reply from server".to_owned()),
    }
}

/// The meter of curl at the end of a file.
fn meter(size: usize, millis: u64) -> String {
    let short = |number: u64| match number {
        0..=99_999 => number.to_string(),
        100_000..=10_239_999 => format!("{}k", number / 1_024),
        _ => format!("{}M", number / 1_048_576),
    };
    let (size, speed) = (size as u64, size as u64 * 1_000 / millis.max(1));
    let (size, speed) = (short(size), short(speed));
    format!(
        "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n                                 Dload  Upload   Total   Spent    Left  Speed\n\r  0     0    0     0    0     0      0      0 --:--:-- --:--:-- --:--:--     0\r100 {size:>5}  100 {size:>5}    0     0  {speed:>5}      0 --:--:-- --:--:-- --:--:-- {speed:>5}\n"
    )
}

pub(super) fn tftp(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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
    let port = options.rest.iter().skip_while(|word| **word != host).nth(1);
    let port = port.and_then(|port| port.parse::<u16>().ok());
    let port = port.filter(|port| *port != 69).map(|port| format!(":{port}")).unwrap_or_default();
    let full = format!("tftp://{host}{port}/{}", remote.trim_start_matches('/'));
    let Some(url) = Url::parse(&full) else {
        return shell.fails("tftp", &format!("bad address '{host}'"));
    };
    let output = options.value('l').map_or_else(|| url.file_name().to_owned(), str::to_owned);
    match shell.fetch("tftp", &url, &full) {
        Outcome::Fetched { bytes, .. } => keep(shell, "tftp", &output, &bytes),
        Outcome::Unresolved => shell.fails("tftp", &format!("bad address '{host}'")),
        Outcome::NotFound => shell.fails("tftp", "server error: (1) File not found"),
        Outcome::LoginRefused => shell.fails("tftp", "server error: (2) Access violation"),
        // UDP has no refusal that it would show.
        _ => shell.fails("tftp", "timeout"),
    }
}

pub(super) fn ftpget(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
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
    let Some(mut url) = Url::parse(&full) else {
        return shell.fails("ftpget", &format!("bad address '{host}'"));
    };
    if let Some(user) = options.value('u') {
        url.login = Some((user.to_owned(), options.value('p').unwrap_or_default().to_owned()));
    }
    let cannot = format!("can't connect to remote host ({host}): Connection");
    let message = match shell.fetch("ftpget", &url, &full) {
        Outcome::Fetched { bytes, .. } => return keep(shell, "ftpget", &output, &bytes),
        Outcome::Unresolved => format!("bad address '{host}'"),
        Outcome::TimedOut | Outcome::Withheld(_) => format!("{cannot} timed out"),
        Outcome::Unreachable => {
            format!("can't connect to remote host ({host}): No route to host")
        }
        Outcome::NotFound => {
            "unexpected server response to RETR: 550 Failed to open file.".to_owned()
        }
        Outcome::LoginRefused => {
            "unexpected server response to PASS: 530 Login incorrect.".to_owned()
        }
        Outcome::Broken | Outcome::TooLarge => "read error: Connection reset by peer".to_owned(),
        _ => format!("{cannot} refused"),
    };
    shell.fails("ftpget", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_look_as_the_programs_write_them() {
        assert_eq!(rate(1_069_547, 1_000, " "), "1.02 MB/s");
        assert_eq!(rate(57_446, 1_000, ""), "56.1KB/s");
        assert_eq!(rate(120, 1_000, " "), "120 B/s");
        assert_eq!(rate(200_000, 1_000, " "), "195 KB/s");
        assert_eq!(seconds(0), "0s");
        assert_eq!(seconds(2), "0.002s");
        assert_eq!(seconds(1_540), "1.5s");
        assert_eq!(seconds(31_000), "31s");
        let line = meter(3_241, 100);
        assert!(
            line.ends_with(
                "\r100  3241  100  3241    0     0  32410      0 --:--:-- --:--:-- --:--:-- 32410\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn every_end_of_a_fetch_has_words_of_its_own() {
        let url = Url::parse("http://192.0.2.1/x").unwrap();
        let failures = [
            (Outcome::Refused, "failed: Connection refused.", 4, 7),
            (Outcome::TimedOut, "failed: Connection timed out.", 4, 28),
            (Outcome::NotFound, "ERROR 404: Not Found.", 8, 22),
            (Outcome::Status(403), "ERROR 403: Forbidden.", 8, 22),
            (Outcome::BadCertificate, "doesn't have a known issuer.", 5, 60),
            (Outcome::Broken, "No data received.", 4, 52),
            (Outcome::TooManyRedirects, "20 redirections exceeded.", 8, 47),
            (Outcome::TooLarge, "(Connection reset by peer).Retrying.", 4, 56),
        ];
        for (outcome, words, wget, curl) in failures {
            let (text, code) = gnu_wget_says(&url, "http://192.0.2.1/x", "x", &outcome, 0);
            assert!(text.contains(words), "{text}");
            assert_eq!((code, curl_fails(&outcome, &url).0), (wget, curl), "{outcome:?}");
        }
        let fetched = Outcome::Fetched { bytes: vec![0; 2_048], kind: None, millis: 1_000 };
        let (text, code) = gnu_wget_says(&url, "http://192.0.2.1/x", "x", &fetched, 5);
        assert!(text.contains("Length: 2048 (2.0K) [application/octet-stream]"), "{text}");
        assert!(text.ends_with("(2.00 KB/s) - ‘x’ saved [2048/2048]\n\n"), "{text}");
        assert_eq!(code, 0);
    }
}
