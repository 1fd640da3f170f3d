//! Alpha's dialect: SSH logins a machine and a day.

use crate::common;

use common::{Doors, now, request, send_over, start};
use http::Method;
use palisade_api::{Dialect, Listener, Openness};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A day that is over and not too long ago: the day before yesterday.
fn day() -> String {
    now().plus_millis(-2 * 24 * 60 * 60 * 1000).to_string()[..10].to_owned()
}

/// The five lines of Alpha's own example, on that day.
fn lines() -> String {
    [
        "17:37:18+00:00 ip-10-77-20-248 sshd[4890]: pam_unix(sshd:session): session closed for user elastic_user_9",
        "17:20:59+00:00 ip-10-77-20-248 sshd[4758]: Accepted password for elastic_user_2 from 85.245.107.41 port 54870 ssh2",
        "17:33:17+00:00 ip-10-77-20-248 sshd[4888]: Failed password for elastic_user_6 from 85.245.107.41 port 54957 ssh2",
        "17:33:17+00:00 ip-10-77-20-248 sshd[4888]: Connection closed by 85.245.107.41 port 54957 [preauth]",
        "17:37:18+00:00 ip-10-77-20-248 sshd[4890]: Accepted password for elastic_user_9 from 24.151.103.17 port 50686 ssh2",
    ]
    .map(|line| format!("{}T{line}\n", day()))
    .concat()
}

async fn read(doors: &Doors, lines: &str) {
    let answer = doors.post("/api/v1/logs/sshd", &doors.ingest, lines).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    while doors.hub.status().spool.pending_records > 0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn all(doors: &Doors) -> Value {
    doors.get(&format!("/sshcount/all/{}", day()), &doors.read).await.json()
}

#[tokio::test]
async fn the_five_lines_of_the_example_are_three_attempts_however_often_they_are_read() {
    let doors = start(|_| {}).await;
    for _ in 0..2 {
        read(&doors, &lines()).await;
        let one = doors.get(&format!("/sshcount/edge-1/{}", day()), &doors.read).await.json();
        assert_eq!(one, json!({"ssh_login_attempt": 3, "date": day(), "host": "edge-1"}));
    }
    // A number that comes again much later is another attempt; what comes late counts.
    let later = format!(
        "{day}T18:20:00+00:00 a sshd[4888]: Failed password for root from 85.245.107.41 port 5 ssh2\n\
         {day}T19:40:00+00:00 a sshd[4888]: Failed password for root from 85.245.107.41 port 6 ssh2\n",
        day = day()
    );
    read(&doors, &later).await;
    assert_eq!(all(&doors).await, json!({"date": day(), "all_ssh_login_attempts": {"edge-1": 4}}));
    let client = doors.get(&format!("/?date={}", day()), &doors.read).await;
    assert_eq!((client.status.as_u16(), client.text().as_str()), (200, "4"));
    let empty = doors.get("/?date=2001-01-01", &doors.read).await;
    assert_eq!(empty.text(), "0");
    // What an AlphaServer asks that has the hub in its inventory in the place of a client.
    for (path, count) in [("/sshcount/edge-1?date=", "4"), ("/sshcount/edge-1/?date=", "4")] {
        let answer = doors.get(&format!("{path}{}", day()), &doors.read).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, count), "{path}");
        assert_eq!(doors.get(&format!("{path}2001-01-01"), &doors.read).await.text(), "0");
    }
    doors.stop().await;
}

#[tokio::test]
async fn bad_dates_and_unknown_hosts_are_said_so() {
    let doors = start(|_| {}).await;
    read(&doors, &lines()).await;
    for (path, status) in [
        ("/sshcount/nobody/2026-11-20", 404),
        ("/sshcount/edge-1/2026-11-31", 422),
        ("/sshcount/edge-1/yesterday", 422),
        ("/sshcount/all/20261120", 422),
        ("/?date=", 400),
        ("/?date=x", 400),
        ("/sshcount/edge-1", 400),
        ("/sshcount/edge-1?date=2026-02-30", 400),
        ("/sshcount/nobody?date=2026-11-20", 404),
    ] {
        let answer = doors.get(path, &doors.read).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.json()["detail"].is_string());
    }
    assert_eq!(doors.get("/sshcount/all/2026-11-20", "").await.status, 401);
    assert_eq!(doors.get("/sshcount/all/2026-11-20", &doors.ingest).await.status, 403);
    // Without a date it is the page.
    assert_eq!(doors.get("/", "").await.header("content-type"), "text/html; charset=utf-8");
    doors.stop().await;
}

/// An AlphaClient that answers one question after the other.
async fn client(answer: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&head[..read]).into_owned();
            assert!(asked.starts_with("GET /?date=20"), "{asked}");
            if answer.is_empty() {
                // It is there and says nothing.
                tokio::time::sleep(common::PATIENCE).await;
            }
            let text =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn clients_elsewhere_are_asked_at_once_and_a_dead_one_is_null() {
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let clients = [
        ("ABC", client("12").await),
        ("DUMB", client("").await),
        ("GONE", gone),
        ("ODD", client("\"many\"").await),
    ];
    let doors = start(|config| {
        config.alpha.open = Openness::All;
        config.alpha.client_secs = 1;
        config.alpha.clients =
            clients.map(|(name, url)| (name.to_owned(), url)).into_iter().collect();
        let first = config.listeners[1].clone();
        config.listeners.push(Listener { dialects: vec![Dialect::Alpha], ..first });
    })
    .await;
    read(&doors, &lines()).await;
    let alone = async |path: String| {
        let stream = tokio::net::TcpStream::connect(doors.addresses[2]).await.unwrap();
        send_over(stream, request(Method::GET, &path, "", "")).await
    };
    let counted = alone(format!("/sshcount/all/{}", day())).await.json();
    assert_eq!(
        counted["all_ssh_login_attempts"],
        json!({"ABC": 12, "DUMB": null, "GONE": null, "ODD": null, "edge-1": 3})
    );
    let one = alone(format!("/sshcount/ABC/{}", day())).await.json();
    assert_eq!(one["ssh_login_attempt"], 12);
    let dead = alone(format!("/sshcount/GONE/{}", day())).await;
    assert_eq!((dead.status.as_u16(), &dead.json()["ssh_login_attempt"]), (200, &Value::Null));
    assert_eq!(alone(format!("/?date={}", day())).await.text(), "3");
    // Without a date it is the page elsewhere; on a door of this dialect alone it is a mistake.
    assert_eq!(alone("/".into()).await.status, 400);
    assert_eq!(alone("/api/v1/hosts".into()).await.status, 404);
    doors.hub.look_at_hosts(now()).await.unwrap();
    let hosts = doors.get("/api/v1/hosts", &doors.read).await.json();
    assert_eq!(hosts["hosts"][0]["source"], "alpha");
    doors.stop().await;
}
