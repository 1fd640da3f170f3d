//! Lines of a web server's access log, the same for every run.

use std::net::Ipv4Addr;

use super::Random;

const PATHS: &[&str] = &[
    "/",
    "/index.html",
    "/assets/app.js",
    "/assets/site.css",
    "/images/logo.svg",
    "/about",
    "/products?page=2",
    "/api/v1/items",
    "/favicon.ico",
    "/blog/2026/11/autumn",
];
const PROBES: &[&str] = &[
    "/.env",
    "/wp-login.php",
    "/phpmyadmin/",
    "/.git/config",
    "/cgi-bin/test",
    "/admin.php",
    "/server-status",
    "/config.json",
    "/backup.zip",
    "/actuator/env",
    "/solr/admin/info/system",
    "/boaform/login",
    "/.aws/credentials",
    "/HNAP1",
    "/manager/html",
    "/test.php",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "curl/8.5.0",
];

/// Lines of a combined access log: one of twenty is a probe that is not found.
pub(crate) fn access_log(lines: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut random = Random::new(11);
    let mut log = Vec::with_capacity(lines * 200);
    for n in 0..lines {
        let (h, m, s) = (n * 24 / lines, n / 600 % 60, n / 10 % 60);
        let is_probe = random.next().is_multiple_of(20);
        let client = if is_probe { random.skewed(600) } else { 1000 + random.skewed(30_000) };
        let ip = Ipv4Addr::from(Random::new(client).next() as u32);
        let (paths, status) = if is_probe { (PROBES, 404) } else { (PATHS, 200) };
        let path = paths.get(random.next() as usize % paths.len()).copied().unwrap_or("/");
        let agent = AGENTS.get(random.skewed(3) as usize).copied().unwrap_or("-");
        let bytes = random.next() % 50_000;
        let _ = writeln!(
            log,
            "{ip} - - [19/Nov/2026:{h:02}:{m:02}:{s:02} +0000] \"GET {path} HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\""
        );
    }
    log
}
