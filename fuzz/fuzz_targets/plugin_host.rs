//! Any calls of the host functions of plug-ins with any arguments, and any bytes
//! of the client: no panic, no hang, and what goes wrong is one sentence.
#![no_main]

use std::fmt::Write as _;

use libfuzzer_sys::fuzz_target;
use palisade_honeypot::plugin::{Source, play};

/// What is called; `conn` methods get the connection.
const CALLS: &[&str] = &[
    "conn.read", "conn.read_exact", "conn.read_line", "conn.read_until", "conn.peek",
    "conn.write", "conn.sleep", "conn.timeout", "conn.starttls", "record", "credentials",
    "command", "request", "http", "client", "data", "download", "artifact", "log", "random.int",
    "random.pick", "random.hex", "random.bytes", "random.fresh", "bytes.hex", "bytes.unhex",
    "bytes.base64", "bytes.unbase64", "bytes.crc32", "bytes.md5", "bytes.sha1", "bytes.sha256",
    "bytes.hmac_sha256", "bytes.des", "bytes.mirror", "bytes.xor", "json.encode", "json.decode",
    "clock", "date", "require", "string.pack", "string.unpack", "string.format", "buffer.create",
    "buffer.readstring", "coroutine.wrap", "table.sort", "string.gsub", "setmetatable", "pcall",
];

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn some(&mut self, most: usize) -> &'a [u8] {
        let length = usize::from(self.next().unwrap_or(0)) % (most + 1);
        let (some, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        some
    }
}

fn text(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    bytes.iter().for_each(|byte| {
        let _ = write!(out, "\\x{byte:02x}");
    });
    out + "\""
}

fn value(bytes: &mut Bytes<'_>, depth: u32) -> String {
    match bytes.next().unwrap_or(0) % 16 {
        0 => "nil".to_owned(),
        1 => "true".to_owned(),
        2 => bytes.next().unwrap_or(0).to_string(),
        3 => "-1".to_owned(),
        4 => "1e308".to_owned(),
        5 => "0/0".to_owned(),
        6 => "0.5".to_owned(),
        7 => "65536".to_owned(),
        8 => "conn".to_owned(),
        9 => "function(...) return ... end".to_owned(),
        10 => "buffer.fromstring(\"abc\")".to_owned(),
        11 => format!("string.rep({}, 3000)", text(bytes.some(20))),
        12 | 13 if depth < 3 => {
            let names = ["n", "t", "b", "f", "r", "username", "password", "outcome", "cve", "[1]"];
            let mut table = String::from("{");
            for _ in 0..bytes.next().unwrap_or(0) % 4 {
                let name = names[usize::from(bytes.next().unwrap_or(0)) % names.len()];
                let _ = write!(table, "{name} = {},", value(bytes, depth + 1));
            }
            table + "}"
        }
        _ => text(bytes.some(60)),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let sent = bytes.some(200).to_vec();
    let mut body = String::new();
    for _ in 0..32 {
        let Some(call) = bytes.next() else { break };
        let call = CALLS[usize::from(call) % CALLS.len()];
        let mut arguments: Vec<String> = Vec::new();
        if call.starts_with("conn.") && bytes.next().unwrap_or(0) % 8 != 0 {
            arguments.push("conn".to_owned());
        }
        for _ in 0..bytes.next().unwrap_or(0) % 4 {
            arguments.push(value(&mut bytes, 0));
        }
        let arguments = arguments.join(", ");
        let _ = writeln!(body, "pcall(function() return {call}({arguments}) end)");
    }
    let init = format!(
        "return {{ api = 1, name = 'f', about = 'x', ports = {{ tcp = {{7}} }},
          columns = {{ {{'n', 'INTEGER'}}, {{'t', 'TEXT'}}, {{'b', 'BLOB'}}, {{'f', 'BOOL'}}, {{'r', 'REAL'}} }},
          serve = function(conn)\n{body}\nend }}"
    );
    let Ok(source) = Source::of_text("f", init) else { return };
    let mut transcript = String::from("> *\n< ");
    for byte in sent {
        let _ = write!(transcript, "\\x{byte:02x}");
    }
    transcript.push_str("\n> *\n! timeout\n> *\n! close\n> *\n");
    if let Err(why) = play(&source, &transcript) {
        assert!(!why.contains("cannot be played"), "a panic");
        assert!(!why.contains('\n'));
    }
});
