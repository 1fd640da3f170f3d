//! Plug-ins in a running zone: what they serve and tell, that a hostile or broken
//! one harms nobody else, and that a change loses no connection.

use std::path::Path;

use palisade_event::{AttributeValue, Event, EventKind};
use palisade_honeypot::plugin::{Source, check, test};
use palisade_honeypot::{Config, Honeypot, PluginConfig, ServiceKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::support::{PATIENCE, Zone, config, connect, kinds, number, read_until, text};
use crate::tls;

/// The folder of the shipped plug-ins.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");

/// A plug-in whose `serve(conn)` has this body, on a free port.
fn service(name: &str, body: &str) -> String {
    format!(
        "return {{ api = 1, name = '{name}', about = 'x', ports = {{ tcp = {{7}} }},
          columns = {{ {{'n', 'INTEGER'}}, {{'t', 'TEXT'}} }},
          serve = function(conn)\n{body}\nend }}"
    )
}

fn write(folder: &Path, name: &str, init: &str) {
    let plugin = folder.join(name);
    std::fs::create_dir_all(&plugin).unwrap();
    std::fs::write(plugin.join("init.luau"), init).unwrap();
}

/// A zone of these plug-ins alone, each on a free port.
fn zone_of(folder: &Path, names: &[&str]) -> Config {
    let plugin = |name: &&str| {
        let mut plugin = PluginConfig::new(None, Some(folder.join(name)));
        plugin.port = Some(palisade_honeypot::OneOrMore::One(0));
        plugin.udp_port = Some(palisade_honeypot::OneOrMore::One(0));
        plugin
    };
    Config { services: Vec::new(), plugin: names.iter().map(plugin).collect(), ..config() }
}

/// All that comes until the server closes.
async fn all(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got));
    let _ = reading.await.expect("the server closes in time");
    got
}

/// Events without the reports of plug-ins.
fn told(events: Vec<Event>) -> Vec<Event> {
    events.into_iter().filter(|event| event.kind != EventKind::PluginReported).collect()
}

fn reports(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.kind == EventKind::PluginReported).collect()
}

#[test]
fn every_shipped_plug_in_passes_its_transcripts_and_has_a_page() {
    let mut count = 0;
    for source in Source::all_shipped() {
        let folder = Path::new(SHIPPED).join(source.name.as_str());
        assert!(folder.join("README.md").is_file(), "{}: no README.md", source.name);
        let played = test(&folder).unwrap();
        assert!(!played.is_empty(), "{}: no transcripts", source.name);
        for (file, ended) in played {
            assert_eq!(ended, Ok(()), "{}: {file}", source.name);
            count += 1;
        }
    }
    assert!(count >= 3);
}

#[tokio::test]
async fn a_login_over_ftp_is_told_with_its_rows() {
    let mut config = Config { services: Vec::new(), ..config() };
    let mut ftp =
        PluginConfig::new(Some(palisade_honeypot::plugin::PluginName::new("ftp").unwrap()), None);
    ftp.port = Some(palisade_honeypot::OneOrMore::One(0));
    config.plugin.push(ftp);
    let mut zone = Zone::start(&config).await;
    let mut stream = connect(zone.addresses[0].1).await;
    assert!(read_until(&mut stream, b"\r\n").await.starts_with(b"220 (vsFTPd 3.0."));
    stream.write_all(b"USER ro\xffot\r\nPASS toor\r\n").await.unwrap();
    read_until(&mut stream, b"530 Login incorrect.\r\n").await;
    stream.write_all(b"QUIT\r\n").await.unwrap();
    assert!(all(&mut stream).await.ends_with(b"221 Goodbye.\r\n"));
    let events = told(zone.session().await);
    assert_eq!(
        kinds(&events),
        [
            "connection.opened",
            "plugin.recorded",
            "plugin.recorded",
            "auth.attempted",
            "plugin.recorded",
            "command.entered",
            "session.closed"
        ]
    );
    for event in &events {
        assert_eq!(event.analyzer.as_ref().unwrap().as_str(), "ftp");
        assert_eq!(event.category.as_ref().unwrap().as_str(), "FTP(palisade)");
        assert_eq!(event.session, events[0].session);
    }
    assert!(events.is_sorted_by_key(|event| event.id));
    assert_eq!(text(&events[1], "argument"), b"ro\xffot");
    let tried = events[3].credentials.as_ref().unwrap();
    assert_eq!(tried.password.as_ref().unwrap().as_bytes(), b"toor");
    let ended = zone.end().await;
    let last = *reports(&ended).last().unwrap();
    assert_eq!((number(last, "sessions"), number(last, "rows")), (1, 3));
    assert_eq!(text(last, "state"), b"serving");
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_written_to_ends_as_any_other() {
    let home = tempfile::tempdir().unwrap();
    write(
        home.path(),
        "talks",
        &service("talks", "while true do conn:write(string.rep('x', 4096)) end"),
    );
    let mut zone = Zone::start(&zone_of(home.path(), &["talks"])).await;
    let mut stream = connect(zone.addresses[0].1).await;
    stream.read_exact(&mut [0; 64]).await.unwrap();
    // With bytes that it has not read, so that the next write fails.
    drop(stream);
    assert_eq!(kinds(&told(zone.session().await)), ["connection.opened", "session.closed"]);
}

/// Each of the scripts that a plug-in must not be able to do harm with, and what
/// is said of it.
const HOSTILE: &[(&str, &str, &str)] = &[
    ("loop", "while true do end", "more than 100 ms"),
    ("caught", "while true do pcall(function() while true do end end) end", "more than 100 ms"),
    ("waits", "pcall(function() while true do end end) conn:read(1)", "more than 100 ms"),
    ("hog", "local t = {} while true do t[#t + 1] = string.rep('x', 1000) .. #t end", "memory"),
    (
        "caughthog",
        "local t = {} while true do pcall(function() t[#t + 1] = string.rep('x', 1e6) .. #t end) end",
        "memory",
    ),
    ("rep", "string.rep('x', 1e9)", "memory"),
    ("concat", "local s = 'x' while true do s = s .. s end", "memory"),
    ("deep", "local function f() return 1 + f() end f()", "stack overflow"),
    ("nested", "coroutine.wrap(function() while true do end end)()", "more than 100 ms"),
    ("sort", "table.sort({3, 2, 1, 5, 4}, function() while true do end end)", "more than 100 ms"),
    ("gsub", "string.gsub('aaa', 'a', function() while true do end end)", "more than 100 ms"),
    ("pattern", "string.find(string.rep('a', 3000), '.-.-.-.-b')", "more than 100 ms"),
    ("yield", "while true do coroutine.yield() end", "nobody resumes it"),
    ("rows", "while true do record({n = 1}) end", "more than 1000 events"),
    ("os", "os.execute('id')", "attempt to index nil"),
    ("io", "io.open('/etc/passwd')", "attempt to index nil"),
    ("load", "loadstring('return 1')()", "attempt to call a nil value"),
    ("require", "require('/etc/passwd')", "there is no /etc/passwd.luau"),
    ("elsewhere", "require('../ftp/init')", "there is no ../ftp/init.luau"),
    ("env", "getfenv(0)", "attempt to call a nil value"),
    ("global", "string.rep = nil", "readonly"),
    ("error", "error('a\\nb\\27[2J')", "line 5: a"),
    ("object", "error({})", ""),
    ("index", "local x = nil; return x.y", "line 5: attempt to index nil"),
    ("big", "conn:read(1e9)", "max is a whole number from 1 to 65536"),
    ("negative", "conn:read(-1)", "max is a whole number"),
    ("nan", "conn:sleep(0/0)", "seconds is a number"),
    ("wrong", "conn:write({})", "error converting"),
    ("foreign", "conn.read('x', 1)", ""),
    (
        "thread",
        "coroutine.wrap(function() conn:read(1) end)()",
        "coroutine of their own connection",
    ),
    ("comparator", "table.sort({2, 1}, function() conn:read(1) return false end)", "yield across"),
    ("bytes", "random.fresh(1e12)", "a whole number from 0 to"),
    ("json", "local t = {} t.t = t json.encode(t)", "too deep"),
    ("format", "date('%')", "form of the date"),
];

#[tokio::test]
async fn every_hostile_script_is_stopped_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let body = |body: &str| format!("conn:read(1)\n{body}");
    for (name, script, _) in HOSTILE {
        write(folder.path(), name, &service(name, &body(script)));
    }
    write(
        folder.path(),
        "good",
        &service(
            "good",
            "while true do local b = conn:read(10) if b == nil then return end conn:write(b) end",
        ),
    );
    let mut names: Vec<&str> = HOSTILE.iter().map(|(name, ..)| *name).collect();
    names.push("good");
    // Room for all that is told: nobody reads until the end.
    let zone = Zone::with_channel(&zone_of(folder.path(), &names), 8_192).await;
    let address = |name: &str| zone.addresses[names.iter().position(|n| *n == name).unwrap()].1;
    let mut good = connect(address("good")).await;
    for (name, ..) in HOSTILE {
        let mut stream = connect(address(name)).await;
        stream.write_all(b"x").await.unwrap();
        assert_eq!(all(&mut stream).await, b"", "{name}");
        // Somebody who was there before is still served.
        good.write_all(b"ping").await.unwrap();
        let mut back = [0; 4];
        tokio::time::timeout(PATIENCE, good.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"ping", "after {name}");
    }
    drop(good);
    let stats = std::sync::Arc::clone(&zone.stats);
    let events = zone.end().await;
    for (name, script, why) in HOSTILE {
        let of = |kind: EventKind| {
            events.iter().filter(move |event| {
                event.kind == kind && event.analyzer.as_ref().is_some_and(|n| n.as_str() == *name)
            })
        };
        let failed: Vec<&Event> = of(EventKind::PluginFailed).collect();
        assert_eq!(failed.len(), 1, "{name}: {script}");
        let said = sentence(failed[0]);
        assert!(said.contains(why), "{name}: {said}");
        assert!(failed[0].session.is_some());
        let closed = of(EventKind::SessionClosed).next().unwrap();
        assert_eq!(text(closed, "reason"), b"plugin-failed", "{name}");
    }
    assert_eq!((stats.panics.get(), stats.aborted.get(), stats.open.get()), (0, 0, 0));
}

fn sentence(event: &Event) -> String {
    let line = match event.attributes.get("line") {
        Some(AttributeValue::Integer(line)) => format!("line {line}: "),
        _ => String::new(),
    };
    line + &String::from_utf8_lossy(text(event, "reason"))
}

#[tokio::test]
async fn a_script_that_leaks_gets_a_new_vm_and_serves_on() {
    let folder = tempfile::tempdir().unwrap();
    let leak = "local kept = {}\n".to_owned()
        + &service(
            "leaks",
            "for i = 1, 4 do kept[#kept + 1] = string.rep('x', 1e6) .. #kept end conn:write('ok')",
        );
    write(folder.path(), "leaks", &leak);
    let zone = Zone::start(&zone_of(folder.path(), &["leaks"])).await;
    let mut served = 0;
    for _ in 0..30 {
        let mut stream = connect(zone.addresses[0].1).await;
        served += usize::from(all(&mut stream).await == b"ok");
    }
    assert!(served >= 15, "{served} of 30");
    let events = zone.end().await;
    let failed = events.iter().filter(|event| event.kind == EventKind::PluginFailed);
    assert!(failed.clone().count() >= 1);
    assert!(failed.clone().all(|event| sentence(event).contains("memory")));
}

#[tokio::test]
async fn wrong_plug_ins_are_reported_and_the_rest_serves() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    write(folder.path(), "syntax", "return {\n  serve = function( end\n}");
    write(folder.path(), "endless", "while true do end");
    write(folder.path(), "taken", &service("taken", "return"));
    write(folder.path(), "good", &service("good", "conn:write('hello')"));
    let mut config = zone_of(folder.path(), &["syntax", "endless", "taken", "good"]);
    let port = taken.local_addr().unwrap().port();
    config.plugin[2].port = Some(palisade_honeypot::OneOrMore::One(port));
    let zone = Zone::start(&config).await;
    let mut stream = connect(zone.addresses[0].1).await;
    assert_eq!(all(&mut stream).await, b"hello");
    let events = zone.end().await;
    for (name, why) in [
        ("syntax", "syntax/init.luau, line 2: "),
        ("endless", "loading it takes more than 500 ms"),
        ("taken", "the port is in use by another program"),
    ] {
        let report =
            reports(&events).into_iter().find(|event| text(event, "plugin") == name.as_bytes());
        let report = report.unwrap_or_else(|| panic!("{name}"));
        assert_eq!(text(report, "state"), b"failed");
        let reason = String::from_utf8_lossy(text(report, "reason")).into_owned();
        assert!(reason.contains(why), "{name}: {reason}");
    }
}

#[tokio::test]
async fn refused_rows_are_said_to_the_script_and_counted_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let body =
        "local _, a = record({x = 1}) local _, b = record({n = 'x'}) local ok = record({n = 1})
        conn:write(a .. '|' .. b .. '|' .. tostring(ok))";
    write(folder.path(), "rows", &service("rows", body));
    let zone = Zone::start(&zone_of(folder.path(), &["rows"])).await;
    let mut stream = connect(zone.addresses[0].1).await;
    let said = String::from_utf8(all(&mut stream).await).unwrap();
    assert_eq!(
        said,
        "there is no column 'x'|column 'n' is INTEGER, and the value is a string|true"
    );
    let events = zone.end().await;
    let last = *reports(&events).last().unwrap();
    assert_eq!((number(last, "rows"), number(last, "refused")), (1, 2));
    let by = String::from_utf8_lossy(text(last, "refused_by")).into_owned();
    assert!(by.contains("unknown-column") && by.contains("wrong-type"), "{by}");
}

#[tokio::test]
async fn a_change_serves_new_connections_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let version =
        |n: u32| service("mine", &format!("conn:write('{n}') conn:read(1) conn:write('{n}')"));
    write(folder.path(), "mine", &version(1));
    let (out, mut told) = tokio::sync::mpsc::channel(1_024);
    let sensor = palisade_event::SensorId::new("test").unwrap();
    let config = zone_of(folder.path(), &["mine"]);
    let honeypot = Honeypot::bind(&config, sensor, None, out).await.unwrap();
    let (address, plugins) = (honeypot.addresses()[0].1, honeypot.plugins());
    let stats = honeypot.stats();
    let end = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(honeypot.run(end.clone()));
    let counting = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(event) = told.recv().await {
            all.push(event);
        }
        all
    });
    let mut old = connect(address).await;
    read_until(&mut old, b"1").await;
    let change = |init: String| {
        write(folder.path(), "mine", &init);
        let source = Source::read(&folder.path().join("mine")).unwrap();
        let plugins = plugins.clone();
        async move { tokio::task::spawn_blocking(move || plugins.replace(source)).await.unwrap() }
    };
    // Clients come while the code changes again and again.
    let clients: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..25 {
                    let mut stream = connect(address).await;
                    stream.write_all(b"x").await.unwrap();
                    let said = all(&mut stream).await;
                    assert!(said.len() >= 2 && said[0] == said[said.len() - 1], "{said:?}");
                }
            })
        })
        .collect();
    for n in 2..10 {
        change(version(n)).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    // A broken change keeps the code before it.
    change("return {".to_owned()).await;
    let mut new = connect(address).await;
    read_until(&mut new, b"9").await;
    old.write_all(b"x").await.unwrap();
    assert_eq!(all(&mut old).await, b"1", "the old connection has the old code");
    drop(new);
    end.cancel();
    running.await.unwrap();
    let events = counting.await.unwrap();
    let count = |kind| events.iter().filter(|event| event.kind == kind).count();
    let lost = stats.aborted.get() + stats.panics.get() + stats.events_lost.get();
    assert_eq!(lost, 0);
    assert_eq!(count(EventKind::ConnectionOpened), 202);
    assert_eq!(count(EventKind::SessionClosed), 202);
    assert_eq!(count(EventKind::PluginFailed), 0);
    let last = *reports(&events).last().unwrap();
    let reason = String::from_utf8_lossy(text(last, "reason")).into_owned();
    assert!(reason.contains("a change is not used") && reason.contains("line 1"), "{reason}");
    assert_eq!(text(last, "state"), b"serving");
}

#[tokio::test]
async fn datagrams_are_answered_by_at_most_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let init = "return { api = 1, name = 'udp', about = 'x', ports = { udp = {9} },
        datagram = function(packet)
            request(packet.data)
            if packet.data == 'flood' then return string.rep('x', 1000) end
            return string.reverse(packet.data)
        end }";
    write(folder.path(), "udp", init);
    let mut zone = Zone::start(&zone_of(folder.path(), &["udp"])).await;
    let address = zone.addresses[0].1;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut answer = [0; 2_000];
    for (sent, back) in [(&b"flood"[..], None), (b"abc", Some(b"cba"))] {
        client.send_to(sent, address).await.unwrap();
        if let Some(back) = back {
            let got = tokio::time::timeout(PATIENCE, client.recv(&mut answer)).await.unwrap();
            assert_eq!(&answer[..got.unwrap()], back, "and nothing for the first");
        }
    }
    let mut events = Vec::new();
    while events.len() < 3 {
        let event = zone.next().await;
        if event.kind != EventKind::PluginReported {
            events.push(event);
        }
    }
    assert_eq!(kinds(&events), ["request.received", "plugin.failed", "request.received"]);
    assert!(events.iter().all(|event| event.session.is_none()));
    assert!(sentence(&events[1]).contains("answers 1000 bytes to 5"));
    drop(zone.end().await);
}

#[tokio::test]
async fn a_read_that_runs_out_is_no_end_and_the_script_may_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let body = "conn:timeout(0.5) local line, why, part = conn:read_line() conn:write(why, part) conn:timeout() conn:write(conn:read_line())";
    write(folder.path(), "slow", &service("slow", body));
    let zone = Zone::start(&zone_of(folder.path(), &["slow"])).await;
    let mut stream = connect(zone.addresses[0].1).await;
    stream.write_all(b"half").await.unwrap();
    read_until(&mut stream, b"timeouthalf").await;
    stream.write_all(b" line\r\n").await.unwrap();
    assert_eq!(all(&mut stream).await, b" line");
    drop(zone.end().await);
}

#[tokio::test]
async fn limits_of_sessions_hold_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "silent",
        &service("silent", "pcall(function() conn:read(1) end) conn:write('never')"),
    );
    write(
        folder.path(),
        "chatty",
        &service("chatty", "while true do conn:write(string.rep('x', 60000)) end"),
    );
    let mut config = zone_of(folder.path(), &["silent", "chatty"]);
    config.limits.idle_secs = 1;
    config.limits.bytes_out = 200_000;
    let mut zone = Zone::start(&config).await;
    let mut silent = connect(zone.addresses[0].1).await;
    assert_eq!(all(&mut silent).await, b"");
    let ended = told(zone.session().await);
    assert_eq!(text(ended.last().unwrap(), "reason"), b"idle");
    let mut chatty = connect(zone.addresses[1].1).await;
    assert_eq!(all(&mut chatty).await.len(), 200_000);
    let ended = told(zone.session().await);
    assert_eq!(text(ended.last().unwrap(), "reason"), b"byte-budget");
    assert_eq!(zone.addresses[0].0, ServiceKind::Plugin);
    drop(zone.end().await);
}

#[test]
fn modules_of_the_folder_are_required_once_and_none_requires_itself() {
    let folder = tempfile::tempdir().unwrap();
    let main = "local a = require('./codec') local b = require('codec.luau') assert(a == b)\n"
        .to_owned()
        + &service("mine", "return");
    write(folder.path(), "mine", &main);
    std::fs::write(folder.path().join("mine/codec.luau"), "return {}").unwrap();
    assert!(check(&Source::read(&folder.path().join("mine")).unwrap()).is_ok());
    std::fs::write(folder.path().join("mine/codec.luau"), "return require('./codec')").unwrap();
    let why = check(&Source::read(&folder.path().join("mine")).unwrap()).unwrap_err();
    assert!(why.contains("codec.luau requires itself"), "{why}");
}

#[tokio::test]
async fn a_plug_in_begins_tls_with_a_certificate_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let body = "conn:peek(1) local ok = conn:starttls() conn:write(tostring(ok), conn.tls and ' tls ' or ' plain ', conn:read_line())";
    let init = service("tls", body).replace("api = 1", "api = 1, certificate = true");
    write(folder.path(), "tls", &init);
    let mut config = zone_of(folder.path(), &["tls"]);
    config.plugin[0].certificate = Some(tls::file("cert.pem"));
    config.plugin[0].key = Some(tls::file("key.pem"));
    let mut zone = Zone::start(&config).await;
    let mut stream = connect(zone.addresses[0].1).await;
    stream.write_all(b"GET / HTTP/1.0\r\n").await.unwrap();
    assert_eq!(all(&mut stream).await, b"false plain GET / HTTP/1.0");
    drop(told(zone.session().await));
    let (answer, _) = tls::ask(zone.addresses[0].1, &[], b"hello\n").await;
    assert_eq!(answer, b"true tls hello");
    let events = told(zone.session().await);
    assert_eq!(kinds(&events), ["connection.opened", "client.identified", "session.closed"]);
    assert!(events[1].fingerprints.is_some());
    drop(zone.end().await);
}

#[test]
fn the_reference_in_the_guide_is_that_of_the_host_functions() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PLUGINS.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- reference -->\n", "<!-- end of the reference -->");
    let (head, rest) = page.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let wanted = format!("{head}{begin}{}\n{end}{tail}", palisade_honeypot::plugin::reference());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/PLUGINS.md is out of date; run: UPDATE_GOLDEN=1 cargo test --workspace --test it -- plugins::the_reference"
    );
}
