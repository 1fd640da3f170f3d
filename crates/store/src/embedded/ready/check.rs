//! Compares ready aggregates with the events.

use palisade_event::{Day, Timestamp};
use tantivy::TantivyError;

use super::super::Embedded;
use super::{Ask, build, keep};
use crate::query::Query;

/// Counts every answer of a day anew and says, a sentence each, which are not as
/// kept. Queries never use what has another segment, size or checksum, and count
/// it anew once they need it; this finds what they did not need yet, and what no
/// checksum can.
///
/// # Errors
/// Where the events cannot be read.
pub(crate) fn check(store: &Embedded, day: Day) -> Result<Vec<String>, TantivyError> {
    let mut found = Vec::new();
    for segment in store.segments(day)?.unwrap_or_default().iter() {
        for file in segment.parts.files().iter() {
            let table = file.table();
            let now = Timestamp::from_millis(0);
            let rows = table.questions.iter().map(|row| {
                let text = &table.filters.get(row.filter)?.text;
                Ask::new(&Query::parse(text, now).ok()?.filter, row.fields.clone())
            });
            let filters = table
                .filters
                .iter()
                .map(|row| Ask::new(&Query::parse(&row.text, now).ok()?.filter, Vec::new()));
            let asks: Option<Vec<Ask>> = rows.chain(filters).collect();
            let name = file.path().map(|path| path.display().to_string()).unwrap_or_default();
            let Some(mut asks) = asks else {
                found.push(format!("{name}: a filter cannot be read"));
                continue;
            };
            asks.dedup_by(|a, b| a.text == b.text && a.fields == b.fields);
            let fresh = build::count(&asks, segment, build::Home::Disk)?;
            for row in &table.filters {
                if !fresh.table.filters.contains(row) {
                    found.push(format!("{name}: '{}' matches other events", row.text));
                }
            }
            for (place, row) in table.questions.iter().enumerate() {
                let text = table.filters.get(row.filter).map_or("", |filter| &filter.text);
                let same = fresh.table.questions.iter().position(|other| {
                    let filter = fresh.table.filters.get(other.filter);
                    filter.is_some_and(|filter| filter.text == text) && other.fields == row.fields
                });
                let section = same.and_then(|same| fresh.sections.get(same));
                if section.map(Vec::as_slice) != file.raw_section(place) {
                    let fields: Vec<&str> = row.fields.iter().map(|field| field.name()).collect();
                    let what = if file.is_whole(place) { "differ" } else { "are damaged" };
                    found.push(format!("{name}: counts of '{text}' by {fields:?} {what}"));
                }
            }
        }
    }
    Ok(found)
}

/// Removes every ready aggregate of a day and counts it anew.
///
/// # Errors
/// Where the events cannot be read or the files not be written.
pub(crate) fn rebuild(store: &Embedded, day: Day) -> Result<(), TantivyError> {
    keep::remake(store, day)
}
