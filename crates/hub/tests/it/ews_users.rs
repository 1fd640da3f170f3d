//! Users of the EWS dialect: whose token counts, for how much, and what wrong
//! ones cost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::common;

use std::net::IpAddr;

use common::*;
use palisade_event::{Domain, SensorId, Timestamp};
use palisade_hub::{
    AdminError, COMMUNITY_USER, EwsSecret, Hub, IngestError, NewEwsUser, Permission, Principal,
    QueryError, SensorKind,
};

const TOKEN: &str = "a token of some length";

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + secs * 1000)
}

fn from(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, last]))
}

fn user(name: &str, secret: EwsSecret) -> NewEwsUser {
    NewEwsUser {
        name: SensorId::new(name).unwrap(),
        secret,
        domain: Domain::Private,
        email: None,
        read_only: false,
        community_only: false,
    }
}

fn token() -> EwsSecret {
    EwsSecret::Token(TOKEN.into())
}

async fn check(hub: &Hub, name: &str, token: &str, from: Option<IpAddr>) -> Option<Principal> {
    hub.ews_user(name, token, from, at(0)).await.unwrap()
}

#[tokio::test]
async fn a_user_is_who_has_its_token_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.add_ews_user(&local(), user("tpot-1", token()), at(0)).await.unwrap();
    let who = check(&hub, "tpot-1", TOKEN, from(1)).await.unwrap();
    assert!(who.may(Permission::Ingest) && who.sees(Domain::Private) && who.name() == "tpot-1");
    for (name, wrong) in [
        ("tpot-1", "another token"),
        ("tpot-1", ""),
        ("tpot-2", TOKEN),
        ("tpot 1", TOKEN),
        ("tpot-1\0", TOKEN),
        ("", TOKEN),
    ] {
        assert_eq!(check(&hub, name, wrong, from(1)).await, None, "{name:?} {wrong:?}");
    }
    assert_eq!(check(&hub, "tpot-1", TOKEN, from(1)).await, Some(who));
    assert_eq!(hub.ews_users(&local()).await.unwrap()[0].last_used_at, Some(at(0)));
    hub.remove_ews_user(&local(), "tpot-1").await.unwrap();
    assert_eq!(check(&hub, "tpot-1", TOKEN, from(1)).await, None);
    // The same name with another token: what was right before is wrong now.
    let other = EwsSecret::Token("quite another".into());
    hub.add_ews_user(&local(), user("tpot-1", other), at(0)).await.unwrap();
    assert_eq!(check(&hub, "tpot-1", TOKEN, from(1)).await, None);
    assert!(check(&hub, "tpot-1", "quite another", from(1)).await.is_some());
    hub.close().await;
}

#[tokio::test]
async fn imported_hashes_count_and_are_replaced_when_first_used() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    // Of "abc": RFC 1321, appendix A.5, and FIPS 180-4's example.
    let md5 = "900150983CD24FB0D6963F7D28E17F72";
    let sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                  2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    for (name, secret) in
        [("old", EwsSecret::Md5(md5.into())), ("newer", EwsSecret::Sha512(sha512.into()))]
    {
        hub.add_ews_user(&local(), user(name, secret), at(0)).await.unwrap();
        assert_eq!(check(&hub, name, "abd", None).await, None);
        assert!(check(&hub, name, "abc", None).await.is_some());
        assert!(check(&hub, name, "abc", None).await.is_some());
    }
    let bad = hub.add_ews_user(&local(), user("x", EwsSecret::Md5("no hex".into())), at(0)).await;
    assert!(matches!(bad, Err(AdminError::Invalid(_))), "{bad:?}");
    hub.close().await;
    drop(hub);
    let file = std::fs::read(dir.path().join("hub/state.db")).unwrap();
    let text = String::from_utf8_lossy(&file).to_lowercase();
    assert!(text.contains("$argon2id$"));
    let hub = reopen(dir.path()).await;
    for name in ["old", "newer"] {
        assert!(check(&hub, name, "abc", None).await.is_some(), "after a restart, {name}");
    }
    hub.close().await;
}

#[tokio::test]
async fn wrong_tokens_are_bounded_and_never_hold_up_a_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.add_ews_user(&local(), user("tpot-1", token()), at(0)).await.unwrap();
    // One sensor with an old token, again and again: that is one guess.
    for _ in 0..200 {
        assert_eq!(check(&hub, "tpot-1", "the token of before", from(1)).await, None);
    }
    assert!(check(&hub, "tpot-1", TOKEN, from(1)).await.is_some());
    hub.add_ews_user(&local(), user("tpot-2", token()), at(0)).await.unwrap();
    // A guesser uses up what its address has.
    for n in 0..40 {
        assert_eq!(check(&hub, "tpot-2", &format!("guess number {n}"), from(1)).await, None);
    }
    let unproven = check(&hub, "tpot-2", TOKEN, from(1)).await;
    assert_eq!(unproven, None, "it waits like everything that costs a hash there");
    assert!(check(&hub, "tpot-1", TOKEN, from(1)).await.is_some(), "seen before: not held up");
    assert!(check(&hub, "tpot-2", TOKEN, from(2)).await.is_some(), "not held up elsewhere");
    assert!(check(&hub, "tpot-2", TOKEN, from(1)).await.is_some(), "seen elsewhere since");
    hub.close().await;
}

#[tokio::test]
async fn many_sensors_of_one_user_behind_one_address_come_in_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.add_ews_user(&local(), user("tpot-1", token()), at(0)).await.unwrap();
    let mut sensors = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let hub = hub.clone();
        sensors.spawn(async move { check(&hub, "tpot-1", TOKEN, from(1)).await.is_some() });
    }
    assert!(sensors.join_all().await.into_iter().all(|right| right));
    hub.close().await;
}

#[tokio::test]
async fn the_first_start_makes_the_community_user_once() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let token = hub.bootstrap_community(at(0)).await.unwrap().unwrap();
    assert_eq!(hub.bootstrap_community(at(0)).await.unwrap(), None);
    let who = check(&hub, COMMUNITY_USER, &token, None).await.unwrap();
    assert!(who.may(Permission::Ingest) && !who.sees(Domain::Private));
    let mut delivered = event(1);
    delivered.domain = Domain::Private;
    let record = encoded(std::slice::from_ref(&delivered));
    hub.accept(&who, from(9), &[&record[0]]).await.unwrap();
    let stored = settled(&hub, 1).await;
    assert_eq!((stored[0].domain, stored[0].sensor.as_str()), (Domain::Community, COMMUNITY_USER));
    let sensors = hub.sensors(&local(), now()).await.unwrap();
    assert_eq!((sensors[0].kind, sensors[0].last_address), (SensorKind::Ews, from(9)));
    // Who removes it does not want it back.
    hub.remove_ews_user(&local(), COMMUNITY_USER).await.unwrap();
    assert_eq!(hub.bootstrap_community(at(0)).await.unwrap(), None);
    hub.close().await;
}

#[tokio::test]
async fn rights_are_what_the_user_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let reader = NewEwsUser { read_only: true, ..user("reader", token()) };
    hub.add_ews_user(&local(), reader, at(0)).await.unwrap();
    let guest = NewEwsUser { community_only: true, ..user("guest", token()) };
    hub.add_ews_user(&local(), guest, at(0)).await.unwrap();
    let reader = check(&hub, "reader", TOKEN, None).await.unwrap();
    let guest = check(&hub, "guest", TOKEN, None).await.unwrap();
    let record = encoded(&[event(1)]);
    let refused = hub.accept(&reader, None, &[&record[0]]).await;
    assert!(matches!(refused, Err(IngestError::Forbidden)), "{refused:?}");
    // It delivers into the private domain and does not see it.
    hub.accept(&guest, None, &[&record[0]]).await.unwrap();
    settled(&hub, 1).await;
    assert_eq!(seen(&hub, &reader).await.len(), 1);
    assert_eq!(seen(&hub, &guest).await.len(), 0);
    assert_eq!(seen(&hub, &Principal::public()).await.len(), 0);
    let public = Principal::public();
    let refused = hub.accept(&public, None, &[&record[0]]).await;
    assert!(matches!(refused, Err(IngestError::Forbidden)), "{refused:?}");
    assert!(matches!(hub.sensors(&public, now()).await, Err(QueryError::Forbidden)));
    assert!(matches!(hub.quarantine(&public, 1).await, Err(QueryError::Forbidden)));
    assert!(matches!(hub.ews_users(&guest).await, Err(AdminError::Forbidden)));
    for (email, token) in
        [(Some("no address"), TOKEN), (None, "short"), (None, " spaces "), (None, "with\nbreak")]
    {
        let mut bad = user("bad", EwsSecret::Token(token.into()));
        bad.email = email.map(str::to_owned);
        let refused = hub.add_ews_user(&local(), bad, at(0)).await;
        assert!(matches!(refused, Err(AdminError::Invalid(_))), "{email:?} {token:?}: {refused:?}");
    }
    let again = user("guest", EwsSecret::Token(TOKEN.into()));
    let taken = hub.add_ews_user(&local(), again, at(0)).await;
    assert!(matches!(taken, Err(AdminError::Exists(_))));
    hub.close().await;
}
