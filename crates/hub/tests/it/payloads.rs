//! The payload store: kept once, counted by events, within its bound.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use crate::common;

use common::*;
use palisade_event::{Domain, Endpoint, EventKind, PayloadHash, Untrusted};
use palisade_hub::{
    Config, Hub, IngestError, NewPayload, PayloadQuery, Principal, QueryError, Scope,
};
use sha2::{Digest as _, Sha256};

fn new(bytes: &[u8], http: bool) -> NewPayload {
    let source = Some(Endpoint::tcp("198.51.100.7:40022".parse().unwrap()));
    NewPayload { bytes: bytes.to_vec(), http, source }
}

fn request(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_payload_is_kept_once_and_counted_by_the_events_that_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let who = key(&hub, "pot", &[Scope::Ingest], Domain::Private).await;
    let large = vec![0u8; 5 * 1024 * 1024 + 1];
    let payloads = vec![
        new(&request("192.0.2.1"), true),
        new(&request("192.0.2.2"), true),
        new(b"\x7fELF\x02\x01\x01", false),
        new(&large, false),
    ];
    let kept = hub.keep_payloads(&who, payloads, now()).await.unwrap();
    let hashes: Vec<_> = kept.iter().filter_map(|kept| kept.as_ref().ok().copied()).collect();
    assert_eq!(hashes.len(), 3);
    assert_eq!(hashes[0], hashes[1], "they differ in their Host header alone");
    assert_eq!(kept[3], Err("larger than 5 MiB"));
    let events: Vec<_> = (0..3)
        .map(|n| {
            let mut event = event(n);
            event.payload = Some(hashes[n as usize]);
            event
        })
        .collect();
    for _ in 0..2 {
        hub.accept_events(&who, None, events.clone(), Vec::new()).await.unwrap();
    }
    settled(&hub, 3).await;
    hub.close().await;
    drop(hub);
    let hub = reopen(dir.path()).await;
    let (listed, totals) = hub.payloads(&local(), &PayloadQuery::default(), 10).await.unwrap();
    assert_eq!((totals.known, totals.kept), (2, 2));
    let first = listed.iter().find(|payload| payload.sha256 == hashes[0]).unwrap();
    assert_eq!(
        (first.seen, first.mime.as_str(), first.first_port),
        (2, "message/http", Some(40022))
    );
    let bytes = hub.payload_bytes(&local(), hashes[0]).await.unwrap().unwrap();
    assert_eq!(bytes, request("192.0.2.1"));
    hub.close().await;
}

#[tokio::test]
async fn who_may_not_deliver_keeps_nothing_and_who_may_not_operate_sees_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let read = key(&hub, "board", &[Scope::Read], Domain::Private).await;
    let kept = hub.keep_payloads(&read, vec![new(b"x", false)], now()).await;
    assert!(matches!(kept, Err(IngestError::Forbidden)));
    for who in [&read, &Principal::public()] {
        let listed = hub.payloads(who, &PayloadQuery::default(), 1).await;
        assert!(matches!(listed, Err(QueryError::Forbidden)));
    }
    hub.close().await;
}

#[tokio::test]
async fn above_the_bound_the_longest_unseen_lose_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.payloads.max_bytes = 300;
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    for n in 0..5u8 {
        let at = now().plus_millis(i64::from(n));
        hub.keep_payloads(&local(), vec![new(&[n; 100], false)], at).await.unwrap();
    }
    hub.make_room_for_payloads().await.unwrap();
    let (listed, totals) = hub.payloads(&local(), &PayloadQuery::default(), 10).await.unwrap();
    assert_eq!((totals.known, totals.kept, totals.bytes), (5, 3, 300));
    let kept: Vec<bool> = listed.iter().map(|payload| payload.kept).collect();
    assert_eq!(kept, [true, true, true, false, false]);
    let gone = listed[4].sha256;
    assert_eq!(hub.payload_bytes(&local(), gone).await.unwrap(), None);
    assert!(hub.metrics_text().contains("palisade_payloads_evicted 2"));
    // It comes again: it is kept again.
    hub.keep_payloads(&local(), vec![new(&[0; 100], false)], now()).await.unwrap();
    assert!(hub.payload_bytes(&local(), gone).await.unwrap().is_some());
    hub.close().await;
}

#[tokio::test]
async fn what_is_brought_again_stays_and_what_was_not_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.payloads.max_bytes = 300;
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    let begun = now();
    let keep = async |n: u8, millis| {
        let payload = vec![new(&[n; 100], false)];
        let kept = hub.keep_payloads(&local(), payload, begun.plus_millis(millis)).await;
        kept.unwrap().remove(0).unwrap()
    };
    for n in 0..5u8 {
        keep(n, i64::from(n)).await;
    }
    // The oldest comes again: its event is on its way, and must find it.
    let again = keep(0, 10).await;
    hub.make_room_for_payloads().await.unwrap();
    assert!(hub.payload_bytes(&local(), again).await.unwrap().is_some());
    let (listed, totals) = hub.payloads(&local(), &PayloadQuery::default(), 10).await.unwrap();
    assert_eq!((totals.kept, listed[0].sha256, listed[0].kept), (3, again, true));
    assert_eq!(listed[0].last_seen, begun.plus_millis(10));
    // One whose bytes are gone comes again: it is not the next to go.
    let back = keep(1, 20).await;
    hub.make_room_for_payloads().await.unwrap();
    assert!(hub.payload_bytes(&local(), back).await.unwrap().is_some());
    hub.close().await;
}

#[tokio::test]
async fn a_request_whose_bytes_are_gone_is_kept_again_by_one_that_differs_in_its_host() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.payloads.max_bytes = 100;
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    let keep = async |bytes: &[u8], http, millis| {
        let payload = vec![new(bytes, http)];
        let kept = hub.keep_payloads(&local(), payload, now().plus_millis(millis)).await;
        kept.unwrap().remove(0).unwrap()
    };
    let first = keep(&request("192.0.2.1"), true, 0).await;
    keep(&[7; 100], false, 1).await;
    hub.make_room_for_payloads().await.unwrap();
    assert_eq!(hub.payload_bytes(&local(), first).await.unwrap(), None);
    let second = keep(&request("192.0.2.2"), true, 2).await;
    let bytes = hub.payload_bytes(&local(), second).await.unwrap();
    assert_eq!(bytes, Some(request("192.0.2.2")), "what is named is there");
    assert_eq!(keep(&request("192.0.2.1"), true, 3).await, second);
    hub.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_there_after_they_were_taken_however_much_is_removed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.payloads.max_bytes = 300;
    let hub = Hub::open(dir.path(), &config).await.unwrap();
    let begun = now();
    let stop = tokio_util::sync::CancellationToken::new();
    let (clearing, ended) = (hub.clone(), stop.clone());
    let clear = tokio::spawn(async move {
        while !ended.is_cancelled() {
            clearing.make_room_for_payloads().await.unwrap();
        }
    });
    for n in 0..150u32 {
        // One that always comes again, newer than all that pass by.
        let hot = new(&[0xff; 100], false);
        let later = begun.plus_millis(1_000_000 + i64::from(n));
        let kept = hub.keep_payloads(&local(), vec![hot], later).await.unwrap();
        let passing = (0..3u8).map(|k| new(&[&[k; 96][..], &n.to_be_bytes()].concat(), false));
        let at = begun.plus_millis(i64::from(n));
        hub.keep_payloads(&local(), passing.collect(), at).await.unwrap();
        let hot = kept[0].unwrap();
        assert!(hub.payload_bytes(&local(), hot).await.unwrap().is_some(), "round {n}");
    }
    stop.cancel();
    clear.await.unwrap();
    hub.close().await;
}

#[tokio::test]
async fn a_file_that_a_honeypot_delivers_is_kept_and_leaves_the_event() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let who = key(&hub, "pot", &[Scope::Ingest], Domain::Private).await;
    let captured = |n: u128, bytes: &[u8], hash: &str, truncated: bool| {
        let mut event = event(n);
        event.kind = EventKind::PayloadCaptured;
        event.payload = Some(hash.parse::<PayloadHash>().unwrap());
        let event = event.with("contents", Untrusted::new(bytes.to_vec()));
        if truncated { event.with("truncated", true) } else { event }
    };
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let events = vec![
        captured(0, b"abc", hash, false),
        captured(1, b"not abc", hash, false),
        captured(2, b"ab", hash, true),
    ];
    hub.accept_events(&who, None, events, Vec::new()).await.unwrap();
    settled(&hub, 3).await;
    let kept = hub.payload_bytes(&local(), hash.parse().unwrap()).await.unwrap();
    assert_eq!(kept.as_deref(), Some(&b"abc"[..]));
    let (_, totals) = hub.payloads(&local(), &PayloadQuery::default(), 10).await.unwrap();
    assert_eq!(totals.known, 1, "what is not the file of its hash is not kept as it");
    hub.close().await;
}

#[tokio::test]
async fn a_large_file_is_put_together_from_its_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(dir.path()).await;
    let who = key(&hub, "pot", &[Scope::Ingest], Domain::Private).await;
    let hash = |bytes: &[u8]| PayloadHash(Sha256::digest(bytes).into());
    let piece = |n: u128, file: &[u8], bytes: &[u8]| {
        let mut event = event(n);
        event.kind = EventKind::PayloadPart;
        event.payload = Some(hash(file));
        event.with("contents", Untrusted::new(bytes.to_vec()))
    };
    let captured = |n: u128, file: &[u8], parts: &[&[u8]]| {
        let mut event = event(n);
        event.kind = EventKind::PayloadCaptured;
        event.payload = Some(hash(file));
        let parts: String = parts.iter().map(|part| hash(part).to_string()).collect();
        let event = event.with("contents", Untrusted::new(file[..64].to_vec()));
        let event = event.with("truncated", true);
        if parts.is_empty() { event } else { event.with("parts", Untrusted::from(parts)) }
    };
    let file: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
    let pieces: Vec<&[u8]> = file.chunks(65_536).collect();
    let deliver = async |events: Vec<palisade_event::Event>| {
        hub.accept_events(&who, None, events, Vec::new()).await.unwrap()
    };
    // In deliveries of their own, some of them again.
    for n in [0, 1, 0, 2, 3] {
        deliver(vec![piece(n as u128, &file, pieces[n])]).await;
    }
    deliver(vec![captured(10, &file, &pieces)]).await;
    // Another sensor, or the same one later: it needs no pieces, and none are kept.
    deliver(vec![piece(20, &file, pieces[0]), captured(21, &file, &[])]).await;
    // One whose pieces are not all there, and one that is not what it says.
    let other = [&file[..], b"x"].concat();
    deliver(vec![piece(30, &other, pieces[0]), captured(31, &other, &pieces)]).await;
    let lie = [&file[..], b"y"].concat();
    let events: Vec<_> = (0..4).map(|n| piece(40 + n as u128, &lie, pieces[n])).collect();
    deliver(events).await;
    deliver(vec![captured(45, &lie, &pieces)]).await;
    settled(&hub, 4).await;
    assert_eq!(hub.payload_bytes(&local(), hash(&file)).await.unwrap(), Some(file.clone()));
    for never in [&other, &lie] {
        assert_eq!(hub.payload_bytes(&local(), hash(never)).await.unwrap(), None);
    }
    let (listed, _) = hub.payloads(&local(), &PayloadQuery::default(), 100).await.unwrap();
    let whole = listed.iter().find(|payload| payload.sha256 == hash(&file)).unwrap();
    assert_eq!((whole.bytes, whole.kept), (200_000, true));
    // Beside it what waits for the rest of the other two.
    assert_eq!(listed.len(), 1 + 1 + 4);
    hub.close().await;
}
