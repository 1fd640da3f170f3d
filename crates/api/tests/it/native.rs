//! The resources below `/api/v1`, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use crate::common;

use common::{attempt, request, send_over, start};
use http::Method;
use serde_json::json;

#[tokio::test]
async fn delivered_events_are_found_one_by_one_and_page_by_page() {
    let doors = start(|_| {}).await;
    let events: Vec<_> = (0..5).map(|n| attempt(n, format!("user{n}").as_bytes())).collect();
    doors.deliver(&events).await;

    let first = doors.get("/api/v1/events?limit=3", &doors.read).await.json();
    assert_eq!(first["events"][0]["id"], events[0].id.to_string());
    assert_eq!(first["events"][0]["sensor"], "edge-1", "from the key, not from the payload");
    assert!(first["events"][0]["received_at"].is_string());
    assert_eq!(first["range"], json!({"from": null, "to": null}));
    let cursor = first["next"].as_str().unwrap();
    let path = format!("/api/v1/events?limit=3&cursor={cursor}");
    let second = doors.get(&path, &doors.read).await.json();
    assert_eq!(second["events"].as_array().unwrap().len(), 2);
    assert_eq!(second["next"], json!(null));

    let found = doors.get("/api/v1/events?q=user:user3%20since:1h", &doors.read).await.json();
    assert_eq!(found["events"].as_array().unwrap().len(), 1);
    assert!(found["range"]["from"].is_string());
    let one = doors.get(&format!("/api/v1/events/{}", events[4].id), &doors.read).await;
    assert_eq!(one.json()["credentials"]["username"], "user4");
    assert_eq!(one.header("cache-control"), "no-store");

    doors.get("/api/v1/events/01ARZ3NDEKTSV4RRFFQ69G5FAV", &doors.read).await.problem(404);
    doors.get("/api/v1/events/nonsense", &doors.read).await.problem(400);
    doors.stop().await;
}

#[tokio::test]
async fn a_resent_batch_counts_once_and_what_is_no_event_is_quarantined() {
    let doors = start(|_| {}).await;
    let event = attempt(0, b"root");
    doors.deliver(std::slice::from_ref(&event)).await;
    let text = String::from_utf8(palisade_event::wire::encode_event(&event)).unwrap();
    let body = format!(r#"{{"version":1,"events":[{text},{{"id":7}}]}}"#);
    let packed = zstd::encode_all(body.as_bytes(), 3).unwrap();
    let mut again = request(Method::POST, "/api/v1/events", &doors.ingest, "");
    again.headers_mut().insert("content-encoding", "zstd".parse().unwrap());
    *again.body_mut() = http_body_util::Full::new(packed.into());
    let receipt = doors.send(again).await.json();
    assert_eq!((&receipt["accepted"], &receipt["duplicate"]), (&json!(0), &json!(1)));
    assert_eq!(receipt["quarantined"][0]["index"], 1);

    let cookie = doors.sign_in().await;
    let mut list = request(Method::GET, "/api/v1/quarantine", "", "");
    list.headers_mut().insert("cookie", cookie.parse().unwrap());
    let list = doors.send(list).await.json();
    assert_eq!(list["total"], 1);
    assert_eq!(list["records"][0]["sensor"], "edge-1");
    doors.get("/api/v1/quarantine", &doors.read).await.problem(403);
    doors.stop().await;
}

#[tokio::test]
async fn aggregations_answer_by_name_and_mistakes_are_named() {
    let doors = start(|_| {}).await;
    doors.deliver(&[attempt(0, b"root"), attempt(1, b"root"), attempt(2, b"admin")]).await;
    let body = json!({"q": "since:1h", "aggregations": {
        "all": {"type": "count"},
        "users": {"type": "top", "fields": ["user"], "k": 1},
        "time": {"type": "histogram", "interval": "auto"},
    }});
    let answer = doors.post("/api/v1/aggregate", &doors.read, &body.to_string()).await.json();
    assert_eq!(answer["results"]["all"], json!({"type": "count", "count": 3}));
    assert_eq!(answer["results"]["users"]["buckets"][0]["key"], json!(["root"]));
    assert_eq!(answer["results"]["users"]["other"], 1);
    assert_eq!(answer["results"]["time"]["type"], "buckets");

    let wrong =
        |aggregation: serde_json::Value| json!({"aggregations": {"a": aggregation}}).to_string();
    let deep = json!({"type": "top", "fields": [], "k": 1});
    let detail = doors.post("/api/v1/aggregate", &doors.read, &wrong(deep)).await.problem(422);
    assert!(detail.contains("one or two"), "{detail}");
    let field = json!({"type": "distinct", "field": "colour"});
    let detail = doors.post("/api/v1/aggregate", &doors.read, &wrong(field)).await.problem(422);
    assert!(detail.contains("colour"), "{detail}");
    doors.stop().await;
}

#[tokio::test]
async fn a_query_that_makes_no_sense_points_at_the_character() {
    let doors = start(|_| {}).await;
    let answer = doors.get("/api/v1/events?q=user:root%20(port:22", &doors.read).await;
    answer.problem(422);
    assert!(answer.json()["at"].is_u64(), "{}", answer.text());
    assert_eq!(answer.json()["type"], "/docs/problems#query");
    doors.get("/api/v1/stream?q=(", &doors.read).await.problem(422);
    let wrong = doors.get("/api/v1/query?q=user:root%20colour:red", &doors.read).await.json();
    assert_eq!(wrong["mistake"]["at"], 10, "{wrong}");
    assert!(
        wrong["mistake"]["message"].as_str().unwrap().contains("colour")
            && wrong["range"].is_null()
    );
    let day = doors.get("/api/v1/query?q=login:root%20day:2026-11-20", &doors.read).await.json();
    assert_eq!(
        day,
        json!({
            "canonical": "since:2026-11-20T00:00:00.000Z until:2026-11-21T00:00:00.000Z user:root",
            "range": {"from": "2026-11-20T00:00:00.000Z", "to": "2026-11-21T00:00:00.000Z"},
        })
    );
    doors.get("/api/v1/query?q=user:root", "").await.problem(401);
    doors.get("/api/v1/query?q=user:root", &doors.ingest).await.problem(403);
    doors.get("/api/v1/events?limit=0", &doors.read).await.problem(400);
    let detail = doors.get("/api/v1/events?colour=red", &doors.read).await.problem(400);
    assert!(detail.contains("colour"), "{detail}");
    doors.get("/api/v1/events?cursor=x", &doors.read).await.problem(400);
    doors.stop().await;
}

#[tokio::test]
async fn exports_are_complete_and_harmless_to_spreadsheets() {
    let doors = start(|_| {}).await;
    let mut events: Vec<_> = (0..1200).map(|n| attempt(n, b"root")).collect();
    events.push(attempt(2000, b"=HYPERLINK(\"http://x\")"));
    events.push(attempt(2001, b"a\"b,\r\nc"));
    doors.deliver(&events).await;

    let csv = doors.get("/api/v1/events?format=csv", &doors.read).await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(csv.header("content-disposition").contains("attachment"));
    let text = csv.text();
    assert!(text.starts_with("id,kind,observed_at,"));
    assert!(text.contains(",\"'=HYPERLINK(\"\"http://x\"\")\","), "guarded");
    assert!(text.contains(",\"a\"\"b,\r\nc\","), "quoted");
    assert_eq!(text.matches("auth.attempted").count(), events.len());

    let lines = doors.get("/api/v1/events?format=ndjson&limit=1100", &doors.read).await;
    let ids: std::collections::BTreeSet<String> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str::<palisade_event::Event>(line).unwrap().id.to_string())
        .collect();
    assert_eq!(ids.len(), 1100);
    doors.stop().await;
}

#[tokio::test]
async fn accounts_and_keys_are_made_used_and_removed() {
    let doors = start(|_| {}).await;
    let cookie = doors.sign_in().await;
    let with_cookie = async |method, path: &str, body: &str| {
        let mut request = request(method, path, "", body);
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("x-palisade", "1".parse().unwrap());
        doors.send(request).await
    };
    let new = r#"{"username":"bert","role":"viewer","password":"a long enough password"}"#;
    assert_eq!(with_cookie(Method::POST, "/api/v1/users", new).await.status, 201);
    with_cookie(Method::POST, "/api/v1/users", new).await.problem(409);
    let users = with_cookie(Method::GET, "/api/v1/users", "").await.json();
    assert!(users["users"].as_array().unwrap().iter().any(|user| user["username"] == "bert"));
    let password = r#"{"password":"another long password"}"#;
    let changed = with_cookie(Method::POST, "/api/v1/users/bert/password", password).await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    let role = r#"{"role":"operator"}"#;
    let changed = with_cookie(Method::PUT, "/api/v1/users/bert/role", role).await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    let users = with_cookie(Method::GET, "/api/v1/users", "").await.json();
    let bert = users["users"].as_array().unwrap().iter().find(|user| user["username"] == "bert");
    assert_eq!(bert.unwrap()["role"], "operator");
    with_cookie(Method::PUT, "/api/v1/users/bert/role", r#"{"role":"king"}"#).await.problem(422);
    with_cookie(Method::PUT, "/api/v1/users/nobody/role", role).await.problem(404);
    assert_eq!(with_cookie(Method::DELETE, "/api/v1/users/bert", "").await.status, 204);
    with_cookie(Method::DELETE, "/api/v1/users/bert", "").await.problem(404);

    let new = r#"{"name":"edge-2","scopes":["read"]}"#;
    let made = with_cookie(Method::POST, "/api/v1/keys", new).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let (id, key) = (made.json()["id"].clone(), made.json()["key"].clone());
    assert_eq!(doors.get("/api/v1/status", key.as_str().unwrap()).await.status, 200);
    let keys = with_cookie(Method::GET, "/api/v1/keys", "").await;
    assert!(!keys.text().contains(key.as_str().unwrap()), "the secret is shown once");
    let path = format!("/api/v1/keys/{}", id.as_str().unwrap());
    assert_eq!(with_cookie(Method::DELETE, &path, "").await.status, 204);
    doors.get("/api/v1/status", key.as_str().unwrap()).await.problem(401);
    with_cookie(Method::POST, "/api/v1/keys", r#"{"name":"a","scopes":[]}"#).await.problem(422);
    doors.get("/api/v1/keys", &doors.read).await.problem(403);
    doors.stop().await;
}

#[tokio::test]
async fn a_session_begins_shows_itself_and_ends() {
    let doors = start(|_| {}).await;
    let wrong = r#"{"username":"anna","password":"guess"}"#;
    let detail = doors.post("/api/v1/session", "", wrong).await.problem(401);
    let nobody = r#"{"username":"nobody","password":"guess"}"#;
    assert_eq!(doors.post("/api/v1/session", "", nobody).await.problem(401), detail);

    let body = format!(r#"{{"username":"anna","password":"{}"}}"#, common::PASSWORD);
    let over_tls =
        send_over(doors.tls().await, request(Method::POST, "/api/v1/session", "", &body)).await;
    let cookie = over_tls.header("set-cookie");
    for part in ["palisade_session=", "HttpOnly", "SameSite=Strict", "; Secure", "Path=/"] {
        assert!(cookie.contains(part), "{part}");
    }
    assert_eq!(over_tls.json()["role"], "admin");
    assert!(!over_tls.text().contains(cookie.split(['=', ';']).nth(1).unwrap()));

    let cookie = doors.sign_in().await;
    let mut show = request(Method::GET, "/api/v1/session", "", "");
    show.headers_mut().insert("cookie", cookie.parse().unwrap());
    let shown = doors.send(show.clone()).await.json();
    assert_eq!((&shown["username"], &shown["role"]), (&json!("anna"), &json!("admin")));
    assert!(shown["expires_at"].is_string() && shown["version"].is_string());

    let mut end = request(Method::DELETE, "/api/v1/session", "", "");
    end.headers_mut().insert("cookie", cookie.parse().unwrap());
    let detail = doors.send(end.clone()).await.problem(403);
    assert!(detail.contains("X-Palisade"), "{detail}");
    end.headers_mut().insert("x-palisade", "1".parse().unwrap());
    assert_eq!(doors.send(end).await.status, 204);
    doors.send(show).await.problem(401);
    doors.stop().await;
}

#[tokio::test]
async fn who_is_signed_in_is_listed_and_signed_out() {
    let doors = start(|_| {}).await;
    let (here, elsewhere) = (doors.sign_in().await, doors.sign_in().await);
    let signed = |cookie: &str, method, path: &str| {
        let mut request = request(method, path, "", "");
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("x-palisade", "1".parse().unwrap());
        request
    };
    let listed = doors.send(signed(&here, Method::GET, "/api/v1/sign-ins")).await;
    let token = here.split('=').nth(1).unwrap();
    assert!(!listed.text().contains(token), "a listing must not let anybody in");
    let listed = listed.json()["sign_ins"].clone();
    let (own, others): (Vec<_>, Vec<_>) =
        listed.as_array().unwrap().iter().partition(|sign_in| sign_in["current"] == true);
    assert_eq!((own.len(), others.len()), (1, 1), "{listed}");
    assert_eq!(own[0]["username"], "anna");
    let path = format!("/api/v1/sign-ins/{}", others[0]["id"].as_str().unwrap());
    assert_eq!(doors.send(signed(&here, Method::DELETE, &path)).await.status, 204);
    doors.send(signed(&elsewhere, Method::GET, "/api/v1/session")).await.problem(401);
    assert_eq!(doors.send(signed(&here, Method::GET, "/api/v1/session")).await.status, 200);
    doors.send(signed(&here, Method::DELETE, &path)).await.problem(404);
    doors.get("/api/v1/sign-ins", &doors.read).await.problem(403);
    doors.stop().await;
}

#[tokio::test]
async fn saved_queries_are_kept_shared_changed_and_removed() {
    let doors = start(|_| {}).await;
    let cookie = doors.sign_in().await;
    let signed = |method, path: &str, body: &str| {
        let mut request = request(method, path, "", body);
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("x-palisade", "1".parse().unwrap());
        request
    };
    const PATH: &str = "/api/v1/saved-queries";
    let body = json!({"name": "bots", "query": "user:root since:7d", "options": {"cols": "ip"}});
    let made = doors.send(signed(Method::POST, PATH, &body.to_string())).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!((&made["account"], &made["shared"]), (&json!("anna"), &json!(false)));
    assert_eq!(made["options"], json!({"cols": "ip"}));
    doors.send(signed(Method::POST, PATH, &body.to_string())).await.problem(409);
    let nonsense = r#"{"name":"x","query":"colour:red"}"#;
    let detail = doors.send(signed(Method::POST, PATH, nonsense)).await.problem(422);
    assert!(detail.contains("colour"), "{detail}");
    doors.post(PATH, &doors.read, &body.to_string()).await.problem(403);
    assert_eq!(doors.get(PATH, &doors.read).await.json()["saved_queries"], json!([]));

    let one = format!("{PATH}/{}", made["id"].as_str().unwrap());
    let body = r#"{"name":"bots!","query":"user:root","shared":true}"#;
    let changed = doors.send(signed(Method::PUT, &one, body)).await.json();
    assert_eq!((&changed["name"], &changed["options"]), (&json!("bots!"), &json!({})));
    let seen = doors.get(PATH, &doors.read).await.json();
    assert_eq!(seen["saved_queries"], json!([changed]), "shared with who may read");
    doors.send(signed(Method::PUT, &format!("{PATH}/nonsense"), body)).await.problem(404);
    let by_key = request(Method::DELETE, &one, &doors.read, "");
    doors.send(by_key).await.problem(403);
    assert_eq!(doors.send(signed(Method::DELETE, &one, "")).await.status, 204);
    doors.send(signed(Method::DELETE, &one, "")).await.problem(404);
    doors.stop().await;
}

#[tokio::test]
async fn lists_for_the_page_and_for_monitoring_are_served() {
    let doors = start(|config| config.metrics_open = true).await;
    doors.deliver(&[attempt(0, b"root")]).await;
    let sensors = doors.get("/api/v1/sensors", &doors.read).await;
    assert_eq!(sensors.status, 200, "{}", sensors.text());
    let sensors = sensors.json();
    assert_eq!(sensors["sensors"][0]["sensor"], "edge-1");
    assert_eq!(sensors["sensors"][0]["events_total"], 1);
    let status = doors.get("/api/v1/status", &doors.read).await.json();
    assert_eq!(status["ingest"]["accepted"], 1);
    assert_eq!(status["store"]["state"], "ok");
    let fields = doors.get("/api/v1/fields", &doors.read).await.json();
    let fields = fields["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["name"] == "ip" && field["type"] == "ip"));
    assert_eq!(doors.get("/heartbeat", "").await.text(), "I'm alive");
    assert_eq!(doors.get("/healthz", "").await.json()["status"], "ok");
    let metrics = doors.get("/metrics", "").await.text();
    assert!(metrics.contains("palisade_http_answers_total{class=\"2xx\"}"));
    assert!(metrics.ends_with("# EOF\n"));
    doors.stop().await;
}

#[tokio::test]
async fn a_stream_gives_an_event_after_its_delivery_and_ends_with_the_hub() {
    use http_body_util::BodyExt as _;
    let doors = start(|_| {}).await;
    let stream = hyper_util::rt::TokioIo::new(doors.plain().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let open = request(Method::GET, "/api/v1/stream?q=user:wanted", &doors.read, "");
    let mut body = sender.send_request(open).await.unwrap().into_body();
    let wanted = attempt(1, b"wanted");
    doors.deliver(&[attempt(0, b"other"), wanted.clone()]).await;
    let mut text = String::new();
    while !text.contains("\n\n") {
        let frame = tokio::time::timeout(common::PATIENCE, body.frame()).await;
        let data = frame.expect("a message in time").unwrap().unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    assert!(text.contains("event: event\n"), "{text}");
    assert!(text.contains(&format!("id: {}\n", wanted.id)), "{text}");
    assert!(!text.contains("other"), "{text}");
    doors.close();
    let rest = tokio::time::timeout(common::PATIENCE, body.collect()).await;
    assert!(rest.is_ok(), "the stream ends when the doors close");
    driver.abort();
    doors.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_to_resync() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let doors = start(|_| {}).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(doors.addresses[1]).await.unwrap();
    let head = format!(
        "GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        doors.read
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0u8; 15];
    slow.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    // More than all buffers between hub and client hold.
    for round in 0..5u64 {
        let events: Vec<_> = (0..400)
            .map(|n| {
                let mut event = attempt(round * 400 + n, b"root");
                event.request = Some(palisade_event::Untrusted::new(vec![b'x'; 8192]));
                event
            })
            .collect();
        doors.deliver(&events).await;
    }
    let mut text = Vec::new();
    let mut step = vec![0u8; 65536];
    let found = tokio::time::timeout(common::PATIENCE, async {
        while !text.windows(13).any(|part| part == b"event: resync") {
            let count = slow.read(&mut step).await.unwrap();
            assert!(count > 0, "the stream ended without resync");
            text.extend_from_slice(&step[..count]);
        }
    });
    assert!(found.await.is_ok(), "no resync in {} bytes", text.len());
    doors.stop().await;
}

#[tokio::test]
async fn a_session_is_listed_shown_and_its_recording_given_out() {
    use palisade_event::{EventKind, SessionId};
    let doors = start(|_| {}).await;
    let in_session = |n: u64, kind| {
        let mut event = attempt(n, b"root");
        (event.kind, event.session) = (kind, Some(SessionId::new("abc-1").unwrap()));
        event
    };
    let mut part = in_session(1, EventKind::SessionRecorded);
    part.credentials = None;
    let part = part
        .with("part", 0_i64)
        .with("last", true)
        .with("asciicast", "[0.000,\"o\",\"~ # \"]\n<script>\n[1.500,\"o\",\"x\"]\n");
    doors.deliver(&[in_session(2, EventKind::AuthAttempted), part]).await;

    let list = doors.get("/api/v1/sessions?q=user:root&limit=5", &doors.read).await.json();
    assert_eq!((&list["sessions"][0]["id"], &list["next"]), (&json!("abc-1"), &json!(null)));
    assert_eq!(list["sessions"][0]["sensor"], "edge-1");
    assert_eq!(list["sessions"][0]["recorded"], true);
    let one = doors.get("/api/v1/sessions/abc-1", &doors.read).await.json();
    assert_eq!((one["events"].as_array().unwrap().len(), &one["next"]), (1, &json!(null)));
    assert_eq!(one["recording"]["length_ms"], 1_500);
    assert_eq!(one["recording"]["complete"], true);
    let cast = doors.get("/api/v1/sessions/abc-1/recording?sensor=edge-1", &doors.read).await;
    assert_eq!(cast.header("content-type"), "application/x-asciicast");
    assert!(cast.header("content-disposition").starts_with("attachment"));
    let cast = cast.text();
    let (head, lines) = cast.split_once('\n').unwrap();
    assert_eq!(lines, "[0.000,\"o\",\"~ # \"]\n[1.500,\"o\",\"x\"]\n");
    assert_eq!(serde_json::from_str::<serde_json::Value>(head).unwrap()["version"], 2);

    doors.get("/api/v1/sessions/none", &doors.read).await.problem(404);
    doors.get("/api/v1/sessions/none/recording", &doors.read).await.problem(404);
    doors.get("/api/v1/sessions/abc-1?sensor=other", &doors.read).await.problem(404);
    doors.get("/api/v1/sessions/%00", &doors.read).await.problem(400);
    doors.get("/api/v1/sessions?limit=201", &doors.read).await.problem(400);
    doors.get("/api/v1/sessions?colour=red", &doors.read).await.problem(400);
    doors.get("/api/v1/sessions?q=(", &doors.read).await.problem(422);
    for path in ["sessions", "sessions/abc-1", "sessions/abc-1/recording"] {
        doors.get(&format!("/api/v1/{path}"), "").await.problem(401);
        doors.get(&format!("/api/v1/{path}"), &doors.ingest).await.problem(403);
    }
    doors.stop().await;
}
