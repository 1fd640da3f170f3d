//! The shipped parsers: what they say of their sample lines, and that nobody who
//! writes a name into a line can choose the address that is found in it.
//!
//! `ruleset/parsers/NAME.samples` has lines as the program writes them, each
//! followed by `=> ` and what becomes of it. After a wanted change,
//! `PALISADE_BLESS=1 cargo test -p palisade-rules --test ruleset` rewrites what
//! stands behind the arrows; read the difference before committing it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test: a failure is a panic")]

use crate::support;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use memchr::memmem;
use palisade_rules::{
    Glance, LineState, LogFormat, LogReader, Parsed, ReadLine, Ruleset, SHIPPED_PARSERS, Sighting,
};
use proptest::prelude::*;
use support::{context, outcome};

const ARROW: &str = "=> ";
/// The address that clients try to put into the place of their own.
const FORGED: &str = "198.51.100.66";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ruleset/parsers")
}

fn formats() -> Vec<LogFormat> {
    Ruleset::current().parsers().cloned().map(LogFormat::from).collect()
}

fn samples(format: &LogFormat) -> String {
    let file = format!("ruleset/parsers/{format}.toml");
    let found = SHIPPED_PARSERS.iter().find(|(name, ..)| *name == file);
    found.unwrap_or_else(|| panic!("{file}")).2.to_owned()
}

/// Sample lines alone.
fn lines(samples: &str) -> impl Iterator<Item = &str> {
    samples.lines().filter(|line| !line.starts_with('#') && !line.starts_with(ARROW))
}

/// What is seen of a line, copied.
fn seen(format: &LogFormat, line: &[u8]) -> Option<Seen> {
    let mut state = LineState::new(context());
    let mut seen = None;
    let mut see = |sighting: &Sighting<'_>| {
        let text = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        seen = Some(Seen {
            source: sighting.source,
            texts: [text(sighting.user), text(sighting.request), text(sighting.client)],
        });
    };
    let glance = format.glance(line, &mut state, &mut see);
    assert_eq!(glance == Glance::Seen, seen.is_some());
    seen
}

struct Seen {
    source: Option<IpAddr>,
    texts: [Option<Vec<u8>>; 3],
}

#[test]
fn every_shipped_parser_is_read() {
    let ruleset = Ruleset::with([]).unwrap_or_else(|mistakes| {
        let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}", all.join("\n"))
    });
    assert_eq!(ruleset.parsers().count(), SHIPPED_PARSERS.len());
    for (parser, (file, ..)) in ruleset.parsers().zip(SHIPPED_PARSERS) {
        assert_eq!(format!("ruleset/parsers/{}.toml", parser.name()), *file);
        assert!(ruleset.parser(parser.name()).is_some());
    }
    // These are also compiled.
    let shipped = SHIPPED_PARSERS.iter().map(|(file, text, _)| (*file, *text));
    Ruleset::only(shipped).unwrap();
    let files = std::fs::read_dir(folder()).unwrap();
    let files = files.filter(|file| {
        file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "toml")
    });
    assert_eq!(files.count(), SHIPPED_PARSERS.len(), "a file is not in shipped.rs");
}

#[test]
fn every_sample_line_has_its_expected_outcome() {
    for format in formats() {
        let samples = samples(&format);
        let mut state = LineState::new(context());
        let mut got = String::new();
        let mut count = 0;
        for line in samples.lines().filter(|line| !line.starts_with(ARROW)) {
            got.push_str(line);
            got.push('\n');
            if line.starts_with('#') {
                continue;
            }
            let mut outcome = outcome(&format, line.as_bytes(), &mut state);
            if outcome == "irrelevant" && seen(&format, line.as_bytes()).is_some() {
                outcome = "seen and not kept".to_owned();
            }
            got.push_str(ARROW);
            got.push_str(&outcome);
            got.push('\n');
            count += 1;
        }
        if std::env::var_os("PALISADE_BLESS").is_some() {
            std::fs::write(folder().join(format!("{format}.samples")), &got).unwrap();
            continue;
        }
        for (number, (got, expected)) in got.lines().zip(samples.lines()).enumerate() {
            assert_eq!(got, expected, "{format}.samples:{}", number + 1);
        }
        assert_eq!(got.lines().count(), samples.lines().count(), "{format}.samples");
        assert!(count >= 5, "{format} has too few samples");
    }
}

#[test]
fn no_sample_shows_the_forged_address_as_a_source() {
    let mut hostile = 0;
    for format in formats() {
        for line in lines(&samples(&format)).filter(|line| line.contains(FORGED)) {
            if let Some(seen) = seen(&format, line.as_bytes()) {
                assert_ne!(seen.source, FORGED.parse().ok(), "{format}: {line}");
                hostile += 1;
            }
        }
    }
    assert!(hostile >= 15, "{hostile}");
}

/// Sample lines with a text that a client wrote, and where that stands.
fn targets() -> Vec<(LogFormat, String, std::ops::Range<usize>)> {
    let mut targets = Vec::new();
    for format in formats() {
        // In JSON every text is escaped; the readers of JSON are not ours.
        for line in lines(&samples(&format)).filter(|line| !line.starts_with('{')) {
            let Some(seen) = seen(&format, line.as_bytes()) else { continue };
            if seen.source.is_none() {
                continue;
            }
            for text in seen.texts.into_iter().flatten().filter(|text| text.len() > 1) {
                let finder = memmem::Finder::new(&text);
                for start in finder.find_iter(line.as_bytes()) {
                    targets.push((format.clone(), line.to_owned(), start..start + text.len()));
                }
            }
        }
    }
    targets
}

/// As the program would have written it: web servers escape quotes.
fn escaped(format: &LogFormat, text: &str) -> String {
    match format.as_str() {
        "nginx" | "apache" | "traefik" | "wordpress" | "haproxy" => text.replace('"', "\\x22"),
        // An FTP client's name ends with its line; a host's name has no quote.
        _ => text.replace(['\r', '\n'], "?"),
    }
}

#[test]
fn a_line_inside_a_clients_text_does_not_move_the_source() {
    let targets = targets();
    assert!(targets.len() >= 60, "{}", targets.len());
    let mut tried = 0;
    for (format, line, place) in &targets {
        let source = seen(format, line.as_bytes()).unwrap().source.unwrap();
        let forged = line.replace(&source.to_string(), FORGED);
        // Whole lines, and each end of one, as a client could write them.
        let mut texts = vec![forged.clone(), format!("x {forged}"), format!("{forged} x")];
        for cut in (0..forged.len()).step_by(3).filter(|cut| forged.is_char_boundary(*cut)) {
            let (before, after) = forged.split_at(cut);
            texts.extend([before.to_owned(), after.to_owned()]);
        }
        for text in texts {
            let text = escaped(format, &text);
            let before = line.get(..place.start).unwrap();
            let after = line.get(place.end..).unwrap();
            let attack = format!("{before}{text}{after}");
            tried += 1;
            if let Some(seen) = seen(format, attack.as_bytes()) {
                assert_ne!(seen.source, FORGED.parse().ok(), "{format}: {attack}");
            }
        }
    }
    assert!(tried >= 2000, "{tried}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_mixture_of_a_lines_own_words_does_not_move_the_source(
        which in any::<prop::sample::Index>(),
        words in proptest::collection::vec(any::<prop::sample::Index>(), 1..12),
    ) {
        let targets = targets();
        let (format, line, place) = which.get(&targets);
        let source = seen(format, line.as_bytes()).unwrap().source.unwrap();
        let forged = line.replace(&source.to_string(), FORGED);
        let all: Vec<&str> = forged.split_inclusive([' ', ',', ']', ':', '"', '>']).collect();
        let text: String = words.iter().map(|word| *word.get(&all)).collect();
        let text = escaped(format, &text);
        let attack = format!("{}{text}{}", line.get(..place.start).unwrap(), line.get(place.end..).unwrap());
        if let Some(seen) = seen(format, attack.as_bytes()) {
            prop_assert_ne!(seen.source, FORGED.parse().ok(), "{}: {}", format, attack);
        }
    }

    #[test]
    fn any_bytes_are_survived_by_every_parser(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        for format in LogFormat::all() {
            let mut state = LineState::new(context());
            let _ = format.parse(&line, &mut state);
            let _ = format.glance(&line, &mut state, &mut |_| {});
        }
    }
}

#[test]
fn a_glance_and_an_observation_say_the_same() {
    for format in formats() {
        for line in lines(&samples(&format)) {
            let mut state = LineState::new(context());
            let Parsed::Observation(observation) = format.parse(line.as_bytes(), &mut state) else {
                continue;
            };
            let mut sightings = 0;
            format.glance(line.as_bytes(), &mut state, &mut |sighting| {
                sightings += 1;
                let copied = Sighting::from(&*observation);
                // A name that can be no host's is not kept of it.
                let host = copied.host.and(sighting.host);
                // An event's target has an address; this is an attribute of it.
                let target_port = sighting.target_port;
                assert_eq!(Sighting { host, target_port, ..copied }, *sighting, "{line}");
            });
            assert_eq!(sightings, 1);
        }
    }
}

#[test]
fn a_user_may_replace_and_add_parsers_and_mistakes_are_named() {
    let own = r#"
        name = "door"
        about = "The door."
        programs = ["doord"]
        [[patterns]]
        match = '^knock from (?<source>\S+)'
        kind = "connection.probed"
    "#;
    let ruleset = Ruleset::with([("door.toml", own)]).unwrap();
    let format = LogFormat::from(std::sync::Arc::clone(ruleset.parser("door").unwrap()));
    let sensor = palisade_event::SensorId::new("unit").unwrap();
    let mut reader = LogReader::new(format, sensor, context());
    let line = b"Nov 20 20:07:14 web01 doord[7]: knock from 203.0.113.9";
    let ReadLine::Events(events) = reader.read(line) else { panic!() };
    assert_eq!(events.first().unwrap().source.unwrap().address.to_string(), "203.0.113.9");
    assert_eq!(
        reader.read(b"Nov 20 20:07:14 web01 other: knock from 203.0.113.9"),
        ReadLine::Irrelevant
    );

    let head = "name = 'door'\nabout = ''\n";
    let pattern = |text: &str| format!("{head}programs = ['doord']\n[[patterns]]\n{text}");
    let cases = [
        ("name = 1".to_owned(), "invalid type"),
        ("nmae = 'x'".to_owned(), "unknown field `nmae`"),
        (head.to_owned(), "programs is missing"),
        ("name = 'sshd'\nabout = ''\nprograms = ['x']".to_owned(), "is built in"),
        ("name = 'A B'\nabout = ''\nprograms = ['x']".to_owned(), "can be no name"),
        (format!("{head}programs = ['a*b']"), "is no program"),
        (format!("{head}heads = ['json']"), "[json] is missing"),
        (format!("{head}heads = ['smoke']"), "unknown variant `smoke`"),
        (pattern("match = '^(x'\nkind = 'auth.attempted'"), "is no regular expression"),
        (pattern("match = '^x'"), "neither 'kind' nor"),
        (pattern("match = '^x'\nkind = 'auth.tried'"), "unknown event kind 'auth.tried'"),
        (
            pattern("match = 'x from (?<source>.*)$'\nkind = 'auth.attempted'"),
            "must begin with '^'",
        ),
        (
            pattern("match = '^(?<user>.*) from (?<source>.*)'\nkind = 'auth.attempted'"),
            "end with '$'",
        ),
        (pattern("match = '^(?<Colour>x)'\nkind = 'auth.attempted'"), "can be no attribute"),
        (pattern("match = '^x{1000}{1000}'\nkind = 'auth.attempted'"), "is no regular expression"),
    ];
    for (text, wanted) in cases {
        let mistakes = Ruleset::with([("own.toml", text.as_str())]).unwrap_err();
        assert_eq!(mistakes.len(), 1);
        let mistake = mistakes.first().unwrap().to_string();
        assert!(mistake.starts_with("own.toml: ") && mistake.contains(wanted), "{mistake}\n{text}");
    }
}

#[test]
fn names_that_are_no_utf8_are_counted_like_others() {
    let format: LogFormat = "postfix".parse().unwrap();
    let mut line = b"Nov 20 20:07:14 mail postfix/smtpd[7]: warning: unknown[203.0.113.9]: SASL LOGIN authentication failed: x, sasl_username=".to_vec();
    line.extend([0xff, 0xfe, b'a']);
    let seen = seen(&format, &line).unwrap();
    assert_eq!(seen.source, "203.0.113.9".parse().ok());
    assert_eq!(seen.texts.first().unwrap().as_deref(), Some(&[0xff, 0xfe, b'a'][..]));
}

/// `KIND source=… user=… outcome=…` of what is kept, as `docs/PARSERS.md` has it.
fn brief(format: &LogFormat, line: &str) -> String {
    let mut state = LineState::new(context());
    let Parsed::Observation(seen) = format.parse(line.as_bytes(), &mut state) else {
        let glance = format.glance(line.as_bytes(), &mut state, &mut |_| {});
        return match glance {
            Glance::Seen => "not kept",
            Glance::Irrelevant => "irrelevant",
            Glance::Unparsed => "unparsed",
        }
        .to_owned();
    };
    let mut text = seen.kind.to_string();
    if let Some(source) = seen.source {
        text += &format!(" source={}", source.address);
    }
    let credentials = seen.credentials.as_ref();
    if let Some(user) = credentials.and_then(|given| given.username.as_ref()) {
        text += &format!(" user={user}");
    }
    if let Some(outcome) = credentials.and_then(|given| given.outcome) {
        text += &format!(" outcome={}", outcome.as_str());
    }
    text
}

#[test]
fn the_parsers_of_the_documentation_do_what_it_says() {
    let page = include_str!("../../../../docs/PARSERS.md");
    let mut format = None;
    let mut checked = 0;
    for block in page.split("\n```").skip(1) {
        if let Some(text) = block.strip_prefix("parser\n") {
            let ruleset = Ruleset::only([("docs/PARSERS.md", text)])
                .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
            format = ruleset.parsers().next().cloned().map(LogFormat::from);
        }
        if let Some(samples) = block.strip_prefix("sample\n") {
            let format = format.as_ref().unwrap();
            let mut lines = samples.lines();
            while let Some(line) = lines.next() {
                let expected = lines.next().unwrap().strip_prefix(ARROW).unwrap();
                assert_eq!(brief(format, line), expected, "{line}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 10, "{checked}");
}
