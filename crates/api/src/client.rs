//! Who is at the other end: the address limits and logs go by, and whether
//! the way to it is encrypted.
//!
//! A header is believed only from a trusted proxy; everyone else is the peer
//! of the connection, whatever the headers say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;

use crate::config::Config;
use crate::router::App;

/// Most entries of a forwarding header that are looked at, from the right.
const MAX_HOPS: usize = 32;

/// The end of the connection a request came on; set by the accept loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its address; the one of the PROXY header where there was one.
    pub(crate) address: IpAddr,
    /// Whether the connection is TLS.
    pub(crate) tls: bool,
}

/// The client of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address, as well as it is known.
    pub(crate) address: IpAddr,
    /// Whether its way here is encrypted, as well as it is known.
    pub(crate) secure: bool,
}

impl Client {
    /// The client of a request in this process or on the Unix socket.
    pub(crate) const LOCAL: Self = Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), secure: false };

    fn of(peer: Option<&Peer>, headers: &HeaderMap, config: &Config) -> Self {
        let Some(peer) = peer else { return Self::LOCAL };
        let direct = Self { address: peer.address.to_canonical(), secure: peer.tls };
        if !config.trusts(direct.address) {
            return direct;
        }
        let plain = hops(headers, "x-forwarded-for", Some);
        let standard = hops(headers, "forwarded", forwarded_for);
        // Two headers: one of them may be the client's own. Believe neither
        // where they disagree.
        let address = match (nearest_stranger(&plain, config), nearest_stranger(&standard, config))
        {
            (Some(a), Some(b)) if a == b => a,
            (Some(a), None) if standard.is_empty() => a,
            (None, Some(b)) if plain.is_empty() => b,
            _ => direct.address,
        };
        let scheme = headers.get_all("x-forwarded-proto").iter().next_back();
        let scheme = scheme.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let https =
            scheme.rsplit(',').next().is_some_and(|s| s.trim().eq_ignore_ascii_case("https"));
        Self { address, secure: peer.tls || https }
    }
}

/// Entries of a list header, nearest hop first.
fn hops<'a>(
    headers: &'a HeaderMap,
    name: &str,
    entry: fn(&'a str) -> Option<&'a str>,
) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(name).iter().rev();
    values
        .flat_map(|value| value.to_str().unwrap_or("?").rsplit(','))
        .take(MAX_HOPS)
        .map(|text| entry(text.trim()).and_then(address))
        .collect()
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address, with or without port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().ok();
    ip.or_else(|| text.parse::<SocketAddr>().ok().map(|end| end.ip())).map(|ip| ip.to_canonical())
}

/// The rightmost address that is no trusted proxy: what the last of our own
/// proxies saw. Everything further left is the client's word.
fn nearest_stranger(hops: &[Option<IpAddr>], config: &Config) -> Option<IpAddr> {
    hops.iter().find_map(|hop| match hop {
        Some(ip) if config.trusts(*ip) => None,
        other => Some(*other),
    })?
}

/// Middleware that adds the [`Client`] to each request.
pub(crate) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let client = Client::of(request.extensions().get::<Peer>(), request.headers(), &app.config);
    request.extensions_mut().insert(client);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &'static str)]) -> (String, bool) {
        let config =
            Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let peer = Peer { address: peer.parse().unwrap(), tls: false };
        let client = Client::of(Some(&peer), &map, &config);
        (client.address.to_string(), client.secure)
    }

    #[test]
    fn a_stranger_cannot_say_who_it_is() {
        let spoof = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")];
        assert_eq!(client("192.0.2.1", &spoof), ("192.0.2.1".into(), false));
    }

    #[test]
    fn behind_a_proxy_the_rightmost_stranger_counts() {
        let chain = [
            ("x-forwarded-for", "1.1.1.1, 203.0.113.9"),
            ("x-forwarded-for", "10.0.0.3"),
            ("x-forwarded-proto", "http, https"),
        ];
        assert_eq!(client("::ffff:10.0.0.2", &chain), ("203.0.113.9".into(), true));
        let standard = [("forwarded", r#"for=1.1.1.1, for="[2001:db8::7]:4711";proto=https"#)];
        assert_eq!(client("10.0.0.2", &standard).0, "2001:db8::7");
        assert_eq!(client("10.0.0.2", &[("x-forwarded-for", "203.0.113.9:99")]).0, "203.0.113.9");
    }

    #[test]
    fn what_is_unclear_leaves_the_proxy_as_the_client() {
        for headers in [
            &[][..],
            &[("x-forwarded-for", "unknown")],
            &[("x-forwarded-for", "203.0.113.9, garbage")],
            &[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=198.51.100.1")],
            &[("x-forwarded-for", "203.0.113.9"), ("forwarded", "by=x")],
        ] {
            assert_eq!(client("10.0.0.2", headers).0, "10.0.0.2", "{headers:?}");
        }
    }
}
