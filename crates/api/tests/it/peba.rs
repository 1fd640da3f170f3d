//! The PEBA query API through real doors: who may ask, what a question that makes
//! no sense is answered, which sites may ask.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use crate::common;

use bytes::Bytes;
use common::*;
use http::{Method, Request, header};
use http_body_util::Full;
use palisade_api::{Dialect, Listener};
use palisade_event::{Category, Domain, Event, SensorId};
use palisade_hub::{EwsSecret, NewEwsUser, Principal, Scope};

const SITE: &str = "https://map.example";

/// A listener more, of the EWS dialect alone.
fn with_site(config: &mut palisade_api::Config) {
    config.ews.site = Some(SITE.into());
    let listener = Listener {
        address: "127.0.0.1:0".parse().unwrap(),
        tls: false,
        dialects: vec![Dialect::Ews],
        ..Listener::default()
    };
    config.listeners.push(listener);
}

fn ask(method: Method, path: &str, authorization: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if !authorization.is_empty() {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

fn message(name: &str, token: &str) -> String {
    format!(
        "<EWS-SimpleMessage version=\"3.0\"><Authentication><username>{name}</username>\
         <token>{token}</token></Authentication></EWS-SimpleMessage>"
    )
}

/// `edge-1` delivers private alerts; a key of the community delivers its own.
async fn deliver_both(doors: &Doors) {
    let alert = |index: u64| {
        let mut event = attempt(index, b"root");
        event.category = Category::new("SSH/console(cowrie)").ok();
        event.source = Some(palisade_event::Endpoint::tcp("8.8.8.8:40022".parse().unwrap()));
        event
    };
    doors.deliver(&[alert(1), alert(2)]).await;
    let me = Principal::local(None);
    let name = SensorId::new("tpot").unwrap();
    let key = doors.hub.add_key(&me, name, &[Scope::Ingest], Domain::Community, now()).await;
    let who = doors.hub.key(&key.unwrap().key, now()).await.unwrap().unwrap();
    let events: Vec<Event> = (3..6).map(alert).collect();
    let records: Vec<Vec<u8>> = events.iter().map(palisade_event::wire::encode_event).collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    doors.hub.accept(&who, None, &records).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let path = format!("/api/v1/events/{}", events.last().unwrap().id);
    while doors.get(&path, &doors.read).await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "events become visible");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn add_ews_user(doors: &Doors, name: &str, token: &str, community_only: bool) {
    let new = NewEwsUser {
        name: SensorId::new(name).unwrap(),
        secret: EwsSecret::Token(token.to_owned()),
        domain: Domain::Private,
        email: None,
        read_only: false,
        community_only,
    };
    doors.hub.add_ews_user(&Principal::local(None), new, now()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_community_is_for_everybody_and_private_alerts_are_for_those_who_may() {
    let doors = start(with_site).await;
    deliver_both(&doors).await;
    add_ews_user(&doors, "anna-ews", "a-long-token-of-anna", false).await;
    add_ews_user(&doors, "commons", "a-long-token-of-all", true).await;
    let count = async |path: &str, authorization: &str| {
        let answer = doors.send(ask(Method::GET, path, authorization, "")).await;
        (answer.status.as_u16(), answer.text())
    };
    let path = "/alert/retrieveAlertsCount?time=60&out=json";
    assert_eq!(count(path, "").await, (200, r#"{"AlertCount":3}"#.to_owned()));
    let private = format!("{path}&ci=0");
    let refused = doors.send(ask(Method::GET, &private, "", "")).await;
    refused.problem(401);
    assert!(refused.header("www-authenticate").starts_with("Basic "));
    // A key of the scope read; name and token of an EWS user; a session.
    let bearer = format!("Bearer {}", doors.read);
    assert_eq!(count(&private, &bearer).await, (200, r#"{"AlertCount":2}"#.to_owned()));
    // anna-ews:a-long-token-of-anna
    let basic = "Basic YW5uYS1ld3M6YS1sb25nLXRva2VuLW9mLWFubmE=";
    let both = format!("{path}&ci=-1");
    assert_eq!(count(&both, basic).await, (200, r#"{"AlertCount":5}"#.to_owned()));
    let mut request = ask(Method::GET, &both, "", "");
    let cookie = doors.sign_in().await;
    request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    assert_eq!(doors.send(request).await.text(), r#"{"AlertCount":5}"#);
    // commons:a-long-token-of-all, a wrong token, a key that delivers alone.
    assert_eq!(count(&private, "Basic Y29tbW9uczphLWxvbmctdG9rZW4tb2YtYWxs").await.0, 403);
    assert_eq!(count(&private, "Basic YW5uYS1ld3M6d3Jvbmc=").await.0, 401);
    assert_eq!(count(&private, &format!("Bearer {}", doors.ingest)).await.0, 403);
    doors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_need_a_user_who_may_see_private_alerts() {
    let doors = start(with_site).await;
    deliver_both(&doors).await;
    add_ews_user(&doors, "anna-ews", "a-long-token-of-anna", false).await;
    add_ews_user(&doors, "commons", "a-long-token-of-all", true).await;
    let anna = message("anna-ews", "a-long-token-of-anna");
    let post = async |path: &str, body: &str| doors.send(ask(Method::POST, path, "", body)).await;
    for path in ["/alert/retrieveIPs", "/ews-0.1/alert/retrieveIPs", "/alert/retrieveIPs15m"] {
        let answer = post(&format!("{path}?out=json"), &anna).await;
        assert_eq!(answer.text(), r#"[{"ip":"8.8.8.8","count":3}]"#, "{path}");
    }
    let answer = post("/alert/retrieveIPs?ci=-1", &anna).await;
    assert_eq!(answer.header("content-type"), "text/xml; charset=utf-8");
    assert!(answer.text().contains("      <Count>5</Count>\n"), "{}", answer.text());
    let answer = post("/alert/retrieveAlertsCyber?ci=0&topx=1", &anna).await.text();
    assert_eq!(answer.matches("<Alert>").count(), 1);
    assert!(answer.contains("<Address>8.8.8.8</Address>"), "{answer}");
    let answer = post("/alert/querySingleIP?ip=8.8.8.8", &anna).await.text();
    assert_eq!(answer.matches("<Alert>").count(), 3);
    // A fragment of some query is no address.
    let answer = post("/alert/querySingleIP?ip=8.8.8.8%22%20OR%20%22%22%3D%22", &anna).await;
    assert!(answer.text().ends_with("<EWSSimpleAlertInfo>\n  <Alerts/>\n</EWSSimpleAlertInfo>\n"));
    // A key will do, with an empty body.
    let bearer = format!("Bearer {}", doors.read);
    let answer = doors.send(ask(Method::POST, "/alert/retrieveIPs?out=json", &bearer, "")).await;
    assert_eq!(answer.status, 200);
    for body in [
        "",
        "no XML",
        &message("anna-ews", "wrong"),
        &message("nobody", "x"),
        &message("commons", "a-long-token-of-all"),
    ] {
        assert_eq!(post("/alert/retrieveIPs", body).await.status, 403, "{body}");
    }
    doors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_make_no_sense_get_the_default_response_and_sites_their_header() {
    let doors = start(|config| {
        with_site(config);
        config.ews.default_response = "Sorry".into();
    })
    .await;
    for path in ["/alert/retrieveAlertsCount", "/alert/tops?type=urls&days=3", "/alert/TpotStats"] {
        let answer = doors.send(ask(Method::GET, path, "", "")).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "Sorry"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), SITE);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
    }
    let preflight = doors.send(ask(Method::OPTIONS, "/alert/retrieveAlertStats", "", "")).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), SITE);
    assert!(preflight.header("access-control-allow-methods").contains("GET"));
    // The API of our own is not for other sites.
    let own = doors.send(ask(Method::GET, "/healthz", "", "")).await;
    assert_eq!(own.header("access-control-allow-origin"), "");
    doors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_of_the_dialect_alone_has_it_and_nothing_else() {
    let doors = start(with_site).await;
    let alone = doors.addresses[2];
    let get = async |path: &str| {
        let stream = tokio::net::TcpStream::connect(alone).await.unwrap();
        send_over(stream, ask(Method::GET, path, "", "")).await
    };
    let front = get("/").await;
    assert_eq!((front.status.as_u16(), front.header("location")), (307, SITE));
    assert_eq!(get("/heartbeat").await.text(), "I'm alive");
    assert_eq!(get("/alert/heartbeat").await.text(), "I'm alive");
    assert_eq!(get("/alert/retrieveAlertStats").await.json()["AlertsLastMinute"], 0);
    assert_eq!(get("/api/v1/status").await.status, 404);
    assert_eq!(get("/metrics").await.status, 404);
    // Where the page is, it stays.
    let page = doors.send(ask(Method::GET, "/", "", "")).await;
    assert_eq!(page.status, 200);
    assert_eq!(doors.get("/heartbeat", "").await.text(), "I'm alive");
    doors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_open_private_alerts_to_everybody() {
    let doors = start(|config| config.ews.public_private_data = true).await;
    deliver_both(&doors).await;
    let path = "/alert/retrieveAlertsCount?time=60&out=json&ci=0";
    let answer = doors.send(ask(Method::GET, path, "", "")).await;
    assert_eq!(answer.text(), r#"{"AlertCount":2}"#);
    // Addresses still need a user.
    let answer = doors.send(ask(Method::POST, "/alert/retrieveIPs", "", "")).await;
    assert_eq!(answer.status, 403);
    // Without a site no other page may ask.
    assert_eq!(answer.header("access-control-allow-origin"), "");
    doors.stop().await;
}
