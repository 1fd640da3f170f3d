//! Tries the web service: what it says it is, and whether its pages are those of
//! that program.

use palisade_event::Timestamp;

use super::wire::{Line, Until};
use super::{Finding, Subject, Tell, excerpt};

/// Servers that are written in Python or Node and stand behind another where they are real.
const LIBRARIES: [&str; 8] =
    ["basehttp", "simplehttp", "python", "twisted", "aiohttp", "werkzeug", "tornado", "express"];
/// Answers may be so much off the clock, in milliseconds.
const MAX_SKEW_MS: i64 = 120_000;

const SERVER: Subject = Subject {
    id: "http-server",
    looks_at: "the Server header",
    known_from: "nmap -sV: BaseHTTPServer is HoneyPotR's and Heralding's",
    advice: "report it: the header comes from the persona",
};
const MISSING: Subject = Subject {
    id: "http-error-page",
    looks_at: "whether the 404 page is the one that the server in the header has",
    known_from: "WhatWeb, nmap http-title and http-errors; Shodan's html hash",
    advice: "leave the error pages of the site to the persona, or change its server too",
};
const BROKEN: Subject = Subject {
    id: "http-malformed",
    looks_at: "the answer to what is no request",
    known_from: "nmap -sV sends such; Twisted and BaseHTTPServer answer in their own words",
    advice: "report it: real servers answer 400 with their own page, or close",
};
const DATE: Subject = Subject {
    id: "http-date",
    looks_at: "the Date header: there, in GMT, and right",
    known_from: "httprint, and anybody who compares it with a clock",
    advice: "report it, or set the clock of this machine (NTP)",
};

/// What tells the error pages of servers, by what the header begins with.
const PAGES: [(&str, &str); 6] = [
    ("nginx", "<hr><center>nginx"),
    ("apache", "<!doctype html public \"-//"),
    ("lighttpd", "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>"),
    ("mini_httpd", "<a href=\"http://www.acme.com/software/mini_httpd/\">"),
    ("boa", "<html><head><title>404 not found</title></head>"),
    ("goahead", "<html><head><title>document error: not found</title></head>"),
];

pub(super) async fn try_on(line: &Line<'_>, place: &str, now: Timestamp, tells: &mut Vec<Tell>) {
    let request =
        b"GET /0f3c9a7e.txt HTTP/1.1\r\nHost: 198.51.100.1\r\nUser-Agent: Mozilla/5.0\r\n\
        Accept: */*\r\nConnection: close\r\n\r\n";
    let heard = line.ask(request, Until::Closed).await;
    let text = String::from_utf8_lossy(&heard).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    let header = |name: &str| {
        let value = head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        value.unwrap_or_default()
    };
    let server = header("server");
    let lower = server.to_ascii_lowercase();
    let library = LIBRARIES.iter().any(|library| lower.contains(library));
    let found = match server {
        "" if head.starts_with("HTTP/1.") => Finding::hidden("no such header"),
        "" => Finding::shown("no answer"),
        _ => Finding::of(library || super::known_name(server).is_some(), server),
    };
    tells.push(SERVER.tell(place, found));

    let page = PAGES.iter().find(|(name, _)| lower.starts_with(name));
    let body = body.trim_start().to_ascii_lowercase();
    let found = match page {
        _ if status != "404" => Finding::skipped(format!("{status} for a page that is not there")),
        None => Finding::skipped(format!("the pages of {server} are not known here")),
        Some((name, _)) if body.contains("class=\"error404") => {
            Finding::hidden(format!("the page of a program behind {name}"))
        }
        Some((name, mark)) => {
            Finding::of(!body.contains(mark), format!("{name}: {}", excerpt(body.as_bytes())))
        }
    };
    tells.push(MISSING.tell(place, found));

    let heard = line.ask(b"\x16\x03\x00 what is this\r\n\r\n", Until::End).await;
    let answer = String::from_utf8_lossy(&heard);
    let own = ["Error code explanation", "<title>Error response", "Twisted", "bad request version"];
    let own = own.iter().any(|known| answer.to_lowercase().contains(&known.to_lowercase()));
    let closed = heard.is_empty();
    let right = closed || answer.starts_with("HTTP/1.") && answer.contains(" 400 ");
    let seen = if closed { "closed" } else { answer.lines().next().unwrap_or_default() };
    tells.push(BROKEN.tell(place, Finding::of(own || !right, seen)));

    let date = header("date");
    let said = jiff::fmt::rfc2822::parse(date).ok();
    let off = said.map(|said| (said.timestamp().as_millisecond() - now.as_millis()).abs());
    let right = off.is_some_and(|off| off < MAX_SKEW_MS) && date.ends_with("GMT");
    let seen = if date.is_empty() { "no Date header" } else { date };
    tells.push(DATE.tell(place, Finding::of(!right, seen)));
}
