//! What was attacked most, over time.

use palisade_hub::alerts::Tops;

use super::json::Object;
use super::params::written;
use super::question::Answer;
use super::show::html;

/// `tops`
pub(super) fn tops(tops: &Tops) -> Answer {
    let starts: Vec<String> = tops.starts.iter().map(|start| written(*start)).collect();
    let one = |(name, counts): &'_ (String, Vec<u64>)| {
        let total = ("total".to_owned(), counts.iter().sum::<u64>());
        let buckets = starts.iter().cloned().zip(counts.iter().copied());
        (html(name).into_owned(), Object([total].into_iter().chain(buckets).collect()))
    };
    Answer::json(&Object(tops.tops.iter().map(one).collect()))
}
