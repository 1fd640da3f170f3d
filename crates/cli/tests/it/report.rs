//! What HoneyPotR was not able to do, by the real binary: its report API with rows
//! of plug-ins, and nothing lost of clients that come one after another.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::support::{self, PATIENCE, Palisade};

const GUEST: &str = "return { api = 1, name = 'guest', about = 'x', ports = { tcp = { 7 } },
  columns = { { 'word', 'TEXT' }, { 'size', 'INTEGER' }, { 'share', 'REAL' }, { 'odd', 'BOOL' } },
  serve = function(conn)
    while true do
      local line = conn:read_line()
      if line == nil then return end
      local _, why = record({ word = line, size = #line, share = #line / 2, odd = #line % 2 == 1 })
      conn:write((why or 'kept') .. '\\n')
    end
  end }";

/// An answer of the API without its head.
fn ask(palisade: &Palisade, key: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(palisade.http_api()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // HTTP/1.0: the body is whole and ends with the connection.
    let asked = format!("GET {path} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n");
    stream.write_all(asked.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{path}: {answer}");
    body.to_owned()
}

fn json_of(palisade: &Palisade, key: &str, path: &str) -> Value {
    serde_json::from_str(&ask(palisade, key, path)).unwrap()
}

fn key(palisade: &Palisade) -> String {
    let key = palisade.cli(&["key", "add", "reads", "--scope", "read", "--format", "json"]);
    let key: Value = serde_json::from_slice(&key.stdout).unwrap();
    key["key"].as_str().unwrap().to_owned()
}

#[test]
fn rows_of_a_plug_in_are_in_every_report_with_their_columns() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("guest");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("init.luau"), GUEST).unwrap();
    // Ports above 9000 were refused there; those of the system are.
    let settings =
        support::settings(home.path()) + "\n[[honeypot.plugin]]\npath = \"guest\"\nport = 0\n";
    std::fs::write(home.path().join("palisade.toml"), settings).unwrap();
    let palisade = Palisade::up(home.path());
    let address: SocketAddr =
        palisade.wait_printed("honeypot plugin on").rsplit(' ').next().unwrap().parse().unwrap();
    assert!(address.port() > 9_000);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for word in ["root", "SESSION=x\"", "'; DROP TABLE guest; --"] {
        client.write_all(format!("{word}\n").as_bytes()).unwrap();
        assert_eq!(support::read_until(&mut client, "\n"), "kept\n");
    }
    drop(client);
    palisade.wait_count("kind:session.closed daemon:guest", 1);

    let key = key(&palisade);
    let ports = json_of(&palisade, &key, "/v1/analytics/ports");
    let port = address.port().to_string();
    let row = ports.as_array().unwrap().iter().find(|row| row["port"] == port.as_str()).unwrap();
    assert_eq!(
        (&row["total_attacks"], &row["unique_ipaddresses"]),
        (&json!("1"), &json!("1")),
        "{ports}"
    );
    let shown = json_of(&palisade, &key, &format!("/v1/analytics/ports/{port}?hours=1"));
    let session = &shown["items"][0];
    assert_eq!(session["peer_address"], "127.0.0.1");
    let rows: Vec<Value> = session["session_items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["word"], row["size"], row["share"], row["odd"]]))
        .collect();
    assert_eq!(
        json!(rows),
        json!([
            ["root", 4, 2.0, false],
            ["SESSION=x\"", 10, 5.0, false],
            ["'; DROP TABLE guest; --", 23, 11.5, true]
        ])
    );
    let all = json_of(&palisade, &key, "/v1/analytics/ipaddresses");
    assert_eq!(all[0]["ipaddress"], "127.0.0.1", "{all}");
    let one = json_of(&palisade, &key, "/v1/analytics/ipaddresses/127.0.0.1");
    let of_port = one["ports"].as_array().unwrap().iter().find_map(|entry| entry.get(&port));
    let items = of_port.unwrap()[0]["session_items"].as_array().unwrap();
    assert_eq!(items[1]["word"], "SESSION=x\"");

    // The table of events finds them by any column, and its CSV has them.
    for (query, count) in [
        ("attr.word:root", 1),
        ("attr.word:\"SESSION=x\\\"\"", 1),
        ("attr.word:*DROP*", 1),
        ("attr.size:>4", 2),
        ("attr.size:4..10", 2),
        ("attr.size:4.0", 1),
        ("attr.share:>5 attr.odd:true", 1),
        ("attr.odd:false -attr.word:root", 1),
        ("attr.plugin:guest", 3),
        ("attr.absent:*", 0),
    ] {
        let query = format!("kind:plugin.recorded {query}");
        assert_eq!(palisade.count(&query), count, "{query}");
    }
    assert_eq!(palisade.count("attr.duration_ms:>=0 daemon:guest"), 1, "no row, but an attribute");
    let table = ask(&palisade, &key, "/api/v1/events?q=attr.size:23&format=csv");
    assert!(table.contains("DROP TABLE guest"), "{table}");
    assert_eq!(palisade.terminate(), Some(0));
}

#[test]
fn of_clients_one_after_another_none_is_lost_and_what_they_sent_outlives_the_end() {
    const CLIENTS: usize = 300;
    let home = tempfile::tempdir().unwrap();
    let palisade = Palisade::up(home.path());
    for number in 0..CLIENTS {
        let mut client = TcpStream::connect(palisade.http()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let asked = format!(
            "GET /index.html?{number} HTTP/1.1\r\nHost: x\r\nCookie: SESSION=x\"\r\nConnection: close\r\n\r\n"
        );
        client.write_all(asked.as_bytes()).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "client {number} was not answered");
    }
    // With all of that on its way.
    assert_eq!(palisade.terminate(), Some(0));
    let palisade = Palisade::up(home.path());
    palisade.wait_count("kind:http.requested", CLIENTS as u64);
    let first = palisade.first("kind:http.requested request:\"GET /index.html?0\"");
    let headers = first["attributes"]["headers"].as_str().unwrap();
    assert!(headers.contains("SESSION=x\""), "{first}");
    assert_eq!(palisade.terminate(), Some(0));
}
