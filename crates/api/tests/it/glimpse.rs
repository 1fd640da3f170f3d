//! Glimpse's Data API as its script and its readers use it, and the pages of its
//! users.

use crate::common;

use bytes::Bytes;
use common::{Answer, Doors, PASSWORD, now, send_over, start};
use http::{Method, Request, header};
use http_body_util::Full;
use palisade_api::{Dialect, Listener};
use palisade_event::{Domain, SensorId};
use palisade_hub::{Principal, Scope};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const KEY: &str = "glimpse";

async fn open() -> Doors {
    start(|config| {
        config.glimpse.key = Some(KEY.into());
        let first = config.listeners[1].clone();
        config.listeners.push(Listener { dialects: vec![Dialect::Glimpse], ..first });
    })
    .await
}

fn body(method: Method, path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, "python-requests/2.28.1")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

/// As the script sends it: over TLS, also GET with a body.
async fn ask(doors: &Doors, method: Method, path: &str, asked: &Value) -> Answer {
    send_over(doors.tls().await, body(method, path, asked)).await
}

async fn get(doors: &Doors, path: &str, asked: &Value) -> Answer {
    ask(doors, Method::GET, path, asked).await
}

async fn post(doors: &Doors, path: &str, asked: &Value) -> Answer {
    ask(doors, Method::POST, path, asked).await
}

#[track_caller]
fn is(answer: &Answer, status: u16, word: &str) {
    assert_eq!(answer.json(), json!({"Status": word}), "{}", answer.status);
    assert_eq!(answer.status, status);
}

/// What the script says of a machine.
fn info(hostname: &str, usage: f64) -> Value {
    json!({
        "hostname": hostname,
        "cpu": {"usage": usage, "p_cores": 2, "t_cores": 4, "max_freq": "3600.0", "cur_freq": "1200.5"},
        "mem": {"total": 8_000_000_000_u64, "used": 2_000_000_000_u64},
        "swap": {"total": 0, "used": 0},
        "uptime": 5555.5,
        "specs": {"system": "Linux", "release": "6.1.0-18", "version": "#1 SMP", "machine": "x86_64", "processor": ""},
        "network": {"sent": "1.50KB", "recv": "2.00GB"},
        "disk": {"total": "50.00GB", "used": "20.00GB", "free": "30.00GB"},
        "something_new": {"a": [1, "<b>"]},
    })
}

fn push(ip: &str, hostname: &str, usage: f64) -> Value {
    json!({"API_KEY": KEY, "IP": ip, "data": info(hostname, usage)})
}

fn log(ip: &str, msg: &str) -> Value {
    let log = json!({"timestamp": "2026-11-20 20:07:14.123456", "log_type": "Alert", "msg": msg});
    json!({"API_KEY": KEY, "IP": ip, "log": log})
}

/// Until the log of a machine has so many entries.
async fn logged(doors: &Doors, ip: &str, wanted: usize) -> Value {
    let asked = json!({"API_KEY": KEY, "IP": ip, "get_logs": {"start": "90"}});
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    loop {
        let answer = get(doors, "/get_servers_logs", &asked).await;
        let rows = answer.json();
        if answer.status == 200
            && rows.as_object().unwrap().len() == wanted
            && rows.get("Status").is_none()
        {
            return rows;
        }
        assert!(tokio::time::Instant::now() < deadline, "{rows}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_script_pushes_and_readers_get_it_back_as_it_was() {
    let doors = open().await;
    is(&get(&doors, "/test", &json!({})).await, 200, "OK-REQUEST");
    is(
        &post(&doors, "/push_servers_info", &push("192.0.2.1", "web-1", 10.0)).await,
        200,
        "OK-REQUEST",
    );
    is(
        &post(&doors, "/push_servers_info", &push("192.0.2.7", "db-1", 20.0)).await,
        200,
        "OK-REQUEST",
    );
    // The same machine again: its newest word counts.
    is(
        &post(&doors, "/push_servers_info", &push("192.0.2.1", "web-1", 33.5)).await,
        200,
        "OK-REQUEST",
    );
    let list = json!({"API_KEY": KEY, "request": {"list_servers": "all"}});
    let list = get(&doors, "/get_servers_info", &list).await;
    assert_eq!(list.json(), json!({"1": "192.0.2.1", "2": "192.0.2.7"}));
    let one = json!({"API_KEY": KEY, "request": {"info": "192.0.2.1"}});
    let one = get(&doors, "/get_servers_info", &one).await;
    let mut expected = info("web-1", 33.5);
    expected["IP"] = json!("192.0.2.1");
    assert_eq!(one.json(), expected);

    // The page sees a machine like any other, and says where it is from.
    let hosts = doors.get("/api/v1/hosts", &doors.read).await.json();
    let web =
        hosts["hosts"].as_array().unwrap().iter().find(|host| host["name"] == "web-1").unwrap();
    assert_eq!(
        json!([web["id"], web["source"], web["os"], web["state"], web["address"]]),
        json!(["glimpse~192.0.2.1", "glimpse", "Linux 6.1.0-18", "ok", "192.0.2.1"])
    );
    let shown = doors.get("/api/v1/hosts/glimpse~192.0.2.1", &doors.read).await.json();
    assert_eq!(shown["sections"]["system"]["data"]["cpu"]["usage"], 33.5);
    doors.stop().await;
}

#[tokio::test]
async fn logs_come_back_in_their_order_the_first_of_them() {
    let doors = open().await;
    post(&doors, "/push_servers_info", &push("192.0.2.1", "web-1", 10.0)).await;
    for number in 0..14 {
        let pushed = log("192.0.2.1", &format!("Memory consumption is {number} of 8. "));
        is(&post(&doors, "/push_servers_logs", &pushed).await, 200, "OK-REQUEST");
    }
    // The form of its README.
    let readme = json!({"API_KEY": KEY, "logs": {"IP": "192.0.2.1", "Timestamp": "t", "log_type": "OK", "msg": "all well"}});
    is(&post(&doors, "/push_servers_logs", &readme).await, 200, "OK-REQUEST");
    let rows = logged(&doors, "192.0.2.1", 15).await;
    assert_eq!(rows["1"]["log"]["msg"], "Memory consumption is 0 of 8. ");
    assert_eq!(rows["1"]["IP"], "192.0.2.1");
    assert!(rows["1"]["_id"].is_string());
    assert_eq!(rows["15"]["log"], json!({"timestamp": "t", "log_type": "OK", "msg": "all well"}));
    let asked = json!({"API_KEY": KEY, "IP": "192.0.2.1", "get_logs": {"start": "2"}});
    let first = get(&doors, "/get_servers_logs", &asked).await.json();
    assert_eq!(first.as_object().unwrap().len(), 12);
    assert_eq!(first["12"]["log"]["msg"], "Memory consumption is 11 of 8. ");
    // Numbers do as well as text, and a huge one is all there is.
    let asked =
        json!({"API_KEY": KEY, "IP": "192.0.2.1", "get_logs": {"start": 4_000_000_000_u64}});
    assert_eq!(
        get(&doors, "/get_servers_logs", &asked).await.json().as_object().unwrap().len(),
        15
    );
    for start in [json!(-1), json!("-5"), json!("x"), json!("99999999999999999999999"), json!(null)]
    {
        let asked = json!({"API_KEY": KEY, "IP": "192.0.2.1", "get_logs": {"start": start}});
        is(&get(&doors, "/get_servers_logs", &asked).await, 400, "ERROR-REQUEST");
    }
    let nobody = json!({"API_KEY": KEY, "IP": "192.0.2.99", "get_logs": {"start": "0"}});
    is(&get(&doors, "/get_servers_logs", &nobody).await, 200, "EMPTY-REQUEST");

    let clear = |what: &str| json!({"API_KEY": KEY, "request": {"clear": what}});
    is(&post(&doors, "/clearit", &clear("logs")).await, 200, "OK-REQUEST");
    let asked = json!({"API_KEY": KEY, "IP": "192.0.2.1", "get_logs": {"start": "0"}});
    assert_eq!(get(&doors, "/get_servers_logs", &asked).await.json(), json!({}));
    is(&post(&doors, "/push_servers_logs", &log("192.0.2.1", "after")).await, 200, "OK-REQUEST");
    assert_eq!(logged(&doors, "192.0.2.1", 1).await["1"]["log"]["msg"], "after");
    is(&post(&doors, "/clearit", &clear("192.0.2.1")).await, 200, "OK-REQUEST");
    is(
        &get(
            &doors,
            "/get_servers_info",
            &json!({"API_KEY": KEY, "request": {"info": "192.0.2.1"}}),
        )
        .await,
        400,
        "ERROR-REQUEST",
    );
    is(&post(&doors, "/clearit", &clear("everything")).await, 400, "ERROR-REQUEST");
    is(&post(&doors, "/push_servers_info", &push("192.0.2.7", "db", 1.0)).await, 200, "OK-REQUEST");
    is(&post(&doors, "/clearit", &clear("servers")).await, 200, "OK-REQUEST");
    let list = json!({"API_KEY": KEY, "request": {"list_servers": "all"}});
    assert_eq!(get(&doors, "/get_servers_info", &list).await.json(), json!({}));
    doors.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_gets_one_clear_answer() {
    let doors = open().await;
    let good = push("192.0.2.1", "web-1", 1.0);
    let without = |name: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for bad in [
        without("API_KEY"),
        without("IP"),
        without("data"),
        with("IP", json!("")),
        with("IP", json!("web-1")),
        with("IP", json!("999.0.0.1")),
        with("IP", json!(7)),
        with("data", json!({})),
        with("data", json!("text")),
        with("API_KEY", json!(null)),
        with("data", json!({"hostname": "x".repeat(50_000)})),
        json!([]),
        json!("API_KEY"),
    ] {
        is(&post(&doors, "/push_servers_info", &bad).await, 400, "ERROR-REQUEST");
    }
    let no_json = Request::builder().method("POST").uri("/push_servers_info").header("host", "a");
    let no_json = send_over(
        doors.tls().await,
        no_json.body(Full::new(Bytes::from("API_KEY=glimpse"))).unwrap(),
    )
    .await;
    is(&no_json, 400, "ERROR-REQUEST");
    let unknown = json!({"API_KEY": KEY, "request": {"reboot": "all"}});
    is(&get(&doors, "/get_servers_info", &unknown).await, 400, "UNKNOWN-REQUEST");
    is(&get(&doors, "/get_servers_info", &json!({"API_KEY": KEY})).await, 400, "ERROR-REQUEST");
    let absurd = json!({"API_KEY": KEY, "IP": "192.0.2.1", "data": {"cpu": {"usage": 1e308, "t_cores": -4},
        "mem": "none", "uptime": [], "disk": {"total": "infGB"}, "hostname": "\u{0}\u{202e}x y"}});
    is(&post(&doors, "/push_servers_info", &absurd).await, 200, "OK-REQUEST");
    let hosts = doors.get("/api/v1/hosts", &doors.read).await.json();
    assert_eq!(
        (&hosts["hosts"][0]["name"], &hosts["hosts"][0]["os"]),
        (&Value::Null, &Value::Null)
    );
    for wrong in ["", "Glimpse", "glimpse ", &"x".repeat(10_000)] {
        is(
            &post(&doors, "/push_servers_info", &with("API_KEY", json!(wrong))).await,
            401,
            "AUTH-REQUIRED",
        );
    }
    doors.stop().await;
}

#[tokio::test]
async fn an_inventory_of_a_hundred_megabytes_is_refused_before_it_is_sent() {
    let doors = open().await;
    let mut stream = doors.plain().await;
    let head = "POST /push_servers_info HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 104857600\r\nConnection: close\r\n\r\n{\"API_KEY\":\"glimpse\",";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(common::PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    doors.stop().await;
}

#[tokio::test]
async fn a_key_of_its_own_reaches_no_machine_of_another_and_no_other_door() {
    let doors = open().await;
    let me = Principal::local(None);
    let name = SensorId::new("rack-7").unwrap();
    let made =
        doors.hub.add_key(&me, name, &[Scope::Glimpse], Domain::Private, now()).await.unwrap();
    let own = |mut body: Value| {
        body["API_KEY"] = json!(made.key);
        body
    };
    is(
        &post(&doors, "/push_servers_info", &push("192.0.2.1", "web-1", 1.0)).await,
        200,
        "OK-REQUEST",
    );
    // It claims the address of another one's machine.
    is(
        &post(&doors, "/push_servers_info", &own(push("192.0.2.1", "evil", 99.0))).await,
        200,
        "OK-REQUEST",
    );
    let asked = json!({"API_KEY": KEY, "request": {"info": "192.0.2.1"}});
    assert_eq!(get(&doors, "/get_servers_info", &asked).await.json()["hostname"], "web-1");
    assert_eq!(get(&doors, "/get_servers_info", &own(asked)).await.json()["hostname"], "evil");
    let clear = own(json!({"request": {"clear": "servers"}}));
    is(&post(&doors, "/clearit", &clear).await, 200, "OK-REQUEST");
    let list = json!({"API_KEY": KEY, "request": {"list_servers": "all"}});
    assert_eq!(get(&doors, "/get_servers_info", &list).await.json(), json!({"1": "192.0.2.1"}));
    // Other doors do not know it, nor this one other keys.
    assert_eq!(doors.get("/api/v1/hosts", &made.key).await.status, 403);
    assert_eq!(doors.post("/api/v1/events", &made.key, "{}").await.status, 403);
    let mut foreign = push("192.0.2.9", "x", 1.0);
    foreign["API_KEY"] = json!(doors.ingest);
    is(&post(&doors, "/push_servers_info", &foreign).await, 401, "AUTH-REQUIRED");
    doors.stop().await;
    // Without a key in the settings the one that everybody knows is none.
    let doors = start(|_| {}).await;
    is(
        &post(&doors, "/push_servers_info", &push("192.0.2.1", "x", 1.0)).await,
        401,
        "AUTH-REQUIRED",
    );
    doors.stop().await;
}

/// A form to the door for this dialect alone.
async fn form(doors: &Doors, path: &str, cookie: &str, text: &str) -> Answer {
    let request = Request::builder()
        .method("POST")
        .uri(path)
        .header("host", "localhost")
        .header("cookie", cookie)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::copy_from_slice(text.as_bytes())))
        .unwrap();
    alone(doors, request).await
}

async fn alone(doors: &Doors, request: Request<Full<Bytes>>) -> Answer {
    send_over(tokio::net::TcpStream::connect(doors.addresses[2]).await.unwrap(), request).await
}

async fn page(doors: &Doors, path: &str, cookie: &str) -> Answer {
    let request = Request::builder().uri(path).header("host", "localhost").header("cookie", cookie);
    alone(doors, request.body(Full::new(Bytes::new())).unwrap()).await
}

#[tokio::test]
async fn users_sign_in_see_the_machines_and_manage_accounts() {
    let doors = open().await;
    is(
        &post(&doors, "/push_servers_info", &push("192.0.2.1", "web-1", 12.5)).await,
        200,
        "OK-REQUEST",
    );
    let front = page(&doors, "/", "").await;
    assert_eq!((front.status.as_u16(), front.header("location")), (303, "/login"));
    assert_eq!(page(&doors, "/home", "").await.header("location"), "/login");
    let wrong = form(&doors, "/login", "", "username=anna&password=nope").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text().contains("User name or password is wrong."), "{}", wrong.text());
    let right = format!("username=anna&password={}", PASSWORD.replace(' ', "+"));
    let begun = form(&doors, "/login", "", &right).await;
    assert_eq!(
        (begun.status.as_u16(), begun.header("location")),
        (303, "/home"),
        "{}",
        begun.text()
    );
    let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(page(&doors, "/", &cookie).await.header("location"), "/home");
    let home = page(&doors, "/home", &cookie).await.text();
    assert!(
        home.contains("<td>web-1</td><td>192.0.2.1</td>") && home.contains("<td>12.5</td>"),
        "{home}"
    );

    // The Data API's answers without a key.
    assert_eq!(page(&doors, "/get_server_list", &cookie).await.json(), json!({"1": "192.0.2.1"}));
    is(&page(&doors, "/get_server_list", "").await, 401, "AUTH-REQUIRED");
    let json = async |path: &str, cookie: &str, asked: Value| {
        let mut request = body(Method::POST, path, &asked);
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        alone(&doors, request).await
    };
    let shown = json("/get_server_info", &cookie, json!({"info": "192.0.2.1"})).await.json();
    assert_eq!(shown["hostname"], "web-1");
    is(
        &json("/get_server_info", &cookie, json!({"info": "192.0.2.2"})).await,
        400,
        "ERROR-REQUEST",
    );

    // Accounts: access levels are roles, and the first one stays.
    doors.hub.bootstrap_admin(now()).await.unwrap();
    let viewer = "username=ben&password=long+enough+for+ben&access=1";
    assert_eq!(form(&doors, "/register", "", viewer).await.header("location"), "/login");
    assert_eq!(form(&doors, "/register", &cookie, viewer).await.status, 201);
    assert_eq!(form(&doors, "/register", &cookie, viewer).await.status, 409);
    let level = "username=cat&password=long+enough+for+cat&access=9";
    assert_eq!(form(&doors, "/register", &cookie, level).await.status, 400);
    let ben = form(&doors, "/login", "", "username=ben&password=long+enough+for+ben").await;
    let ben = ben.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(form(&doors, "/removeuser", &ben, "username=anna").await.status, 403);
    is(&json("/clear", &ben, json!({"clear": "servers"})).await, 401, "AUTH-REQUIRED");
    let kept = form(&doors, "/removeuser", &cookie, "username=admin").await;
    assert_eq!(kept.status, 400);
    assert!(kept.text().contains("cannot be removed"), "{}", kept.text());
    assert_eq!(form(&doors, "/removeuser", &cookie, "username=ben").await.status, 200);
    assert_eq!(form(&doors, "/removeuser", &cookie, "username=ben").await.status, 404);
    is(&json("/clear", &cookie, json!({"clear": "servers"})).await, 200, "OK-REQUEST");
    assert_eq!(page(&doors, "/get_server_list", &cookie).await.json(), json!({}));

    // Another site's page cannot change anything in one's name.
    let request = Request::builder()
        .method("POST")
        .uri("/register")
        .header("host", "localhost")
        .header("origin", "https://evil.example")
        .header("cookie", &cookie)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(viewer)))
        .unwrap();
    assert_eq!(alone(&doors, request).await.status, 403);
    let out = page(&doors, "/logout", &cookie).await;
    assert_eq!(out.header("location"), "/login");
    assert_eq!(page(&doors, "/home", &cookie).await.header("location"), "/login");
    doors.stop().await;
}

#[tokio::test]
async fn a_door_of_this_dialect_alone_has_nothing_else() {
    let doors = open().await;
    for path in ["/api/v1/events", "/metrics", "/v1/analytics", "/alert/heartbeat"] {
        assert_eq!(page(&doors, path, "").await.status, 404, "{path}");
    }
    // Beside our own page, its sign-in leads there.
    let right = format!("username=anna&password={}", PASSWORD.replace(' ', "+"));
    let request = Request::builder()
        .method("POST")
        .uri("/login")
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(right)))
        .unwrap();
    let begun = doors.send(request).await;
    assert_eq!(begun.header("location"), "/home");
    let request = Request::builder().uri("/home").header("host", "localhost");
    let home = doors.send(request.body(Full::new(Bytes::new())).unwrap()).await;
    assert_eq!(home.header("location"), "/login");
    doors.stop().await;
}
