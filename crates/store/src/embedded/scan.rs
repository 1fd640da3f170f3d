//! Finds the documents of a segment that match a filter made ready for it,
//! chunk by chunk: the narrowest condition is scanned over whole blocks of its
//! column, the others look at what it found.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::{Range, RangeInclusive};

use tantivy::columnar::Column;

use super::filter::Ready;
use super::schema::to_v6;
use super::segment::Segment;
use crate::query::in_network;

/// Documents that are looked at together.
pub(super) const CHUNK_DOCS: u32 = 8192;

/// Calls `each` with the matching documents of a segment, chunk by chunk.
pub(super) fn for_each_chunk<E>(
    ready: &Ready<'_>,
    segment: &Segment,
    mut each: impl FnMut(&[u32]) -> Result<(), E>,
) -> Result<(), E> {
    let mut docs = Vec::with_capacity(CHUNK_DOCS as usize);
    let mut start = ready.next(0);
    while start < segment.docs() {
        let end = start.saturating_add(CHUNK_DOCS).min(segment.docs());
        docs.clear();
        ready.scan(start..end, &mut docs);
        if !docs.is_empty() {
            each(&docs)?;
        }
        start = ready.next(end);
    }
    Ok(())
}

/// The documents of a range whose value lies in a range, ascending.
fn in_range<T>(
    column: &Column<T>,
    values: RangeInclusive<T>,
    docs: Range<u32>,
    found: &mut Vec<u32>,
) where
    T: PartialOrd + Copy + Debug + Send + Sync + 'static,
{
    // The library translates everything that is in the list, and takes a range
    // below all values for one that begins with the smallest.
    found.clear();
    if values.start() <= values.end()
        && *values.end() >= column.min_value()
        && *values.start() <= column.max_value()
    {
        column.get_docids_for_value_range(values, docs, found);
    }
}

/// Keeps the documents whose value is as wanted.
fn keep<T>(column: &Column<T>, docs: &mut Vec<u32>, is_wanted: impl Fn(T) -> bool)
where
    T: PartialOrd + Copy + Debug + Send + Sync + 'static,
{
    let mut values = vec![None; docs.len()];
    column.first_vals(docs, &mut values);
    let mut value = values.into_iter();
    docs.retain(|_| value.next().flatten().is_some_and(&is_wanted));
}

impl Ready<'_> {
    /// Puts the matching documents of a range into `found`, ascending.
    pub(super) fn scan(&self, docs: Range<u32>, found: &mut Vec<u32>) {
        found.clear();
        match self {
            Self::None => {}
            Self::And(parts) => {
                let apart = |part: &Self| match part {
                    Self::Observed(segment, low, high) => {
                        !segment.may_lie_in(docs.clone(), *low, *high)
                    }
                    _ => false,
                };
                if parts.iter().any(apart) {
                    return;
                }
                let Some((first, others)) = parts.split_first() else {
                    found.extend(docs);
                    return;
                };
                first.scan(docs, found);
                for part in others {
                    if found.is_empty() {
                        return;
                    }
                    part.retain(found);
                }
            }
            Self::Or(parts) => {
                let mut some = Vec::new();
                for part in parts {
                    part.scan(docs.clone(), &mut some);
                    found.append(&mut some);
                }
                if parts.len() > 1 {
                    found.sort_unstable();
                    found.dedup();
                }
            }
            Self::Not(part) => {
                let mut some = Vec::new();
                part.scan(docs.clone(), &mut some);
                found.extend(docs);
                subtract(found, &some);
            }
            Self::Ordinals(column, range) => {
                if let Some(last) = range.end.checked_sub(1) {
                    in_range(column.ords(), range.start..=last, docs, found);
                }
            }
            Self::Numbers(column, set) if set.len() == 1 => {
                for value in set {
                    in_range(column, *value..=*value, docs.clone(), found);
                }
            }
            Self::Between(column, low, high) => in_range(column, *low..=*high, docs, found),
            Self::Observed(segment, low, high) => {
                if segment.lies_in(docs.clone(), *low, *high) {
                    found.extend(docs);
                } else if segment.may_lie_in(docs.clone(), *low, *high) {
                    in_range(&segment.time, *low..=*high, docs, found);
                }
            }
            Self::Addresses(column, set) if set.len() == 1 => {
                for address in set {
                    let address = to_v6(address.to_canonical());
                    in_range(column, address..=address, docs.clone(), found);
                }
            }
            Self::Network(column, network, bits) => match span_of(*network, *bits) {
                Some(addresses) => in_range(column, addresses, docs, found),
                None => {
                    found.extend(docs);
                    self.retain(found);
                }
            },
            Self::Docs(marks) => found.extend(docs.filter(|doc| bit(marks, *doc))),
            Self::List(list) => {
                let start = list.partition_point(|doc| *doc < docs.start);
                let rest = list.get(start..).unwrap_or_default();
                let end = rest.partition_point(|doc| *doc < docs.end);
                found.extend_from_slice(rest.get(..end).unwrap_or_default());
            }
            _ => {
                found.extend(docs);
                self.retain(found);
            }
        }
    }

    /// Keeps the documents that match; `docs` ascends.
    fn retain(&self, docs: &mut Vec<u32>) {
        match self {
            Self::All => {}
            Self::None => docs.clear(),
            Self::And(parts) => parts.iter().for_each(|part| part.retain(docs)),
            Self::Or(parts) => {
                let mut rest = std::mem::take(docs);
                for part in parts {
                    let mut some = rest.clone();
                    part.retain(&mut some);
                    subtract(&mut rest, &some);
                    docs.extend(some);
                }
                docs.sort_unstable();
            }
            Self::Not(part) => {
                let mut some = docs.clone();
                part.retain(&mut some);
                subtract(docs, &some);
            }
            Self::Ordinals(column, range) => {
                keep(column.ords(), docs, |ordinal| range.contains(&ordinal));
            }
            Self::Marked(column, marks) => keep(column.ords(), docs, |ordinal| {
                marks.get(ordinal as usize).copied().unwrap_or(false)
            }),
            Self::HasText(column) => keep(column.ords(), docs, |_| true),
            Self::Numbers(column, set) => keep(column, docs, |value| set.contains(&value)),
            Self::Between(column, low, high) => {
                keep(column, docs, |value| *low <= value && value <= *high);
            }
            Self::Observed(segment, low, high) => {
                let (Some(first), Some(last)) = (docs.first(), docs.last()) else { return };
                let range = *first..last.saturating_add(1);
                if segment.lies_in(range.clone(), *low, *high) {
                    return;
                }
                if segment.may_lie_in(range, *low, *high) {
                    keep(&segment.time, docs, |at| (*low..=*high).contains(&at));
                } else {
                    docs.clear();
                }
            }
            Self::Addresses(column, set) => {
                keep(column, docs, |address| set.contains(&IpAddr::V6(address).to_canonical()));
            }
            Self::Network(column, network, bits) => keep(column, docs, |address| {
                in_network(IpAddr::V6(address).to_canonical(), *network, *bits)
            }),
            Self::HasAddress(column) => keep(column, docs, |_| true),
            Self::Ids(segment, set) => docs.retain(|doc| set.contains(&segment.id(*doc))),
            Self::Unlisted(segment, name, test) => docs.retain(|doc| {
                let value = segment.unlisted_attribute(*doc, name.as_str());
                value.is_some_and(|value| test.matches(&value))
            }),
            Self::Docs(marks) => docs.retain(|doc| bit(marks, *doc)),
            Self::List(list) => {
                let mut rest = list.as_slice();
                docs.retain(|doc| {
                    rest = rest.get(rest.partition_point(|one| one < doc)..).unwrap_or_default();
                    rest.first() == Some(doc)
                });
            }
        }
    }

    /// No document before this one and from `from` on matches.
    fn next(&self, from: u32) -> u32 {
        match self {
            Self::None => u32::MAX,
            Self::And(parts) => parts.iter().map(|part| part.next(from)).max().unwrap_or(from),
            Self::Or(parts) => parts.iter().map(|part| part.next(from)).min().unwrap_or(u32::MAX),
            Self::List(list) => {
                let place = list.partition_point(|doc| *doc < from);
                list.get(place).copied().unwrap_or(u32::MAX)
            }
            _ => from,
        }
    }

    /// No document from this one on and before `to` matches.
    pub(super) fn end(&self, to: u32) -> u32 {
        match self {
            Self::None => 0,
            Self::And(parts) => parts.iter().map(|part| part.end(to)).min().unwrap_or(to),
            Self::Or(parts) => parts.iter().map(|part| part.end(to)).max().unwrap_or(0),
            Self::List(list) => {
                let place = list.partition_point(|doc| *doc < to);
                let last = place.checked_sub(1).and_then(|place| list.get(place));
                last.map_or(0, |doc| doc + 1)
            }
            _ => to,
        }
    }
}

/// The addresses of a network as they are stored, IPv4 mapped to IPv6. `None`
/// for an IPv6 network that mapped addresses lie in, as they are not part of it,
/// and for more bits than an address has.
fn span_of(network: IpAddr, bits: u8) -> Option<RangeInclusive<Ipv6Addr>> {
    if bits > if network.is_ipv4() { 32 } else { 128 } {
        return None;
    }
    let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
    let (address, bits) = match network {
        IpAddr::V4(address) => (address.to_ipv6_mapped(), bits.checked_add(96)?),
        IpAddr::V6(address) => (address, bits),
    };
    let host = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
    let first = address.to_bits() & !host;
    let span = Ipv6Addr::from_bits(first)..=Ipv6Addr::from_bits(first | host);
    (network.is_ipv4() || bits > 96 || !span.contains(&mapped)).then_some(span)
}

fn bit(marks: &[u64], doc: u32) -> bool {
    marks.get(doc as usize / 64).is_some_and(|word| word >> (doc % 64) & 1 == 1)
}

/// Removes from one ascending list what is in the other.
fn subtract(docs: &mut Vec<u32>, gone: &[u32]) {
    let mut gone = gone.iter().copied().peekable();
    docs.retain(|doc| {
        while gone.next_if(|gone| gone < doc).is_some() {}
        gone.next_if_eq(doc).is_none()
    });
}
