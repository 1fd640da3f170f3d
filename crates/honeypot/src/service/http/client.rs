//! Which program an HTTP client says it is, and which language it wants. What a
//! client says of itself may be a lie; the whole head is recorded beside it.

/// Longest language tag that is kept (RFC 5646 has none longer in use).
const MAX_LANGUAGE_BYTES: usize = 35;
/// Most of `Accept-Language` that is looked at, in bytes.
const MAX_LIST_BYTES: usize = 512;

/// What a `User-Agent` has in it, in lower case, and the program. Scanners and
/// libraries first: they like to name browsers as well; browsers name each
/// other, the newest last.
const PROGRAMS: &[(&str, &str)] = &[
    ("zgrab", "ZGrab"),
    ("masscan", "masscan"),
    ("nmap scripting engine", "nmap"),
    ("nuclei", "Nuclei"),
    ("nikto", "Nikto"),
    ("sqlmap", "sqlmap"),
    ("wpscan", "WPScan"),
    ("gobuster", "Gobuster"),
    ("fuzz faster u fool", "ffuf"),
    ("feroxbuster", "feroxbuster"),
    ("dirbuster", "DirBuster"),
    ("l9explore", "LeakIX"),
    ("l9tcpid", "LeakIX"),
    ("censysinspect", "Censys"),
    ("expanse", "Palo Alto Expanse"),
    ("internetmeasurement", "InternetMeasurement"),
    ("(hydra)", "Hydra"),
    ("googlebot", "Googlebot"),
    ("bingbot", "Bingbot"),
    ("curl/", "curl"),
    ("wget", "Wget"),
    ("python-requests", "Requests (Python)"),
    ("aiohttp", "aiohttp (Python)"),
    ("python-httpx", "HTTPX (Python)"),
    ("python-urllib", "urllib (Python)"),
    ("go-http-client", "Go"),
    ("fasthttp", "fasthttp (Go)"),
    ("okhttp", "OkHttp"),
    ("apache-httpclient", "HttpClient (Java)"),
    ("java/", "Java"),
    ("libwww-perl", "libwww-perl"),
    ("axios/", "axios"),
    ("node-fetch", "node-fetch"),
    ("powershell", "PowerShell"),
    ("headlesschrome", "Chrome (headless)"),
    ("edg/", "Edge"),
    ("opr/", "Opera"),
    ("firefox/", "Firefox"),
    ("chrome/", "Chrome"),
    ("safari/", "Safari"),
    ("trident/", "Internet Explorer"),
    ("msie ", "Internet Explorer"),
];

/// The program that a `User-Agent` names, where it is a known one.
#[must_use]
pub fn program(user_agent: &[u8]) -> Option<&'static str> {
    let agent = user_agent.to_ascii_lowercase();
    let has = |part: &str| agent.windows(part.len()).any(|window| window == part.as_bytes());
    PROGRAMS.iter().find(|(part, _)| has(part)).map(|(_, name)| *name)
}

/// The language that an `Accept-Language` wants most, as its tag; the first
/// one where several are wanted alike.
#[must_use]
pub fn language(accept: &[u8]) -> Option<String> {
    let accept = accept.get(..MAX_LIST_BYTES).unwrap_or(accept);
    let mut best: Option<(f32, &str)> = None;
    for item in std::str::from_utf8(accept).ok()?.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let tag = parts.next().unwrap_or_default();
        let plain = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if tag.is_empty() || tag.len() > MAX_LANGUAGE_BYTES || !plain {
            continue;
        }
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |weight| {
            weight.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight))
        });
        if let Some(weight) = weight.filter(|weight| *weight > 0.0)
            && best.is_none_or(|(before, _)| weight > before)
        {
            best = Some((weight, tag));
        }
    }
    best.map(|(_, tag)| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_and_not_what_they_claim_beside() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36";
        for (agent, name) in [
            ("curl/8.5.0", Some("curl")),
            ("Mozilla/5.0 zgrab/0.x", Some("ZGrab")),
            (
                "Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)",
                Some("nmap"),
            ),
            ("Go-http-client/1.1", Some("Go")),
            (chrome, Some("Chrome")),
            (&format!("{chrome} Edg/120.0"), Some("Edge")),
            ("Mozilla/5.0 (X11; rv:109.0) Gecko/20100101 Firefox/115.0", Some("Firefox")),
            ("Hello, world", None),
            ("", None),
        ] {
            assert_eq!(program(agent.as_bytes()), name, "{agent}");
        }
    }

    #[test]
    fn the_language_wanted_most_is_told() {
        for (accept, wanted) in [
            ("de-DE,de;q=0.9,en;q=0.8", Some("de-DE")),
            ("en;q=0.5, ru;q=0.9", Some("ru")),
            ("zh-CN", Some("zh-CN")),
            ("*", None),
            ("en;q=0", None),
            ("en;q=NaN, fr;q=7, x y", None),
            ("", None),
        ] {
            assert_eq!(language(accept.as_bytes()).as_deref(), wanted, "{accept}");
        }
        assert_eq!(language(b"\xff"), None);
        assert_eq!(language(&[b'a'; 10_000]), None);
    }
}
