//! Signing in, sessions, keys, accounts: who comes in and who does not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::common;

use common::*;
use palisade_event::{Domain, SensorId, Timestamp};
use palisade_hub::{
    ADMIN, AdminError, IngestError, NewSavedQuery, Permission, QueryError, Role, Scope, SignInError,
};

const HOUR_MILLIS: i64 = 60 * 60 * 1000;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + hours * HOUR_MILLIS)
}

#[tokio::test]
async fn the_first_start_makes_an_admin_once() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let password = hub.bootstrap_admin(at(0)).await.unwrap().unwrap();
    assert_eq!(hub.bootstrap_admin(at(0)).await.unwrap(), None);
    let signed_in = hub.sign_in(ADMIN, &password, None, None, at(0)).await.unwrap();
    assert!(signed_in.principal.may(Permission::Administer));
    let removed = hub.remove_account(&signed_in.principal, ADMIN).await;
    assert!(matches!(removed, Err(AdminError::Invalid(_))), "{removed:?}");
    hub.close().await;
}

#[tokio::test]
async fn a_session_ends_when_idle_and_after_a_week_at_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.add_account(&local(), "anna", "correct horse", Role::Viewer, at(0)).await.unwrap();
    let sign_in = |now| hub.sign_in("anna", "correct horse", None, Some(b"\x1bFirefox"), now);
    let idle = sign_in(at(0)).await.unwrap().token;
    assert!(hub.session(&idle, at(11)).await.unwrap().is_some());
    assert!(hub.session(&idle, at(22)).await.unwrap().is_some(), "use prolongs it");
    assert!(hub.session(&idle, at(34)).await.unwrap().is_none());

    let busy = sign_in(at(100)).await.unwrap();
    assert_eq!(busy.expires_at, at(100 + 7 * 24));
    for hours in (0..7 * 24).step_by(8) {
        assert!(hub.session(&busy.token, at(100 + hours)).await.unwrap().is_some(), "{hours}");
    }
    assert!(hub.session(&busy.token, at(100 + 7 * 24)).await.unwrap().is_none());
    assert!(hub.session("0".repeat(64).as_str(), at(100)).await.unwrap().is_none());
    hub.close().await;
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    for name in ["anna", "bert"] {
        hub.add_account(&local(), name, "correct horse", Role::Viewer, at(0)).await.unwrap();
    }
    let agent = Some(b"\x1bFirefox".as_slice());
    let anna = hub.sign_in("anna", "correct horse", None, agent, at(0)).await.unwrap();
    let bert = hub.sign_in("bert", "correct horse", None, None, at(0)).await.unwrap();
    let listed = hub.sessions(&anna.principal, at(0)).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].user_agent.as_deref(), Some("\\u{1b}Firefox"));
    assert!(!anna.token.contains(&listed[0].id));
    let others = hub.sessions(&local(), at(0)).await.unwrap();
    assert_eq!(others.len(), 2);
    let of_anna = hub.revoke_session(&bert.principal, &listed[0].id).await;
    assert!(matches!(of_anna, Err(AdminError::NotFound(_))), "{of_anna:?}");
    assert_eq!(hub.session_id(&anna.token), listed[0].id);
    hub.revoke_session(&anna.principal, &listed[0].id).await.unwrap();
    assert!(hub.session(&anna.token, at(0)).await.unwrap().is_none());
    hub.sign_out(&bert.token).await.unwrap();
    assert!(hub.session(&bert.token, at(0)).await.unwrap().is_none());
    hub.close().await;
}

#[tokio::test]
async fn a_new_role_counts_in_sessions_that_go_on_and_admin_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.bootstrap_admin(at(0)).await.unwrap();
    hub.add_account(&local(), "anna", "correct horse", Role::Viewer, at(0)).await.unwrap();
    let anna = hub.sign_in("anna", "correct horse", None, None, at(0)).await.unwrap();
    let own = hub.set_role(&anna.principal, "anna", Role::Admin).await;
    assert!(matches!(own, Err(AdminError::Forbidden)), "{own:?}");
    hub.set_role(&local(), "anna", Role::Operator).await.unwrap();
    let session = hub.session(&anna.token, at(1)).await.unwrap().unwrap();
    assert_eq!(session.principal.role(), Some(Role::Operator));
    let lost = hub.set_role(&local(), ADMIN, Role::Viewer).await;
    assert!(matches!(lost, Err(AdminError::Invalid(_))), "{lost:?}");
    hub.set_role(&local(), ADMIN, Role::Admin).await.unwrap();
    let nobody = hub.set_role(&local(), "nobody", Role::Viewer).await;
    assert!(matches!(nobody, Err(AdminError::NotFound(_))), "{nobody:?}");
    hub.close().await;
}

#[tokio::test]
async fn guessing_is_slowed_down_and_a_new_password_ends_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.add_account(&local(), "anna", "correct horse", Role::Operator, at(0)).await.unwrap();
    let token = hub.sign_in("anna", "correct horse", None, None, at(0)).await.unwrap().token;
    let from = Some("192.0.2.1".parse().unwrap());
    for name in ["anna", "nobody", "anna", "no such name", "bert"] {
        let wrong = hub.sign_in(name, "wrong", from, None, at(1)).await;
        assert!(matches!(wrong, Err(SignInError::Wrong)), "{wrong:?}");
    }
    let early = hub.sign_in("anna", "correct horse", from, None, at(1)).await;
    assert!(matches!(early, Err(SignInError::Throttled { retry_after_secs: 1 })), "{early:?}");
    let elsewhere = Some("192.0.2.2".parse().unwrap());
    let anna = hub.sign_in("anna", "correct horse", elsewhere, None, at(1)).await.unwrap();
    hub.set_password(&anna.principal, "anna", "battery staple").await.unwrap();
    assert!(hub.session(&token, at(1)).await.unwrap().is_none());
    let old = hub.sign_in("anna", "correct horse", None, None, at(2)).await;
    assert!(matches!(old, Err(SignInError::Wrong)));
    hub.sign_in("anna", "battery staple", None, None, at(2)).await.unwrap();
    let other = hub.set_password(&anna.principal, ADMIN, "battery staple").await;
    assert!(matches!(other, Err(AdminError::Forbidden)), "{other:?}");
    hub.close().await;
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let ingest = key(&hub, "web-1", &[Scope::Ingest], Domain::Private).await;
    let read = key(&hub, "board", &[Scope::Read], Domain::Private).await;
    let record = encoded(&[event(1)]);
    let refused = hub.accept(&read, None, &[&record[0]]).await;
    assert!(matches!(refused, Err(IngestError::Forbidden)));
    hub.accept(&ingest, None, &[&record[0]]).await.unwrap();
    let refused = hub.search(&ingest, everything(), 1, None).await;
    assert!(matches!(refused, Err(QueryError::Forbidden)));
    assert!(matches!(hub.quarantine(&read, 1).await, Err(QueryError::Forbidden)));
    assert!(matches!(hub.keys(&read).await, Err(AdminError::Forbidden)));

    let name = SensorId::new("web-2").unwrap();
    let new = hub.add_key(&local(), name.clone(), &[Scope::Ingest], Domain::Private, at(0)).await;
    let new = new.unwrap();
    assert!(new.key.starts_with(&format!("pal_{}_", new.id)));
    let taken = hub.add_key(&local(), name, &[Scope::Read], Domain::Private, at(0)).await;
    assert!(matches!(taken, Err(AdminError::Exists(_))));
    let changed = format!("{}0", &new.key[..new.key.len() - 1]);
    let changed =
        if changed == new.key { format!("{}1", &new.key[..new.key.len() - 1]) } else { changed };
    assert!(hub.key(&changed, at(1)).await.unwrap().is_none());
    assert!(hub.key(&new.key, at(1)).await.unwrap().is_some());
    let listed = hub.keys(&local()).await.unwrap();
    assert_eq!(listed.last().unwrap().last_used_at, Some(at(1)));
    hub.remove_key(&local(), &new.id).await.unwrap();
    assert!(hub.key(&new.key, at(1)).await.unwrap().is_none());
    hub.close().await;
}

fn to_save(name: &str, shared: bool) -> NewSavedQuery {
    let options = serde_json::json!({"columns": ["ip", "user"]});
    NewSavedQuery {
        name: name.into(),
        query: "country:CN since:7d".into(),
        options: options.as_object().unwrap().clone(),
        shared,
    }
}

#[tokio::test]
async fn saved_queries_belong_to_their_account_and_may_be_shared() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let mut who = Vec::new();
    for name in ["anna", "bert"] {
        hub.add_account(&local(), name, "correct horse", Role::Viewer, at(0)).await.unwrap();
        who.push(hub.sign_in(name, "correct horse", None, None, at(0)).await.unwrap().principal);
    }
    let (anna, bert) = (&who[0], &who[1]);
    let own = hub.save_query(anna, None, &to_save(" mine ", false), at(0)).await.unwrap();
    let shared = hub.save_query(anna, None, &to_save("ours", true), at(0)).await.unwrap();
    assert_eq!((own.name.as_str(), own.account.as_str()), ("mine", "anna"));
    assert_eq!(hub.saved_queries(anna).await.unwrap(), [own.clone(), shared.clone()]);
    assert_eq!(hub.saved_queries(bert).await.unwrap(), std::slice::from_ref(&shared));
    assert_eq!(hub.saved_queries(&local()).await.unwrap(), std::slice::from_ref(&shared));

    let again = hub.save_query(anna, None, &to_save("mine", false), at(1)).await;
    assert!(matches!(again, Err(AdminError::Exists(_))), "{again:?}");
    let foreign = hub.save_query(bert, Some(&own.id), &to_save("x", false), at(1)).await;
    assert!(matches!(foreign, Err(AdminError::NotFound(_))), "{foreign:?}");
    let changed = hub.save_query(anna, Some(&own.id), &to_save("new", false), at(1)).await.unwrap();
    assert_eq!((changed.created_at, changed.updated_at), (at(0), at(1)));
    assert_eq!(hub.saved_queries(anna).await.unwrap()[0], changed);

    let hidden = hub.remove_saved_query(bert, &own.id).await;
    assert!(matches!(hidden, Err(AdminError::NotFound(_))), "{hidden:?}");
    let others = hub.remove_saved_query(bert, &shared.id).await;
    assert!(matches!(others, Err(AdminError::Denied(_))), "{others:?}");
    hub.remove_saved_query(anna, &own.id).await.unwrap();
    hub.remove_saved_query(&local(), &shared.id).await.unwrap();
    assert_eq!(hub.saved_queries(anna).await.unwrap(), []);
    hub.close().await;
}

#[tokio::test]
async fn what_cannot_be_a_saved_query_is_refused_with_the_rule() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    hub.add_account(&local(), "anna", "correct horse", Role::Viewer, at(0)).await.unwrap();
    let anna = hub.sign_in("anna", "correct horse", None, None, at(0)).await.unwrap().principal;
    let refused = async |new: NewSavedQuery| match hub.save_query(&anna, None, &new, at(0)).await {
        Err(AdminError::Invalid(rule)) => rule,
        other => panic!("{other:?}"),
    };
    assert!(refused(to_save(" ", false)).await.contains("1 to 100 characters"));
    assert!(refused(to_save("a\nb", false)).await.contains("control character"));
    let query = "country:".to_owned();
    let wrong = NewSavedQuery { query, ..to_save("a", false) };
    assert!(refused(wrong).await.contains("cannot be understood"));
    let mut large = to_save("a", false);
    large.options.insert("x".into(), "y".repeat(4096).into());
    assert!(refused(large).await.contains("4096 bytes"));
    for n in 0..100 {
        hub.save_query(&anna, None, &to_save(&format!("q{n}"), false), at(0)).await.unwrap();
    }
    assert!(refused(to_save("a", false)).await.contains("at most 100"));
    let program = key(&hub, "board", &[Scope::Read], Domain::Community).await;
    assert_eq!(hub.saved_queries(&program).await.unwrap(), []);
    let by_key = hub.save_query(&program, None, &to_save("a", false), at(0)).await;
    assert!(matches!(by_key, Err(AdminError::Denied(_))), "{by_key:?}");
    hub.close().await;
}
