//! `palisade key add|list|remove`.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use super::list;
use super::user::path_segment;
use crate::args::{KeyCommand, OutputFormat, Scope};
use crate::out::{self, shown};
use crate::reach::Reach;
use crate::settings::Settings;

/// Runs the command.
///
/// # Errors
/// The hub cannot be reached or refuses.
pub(crate) async fn run(settings: &Settings, command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Add { name, scope, domain, ranges, reach, format } => {
            let scopes: Vec<&str> = scope
                .iter()
                .map(|scope| match scope {
                    Scope::Ingest => "ingest",
                    Scope::Read => "read",
                    Scope::Decisions => "decisions",
                    Scope::Bouncer => "bouncer",
                    Scope::Glimpse => "glimpse",
                    Scope::Admin => "admin",
                })
                .collect();
            let mut body = json!({"name": name, "scopes": scopes, "domain": domain.as_str()});
            if let (Some(ranges), Some(body)) = (ranges, body.as_object_mut()) {
                body.insert("ranges".to_owned(), ranges.as_str().into());
            }
            let hub = Reach::find(settings, &reach).await?;
            let answer = hub.call(Method::POST, "/api/v1/keys", Some(&body)).await;
            hub.close().await;
            let answer = answer?;
            match format.format {
                OutputFormat::Json => out::json(&answer),
                OutputFormat::Table => {
                    out::line(answer.get("key").and_then(Value::as_str).unwrap_or_default());
                }
            }
        }
        KeyCommand::List { reach, format } => {
            let hub = Reach::find(settings, &reach).await?;
            let answer = hub.call(Method::GET, "/api/v1/keys", None).await;
            hub.close().await;
            let answer = answer?;
            if format.format == OutputFormat::Json {
                out::json(&answer);
                return Ok(ExitCode::SUCCESS);
            }
            let columns = ["id", "name", "scopes", "domain", "created_at", "last_used_at"];
            let rows = list(&answer, "keys")
                .iter()
                .map(|key| columns.iter().map(|column| shown(key.get(column))).collect())
                .collect();
            out::table(
                &columns,
                rows,
                "no keys yet; add one with `palisade key add NAME --scope ingest`",
            );
        }
        KeyCommand::Remove { id, reach } => {
            let hub = Reach::find(settings, &reach).await?;
            let path = format!("/api/v1/keys/{}", path_segment(&id)?);
            let answer = hub.call(Method::DELETE, &path, None).await;
            hub.close().await;
            answer?;
            out::line(&format!("revoked {id}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
