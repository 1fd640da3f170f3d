//! Replays annotated sample logs of fail2ban's own kind, by hand:
//!
//! ```text
//! cargo run --release -p palisade-rules --example fail2ban_samples -- CONFIG LOGS [NAME…]
//! ```
//!
//! CONFIG is a configuration folder with `filter.d`, LOGS a folder with one file
//! a filter whose lines carry `# failJSON:` and `# filterOptions:` comments.
//! Prints what differs and a sum.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a tool for developers"
)]

use std::collections::BTreeMap;
use std::path::Path;

use palisade_rules::fail2ban::{
    Backend, Files, Filter, FilterDefinition, FilterOptions, Found, Now, RawNames, Tries,
};
use serde_json::{Map, Value};

const NOW: f64 = 1_124_013_600.0;

fn read(files: &mut Files, root: &Path, folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(files, root, &path);
        } else if path.extension().is_some_and(|e| e == "conf" || e == "local") {
            let bytes = std::fs::read(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.insert(name, String::from_utf8_lossy(&bytes)).unwrap();
        }
    }
}

#[derive(Default)]
struct Sum {
    runs: u64,
    good: u64,
}

type Options = Map<String, Value>;

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn holds(condition: &str, name: &str, options: &Options) -> bool {
    let (left, right) = condition.split_once("==").or_else(|| condition.split_once("!=")).unwrap();
    let right = right.trim().trim_matches(['\'', '"']);
    let left = left.trim();
    let own = if left == "name" {
        name.to_owned()
    } else {
        let key =
            left.strip_prefix("opts.get(").unwrap().trim_end_matches(')').trim_matches(['\'', '"']);
        options.get(key).map(text).unwrap_or_default()
    };
    (own == right) != condition.contains("!=")
}

fn check(expected: &Options, found: &[Found], now: &Now) -> Result<(), String> {
    let wanted = expected.get("match").and_then(Value::as_bool).unwrap_or(false);
    let found: Vec<&Found> =
        found.iter().filter(|one| one.id.is_some() && !one.failure.is_context()).collect();
    let Some(first) = found.first() else {
        return if wanted { Err("missed".into()) } else { Ok(()) };
    };
    if !wanted {
        return Err(format!("matched by {}", first.expression));
    }
    if found.len() > 1 {
        return Err("several matched".into());
    }
    for (key, value) in expected {
        let failure = &first.failure;
        let got = match key.as_str() {
            "time" | "match" | "desc" | "constraint" => continue,
            "attempts" => Value::from(failure.matches().len()),
            "users" => {
                let mut users: Vec<String> = value.as_array().unwrap().iter().map(text).collect();
                users.sort();
                let own: Vec<String> = failure.users().map(str::to_owned).collect();
                if users != own {
                    return Err(format!("users {own:?}, not {users:?}"));
                }
                continue;
            }
            key => match failure.get(key) {
                Some(text) => text.into(),
                None if key == "host" => first.id.as_ref().unwrap().to_string().into(),
                None => Value::Null,
            },
        };
        let same = got == *value
            || matches!((got.as_str(), value.as_str()), (Some(a), Some(b)) if a.parse::<std::net::IpAddr>().ok().is_some_and(|a| Ok(a) == b.parse()));
        if !same {
            return Err(format!("{key} is {got}, not {value}"));
        }
    }
    if let Some(time) = expected.get("time").and_then(Value::as_str) {
        let civil = jiff::civil::DateTime::strptime("%Y-%m-%dT%H:%M:%S%.f", time).unwrap();
        let at =
            civil.to_zoned(now.zone.clone()).unwrap().timestamp().as_millisecond() as f64 / 1000.0;
        if first.at != Some(at) {
            return Err(format!("time is {:?}, not {at} ({time})", first.at));
        }
    }
    Ok(())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (config, logs) = (Path::new(&args[0]), Path::new(&args[1]));
    let only = &args[2..];
    let mut files = Files::new();
    read(&mut files, config, config);
    for path in files.wanted() {
        if let Ok(text) = std::fs::read_to_string(config.join(&path)) {
            files.insert(path, text).unwrap();
        }
    }
    let zone = std::fs::read("/usr/share/zoneinfo/Europe/Zurich").unwrap();
    let zone = jiff::tz::TimeZone::tzif("Europe/Zurich", &zone).unwrap();
    let now = Now { epoch: NOW, zone };
    let mut names: Vec<String> = files
        .paths()
        .filter_map(|p| p.strip_prefix("filter.d/")?.strip_suffix(".conf"))
        .filter(|n| !n.contains('/') && !n.ends_with("common"))
        .map(str::to_owned)
        .collect();
    names.retain(|name| only.is_empty() || only.contains(name));
    let mut total = Sum::default();
    let mut perfect = 0;
    for name in &names {
        let mut list = vec![name.clone()];
        let mut at = 0;
        let mut common = Options::new();
        let mut cache: BTreeMap<String, Filter> = BTreeMap::new();
        let mut sum = Sum::default();
        let mut tests: Vec<(String, Options)> = Vec::new();
        while at < list.len() {
            let Ok(bytes) = std::fs::read(logs.join(&list[at])) else {
                println!("{name}: no samples in {}", list[at]);
                break;
            };
            let file = list[at].clone();
            at += 1;
            let content = String::from_utf8_lossy(&bytes).into_owned();
            let mut lines = content.lines().enumerate();
            let mut blocked = false;
            while let Some((mut number, mut line)) = lines.next() {
                let mut expected = Options::new();
                let body = line.trim_start_matches('#');
                let body =
                    if line.starts_with('#') { body.strip_prefix(' ').unwrap_or(body) } else { "" };
                if let Some((kind, json)) = body.split_once(':').filter(|(kind, _)| {
                    ["failJSON", "filterOptions", "fileOptions", "addFILE"].contains(kind)
                }) {
                    let json: Value = serde_json::from_str(json).unwrap();
                    match kind {
                        "fileOptions" => common = json.as_object().unwrap().clone(),
                        "addFILE" => list.push(json.as_str().unwrap().to_owned()),
                        "filterOptions" => {
                            blocked = false;
                            tests.clear();
                            let all = match json {
                                Value::Array(list) => list,
                                one => vec![one],
                            };
                            for one in all {
                                let mut options = common.clone();
                                options.extend(one.as_object().unwrap().clone());
                                if let Some(condition) = options.get("test.condition") {
                                    blocked = !holds(&text(condition), name, &options);
                                }
                                if !blocked {
                                    let key = options.get("test.filter-name").map_or_else(
                                        || {
                                            let mut own = options.clone();
                                            own.retain(|k, _| !k.starts_with("test."));
                                            serde_json::to_string(&own).unwrap()
                                        },
                                        text,
                                    );
                                    tests.push((key, options));
                                }
                            }
                        }
                        _ => {
                            expected = json.as_object().unwrap().clone();
                            (number, line) = lines.next().unwrap();
                        }
                    }
                    if kind != "failJSON" {
                        continue;
                    }
                } else if blocked || line.starts_with('#') || line.trim().is_empty() {
                    continue;
                }
                if blocked {
                    continue;
                }
                if tests.is_empty() {
                    tests.push((String::new(), Options::new()));
                }
                let line = line.trim_end_matches(['\r', '\n']);
                for (key, options) in &tests {
                    if expected.get("constraint").is_some_and(|c| !holds(&text(c), name, options)) {
                        continue;
                    }
                    let filter = cache.entry(key.clone()).or_insert_with(|| {
                        let list: Vec<(String, String)> = options
                            .iter()
                            .filter(|(k, _)| !k.starts_with("test."))
                            .map(|(k, v)| (k.clone(), text(v)))
                            .collect();
                        let definition =
                            FilterDefinition::read_with(&files, name, &list, Backend::File)
                                .unwrap_or_else(|e| panic!("{name}: {e}"));
                        let options = FilterOptions {
                            tries: Tries::All,
                            raw_names: RawNames::Keep,
                            ..FilterOptions::default()
                        };
                        Filter::new(&definition, options, &now)
                            .unwrap_or_else(|e| panic!("{name}: {e:?}"))
                    });
                    let journal = options.get("logtype").map(text).as_deref() == Some("journal");
                    let outcome = if journal {
                        let prefix = options.get("test.prefix-line").map(text).unwrap_or_default();
                        filter.journal(&format!("{prefix}{line}"), NOW, &now)
                    } else {
                        filter.line(line, &now)
                    };
                    sum.runs += 1;
                    match check(&expected, &outcome.found, &now) {
                        Ok(()) => sum.good += 1,
                        Err(reason) => {
                            println!("{name} {key} {file}:{}: {reason}: {line}", number + 1)
                        }
                    }
                }
            }
        }
        let gave_up: u64 = cache.values().map(|f| f.counts().gave_up).sum();
        if sum.good != sum.runs || gave_up > 0 {
            println!("== {name}: {} of {}, gave up {gave_up}", sum.good, sum.runs);
        } else {
            perfect += 1;
        }
        total.runs += sum.runs;
        total.good += sum.good;
    }
    println!(
        "{} of {} invocations, {perfect} of {} filters without a difference",
        total.good,
        total.runs,
        names.len()
    );
}
