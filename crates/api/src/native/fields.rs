//! `GET /api/v1/fields`: what queries can ask for.

use palisade_store::query::{Field, FieldType};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{Problem, ProblemBody};

/// Every field of the query language.
#[derive(Serialize, ToSchema)]
pub(crate) struct FieldList {
    /// The fields.
    fields: Vec<FieldInfo>,
}

/// A field that can be filtered and grouped by.
#[derive(Serialize, ToSchema)]
#[schema(as = Field)]
pub(crate) struct FieldInfo {
    /// Its name.
    name: &'static str,
    /// Other names that mean the same.
    aliases: &'static [&'static str],
    /// What its values are.
    #[serde(rename = "type")]
    kind: FieldKind,
    /// What it means.
    description: &'static str,
}

/// What the values of a field are.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = FieldType)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FieldKind {
    /// One of a set of words, compared as a whole.
    Keyword,
    /// An address; networks are asked for as `ip:198.51.100.0/24`.
    Ip,
    /// A whole number; ranges are asked for as `port:1..1023`.
    Integer,
    /// An instant.
    Time,
    /// Free text.
    Text,
}

/// Fields of the query language
#[utoipa::path(
    get, path = "/api/v1/fields", tag = "events", operation_id = "listFields",
    security(("session" = []), ("key" = [])),
    responses(
        (status = 200, body = FieldList, description = "The fields"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "Not signed in"),
    ),
)]
pub(crate) async fn list(_caller: Caller) -> Result<axum::Json<FieldList>, Problem> {
    let fields = Field::ALL.iter().map(|field| {
        let info = field.info();
        FieldInfo {
            name: info.name,
            aliases: info.aliases,
            kind: info.field_type.into(),
            description: info.description,
        }
    });
    Ok(axum::Json(FieldList { fields: fields.collect() }))
}

impl From<FieldType> for FieldKind {
    fn from(kind: FieldType) -> Self {
        match kind {
            FieldType::Keyword => Self::Keyword,
            FieldType::Ip => Self::Ip,
            FieldType::Integer => Self::Integer,
            FieldType::Time => Self::Time,
            FieldType::Text => Self::Text,
        }
    }
}
