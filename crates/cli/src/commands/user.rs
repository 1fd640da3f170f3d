//! `palisade user add|password|role|list|remove`: accounts, and users of the EWS
//! dialect.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use http::Method;
use serde_json::{Value, json};

use super::list;
use crate::args::{AddUserArgs, OutputFormat, ReachArgs, Role, UserCommand};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Longest password or token that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 1024;

/// Runs the command.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn run(settings: &Settings, command: UserCommand) -> anyhow::Result<ExitCode> {
    match command {
        UserCommand::Add(args) => add(settings, &args).await?,
        UserCommand::Password { name, reach, .. } => {
            let body = json!({"password": read_secret("password")?});
            let hub = Reach::find(settings, &reach).await?;
            let path = format!("/api/v1/users/{}/password", path_segment(&name)?);
            let answer = hub.call(Method::POST, &path, Some(&body)).await;
            hub.close().await;
            answer?;
            out::line(&format!("changed the password of {name} and ended its sessions"));
        }
        UserCommand::Role { name, role, reach } => {
            let path = format!("/api/v1/users/{}/role", path_segment(&name)?);
            let hub = Reach::find(settings, &reach).await?;
            let answer =
                hub.call(Method::PUT, &path, Some(&json!({"role": role_name(role)}))).await;
            hub.close().await;
            answer?;
            out::line(&format!("{name} is {} from now on", role_name(role)));
        }
        UserCommand::List { reach, format } => show(settings, &reach, format.format).await?,
        UserCommand::Remove { name, ews, reach } => {
            let segment = path_segment(&name)?;
            let hub = Reach::find(settings, &reach).await?;
            let removed = remove(&hub, segment, ews).await;
            hub.close().await;
            removed?;
            out::line(&format!("removed {name}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(settings: &Settings, args: &AddUserArgs) -> anyhow::Result<()> {
    let name = &args.name;
    let role = args.role.map(role_name);
    let (path, body, said) = match role {
        Some(role) => {
            let password = read_secret("password")?;
            let body = json!({"username": name, "password": password, "role": role});
            ("/api/v1/users", body, role)
        }
        None => {
            let mut body = json!({
                "name": name,
                "token": read_secret("token")?,
                "domain": args.domain.as_str(),
                "read_only": args.read_only,
                "community_only": args.community_only,
            });
            if let (Some(email), Some(fields)) = (&args.email, body.as_object_mut()) {
                fields.insert("email".to_owned(), json!(email));
            }
            ("/api/v1/ews-users", body, "EWS user")
        }
    };
    let hub = Reach::find(settings, &args.reach).await?;
    let answer = hub.call(Method::POST, path, Some(&body)).await;
    hub.close().await;
    answer?;
    out::line(&format!("added {said} {name}"));
    Ok(())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

async fn show(settings: &Settings, reach: &ReachArgs, format: OutputFormat) -> anyhow::Result<()> {
    let hub = Reach::find(settings, reach).await?;
    let accounts = hub.call(Method::GET, "/api/v1/users", None).await;
    let ews = hub.call(Method::GET, "/api/v1/ews-users", None).await;
    hub.close().await;
    let (accounts, ews) = (accounts?, ews?);
    let (accounts, ews) = (list(&accounts, "users"), list(&ews, "ews_users"));
    if format == OutputFormat::Json {
        out::json(&json!({"users": accounts, "ews_users": ews}));
        return Ok(());
    }
    let columns = ["username", "role", "created_at"];
    let account = |user: &Value| columns.map(|column| shown(user.get(column))).to_vec();
    let mut rows: Vec<Vec<String>> = accounts.iter().map(account).collect();
    rows.extend(
        ews.iter().map(|user| {
            vec![shown(user.get("name")), ews_role(user), shown(user.get("created_at"))]
        }),
    );
    out::table(&columns, rows, "no accounts yet");
    Ok(())
}

/// What an EWS user may do, in a few words.
fn ews_role(user: &Value) -> String {
    let is = |name: &str| user.get(name).and_then(Value::as_bool).unwrap_or(false);
    let mut role = format!("ews {}", shown(user.get("domain")));
    if is("read_only") {
        role.push_str(", read-only");
    }
    if is("community_only") {
        role.push_str(", community-only");
    }
    role
}

/// Removes the account of that name, or the EWS user where there is none.
async fn remove(hub: &Reach, name: &str, ews: bool) -> anyhow::Result<()> {
    let is = |value: &Value, field: &str| value.get(field).and_then(Value::as_str) == Some(name);
    let mut path = format!("/api/v1/users/{name}");
    let accounts = hub.call(Method::GET, "/api/v1/users", None).await?;
    let users = hub.call(Method::GET, "/api/v1/ews-users", None).await?;
    let no_account = !list(&accounts, "users").iter().any(|user| is(user, "username"));
    let is_ews = list(&users, "ews_users").iter().any(|user| is(user, "name"));
    if ews || (no_account && is_ews) {
        path = format!("/api/v1/ews-users/{name}");
    }
    hub.call(Method::DELETE, &path, None).await.map(drop)
}

/// A name that can stand in a path as it is; names of accounts and keys can.
pub(super) fn path_segment(name: &str) -> anyhow::Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || !name.chars().all(plain) || name.chars().all(|c| c == '.') {
        bail!("'{}' is no name; names have letters, digits, '.', '_' and '-'", name.escape_debug());
    }
    Ok(name)
}

/// A password or token: standard input up to its end, one final newline dropped.
fn read_secret(what: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_SECRET_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read the {what} from standard input as UTF-8 text"))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        let upper = what.to_uppercase();
        bail!("standard input holds no {what}; pipe it in: printf %s {upper} | palisade user …");
    }
    if secret.len() as u64 > MAX_SECRET_BYTES {
        bail!("the {what} is longer than {MAX_SECRET_BYTES} bytes");
    }
    Ok(secret.to_owned())
}
