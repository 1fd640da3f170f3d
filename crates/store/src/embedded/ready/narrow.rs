//! A filter as it is on one segment: a condition that all of its events meet, or
//! none, by the counts that are ready, is not looked at any more. So a question
//! about one domain or some kinds is often answered by what is kept for another
//! filter, or for none.

use std::sync::Arc;

use super::super::segment::{AnyColumn, Segment};
use super::Ask;
use super::file::{File, Found};
use crate::query::{Field, Filter, Wanted};

/// What became of a question.
#[derive(Debug)]
pub(super) enum Narrowed {
    /// No event of the segment matches.
    Nothing,
    /// Nothing is known to be always or never true.
    Same,
    /// A simpler question that has the same answer here.
    Simpler(Ask),
}

/// What is known of a condition on a segment.
enum Truth {
    Always,
    Never,
    /// As far as it is not known.
    Open(Filter),
}

/// Simplifies the filter of a question by what these files say of a segment.
pub(super) fn narrowed(ask: &Ask, segment: &Segment, files: &[Arc<File>]) -> Narrowed {
    match truth(&ask.filter, &|field, values| matching(segment, files, field, values)) {
        Truth::Never => Narrowed::Nothing,
        Truth::Always => simpler(ask, &Filter::All),
        Truth::Open(filter) => simpler(ask, &filter),
    }
}

fn simpler(ask: &Ask, filter: &Filter) -> Narrowed {
    match Ask::new(filter, ask.fields.clone()) {
        Some(other) if other.text != ask.text => Narrowed::Simpler(other),
        _ => Narrowed::Same,
    }
}

/// `matching` says how many events have one of some values, and of how many.
fn truth(filter: &Filter, matching: &impl Fn(Field, &[String]) -> Option<(u64, u64)>) -> Truth {
    match filter {
        Filter::All => Truth::Always,
        Filter::And(parts) => {
            let mut open = Vec::new();
            for part in parts {
                match truth(part, matching) {
                    Truth::Always => {}
                    Truth::Never => return Truth::Never,
                    Truth::Open(part) => open.push(part),
                }
            }
            if open.is_empty() { Truth::Always } else { Truth::Open(Filter::And(open)) }
        }
        Filter::Or(parts) => {
            let mut open = Vec::new();
            for part in parts {
                match truth(part, matching) {
                    Truth::Always => return Truth::Always,
                    Truth::Never => {}
                    Truth::Open(part) => open.push(part),
                }
            }
            if open.is_empty() { Truth::Never } else { Truth::Open(Filter::Or(open)) }
        }
        Filter::Not(inner) => match truth(inner, matching) {
            Truth::Always => Truth::Never,
            Truth::Never => Truth::Always,
            Truth::Open(inner) => Truth::Open(Filter::Not(Box::new(inner))),
        },
        Filter::In(field, values) => match matching(*field, values) {
            Some((0, _)) => Truth::Never,
            Some((some, all)) if some == all => Truth::Always,
            _ => Truth::Open(filter.clone()),
        },
        other => Truth::Open(other.clone()),
    }
}

/// How many events of a segment have one of these texts, and how many it has;
/// `None` where no file says so.
fn matching(
    segment: &Segment,
    files: &[Arc<File>],
    field: Field,
    values: &[String],
) -> Option<(u64, u64)> {
    if !field.is_text() {
        return None;
    }
    let found = |file: &Arc<File>| match file.find("*", &[field]) {
        Some(Found::Section(place)) => Some((Arc::clone(file), place)),
        _ => None,
    };
    let (file, place) = files.iter().find_map(found)?;
    let section = file.section(place)?;
    let AnyColumn::Text(column) = segment.column(field).ok()? else { return None };
    let mut ordinals = Vec::with_capacity(values.len());
    for value in values {
        if let Some(Wanted::Text(text)) = Wanted::new(field, value) {
            ordinals.extend(column.dictionary().term_ord(text.as_bytes()).ok()?);
        }
    }
    ordinals.sort_unstable();
    ordinals.dedup();
    let count = |ordinal: u64| section.total.get(u32::try_from(ordinal).ok()?);
    let some = ordinals.into_iter().map(count).sum::<Option<u64>>()?;
    Some((some, u64::from(segment.docs())))
}

#[cfg(test)]
mod tests {
    use palisade_event::Timestamp;

    use super::*;
    use crate::query::Query;

    /// Every event is of the community, none is of the kind `scan.detected`, and
    /// half of them came from China.
    fn known(field: Field, values: &[String]) -> Option<(u64, u64)> {
        let has = |value: &str| values.iter().any(|other| other == value);
        let share = |is: bool, all: u64| if is { all } else { 0 };
        match field {
            Field::Domain => Some((share(has("community"), 10), 10)),
            Field::Kind => Some((share(!has("scan.detected") || values.len() > 1, 10), 10)),
            Field::Country => Some((share(has("CN"), 5), 10)),
            _ => None,
        }
    }

    #[test]
    fn what_is_always_or_never_true_is_dropped_and_the_rest_stays() {
        let said = |text: &str| {
            let filter = Query::parse(text, Timestamp::from_millis(0)).unwrap().filter;
            match truth(&filter.simplified(), &known) {
                Truth::Always => "always".to_owned(),
                Truth::Never => "never".to_owned(),
                Truth::Open(filter) => filter.to_string(),
            }
        };
        assert_eq!(said("domain:community kind:auth.attempted"), "always");
        assert_eq!(said("domain:community country:CN"), "country:CN");
        assert_eq!(said("domain:private country:CN"), "never");
        assert_eq!(said("-domain:private"), "always");
        assert_eq!(said("-domain:community user:root"), "never");
        assert_eq!(said("kind:scan.detected or country:CN"), "country:CN");
        assert_eq!(said("domain:community or user:root"), "always");
        assert_eq!(said("user:root -(domain:private or country:DE)"), "user:root");
        assert_eq!(said("user:root port:22"), "user:root port:22");
    }
}
