//! The EWS door where the hub cannot or must not take a message.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use crate::common;

use common::{Answer, Doors, now, request, send_over, start, start_with};
use http::Method;
use palisade_api::{Dialect, Listener};
use palisade_event::{Domain, SensorId};
use palisade_hub::{EwsSecret, NewEwsUser, Principal};

const TOKEN: &str = "a token of some length";
const PATH: &str = "/ews-0.1/alert/postSimpleMessage";

async fn add_user(doors: &Doors, name: &str, read_only: bool) {
    let new = NewEwsUser {
        name: SensorId::new(name).unwrap(),
        secret: EwsSecret::Token(TOKEN.into()),
        domain: Domain::Private,
        email: None,
        read_only,
        community_only: false,
    };
    doors.hub.add_ews_user(&Principal::local(None), new, now()).await.unwrap();
}

fn message(user: &str, source: &str) -> String {
    let at = now().to_string().replace('T', " ");
    let at = at.split('.').next().unwrap();
    format!(
        "<EWS-SimpleMessage><Authentication><username>{user}</username><token>{TOKEN}</token>\
         </Authentication><Alert><Analyzer id=\"cowrie\"/><CreateTime tz=\"+0000\">{at}</CreateTime>\
         <Source>{source}</Source><Target port=\"22\">203.0.113.5</Target></Alert></EWS-SimpleMessage>"
    )
}

async fn post(doors: &Doors, body: &str) -> Answer {
    doors.post(PATH, "", body).await
}

#[tokio::test]
async fn a_full_or_stopped_hub_does_not_say_ok() {
    let mut config = palisade_hub::Config::default();
    (config.spool.max_bytes, config.spool.segment_bytes) = (64, 32);
    let doors = start_with(&config, |_| {}).await;
    add_user(&doors, "tpot-1", false).await;
    let full = post(&doors, &message("tpot-1", "198.51.100.7")).await;
    assert_eq!(full.status, 503, "{}", full.text());
    assert!(full.header("retry-after").parse::<u32>().is_ok_and(|secs| secs > 0));
    assert_eq!(full.header("content-type"), "text/xml");
    assert!(full.text().starts_with("<Result><StatusCode>BUSY</StatusCode>"), "{}", full.text());
    doors.stop().await;

    let doors = start(|_| {}).await;
    add_user(&doors, "tpot-1", false).await;
    assert!(post(&doors, &message("tpot-1", "198.51.100.7")).await.text().contains(">OK<"));
    doors.hub.close().await;
    assert_eq!(post(&doors, &message("tpot-1", "198.51.100.8")).await.status, 503);
    doors.stop().await;
}

#[tokio::test]
async fn a_reader_may_not_deliver_and_a_refusal_is_a_setting() {
    let doors = start(|config| config.ews.default_response = "Go away".into()).await;
    add_user(&doors, "reader", true).await;
    assert_eq!(post(&doors, &message("reader", "198.51.100.7")).await.status, 403);
    let answer = post(&doors, "<x/>").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "Go away"));
    assert_eq!(doors.hub.status().ingest.accepted, 0);
    doors.stop().await;
}

#[tokio::test]
async fn a_listener_of_the_dialect_speaks_nothing_else() {
    let doors = start(|config| {
        let first = config.listeners[0].clone();
        config.listeners.push(Listener { tls: false, dialects: vec![Dialect::Ews], ..first });
    })
    .await;
    add_user(&doors, "tpot-1", false).await;
    let ask = async |method, path: &str, body: &str| {
        let stream = tokio::net::TcpStream::connect(doors.addresses[2]).await.unwrap();
        send_over(stream, request(method, path, "", body)).await
    };
    let taken = ask(Method::POST, PATH, &message("tpot-1", "2001:db8::7")).await;
    assert!(taken.text().contains(">OK<"), "{}", taken.text());
    for path in ["/api/v1/status", "/docs", "/metrics"] {
        assert_eq!(ask(Method::GET, path, "").await.status, 404, "{path}");
    }
    doors.stop().await;
}
