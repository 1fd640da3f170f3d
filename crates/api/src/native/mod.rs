//! Palisade's own dialect: JSON over HTTP below `/api/v1`.
//!
//! Each file is one resource and holds its routes, their bodies and their part
//! of the OpenAPI document. What they mean is decided in the hub.

pub(crate) mod aggregate;
pub(crate) mod allowlist;
pub(crate) mod blocklist;
pub(crate) mod bouncers;
pub(crate) mod cves;
pub(crate) mod decisions;
pub(crate) mod effect;
pub(crate) mod events;
pub(crate) mod ews_users;
pub(crate) mod explain;
pub(crate) mod explained;
pub(crate) mod export;
pub(crate) mod fields;
pub(crate) mod findings;
mod host_metrics;
pub(crate) mod hosts;
pub(crate) mod ingest;
pub(crate) mod keys;
pub(crate) mod knock;
pub(crate) mod logs;
pub(crate) mod payloads;
pub(crate) mod plugins;
pub(crate) mod probes;
pub(crate) mod quarantine;
pub(crate) mod query;
pub(crate) mod saved_queries;
pub(crate) mod scenarios;
pub(crate) mod schema;
pub(crate) mod sensors;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod sign_ins;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod tells;
pub(crate) mod users;

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::Problem;

/// A name in the path.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Problem::bad_request("The path is no UTF-8 after its % signs.")),
        }
    }
}

/// Parameters after the question mark; unknown ones are refused by name where
/// the type says `deny_unknown_fields`.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                let text = rejection.body_text();
                let reason = text.rsplit("string: ").next().unwrap_or_default();
                Err(Problem::bad_request(format!("The parameters do not fit: {reason}.")))
            }
        }
    }
}
