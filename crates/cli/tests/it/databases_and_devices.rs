//! Shipped plug-ins for databases, desktops, file shares and controllers, each by
//! the real binary and a real client; and what nmap takes them for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

use crate::support;

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};

use support::Palisade;

/// The plug-ins of this file, in alphabetical order.
const NAMES: [&str; 10] =
    ["adb", "ldap", "modbus", "mongodb", "mysql", "postgresql", "rdp", "s7", "smb", "vnc"];

/// Palisade with some plug-ins on free ports, and where each is found.
struct Served {
    palisade: Palisade,
    addresses: Vec<SocketAddr>,
    _home: tempfile::TempDir,
}

impl Served {
    fn port(&self) -> String {
        self.addresses[0].port().to_string()
    }

    fn first(&self, query: &str) -> serde_json::Value {
        self.palisade.first(query)
    }

    /// The columns of the first row of a plug-in where one begins as given, awaited.
    fn row(&self, plugin: &str, column: &str, begin: &str) -> serde_json::Value {
        support::wait(&format!("a row of {plugin} with {column} {begin}"), || {
            let rows = self.palisade.query(&format!("kind:plugin.recorded daemon:{plugin}"));
            let wanted = |row: &&serde_json::Value| {
                row["attributes"][column].as_str().is_some_and(|value| value.starts_with(begin))
            };
            rows.iter().find(wanted).map(|row| row["attributes"].clone())
        })
    }
}

/// On free ports.
fn serve(names: &[&str]) -> Served {
    serve_on(names, "port = 0\ntls_port = []\n")
}

/// On the ports that nmap knows them by, at an address that no other test has.
/// None where only root may do so.
fn serve_at_home(names: &[&str]) -> Option<Served> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: root alone may bind these ports");
        return None;
    }
    let [.., high, low] = std::process::id().to_be_bytes();
    let fresh = FRESH.fetch_add(1, Ordering::Relaxed);
    Some(serve_on(
        names,
        &format!("address = \"127.{}.{high}.{low}\"\ntls_port = []\n", 30 + fresh),
    ))
}

static FRESH: AtomicU8 = AtomicU8::new(0);

fn serve_on(names: &[&str], more: &str) -> Served {
    serve_as("debian12", names, more)
}

/// On a made-up machine with this system.
fn serve_as(system: &str, names: &[&str], more: &str) -> Served {
    let home = tempfile::tempdir().unwrap();
    let mut settings = support::settings(home.path());
    settings += &format!("\n[honeypot.persona]\nserver = \"{system}\"\n");
    for name in names {
        settings += &format!("\n[[honeypot.plugin]]\nname = \"{name}\"\n{more}");
    }
    std::fs::write(home.path().join("palisade.toml"), settings).unwrap();
    let palisade = Palisade::up(home.path());
    let printed = palisade.printed();
    let on = printed.lines().filter_map(|line| line.split("honeypot plugin on ").nth(1));
    let addresses: Vec<SocketAddr> = on.map(|text| text.trim().parse().unwrap()).collect();
    assert_eq!(addresses.len(), names.len(), "{printed}");
    Served { palisade, addresses, _home: home }
}

/// Runs a client; none where it is not installed, which is said.
fn client(program: &str, args: &[&str], more: &[(&str, &str)]) -> Option<Output> {
    let mut command = Command::new("timeout");
    command.arg("300").arg(program).args(args).envs(more.iter().copied());
    command.stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    if output.status.code() == Some(127) {
        eprintln!("skipped: {program} is not installed");
        return None;
    }
    Some(output)
}

/// All that a client has said.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a program of Python with modules that may be missing.
fn python(modules: &str, text: &str, args: &[&str]) -> Option<Output> {
    // That of the system: modules of packages are there.
    let there = client("/usr/bin/python3", &["-c", &format!("import {modules}")], &[])?;
    if !there.status.success() {
        eprintln!("skipped: python3 has no {modules}");
        return None;
    }
    client("/usr/bin/python3", &[&["-c", text], args].concat(), &[])
}

#[test]
fn mysql_refuses_as_the_real_one_and_lets_the_weak_password_in() {
    let served = serve(&["mysql"]);
    let port = served.port();
    let ask = |password: &str, query: &str| {
        let password = format!("-p{password}");
        let args = ["--no-defaults", "-h127.0.0.1", "-P", &port, "-uroot", &password, "-Ne", query];
        client("mariadb", &args, &[])
    };
    let Some(refused) = ask("qwerty", "select 1") else { return };
    let text = said(&refused);
    assert!(
        text.contains(
            "ERROR 1045 (28000): Access denied for user 'root'@'127.0.0.1' (using password: YES)"
        ),
        "{text}"
    );
    let event = served.first("kind:auth.attempted daemon:mysql user:root password:qwerty");
    assert_eq!(event["attributes"]["method"], "mysql_native_password");
    served.row("mysql", "hash", "$mysqlna$");
    let weak = ["root", "123456", "password", "mysql", "12345678", "root123"];
    let known = weak.iter().find(|password| ask(password, "select 1").unwrap().status.success());
    let known = known.expect("one of them is let in");
    let text = said(&ask(known, "select version(); show databases; select 'abcdefghijklmnopqrst' into dumpfile '/tmp/x.so'").unwrap());
    assert!(text.starts_with("10.11.19-MariaDB-0+deb12u1\n"), "{text}");
    assert!(
        text.contains("\nperformance_schema\n")
            && text.contains("Errcode: 13 \"Permission denied\""),
        "{text}"
    );
    let file = served.first("kind:payload.captured daemon:mysql");
    assert!(file.to_string().contains("/tmp/x.so"), "{file}");
}

#[test]
fn clients_of_two_machines_are_shown_the_servers_of_their_systems() {
    for (system, mysql, postgresql, samba) in [
        ("debian12", "0+deb12u1", "Debian 12", "(Samba 4.17.12-Debian)"),
        ("ubuntu2204", "ubu2204", "Ubuntu 11", "server (Samba, Ubuntu))"),
    ] {
        let served = serve_as(system, &["mysql", "postgresql", "smb"], "port = 0\ntls_port = []\n");
        let port = |place: usize| served.addresses[place].port().to_string();
        for password in ["root", "123456", "password", "mysql", "12345678", "root123"] {
            let word = format!("-p{password}");
            let args = ["--no-defaults", "-h127.0.0.1", "-P", &port(0), "-uroot", &word];
            let query = ["-Ne", "select version()"];
            let Some(output) = client("mariadb", &[&args[..], &query].concat(), &[]) else { break };
            let text = said(&output);
            assert!(!output.status.success() || text.contains(mysql), "{system}: {text}");
        }
        for password in ["postgres", "123456", "password", "admin", "postgres123", "12345678"] {
            let port = port(1);
            let args =
                ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-Atc", "select version()"];
            let Some(output) = client("psql", &args, &[("PGPASSWORD", password)]) else { break };
            let text = said(&output);
            assert!(!output.status.success() || text.contains(postgresql), "{system}: {text}");
        }
        let args = ["-p", &port(2), "-L", "127.0.0.1", "-N"];
        if let Some(output) = client("smbclient", &args, &[]) {
            assert!(said(&output).contains(samba), "{system}: {}", said(&output));
        }
    }
}

#[test]
fn postgresql_hears_the_password_and_the_program_of_a_copy() {
    let served = serve(&["postgresql"]);
    let port = served.port();
    let ask = |password: &str, query: &str| {
        let args = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-Atc", query];
        client("psql", &args, &[("PGPASSWORD", password)])
    };
    let Some(refused) = ask("a wrong one", "select 1") else { return };
    let text = said(&refused);
    assert!(
        text.contains("FATAL:  password authentication failed for user \"postgres\""),
        "{text}"
    );
    served.first("kind:auth.attempted daemon:postgresql user:postgres password:\"a wrong one\"");
    let weak = ["postgres", "123456", "password", "admin", "postgres123", "12345678"];
    let known = weak.iter().find(|password| ask(password, "select 1").unwrap().status.success());
    let known = known.expect("one of them is let in");
    let text = said(
        &ask(known, "create table t(a text); copy t from program 'id'; select * from t").unwrap(),
    );
    assert!(text.contains("CREATE TABLE\nCOPY 1\nuid=") && text.contains("(postgres)"), "{text}");
    served.first("kind:command.entered daemon:postgresql");
    let list = said(
        &client(
            "psql",
            &["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-l"],
            &[("PGPASSWORD", known)],
        )
        .unwrap(),
    );
    assert!(list.contains("template1") && list.contains("(4 rows)"), "{list}");
    // TLS was spoken all the while.
    served.row("postgresql", "message", "SSLRequest");
}

const MONGO: &str = r#"
import sys, pymongo
client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]), serverSelectionTimeoutMS=20000)
names = client.list_database_names()
print(client.server_info()["version"], len(names))
base = [name for name in names if name not in ("admin", "config", "local")][0]
print(len(list(client[base]["users"].find())))
client.drop_database(base)
print(base in client.list_database_names())
client["READ_ME"]["note"].insert_one({"content": "Your data is gone. Pay 0.01 BTC to the address that follows, within 48 hours."})
print(client["READ_ME"]["note"].find_one()["content"][:17])
try:
    pymongo.MongoClient("127.0.0.1", int(sys.argv[1]), username="admin", password="x")["admin"].command("ping")
except pymongo.errors.OperationFailure as error:
    print(error.code)
"#;

#[test]
fn mongodb_is_emptied_and_keeps_the_note() {
    let served = serve(&["mongodb"]);
    let Some(output) = python("pymongo", MONGO, &[&served.port()]) else { return };
    assert_eq!(said(&output), "5.0.32 4\n8\nFalse\nYour data is gone\n18\n");
    served.first("kind:auth.attempted daemon:mongodb user:admin");
    served.first("kind:payload.captured daemon:mongodb");
    served.first("kind:client.identified daemon:mongodb");
    served.row("mongodb", "operation", "dropDatabase");
}

#[test]
fn ldap_shows_its_directory_and_keeps_passwords() {
    let served = serve(&["ldap"]);
    let url = format!("ldap://127.0.0.1:{}/", served.port());
    let root = ["-x", "-H", &url, "-b", "", "-s", "base", "namingContexts", "supportedLDAPVersion"];
    if let Some(output) = client("ldapsearch", &root, &[]) {
        let text = said(&output);
        assert!(
            text.contains("namingContexts: dc=") && text.contains("supportedLDAPVersion: 3"),
            "{text}"
        );
        let suffix =
            text.split("namingContexts: ").nth(1).unwrap().lines().next().unwrap().to_owned();
        let all = said(
            &client(
                "ldapsearch",
                &["-x", "-H", &url, "-b", &suffix, "(objectClass=organization*)"],
                &[],
            )
            .unwrap(),
        );
        assert!(all.contains("ou: people") && all.contains("result: 0 Success"), "{all}");
        let name = format!("cn=admin,{suffix}");
        // StartTLS is spoken before the password goes over.
        let bind = ["-x", "-ZZ", "-H", &url, "-D", &name, "-w", "adm1n", "-b", "", "-s", "base"];
        let output = client("ldapsearch", &bind, &[("LDAPTLS_REQCERT", "never")]).unwrap();
        assert_eq!(output.status.code(), Some(49), "{}", said(&output));
        served.first("kind:auth.attempted daemon:ldap password:adm1n");
    }
    let Some(output) = client("curl", &["-sS", "-u", "cn=x,dc=y:z1", &url], &[]) else { return };
    // A curl without LDAP says so by 1.
    if output.status.code() != Some(1) {
        served.first("kind:auth.attempted daemon:ldap user:\"cn=x,dc=y\" password:z1");
    }
}

#[test]
fn vnc_refuses_and_finds_a_common_password() {
    let served = serve(&["vnc"]);
    let home = tempfile::tempdir().unwrap();
    // "admin" in a file of VNC passwords, which are disguised by one key for all.
    let file = home.path().join("passwd");
    std::fs::write(&file, [0x28, 0xad, 0x59, 0x1a, 0x62, 0xb4, 0xad, 0x94]).unwrap();
    let picture = home.path().join("x.jpg");
    let display = format!("127.0.0.1:{}", i64::from(served.addresses[0].port()) - 5_900);
    let args = ["-passwd", file.to_str().unwrap(), &display, picture.to_str().unwrap()];
    let Some(output) = client("vncsnapshot", &args, &[]) else { return };
    let text = said(&output);
    assert!(text.contains("VNC authentication failed"), "{text}");
    let event = served.first("kind:auth.attempted daemon:vnc");
    assert_eq!(event["credentials"]["password"], "admin", "{event}");
    served.row("vnc", "hash", "$vnc$*");
}

#[test]
fn adb_takes_commands_and_files() {
    let served = serve(&["adb"]);
    let home = tempfile::tempdir().unwrap();
    let server = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let device = served.addresses[0].to_string();
    let folder = home.path().to_str().unwrap().to_owned();
    let adb = |args: &[&str]| {
        client(
            "adb",
            &[&["-P", &server], args].concat(),
            &[("HOME", &folder), ("ANDROID_ADB_SERVER_PORT", &server)],
        )
    };
    let Some(output) = adb(&["connect", &device]) else { return };
    assert!(said(&output).contains(&format!("connected to {device}")), "{}", said(&output));
    let output = adb(&["-s", &device, "shell", "id; getprop ro.build.version.release"]).unwrap();
    assert!(
        said(&output).starts_with("uid=2000(shell)") && said(&output).ends_with("7.1.2\n"),
        "{}",
        said(&output)
    );
    let file = home.path().join("miner");
    let content: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    std::fs::write(&file, content).unwrap();
    let output =
        adb(&["-s", &device, "push", file.to_str().unwrap(), "/data/local/tmp/miner"]).unwrap();
    assert!(said(&output).contains("1 file pushed"), "{}", said(&output));
    let listed = adb(&["devices", "-l"]).unwrap();
    adb(&["kill-server"]);
    assert!(
        said(&listed).contains("product:") && said(&listed).contains("device:"),
        "{}",
        said(&listed)
    );
    served.first("kind:command.entered daemon:adb");
    assert_eq!(served.row("adb", "service", "push")["size"], 100_000);
    served.first("kind:payload.captured daemon:adb");
}

#[test]
fn smb_lists_its_shares_and_keeps_hashes() {
    let served = serve(&["smb"]);
    let port = served.port();
    let Some(output) = client("smbclient", &["-p", &port, "-L", "127.0.0.1", "-N"], &[]) else {
        return;
    };
    let text = said(&output);
    assert!(text.contains("Anonymous login successful"), "{text}");
    assert!(
        text.contains("IPC$            IPC       IPC Service (Samba 4.17.12-Debian)"),
        "{text}"
    );
    let output =
        client("smbclient", &["-p", &port, "-L", "127.0.0.1", "-U", "WORK/root%bad"], &[]).unwrap();
    assert!(said(&output).contains("NT_STATUS_LOGON_FAILURE"), "{}", said(&output));
    // Without a password smbclient may have shown the name of the user, too.
    served.row("smb", "hash", "root::WORK:");
    let methods: Vec<String> = served
        .palisade
        .query("kind:auth.attempted daemon:smb user:root")
        .iter()
        .map(|event| event["attributes"]["method"].to_string())
        .collect();
    assert!(methods.iter().any(|method| method == "\"NetNTLMv2\""), "{methods:?}");
    let output = client("smbclient", &["-p", &port, "//127.0.0.1/print$", "-N"], &[]).unwrap();
    assert!(
        said(&output).contains("tree connect failed: NT_STATUS_ACCESS_DENIED"),
        "{}",
        said(&output)
    );
}

/// A client of RDP as far as the login, over TLS.
const RDP: &str = include_str!("support/rdp.py");

#[test]
fn rdp_hears_name_and_password_after_tls() {
    let served = serve(&["rdp"]);
    let output =
        client("python3", &["-c", RDP, &served.port(), "WORK", "administrator", "hunter2"], &[])
            .unwrap();
    assert_eq!(said(&output), "tls\nconnected\njoined\nlicence\nactive\n");
    served.first("kind:auth.attempted daemon:rdp user:administrator password:hunter2");
    assert_eq!(served.row("rdp", "step", "settings")["client"], "EVILBOX");
}

#[test]
fn rdp_takes_a_real_client_to_a_dark_screen() {
    let served = serve(&["rdp"]);
    let there = ["xfreerdp", "Xvfb"]
        .iter()
        .all(|program| Command::new(program).arg("-help").output().is_ok());
    if !there {
        eprintln!("skipped: xfreerdp and Xvfb are not installed");
        return;
    }
    let to = format!("/v:127.0.0.1:{}", served.port());
    let run =
        ["-a", "timeout", "15", "xfreerdp", &to, "/u:bob", "/p:s3cret", "/cert:ignore", "/sec:tls"];
    client("xvfb-run", &run, &[]);
    served.first("kind:auth.attempted daemon:rdp user:bob password:s3cret");
}

#[test]
fn modbus_is_read_and_written() {
    let served = serve(&["modbus"]);
    let port = served.port();
    let args = |more: &[&'static str]| -> Vec<String> {
        let head = ["-m", "tcp", "-a", "1", "-0", "-1", "-q", "-p"].map(str::to_owned);
        let mut args: Vec<String> = head.into();
        args.push(port.clone());
        args.extend(more.iter().map(|word| (*word).to_owned()));
        args
    };
    let run = |args: &[String]| {
        client("mbpoll", &args.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    };
    let Some(output) = run(&args(&["-t", "4", "-r", "300", "127.0.0.1", "1337"])) else { return };
    assert!(output.status.success(), "{}", said(&output));
    // Another session sees what the controller's program has put there again.
    let read = || said(&run(&args(&["-t", "4", "-r", "0", "-c", "1", "127.0.0.1"])).unwrap());
    assert!(read().contains("[0]: \t"), "{}", read());
    assert_eq!(read(), read());
    assert_eq!(served.row("modbus", "values", "0539")["address"], 300);
    served.first("kind:request.received daemon:modbus");
}

/// What nmap says of all ports.
fn scan(served: &Served, more: &[&str]) -> Option<String> {
    let ports: Vec<String> =
        served.addresses.iter().map(|address| address.port().to_string()).collect();
    let ports = ports.join(",");
    let address = served.addresses[0].ip().to_string();
    let output = client("nmap", &[&["-n", "-Pn", "-p", &ports, &address], more].concat(), &[])?;
    assert!(output.status.success(), "{}", said(&output));
    Some(said(&output))
}

#[test]
fn nmap_takes_each_for_the_real_daemon_and_its_scripts_kill_nothing() {
    let Some(served) = serve_at_home(&NAMES) else { return };
    let Some(text) = scan(&served, &["-sV", "-sC"]) else { return };
    // As nmap names the real ones, which were asked in the same way.
    for line in [
        "102/tcp open iso-tsap Siemens S7 PLC",
        "389/tcp open ldap OpenLDAP 2.2.X - 2.3.X",
        "445/tcp open netbios-ssn Samba smbd 4.6.2",
        "502/tcp open modbus Modbus TCP",
        "3306/tcp open mysql MySQL 5.5.5-10.11.19-MariaDB-0+deb12u1",
        "3389/tcp open ms-wbt-server xrdp",
        "5432/tcp open postgresql PostgreSQL DB 9.6.0 or later",
        "5555/tcp open adb Android Debug Bridge device (name: ",
        "5900/tcp open vnc VNC (protocol 3.8)",
        "27017/tcp open mongodb MongoDB 5.0.32",
    ] {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let port = line.split(' ').next().unwrap();
        let found = text.lines().find(|found| found.starts_with(port)).map(words);
        assert!(found.is_some_and(|found| found.starts_with(line)), "{line}\n{text}");
    }
    for words in [
        "Module: 6ES7 315-2EH14-0AB0",
        "Auth Plugin Name: mysql_native_password",
        "VNC Authentication (2)",
        "name = admin",
        "Message signing enabled but not required",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(served.palisade.count("kind:plugin.failed"), 0, "{}", served.palisade.errors());
    assert_eq!(served.palisade.count("kind:sensor.failed"), 0);
    for address in &served.addresses {
        std::net::TcpStream::connect(address).expect("it still serves");
    }
}

#[test]
fn other_scripts_of_nmap_read_what_they_look_for() {
    let names = ["modbus", "rdp", "ldap", "smb"];
    let Some(served) = serve_at_home(&names) else { return };
    let scripts = "modbus-discover,rdp-enum-encryption,ldap-rootdse,smb-protocols";
    let Some(text) = scan(&served, &["--script", scripts]) else { return };
    for words in [
        "Device identification: Schneider Electric BMX P34 2020",
        "CredSSP (NLA): SUCCESS",
        "namingContexts: dc=",
        "    311",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
