//! Reads the rows of one table of an SQLite file, and nothing else of SQLite: RPM
//! keeps its packages so. From the description of the file format (sqlite.org,
//! fileformat2): table b-trees, records, overflow pages. A journal beside the
//! file is not looked at; RPM writes it back at the end of each change.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Deepest tree and most pages that are followed: more is a damaged file.
const MAX_DEPTH: usize = 32;
const MAX_PAGES: usize = 2_000_000;
/// Largest record, in bytes.
const MAX_RECORD_BYTES: usize = 32 * 1024 * 1024;

/// A value of a record.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Other,
}

/// An open file.
pub(super) struct Database {
    file: File,
    page_bytes: usize,
    /// Bytes of a page without those reserved at its end.
    usable: usize,
}

/// The file is damaged or is none of SQLite.
fn damaged() -> String {
    "it is damaged, or no SQLite file".to_owned()
}

impl Database {
    pub(super) fn open(file: File) -> Result<Self, String> {
        let mut head = [0u8; 100];
        file.read_exact_at(&mut head, 0).map_err(|_| damaged())?;
        let size = u16_at(&head, 16).ok_or_else(damaged)?;
        let page_bytes = if size == 1 { 65_536 } else { usize::from(size) };
        let reserved = usize::from(*head.get(20).unwrap_or(&0));
        let sound = head.starts_with(b"SQLite format 3\0")
            && (512..=65_536).contains(&page_bytes)
            && page_bytes.is_power_of_two()
            && page_bytes.saturating_sub(reserved) >= 480;
        if !sound {
            return Err(damaged());
        }
        Ok(Self { file, page_bytes, usable: page_bytes - reserved })
    }

    /// Hands each row of a table to `take`, until it says no.
    pub(super) fn rows(
        &self,
        table: &str,
        mut take: impl FnMut(&[Value<'_>]) -> bool,
    ) -> Result<(), String> {
        let mut root = None;
        self.walk(1, &mut |row| {
            if let [_, Value::Bytes(name), _, Value::Integer(page), ..] = row
                && *name == table.as_bytes()
            {
                root = usize::try_from(*page).ok();
            }
            root.is_none()
        })?;
        let root = root.ok_or_else(|| format!("it has no table {table}"))?;
        self.walk(root, &mut take)
    }

    fn page(&self, number: usize) -> Result<Vec<u8>, String> {
        let start = number.checked_sub(1).and_then(|n| n.checked_mul(self.page_bytes));
        let start = start.ok_or_else(damaged)?;
        let mut page = vec![0; self.page_bytes];
        self.file.read_exact_at(&mut page, start as u64).map_err(|_| damaged())?;
        Ok(page)
    }

    /// Walks a table's tree from left to right.
    fn walk(&self, root: usize, take: &mut impl FnMut(&[Value<'_>]) -> bool) -> Result<(), String> {
        // Pages to come, the next one last, each with its depth.
        let mut pages = vec![(root, 0usize)];
        let mut seen = 0usize;
        while let Some((number, depth)) = pages.pop() {
            seen += 1;
            if depth > MAX_DEPTH || seen > MAX_PAGES {
                return Err(damaged());
            }
            let page = self.page(number)?;
            let head = if number == 1 { 100 } else { 0 };
            let cells = usize::from(u16_at(&page, head + 3).ok_or_else(damaged)?);
            match page.get(head) {
                Some(0x05) => {
                    let right = u32_at(&page, head + 8).ok_or_else(damaged)?;
                    pages.push((right as usize, depth + 1));
                    for cell in (0..cells).rev() {
                        let at = u16_at(&page, head + 12 + 2 * cell).ok_or_else(damaged)?;
                        let child = u32_at(&page, usize::from(at)).ok_or_else(damaged)?;
                        pages.push((child as usize, depth + 1));
                    }
                }
                Some(0x0d) => {
                    for cell in 0..cells {
                        let at = u16_at(&page, head + 8 + 2 * cell).ok_or_else(damaged)?;
                        let record = self.record(&page, usize::from(at))?;
                        if !take(&values(&record).ok_or_else(damaged)?) {
                            return Ok(());
                        }
                    }
                }
                _ => return Err(damaged()),
            }
        }
        Ok(())
    }

    /// The bytes of the record in a leaf's cell, those on overflow pages too.
    fn record(&self, page: &[u8], at: usize) -> Result<Vec<u8>, String> {
        let (length, at) = varint(page, at).ok_or_else(damaged)?;
        let (_row, at) = varint(page, at).ok_or_else(damaged)?;
        let length = usize::try_from(length).map_err(|_| damaged())?;
        if length > MAX_RECORD_BYTES {
            return Err(damaged());
        }
        let most = self.usable - 35;
        let here = if length <= most {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let fitting = least + (length - least) % (self.usable - 4);
            if fitting <= most { fitting } else { least }
        };
        let mut record = page.get(at..at + here).ok_or_else(damaged)?.to_vec();
        let mut next =
            if here < length { u32_at(page, at + here).ok_or_else(damaged)? } else { 0 };
        while record.len() < length {
            // Each page adds bytes, so this ends.
            let more = self.page(next as usize)?;
            next = u32_at(&more, 0).ok_or_else(damaged)?;
            let part = (length - record.len()).min(self.usable - 4);
            record.extend(more.get(4..4 + part).ok_or_else(damaged)?);
        }
        Ok(record)
    }
}

/// The values of a record.
fn values(record: &[u8]) -> Option<Vec<Value<'_>>> {
    let (head, mut at) = varint(record, 0)?;
    let head = usize::try_from(head).ok()?;
    let mut body = head;
    let mut values = Vec::new();
    while at < head {
        let (kind, next) = varint(record, at)?;
        at = next;
        let bytes = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            long => (long - 12) / 2,
        };
        let end = body.checked_add(usize::try_from(bytes).ok()?)?;
        let content = record.get(body..end)?;
        body = end;
        values.push(match kind {
            1..=6 => {
                let negative = content.first().is_some_and(|byte| byte & 0x80 != 0);
                let start = if negative { -1i64 } else { 0 };
                Value::Integer(content.iter().fold(start, |n, byte| (n << 8) | i64::from(*byte)))
            }
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            0 | 7 => Value::Other,
            _ => Value::Bytes(content),
        });
    }
    Some(values)
}

/// A number of 1 to 9 bytes and the place after it.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for place in 0..9 {
        let byte = *bytes.get(at + place)?;
        if place == 8 {
            return Some(((number << 8) | u64::from(byte), at + 9));
        }
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + place + 1));
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}
