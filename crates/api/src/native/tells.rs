//! `GET /api/v1/honeypot/tells`: which known tell of a honeypot this installation
//! shows. Who tries it is handed over by the composition root; it is tried when
//! somebody asks first, and remembered.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;

use axum::extract::State;
use palisade_event::{AttributeValue, Timestamp};
use palisade_hub::Permission;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{Problem, ProblemBody};
use crate::router::App;

/// Tries the honeypots of this process.
type Trying =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<TellReport, String>> + Send>> + Send + Sync>;

/// What was found on the honeypots of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TellReport {
    /// The sensor whose honeypots they are.
    #[schema(example = "edge-1")]
    pub sensor: String,
    /// When they were tried.
    #[schema(value_type = String, format = DateTime)]
    pub checked_at: Timestamp,
    /// Every check, in the order of services and shells.
    pub tells: Vec<HoneypotTell>,
}

/// One thing that detectors look at, tried on ourselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoneypotTell {
    /// Its lasting name.
    #[schema(example = "ssh-kexinit")]
    pub id: String,
    /// Where: a service with its address, a shell, or `installation`.
    #[schema(example = "ssh on 0.0.0.0:22")]
    pub place: String,
    /// What a detector looks at.
    pub looks_at: String,
    /// Who does: a tool, or the honeypot that is known by it.
    pub known_from: String,
    /// `hidden` (a real machine is seen), `shown` (a honeypot is) or `not-applicable`.
    #[schema(example = "hidden")]
    pub verdict: String,
    /// What was seen, shortened; control characters are replaced.
    pub seen: String,
    /// What to do where it shows.
    pub advice: String,
}

/// Who tries the honeypots, and what was found.
#[derive(Default)]
pub(crate) struct Tells {
    trying: OnceLock<Trying>,
    found: OnceCell<TellReport>,
}

impl Tells {
    /// Has the honeypots tried by `trying`. Only the first call has an effect.
    pub(crate) fn try_with<F>(&self, trying: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<TellReport, String>> + Send + 'static,
    {
        let _ = self.trying.set(Box::new(move || Box::pin(trying())));
    }

    async fn found(&self) -> Result<Option<TellReport>, String> {
        let Some(trying) = self.trying.get() else { return Ok(None) };
        self.found.get_or_try_init(trying).await.map(|report| Some(report.clone()))
    }
}

/// What is known.
#[derive(Serialize, ToSchema)]
#[schema(as = HoneypotTells)]
pub(crate) struct Known {
    /// What was found; null where no honeypot runs in this process.
    #[schema(required)]
    report: Option<TellReport>,
    /// What other sensors found on theirs at their last start, by their names.
    others: Vec<TellReport>,
}

/// Reports of sensors that are looked at, the newest first.
const MAX_REPORTS: usize = 500;
/// How far back: sensors report at their start.
const REPORTS_OF: &str = "kind:sensor.checked since:400d";

/// The newest report of each sensor.
async fn reported(app: &App, caller: &Caller) -> Result<Vec<TellReport>, Problem> {
    let query = super::events::parse(REPORTS_OF)?;
    let page = app.hub.search(&caller.who, query, MAX_REPORTS, None).await?;
    let mut newest = BTreeMap::new();
    for event in page.events {
        let Some(AttributeValue::Text(text)) = event.attributes.get("report") else { continue };
        let Ok(mut report) = serde_json::from_slice::<TellReport>(text.as_bytes()) else {
            continue;
        };
        // Whose it is says its key.
        report.sensor = event.sensor.to_string();
        newest.entry(report.sensor.clone()).or_insert(report);
    }
    Ok(newest.into_values().collect())
}

/// Tells of honeypots
///
/// What scanners and bots know honeypots by, tried on those of this process when it is asked for
/// first, and by other sensors at their start. Needs the role operator.
#[utoipa::path(
    get, path = "/api/v1/honeypot/tells", tag = "sensors", operation_id = "listHoneypotTells",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = Known, description = "What was found"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Not allowed"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<Known>, Problem> {
    caller.require(Permission::Operate)?;
    let report = app.tells.found().await.map_err(Problem::unprocessable)?;
    let others = reported(&app, &caller).await?;
    Ok(axum::Json(Known { report, others }))
}
