//! The page: files of `ui/dist` from inside the binary, or without them a
//! small page that says how to build it.
//!
//! Every path that is no file is the page's own (`/explore`, `/login`) and gets
//! `index.html`.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::error::Problem;
use crate::router::App;

/// A file of the page.
struct Asset {
    /// Its path below `ui/dist`.
    name: &'static str,
    plain: &'static [u8],
    /// Compressed with Brotli (RFC 7932), if the build did.
    br: Option<&'static [u8]>,
    /// Compressed with gzip (RFC 1952), if the build did.
    gz: Option<&'static [u8]>,
}

/// Sorted by name.
static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// What is shown where the page was not built in. `{base}` is the base path.
const BUILT_IN: &str = include_str!("ui/built_in.html");
/// Its style; the policy allows no style inside a page.
const BUILT_IN_CSS: &str = include_str!("ui/built_in.css");

/// Kept by browsers for a year: the name changes with the content.
const CACHE_HASHED: &str = "public, max-age=31536000, immutable";
/// Asked for each time, answered with 304 where nothing changed.
const CACHE_CHECKED: &str = "no-cache";

/// Serves the page and its files.
pub(crate) async fn serve(State(app): State<App>, request: Request) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "The page is read with GET; the API is below /api/v1.",
        )
        .into_response();
    }
    if crate::compat::alpha::is_asked(&request) {
        return crate::compat::alpha::as_client(&app, request).await;
    }
    let name = request.uri().path().trim_start_matches('/');
    let base = app.config.base_path.as_str();
    if let Some(asset) = find(name).filter(|asset| asset.name != "index.html") {
        return file(asset, request.headers());
    }
    if name == "built-in.css" && ASSETS.is_empty() {
        return answer(request.headers(), "text/css; charset=utf-8", BUILT_IN_CSS.into(), None);
    }
    if looks_like_file(name) {
        return Problem::not_found("There is no such file.").into_response();
    }
    let page = match find("index.html") {
        Some(index) => with_head(index.plain, base, app.config.public.enabled),
        None => BUILT_IN.replace("{base}", base).into(),
    };
    answer(request.headers(), "text/html; charset=utf-8", page, None)
}

/// Whether the page was there when this binary was built.
#[must_use]
pub fn page_is_built_in() -> bool {
    !ASSETS.is_empty()
}

fn find(name: &str) -> Option<&'static Asset> {
    let index = ASSETS.binary_search_by(|asset| asset.name.cmp(name)).ok()?;
    ASSETS.get(index)
}

/// The page's own paths have no dot in their last part, but may hold addresses
/// (`/attacker/192.0.2.7`); a missing script must not be answered with HTML.
fn looks_like_file(name: &str) -> bool {
    let extension = name.rsplit('/').next().and_then(|last| last.rsplit_once('.'));
    extension.is_some_and(|(_, extension)| media_type(extension).is_some())
}

/// Inserts `<base>`, so that relative addresses in the page lead below the
/// base path wherever the page is shown, and whether there is a public page.
fn with_head(index: &'static [u8], base: &str, public: bool) -> Bytes {
    let text = String::from_utf8_lossy(index);
    let public = if public { "<meta name=\"palisade-public\" content=\"yes\">" } else { "" };
    match text.split_once("<head>") {
        Some((before, after)) => {
            format!("{before}<head><base href=\"{base}/\">{public}{after}").into()
        }
        None => Bytes::from_static(index),
    }
}

fn file(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let extension = asset.name.rsplit('.').next().unwrap_or_default();
    let kind = media_type(extension).unwrap_or("application/octet-stream");
    let (data, encoding) = match (asset.br, asset.gz) {
        (Some(br), _) if accepts(headers, "br") => (br, Some("br")),
        (_, Some(gz)) if accepts(headers, "gzip") => (gz, Some("gzip")),
        _ => (asset.plain, None),
    };
    let mut response = answer(headers, kind, Bytes::from_static(data), encoding);
    if is_hashed(asset.name) {
        let forever = HeaderValue::from_static(CACHE_HASHED);
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    response
}

/// Vite puts a hash of eight characters before the extension of what it
/// bundles, all of it in `assets/`.
fn is_hashed(name: &str) -> bool {
    let Some(stem) = name.strip_prefix("assets/").and_then(|rest| rest.rsplit_once('.')) else {
        return false;
    };
    stem.0.rsplit('-').next().is_some_and(|hash| hash.len() == 8) && stem.0.contains('-')
}

fn answer(
    headers: &HeaderMap,
    kind: &'static str,
    data: Bytes,
    encoding: Option<&'static str>,
) -> Response {
    let etag = etag(&data);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == etag));
    let mut response = match unchanged {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Body::from(data).into_response(),
    };
    let out = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        out.insert(header::ETAG, etag);
    }
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CHECKED));
    out.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if !unchanged {
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(encoding) = encoding {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
    }
    response
}

/// Computed on each request: 200 kB of hashing are cheaper than a table in
/// memory, and browsers ask rarely.
fn etag(data: &[u8]) -> String {
    let mut tag = String::from("\"");
    for byte in Sha256::digest(data).iter().take(12) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Whether `Accept-Encoding` (RFC 9110, 12.5.3) takes an encoding.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        named && weight.is_none_or(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0))
    })
}

fn media_type(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        "map" => "application/json",
        "wasm" => "application/wasm",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_taken_as_the_client_says() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, "gzip, br;q=0".parse().unwrap());
        assert!(accepts(&headers, "gzip"));
        assert!(!accepts(&headers, "br"));
        assert!(!accepts(&HeaderMap::new(), "gzip"));
    }

    #[test]
    fn only_names_with_a_hash_are_kept_for_ever() {
        assert!(is_hashed("assets/index-BkX3a_9z.js"));
        for name in ["assets/logo.svg", "index.html", "sw-12345678.js", "assets/12345678.js"] {
            assert!(!is_hashed(name), "{name}");
        }
    }

    #[test]
    fn a_path_with_an_address_in_it_is_a_page() {
        assert!(!looks_like_file("attacker/192.0.2.7"));
        assert!(!looks_like_file("explore"));
        assert!(looks_like_file("assets/gone-12345678.js"));
    }

    #[test]
    fn the_base_path_is_put_into_the_page() {
        let page = with_head(b"<html><head><title>x</title>", "/palisade", false);
        assert_eq!(&page[..], b"<html><head><base href=\"/palisade/\"><title>x</title>");
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let first = answer(&HeaderMap::new(), "text/plain", Bytes::from_static(b"x"), None);
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let again = answer(&headers, "text/plain", Bytes::from_static(b"x"), None);
        assert_eq!((first.status().as_u16(), again.status().as_u16()), (200, 304));
    }

    #[test]
    fn assets_are_sorted_for_the_search() {
        assert!(ASSETS.is_sorted_by_key(|asset| asset.name));
    }
}
