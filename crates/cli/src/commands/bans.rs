//! `palisade ban|unban|bans|allow`: who is kept out of all machines, and who is
//! spared, by hand.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use http::Method;
use palisade_event::DecisionTarget;
use palisade_rules::scenario::Span;
use serde_json::{Value, json};

use super::list;
use crate::args::{FormatArgs, OutputFormat, ReachArgs};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Decisions of one request.
const PAGE: u32 = 1_000;
/// Most decisions that are listed.
const MAX_LISTED: usize = 100_000;

#[derive(Clone, Debug, Args)]
pub(crate) struct BanArgs {
    /// An address, or a network such as 198.51.100.0/24
    pub(crate) target: DecisionTarget,
    /// For how long: 30m, 4h, 7d
    #[arg(long = "for", default_value = "4h", value_name = "SPAN")]
    pub(crate) span: Span,
    /// Why, in a few words, for everybody who carries it out
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// What colleagues should know
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UnbanArgs {
    /// The address or network, as it was banned
    pub(crate) target: DecisionTarget,
    /// Why, in a few words
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BansArgs {
    /// An address or a network: what was decided about it, around it or within it
    pub(crate) target: Option<DecisionTarget>,
    /// Also those that are over, simulated or withheld
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AllowArgs {
    /// An address or a network
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    pub(crate) target: Option<DecisionTarget>,
    /// For how long: 30m, 4h, 7d; for ever without
    #[arg(long = "for", value_name = "SPAN", conflicts_with_all = ["list", "remove"])]
    pub(crate) span: Option<Span>,
    /// Why, in a few words
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["list", "remove"])]
    pub(crate) reason: Option<String>,
    /// List who is spared
    #[arg(long)]
    pub(crate) list: bool,
    /// Spare them no longer
    #[arg(long, conflicts_with = "list")]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// One request.
async fn call(
    settings: &Settings,
    reach: &ReachArgs,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let hub = Reach::find(settings, reach).await?;
    let answer = hub.call(method, path, body).await;
    hub.close().await;
    answer
}

/// `palisade ban`.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn ban(settings: &Settings, args: &BanArgs) -> anyhow::Result<ExitCode> {
    let body = json!({
        "target": args.target,
        "duration_secs": args.span.as_secs(),
        "reason": args.reason,
        "note": args.note,
    });
    let path = "/api/v1/decisions";
    let made = call(settings, &args.reach, Method::POST, path, Some(&body)).await?;
    match args.format.format {
        OutputFormat::Json => out::json(&made),
        OutputFormat::Table => {
            let until = shown(made.get("until"));
            out::line(&format!("banned {} until {until}", args.target));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `palisade unban`.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn unban(settings: &Settings, args: &UnbanArgs) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/decisions/{}", args.target);
    if let Some(reason) = &args.reason {
        path.push_str("?reason=");
        path.push_str(&escaped(reason));
    }
    let answer = call(settings, &args.reach, Method::DELETE, &path, None).await?;
    let lifted = answer.get("lifted").and_then(Value::as_u64).unwrap_or(0);
    out::line(&match lifted {
        0 => format!("{} was not banned; what is still on its way is lifted too", args.target),
        1 => format!("lifted the ban of {}", args.target),
        many => format!("lifted {many} bans of {}", args.target),
    });
    Ok(ExitCode::SUCCESS)
}

/// `palisade bans`.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn bans(settings: &Settings, args: &BansArgs) -> anyhow::Result<ExitCode> {
    let state = if args.all { "all" } else { "active" };
    let mut path = format!("/api/v1/decisions?limit={PAGE}&state={state}");
    if let Some(target) = &args.target {
        path.push_str(&format!("&target={}", escaped(&target.to_string())));
    }
    let hub = Reach::find(settings, &args.reach).await?;
    let found = all(&hub, &path).await;
    hub.close().await;
    let found = found?;
    if args.format.format == OutputFormat::Json {
        out::json(&json!({ "decisions": found }));
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["target", "type", "until", "scenario", "by", "reason", "state"];
    let rows = found.iter().map(row).collect();
    out::table(&columns, rows, "nobody is banned");
    Ok(ExitCode::SUCCESS)
}

/// All pages.
async fn all(hub: &Reach, path: &str) -> anyhow::Result<Vec<Value>> {
    let mut found: Vec<Value> = Vec::new();
    let mut next = path.to_owned();
    loop {
        let mut page = hub.call(Method::GET, &next, None).await?;
        let cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if let Some(Value::Array(decisions)) = page.get_mut("decisions").map(Value::take) {
            found.extend(decisions);
        }
        match cursor {
            Some(cursor) if found.len() < MAX_LISTED => next = format!("{path}&cursor={cursor}"),
            Some(_) => bail!("there are more than {MAX_LISTED}; name an address or a network"),
            None => return Ok(found),
        }
    }
}

fn row(decision: &Value) -> Vec<String> {
    let text = |name: &str| shown(decision.get(name));
    let is = |name: &str| decision.get(name).is_some_and(|value| value == &Value::Bool(true));
    let state = match () {
        () if is("active") => "in force".to_owned(),
        () if is("simulated") => "simulated".to_owned(),
        () if decision.get("withheld").is_some_and(|value| !value.is_null()) => {
            format!("withheld: {} is allowed", text("withheld"))
        }
        () if decision.get("ended_by").is_some_and(|value| !value.is_null()) => {
            format!("lifted by {}", text("ended_by"))
        }
        () => "over".to_owned(),
    };
    let by = decision.get("origin").and_then(|origin| origin.get("name"));
    vec![
        text("target"),
        text("type"),
        text("until"),
        text("scenario"),
        shown(by),
        text("reason"),
        state,
    ]
}

/// `palisade allow`.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn allow(settings: &Settings, args: &AllowArgs) -> anyhow::Result<ExitCode> {
    let reach = &args.reach;
    let path = "/api/v1/allowlist";
    let Some(target) = args.target else {
        let answer = call(settings, reach, Method::GET, path, None).await?;
        if args.format.format == OutputFormat::Json {
            out::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let columns = ["target", "until", "by", "reason"];
        let rows = list(&answer, "entries")
            .iter()
            .map(|entry| columns.iter().map(|name| shown(entry.get(name))).collect())
            .collect();
        out::table(&columns, rows, "nobody is spared but by the lists of the agents");
        return Ok(ExitCode::SUCCESS);
    };
    if args.remove {
        call(settings, reach, Method::DELETE, &format!("{path}/{target}"), None).await?;
        out::line(&format!("{target} is spared no longer"));
        return Ok(ExitCode::SUCCESS);
    }
    let duration_secs = args.span.map(Span::as_secs);
    let body = json!({"target": target, "reason": args.reason, "duration_secs": duration_secs});
    let answer = call(settings, reach, Method::POST, path, Some(&body)).await?;
    if args.format.format == OutputFormat::Json {
        out::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let freed = answer.get("freed").and_then(Value::as_u64).unwrap_or(0);
    let ended = if freed > 0 { format!("; bans of {freed} lifted") } else { String::new() };
    out::line(&format!("{target} is spared on all machines{ended}"));
    Ok(ExitCode::SUCCESS)
}

/// A value for a query string (RFC 3986).
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
