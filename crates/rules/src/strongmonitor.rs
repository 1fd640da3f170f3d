//! StrongMonitor's `config.json`, read as it is, and what it is here: settings
//! and scenarios that do the same.
//!
//! There a line is dropped where it begins with a `no_log` text; else its last
//! address counts for each rule whose text it begins with (`start`) or has in it
//! (`anywhere`), for ever, and is banned when the count exceeds the limit. Here
//! the count may be kept to a span of time.

use std::fmt::Write as _;

use palisade_event::query::Filter;
use serde_json::{Map, Value};

use crate::scenario::{Scenario, SightingField, Span, parse_scenario};

/// Longest configuration, in bytes.
pub(crate) const MAX_CONFIG_BYTES: usize = 1024 * 1024;
/// Most rules of all modules.
const MAX_RULES: usize = 60;
/// Longest text of a rule or of `no_log`, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// What a configuration is here.
#[derive(Clone, Debug)]
pub struct StrongMonitor {
    /// Settings, as TOML; `SCENARIOS` stands for the folder of the scenarios.
    pub settings: String,
    /// Scenarios: the name of the file, and the text.
    pub scenarios: Vec<(String, String)>,
    /// What was taken over and what was not, a sentence each.
    pub notes: Vec<String>,
}

/// Reads a configuration. `within` is the span that counts are kept to; without
/// one they count for ever, as there.
///
/// # Errors
/// One sentence: what is wrong, where, and what would be right.
pub fn read_strongmonitor(text: &str, within: Option<Span>) -> Result<StrongMonitor, String> {
    if text.len() > MAX_CONFIG_BYTES {
        return Err(format!("the configuration is longer than {MAX_CONFIG_BYTES} bytes"));
    }
    let config: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let config = config.as_object().ok_or("expected an object with DB, ban_command and modules")?;
    let mut notes = Vec::new();
    let mut settings = String::from("# Made of StrongMonitor's config.json.\n\n");
    for key in config.keys() {
        if !["DB", "ban_command", "modules"].contains(&key.as_str()) {
            notes.push(format!("{} is not known and not taken over", key.escape_debug()));
        }
    }
    database(config.get("DB"), &mut settings, &mut notes)?;
    command(config.get("ban_command"), &mut settings, &mut notes)?;
    let modules = match config.get("modules") {
        Some(Value::Object(modules)) if !modules.is_empty() => modules,
        _ => return Err("modules is missing: an object such as {\"SSHD\": {\"rules\": []}}".into()),
    };
    let mut scenarios = Vec::new();
    for (module, content) in modules {
        let place = format!("modules.{}", module.escape_debug());
        let content = content.as_object().ok_or(format!("{place}: expected an object"))?;
        let program = match module.as_str() {
            "SSHD" => "sshd",
            other => {
                notes.push(format!("{place}: there is no module {other}; only SSHD is taken over"));
                continue;
            }
        };
        let ignored = texts(content.get("no_log"), &format!("{place}.no_log"))?;
        source(program, &ignored, &mut settings);
        notes.push(format!(
            "{place}: the journal's lines of {program} are watched; {} beginnings are left out",
            ignored.len()
        ));
        let rules = match content.get("rules") {
            None => &Vec::new(),
            Some(Value::Array(rules)) => rules,
            Some(_) => return Err(format!("{place}.rules: expected a list")),
        };
        for (index, rule) in rules.iter().enumerate() {
            if scenarios.len() >= MAX_RULES {
                return Err(format!("{place}.rules: more than {MAX_RULES} rules"));
            }
            let place = format!("{place}.rules[{index}]");
            let rule = rule.as_object().ok_or(format!("{place}: expected an object"))?;
            scenarios
                .push(scenario(module, program, rule, &place, within, &scenarios, &mut notes)?);
        }
    }
    settings.push_str(
        "\n[agent.detect]\nscenarios = \"SCENARIOS\"\n# Who is never banned: addresses, networks, DNS names.\nallow = []\n",
    );
    Ok(StrongMonitor { settings, scenarios, notes })
}

fn database(
    db: Option<&Value>,
    settings: &mut String,
    notes: &mut Vec<String>,
) -> Result<(), String> {
    let Some(db) = db else { return Ok(()) };
    let db = db.as_object().ok_or("DB: expected an object with host, user and database")?;
    let part = |name: &str| text(db.get(name), &format!("DB.{name}"));
    let (host, user, database) = (part("host")?, part("user")?, part("database")?);
    let plain = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))
    };
    if ![&host, &user, &database].into_iter().all(|text| plain(text)) {
        notes.push("DB has a name that cannot stand in an address; it is not taken over".into());
        return Ok(());
    }
    let _ = writeln!(
        settings,
        "# Events have a store of their own and tables are made by themselves. To keep accounts, keys and\n\
         # sensors in that PostgreSQL, take the marks away.\n\
         # [hub.state]\n# postgres = \"postgres://{user}@{host}/{database}\"\n\
         # password_file = \"/path/to/db_password.secret\"\n"
    );
    notes.push(format!(
        "DB: {database} at {host} is not needed; the settings say how to use it for accounts"
    ));
    Ok(())
}

fn command(
    command: Option<&Value>,
    settings: &mut String,
    notes: &mut Vec<String>,
) -> Result<(), String> {
    let Some(command) = command else { return Ok(()) };
    let command = text(Some(command), "ban_command")?;
    if !command.contains("%s") {
        return Err("ban_command: expected a command with %s where the address goes".into());
    }
    let words = match split(&command) {
        Ok(words) => words,
        Err(what) => {
            let _ = writeln!(
                settings,
                "# ban_command would need a shell, which is never run; bans are dry-run.\n# {}",
                command.escape_debug()
            );
            notes.push(format!(
                "ban_command is not taken over and bans are dry-run: {what} needs a shell, and none is ever run; put the command into a script and name that in [agent.enforce] ban"
            ));
            return Ok(());
        }
    };
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let _ = writeln!(
        settings,
        "# The ban_command, run as a list of arguments. There is none that lets in again: name one in unban.\n\
         [agent.enforce]\nmethod = \"command\"\nban = [{}]\nunban = []\n",
        quoted.join(", ")
    );
    notes.push(format!(
        "ban_command is [agent.enforce] method 'command' with {} words and runs without a shell; bans end here by themselves, what the command has done stays unless unban is set",
        words.len()
    ));
    Ok(())
}

/// The words of a command line; else what of it only a shell understands. Quotes
/// and a backslash before a character are understood.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if open == c => quote = None,
            (Some('"') | None, '$' | '`') => return Err(format!("'{c}'")),
            (
                None,
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '{' | '~' | '#' | '!'
                | '\n',
            ) => {
                return Err(format!("'{}'", c.escape_debug()));
            }
            (Some('"') | None, '\\') => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("a backslash at the end".to_owned()),
            },
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote that is not closed".to_owned());
    }
    words.extend(word);
    match words.first() {
        // NAME=value before the program.
        Some(first) if first.contains('=') => Err("a variable before the program".to_owned()),
        _ => Ok(words),
    }
}

fn source(program: &str, ignored: &[String], settings: &mut String) {
    let ignored: Vec<String> = ignored.iter().map(|text| quoted(text)).collect();
    let _ = writeln!(
        settings,
        "[[agent.sources]]\ntype = \"journal\"\nprograms = [{}]\nparser = \"lines\"\nignore = [{}]",
        quoted(program),
        ignored.join(", ")
    );
}

fn scenario(
    module: &str,
    program: &str,
    rule: &Map<String, Value>,
    place: &str,
    within: Option<Span>,
    others: &[(String, String)],
    notes: &mut Vec<String>,
) -> Result<(String, String), String> {
    let name = text(rule.get("name"), &format!("{place}.name"))?;
    let sought = text(rule.get("str"), &format!("{place}.str"))?;
    if sought.is_empty() {
        return Err(format!("{place}.str: expected a text that lines begin with or have in them"));
    }
    let limit = rule.get("limit").and_then(Value::as_u64).filter(|limit| *limit < 1_000_000);
    let limit = limit.ok_or(format!("{place}.limit: expected a number from 0 to 999999"))?;
    let request = match text(rule.get("mode"), &format!("{place}.mode"))?.as_str() {
        "start" => Filter::Prefix(SightingField::Request, sought),
        "anywhere" => Filter::Wildcard(SightingField::Request, format!("*{}*", escaped(&sought))),
        other => {
            let other = other.escape_debug();
            return Err(format!("{place}.mode: '{other}' is neither start nor anywhere"));
        }
    };
    let window = match rule.get("window") {
        None | Some(Value::Null) => within,
        Some(Value::String(text)) => {
            Some(text.parse().map_err(|error| format!("{place}.window: {error}"))?)
        }
        Some(Value::Number(secs)) => {
            let secs = secs.as_u64().map(|secs| format!("{secs}s"));
            let span = secs.and_then(|text| text.parse().ok());
            Some(span.ok_or(format!("{place}.window: expected seconds or a span such as 10m"))?)
        }
        Some(_) => return Err(format!("{place}.window: expected seconds or a span such as 10m")),
    };
    let filter = Filter::And(vec![
        Filter::In(SightingField::Kind, vec!["line.matched".into()]),
        Filter::In(SightingField::Service, vec![program.into()]),
        request,
    ]);
    let file = free_name(&format!("{module}-{name}"), others);
    let count = limit + 1;
    // A window holds so many times at most; a bucket that leaks at the same
    // rate needs none.
    let counting = match window {
        Some(span) if count <= u64::from(crate::scenario::MAX_WINDOW_COUNT) => {
            format!("kind = \"sliding-window\"\ncount = {count}\nwithin = \"{span}\"\n")
        }
        Some(span) => {
            let leak = (span.as_millis() / count as i64).max(1);
            notes.push(format!(
                "{place}: a count above {} within a span is kept as a bucket that leaks at that rate",
                crate::scenario::MAX_WINDOW_COUNT
            ));
            format!("kind = \"leaky-bucket\"\ncapacity = {}\nleak = \"{leak}ms\"\n", limit.max(1))
        }
        None => format!("kind = \"sliding-window\"\ncount = {count}\n"),
    };
    let toml = format!(
        "name = {}\ndescription = {}\n{counting}filter = {}\ngroup_by = \"address\"\n",
        quoted(&file),
        quoted(&format!("[{module}] {name}")),
        quoted(&filter.to_string()),
    );
    let made: Scenario = parse_scenario(&toml, place).map_err(|error| error.to_string())?;
    let how = window.map_or_else(|| "ever".to_owned(), |span| format!("within {span}"));
    notes.push(format!(
        "{place}: {} is scenario {}: more than {limit} lines {how}",
        name.escape_debug(),
        made.name
    ));
    Ok((file, toml))
}

/// A name of a scenario that no other one has.
fn free_name(name: &str, others: &[(String, String)]) -> String {
    let mut plain = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            plain.push(c);
        } else if !plain.ends_with('-') {
            plain.push('-');
        }
    }
    let plain: String = plain.trim_matches('-').chars().take(50).collect();
    let plain = if plain.is_empty() { "rule".to_owned() } else { plain };
    let taken = |name: &str| others.iter().any(|(other, _)| other == name);
    (1..)
        .map(|n| if n == 1 { plain.clone() } else { format!("{plain}-{n}") })
        .find(|name| !taken(name))
        .unwrap_or(plain)
}

/// A text as a pattern that means it.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if matches!(c, '*' | '?' | '\\') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn text(value: Option<&Value>, place: &str) -> Result<String, String> {
    match value {
        Some(Value::String(text)) if text.len() <= MAX_TEXT_BYTES => Ok(text.clone()),
        Some(Value::String(_)) => Err(format!("{place}: longer than {MAX_TEXT_BYTES} bytes")),
        _ => Err(format!("{place}: expected a text")),
    }
}

fn texts(value: Option<&Value>, place: &str) -> Result<Vec<String>, String> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(all)) if all.len() <= 1000 => all
            .iter()
            .enumerate()
            .map(|(index, value)| text(Some(value), &format!("{place}[{index}]")))
            .collect(),
        Some(_) => Err(format!("{place}: expected a list of texts, at most 1000")),
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventKind, Timestamp};

    use super::*;
    use crate::{Engine, EngineOptions, Sighting};

    const CONFIG: &str = r#"{
        "DB": {"host": "localhost", "user": "strong", "database": "strongmonitor"},
        "ban_command": "sudo /opt/banIP.sh %s",
        "modules": {"SSHD": {
            "no_log": ["Disconnect from", "Received disconnect"],
            "rules": [
                {"name": "Invalid user", "mode": "start", "str": "Invalid user", "limit": 2},
                {"name": "Invalid user", "mode": "anywhere", "str": "*auth* failure", "limit": 0},
                {"name": "Slow \"one\"", "mode": "start", "str": "Failed password for", "limit": 3, "window": 60}
            ]
        }}
    }"#;

    fn engine(config: &str, within: Option<Span>) -> Engine {
        let made = read_strongmonitor(config, within).unwrap();
        let scenarios =
            made.scenarios.iter().map(|(name, text)| parse_scenario(text, name).unwrap()).collect();
        Engine::new(scenarios, EngineOptions::default()).unwrap()
    }

    /// The names of the rules that a line triggers.
    fn see(engine: &mut Engine, line: &'static str, secs: i64) -> Vec<String> {
        let sighting = Sighting {
            source: "198.51.100.7".parse().ok(),
            request: Some(line.as_bytes()),
            ..Sighting::new(
                EventKind::LineMatched,
                Timestamp::from_millis(1_795_000_000_000 + secs * 1000),
                "sshd",
            )
        };
        let alerts = engine.see(&sighting);
        alerts.iter().map(|a| engine.scenarios()[a.scenario].name.to_string()).collect()
    }

    #[test]
    fn a_ban_comes_when_the_count_exceeds_the_limit_however_long_it_takes() {
        let mut engine = engine(CONFIG, None);
        let year = 365 * 86_400;
        assert!(see(&mut engine, "Invalid user x from 198.51.100.7", 0).is_empty());
        assert!(see(&mut engine, "Invalid user x from 198.51.100.7", year).is_empty());
        assert_eq!(
            see(&mut engine, "Invalid user x from 198.51.100.7", 2 * year),
            ["sshd-invalid-user"]
        );
        assert!(see(&mut engine, "an Invalid user", 2 * year).is_empty(), "not at the start");
        assert_eq!(
            see(&mut engine, "pam: *auth* failure; rhost=198.51.100.7", 2 * year),
            ["sshd-invalid-user-2"],
            "a star means itself"
        );
        assert!(see(&mut engine, "pam: auth failure", 2 * year).is_empty());
    }

    #[test]
    fn a_window_is_kept_where_one_is_given() {
        let mut engine = engine(CONFIG, None);
        for secs in [0, 30, 60, 100, 101] {
            assert!(see(&mut engine, "Failed password for root", secs).is_empty(), "{secs}");
        }
        assert_eq!(see(&mut engine, "Failed password for root", 102), ["sshd-slow-one"]);
        let mut engine = self::engine(CONFIG, Some("10s".parse().unwrap()));
        for secs in [0, 20, 40, 60] {
            assert!(see(&mut engine, "Invalid user x", secs).is_empty(), "{secs}");
        }
    }

    #[test]
    fn settings_are_toml_and_notes_say_what_became_of_everything() {
        let made = read_strongmonitor(CONFIG, None).unwrap();
        let settings: toml::Table = made.settings.parse().unwrap();
        let source = &settings["agent"]["sources"][0];
        assert_eq!(source["parser"].as_str(), Some("lines"));
        assert_eq!(source["ignore"][0].as_str(), Some("Disconnect from"));
        let notes = made.notes.join("\n");
        for word in ["DB:", "ban_command", "rules[2]", "within 1m", "more than 2 lines ever"] {
            assert!(notes.contains(word), "{word} in\n{notes}");
        }
    }

    #[test]
    fn the_ban_command_is_a_list_of_arguments_or_not_taken_over() {
        let made = read_strongmonitor(CONFIG, None).unwrap();
        let settings: toml::Table = made.settings.parse().unwrap();
        let enforce = &settings["agent"]["enforce"];
        assert_eq!(enforce["method"].as_str(), Some("command"));
        let ban: Vec<&str> =
            enforce["ban"].as_array().unwrap().iter().filter_map(|word| word.as_str()).collect();
        assert_eq!(ban, ["sudo", "/opt/banIP.sh", "%s"]);
        let words = |line: &str| split(line).map(|words| words.join("|"));
        assert_eq!(words(r#"a  'b c' "d e"f g\ h '' "#), Ok("a|b c|d ef|g h|".into()));
        assert_eq!(words("x '$(y)' ';'"), Ok("x|$(y)|;".into()), "quoted, it means itself");
        for (line, what) in [
            ("iptables -A INPUT -s %s -j DROP && echo %s", "'&'"),
            ("echo %s >> /etc/hosts.deny", "'>'"),
            ("ban \"$(hostname)\" %s", "'$'"),
            ("ban %s | tee log", "'|'"),
            ("ban '%s", "a quote that is not closed"),
            ("A=b ban %s", "a variable before the program"),
        ] {
            assert_eq!(split(line).unwrap_err(), what, "{line}");
            let config = CONFIG.replace("sudo /opt/banIP.sh %s", &line.replace('"', "\\\""));
            let made = read_strongmonitor(&config, None).unwrap();
            let settings: toml::Table = made.settings.parse().unwrap();
            assert!(settings["agent"].get("enforce").is_none(), "{line}");
            let notes = made.notes.join("\n");
            assert!(notes.contains("needs a shell") && notes.contains(what), "{notes}");
        }
    }

    #[test]
    fn mistakes_name_the_place() {
        let error = |from: &str, to: &str| {
            read_strongmonitor(&CONFIG.replacen(from, to, 1), None).unwrap_err()
        };
        assert!(error("\"start\"", "\"end\"").starts_with("modules.SSHD.rules[0].mode: 'end'"));
        assert!(error("\"limit\": 2", "\"limit\": -2").contains("rules[0].limit"));
        assert!(error("%s", "x").contains("ban_command"));
        assert!(error("[\"Disconnect from\"", "[7").contains("no_log[0]"));
        assert!(read_strongmonitor("{", None).unwrap_err().starts_with("no JSON"));
        assert!(read_strongmonitor("{}", None).unwrap_err().contains("modules is missing"));
        let other = CONFIG.replace("\"SSHD\"", "\"NGINX\"");
        let notes = read_strongmonitor(&other, None).unwrap().notes.join("\n");
        assert!(notes.contains("only SSHD"), "{notes}");
    }
}
