//! Links that let somebody in once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::common;

use bytes::Bytes;
use common::{Answer, Doors, now, request, start};
use http::{Method, Request};
use http_body_util::Full;
use palisade_event::{Domain, SensorId};
use palisade_hub::{Ban, NewAllowEntry, NewKnockLink, Principal, Scope};
use palisade_store::query::Query;
use serde_json::json;

async fn ask(doors: &Doors, method: Method, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("host", "hub");
    doors.send(request.body(Full::new(Bytes::new())).unwrap()).await
}

/// From where the requests of these tests come.
const HERE: &str = "127.0.0.1";

async fn admin(doors: &Doors) -> String {
    let (me, name) = (Principal::local(None), SensorId::new("adm").unwrap());
    doors.hub.add_key(&me, name, &[Scope::Admin], Domain::Private, now()).await.unwrap().key
}

async fn link(doors: &Doors, key: &str, body: &str) -> String {
    let made = doors.post("/api/v1/knock-links", key, body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["path"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_lets_in_once_and_looking_at_it_spends_nothing() {
    let doors = start(|_| {}).await;
    let key = admin(&doors).await;
    let path =
        link(&doors, &key, r#"{"usable_secs": 60, "allow_secs": 600, "note": "hotel"}"#).await;
    for _ in 0..3 {
        let page = ask(&doors, Method::GET, &path).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("<form method=\"post\">"));
        assert_eq!(
            (page.header("cache-control"), page.header("referrer-policy")),
            ("no-store", "no-referrer")
        );
    }
    assert_eq!(doors.hub.allowlist(&Principal::local(None), now()).await.unwrap(), []);
    let entered = ask(&doors, Method::POST, &path).await;
    assert_eq!(entered.status, 200, "{}", entered.text());
    assert!(entered.text().contains(HERE), "{}", entered.text());
    let allowed = doors.hub.allowlist(&Principal::local(None), now()).await.unwrap();
    assert_eq!((allowed.len(), allowed[0].target.to_string()), (1, HERE.to_owned()));
    let secs = allowed[0].until.unwrap().as_millis() - now().as_millis();
    assert!((590_000..=600_000).contains(&secs), "{secs}");
    let again = ask(&doors, Method::POST, &path).await;
    assert_eq!(again.status, 404, "it works once");
    let query = Query::parse("kind:knock.accepted", now()).unwrap();
    let began = std::time::Instant::now();
    loop {
        let found =
            doors.hub.search(&Principal::local(None), query.clone(), 10, None).await.unwrap();
        if let [event] = &found.events[..] {
            assert_eq!(event.source.unwrap().address.to_string(), HERE);
            assert!(event.attributes.contains_key("by"));
            break;
        }
        assert!(began.elapsed().as_secs() < 20, "the event is told once: {found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    doors.stop().await;
}

#[tokio::test]
async fn forged_expired_and_orphaned_links_are_refused_alike() {
    let doors = start(|_| {}).await;
    let key = admin(&doors).await;
    let good = link(&doors, &key, "{}").await;
    let forged = format!("{}0", &good[..good.len() - 1]);
    let short = link(&doors, &key, r#"{"usable_secs": 1}"#).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let mut texts = std::collections::BTreeSet::new();
    let forged = if forged == good { format!("{}1", &good[..good.len() - 1]) } else { forged };
    for bad in [&*forged, &short, "/knock/x", "/knock/a_b", "/knock/%00_%27"] {
        let answer = ask(&doors, Method::POST, bad).await;
        assert_eq!(answer.status, 404, "{bad}");
        texts.insert(answer.text().to_owned());
    }
    assert_eq!(texts.len(), 1, "nobody learns why");
    assert_eq!(ask(&doors, Method::POST, &good).await.status, 200, "forging spends nothing");
    // Only who may operate makes one, within bounds.
    assert_eq!(doors.post("/api/v1/knock-links", &doors.read, "{}").await.status, 403);
    for body in [
        json!({"usable_secs": 0}),
        json!({"usable_secs": 700_000}),
        json!({"allow_secs": 9_999_999}),
    ] {
        let answer = doors.post("/api/v1/knock-links", &key, &body.to_string()).await;
        assert_eq!(answer.status, 422, "{body}");
    }
    doors.stop().await;
}

#[tokio::test]
async fn links_that_can_be_used_are_listed_without_secrets_and_revoked() {
    let doors = start(|_| {}).await;
    let key = admin(&doors).await;
    let path = link(&doors, &key, r#"{"allow_secs": 600, "note": "hotel"}"#).await;
    let used = link(&doors, &key, "{}").await;
    assert_eq!(ask(&doors, Method::POST, &used).await.status, 200);
    let listed = doors.get("/api/v1/knock-links", &key).await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    let links = listed.json()["links"].as_array().unwrap().clone();
    assert_eq!(links.len(), 1, "what was used is not listed: {}", listed.text());
    assert_eq!((&links[0]["note"], &links[0]["allow_secs"]), (&json!("hotel"), &json!(600)));
    let (id, secret) = path.trim_start_matches("/knock/").split_once('_').unwrap();
    assert_eq!(links[0]["id"], id);
    assert!(!listed.text().contains(secret));
    let one = format!("/api/v1/knock-links/{id}");
    assert_eq!(doors.get("/api/v1/knock-links", &doors.read).await.status, 403);
    assert_eq!(doors.send(request(Method::DELETE, &one, &doors.read, "")).await.status, 403);
    assert_eq!(doors.send(request(Method::DELETE, &one, &key, "")).await.status, 204);
    assert_eq!(doors.send(request(Method::DELETE, &one, &key, "")).await.status, 404);
    assert_eq!(ask(&doors, Method::POST, &path).await.status, 404, "it lets nobody in");
    doors.stop().await;
}

#[tokio::test]
async fn a_link_lifts_the_ban_of_who_uses_it_and_never_shortens_what_is_allowed() {
    let doors = start(|_| {}).await;
    let me = Principal::local(None);
    let from = "198.51.100.7".parse().unwrap();
    let new = || NewKnockLink { usable_secs: 60, allow_secs: 60, note: None };
    let ban = Ban {
        target: "198.51.100.7".parse().unwrap(),
        duration_secs: 600,
        reason: None,
        note: None,
    };
    doors.hub.ban(&me, ban, now()).await.unwrap();
    let made = doors.hub.add_knock_link(&me, new(), now()).await.unwrap();
    let let_in = doors.hub.knock(&made.token, from, now()).await.unwrap();
    assert_eq!((let_in.address, let_in.lifted), (from, 1));
    let active = doors.hub.decisions(&me, &Default::default(), 10).await.unwrap();
    assert!(active.iter().all(|one| !one.is_active(now())), "{active:?}");
    let entry = NewAllowEntry {
        target: "198.51.100.7".parse().unwrap(),
        reason: None,
        duration_secs: None,
    };
    doors.hub.allow(&me, entry, now()).await.unwrap();
    let made = doors.hub.add_knock_link(&me, new(), now()).await.unwrap();
    doors.hub.knock(&made.token, from, now()).await.unwrap();
    let allowed = doors.hub.allowlist(&me, now()).await.unwrap();
    assert_eq!(allowed[0].until, None, "it was for ever before");
    doors.stop().await;
}
