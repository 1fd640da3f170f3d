//! The lists that a ready file is made of: sorted values, and counts by code.
//!
//! Both are cut into blocks of [`BLOCK`] entries with a table of heads, so that
//! one entry is found by a binary search and the decoding of one block. Reading
//! never trusts the bytes: what does not decode is `None`.

/// Entries of one block.
const BLOCK: usize = 64;
/// Bytes of a head of values: the first value, where the rest begins.
const VALUE_HEAD: usize = 16 + 4;
/// Bytes of a head of counts: the first code, where the rest begins.
const COUNT_HEAD: usize = 4 + 4;

fn put(out: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_wide(bytes: &mut &[u8]) -> Option<u128> {
    let mut number = 0u128;
    for shift in (0..128).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (byte, rest) = bytes.split_first()?;
    *bytes = rest;
    let mut number = u64::from(byte & 0x7f);
    if byte & 0x80 == 0 {
        return Some(number);
    }
    for shift in (7..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The last place of `0..len` for which `before` holds; it holds for the first ones only.
fn last_place(len: usize, before: impl Fn(usize) -> Option<bool>) -> Option<usize> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low.midpoint(high);
        if before(middle)? { low = middle + 1 } else { high = middle }
    }
    low.checked_sub(1)
}

/// Writes ascending values, each once.
pub(super) fn write_values(values: &[u128]) -> Vec<u8> {
    let mut out = (values.len() as u32).to_le_bytes().to_vec();
    let mut body = Vec::new();
    for block in values.chunks(BLOCK) {
        let Some((first, rest)) = block.split_first() else { continue };
        out.extend(first.to_le_bytes());
        out.extend((body.len() as u32).to_le_bytes());
        let mut last = *first;
        for value in rest {
            put(&mut body, value - last);
            last = *value;
        }
    }
    out.extend(body);
    out
}

/// Ascending values; the place of one is its code.
#[derive(Clone, Copy)]
pub(in crate::embedded) struct Values<'a> {
    len: usize,
    heads: &'a [u8],
    body: &'a [u8],
}

impl<'a> Values<'a> {
    pub(in crate::embedded) fn open(bytes: &'a [u8]) -> Option<Self> {
        let len = u32_at(bytes, 0)? as usize;
        let (heads, body) = bytes.get(4..)?.split_at_checked(len.div_ceil(BLOCK) * VALUE_HEAD)?;
        // Each value but the first of a block takes a byte.
        (len - len.div_ceil(BLOCK) <= body.len()).then_some(Self { len, heads, body })
    }

    pub(in crate::embedded) fn len(&self) -> usize {
        self.len
    }

    fn head(&self, block: usize) -> Option<(u128, &'a [u8])> {
        let head = self.heads.get(block * VALUE_HEAD..(block + 1) * VALUE_HEAD)?;
        let first = u128::from_le_bytes(head.get(..16)?.try_into().ok()?);
        Some((first, self.body.get(u32_at(head, 16)? as usize..)?))
    }

    /// Calls `each` with the values of a block until it says to stop.
    fn block(&self, block: usize, mut each: impl FnMut(u128) -> bool) -> Option<()> {
        let (mut value, mut body) = self.head(block)?;
        let entries = (self.len - block * BLOCK).min(BLOCK);
        for entry in 0..entries {
            if entry > 0 {
                value = value.checked_add(take_wide(&mut body)?)?;
            }
            if !each(value) {
                break;
            }
        }
        Some(())
    }

    /// The value with a code.
    pub(in crate::embedded) fn get(&self, code: u32) -> Option<u128> {
        let code = code as usize;
        if code >= self.len {
            return None;
        }
        let (mut left, mut found) = (code % BLOCK, None);
        self.block(code / BLOCK, |value| {
            found = Some(value);
            left = left.wrapping_sub(1);
            left != usize::MAX
        })?;
        found
    }

    /// The code of a value, where it is there.
    pub(in crate::embedded) fn find(&self, wanted: u128) -> Option<Option<u32>> {
        let before = |block: usize| Some(self.head(block)?.0 <= wanted);
        let Some(block) = last_place(self.len.div_ceil(BLOCK), before) else {
            return Some(None);
        };
        let (mut code, mut found) = (block * BLOCK, None);
        self.block(block, |value| {
            if value == wanted {
                found = u32::try_from(code).ok();
            }
            code += 1;
            value < wanted
        })?;
        Some(found)
    }

    /// Every value by its code.
    pub(in crate::embedded) fn all(&self) -> Option<Vec<u128>> {
        let mut all = Vec::with_capacity(self.len);
        for block in 0..self.len.div_ceil(BLOCK) {
            self.block(block, |value| {
                all.push(value);
                true
            })?;
        }
        Some(all)
    }
}

/// Writes counts above zero by ascending code.
pub(super) fn write_counts(counts: &[(u32, u64)], out: &mut Vec<u8>) {
    out.extend((counts.len() as u32).to_le_bytes());
    out.extend(counts.iter().map(|(_, count)| count).sum::<u64>().to_le_bytes());
    let mut body = Vec::with_capacity(counts.len() * 2);
    for block in counts.chunks(BLOCK) {
        let Some((first, _)) = block.first() else { continue };
        out.extend(first.to_le_bytes());
        out.extend((body.len() as u32).to_le_bytes());
        let mut last = *first;
        for (code, count) in block {
            if code != first {
                put(&mut body, u128::from(code - last));
            }
            put(&mut body, u128::from(*count));
            last = *code;
        }
    }
    out.extend(body);
}

/// Counts by ascending code.
#[derive(Clone, Copy)]
pub(super) struct Counts<'a> {
    len: usize,
    sum: u64,
    heads: &'a [u8],
    body: &'a [u8],
}

impl<'a> Counts<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        let (len, sum) = (u32_at(bytes, 0)? as usize, u64_at(bytes, 4)?);
        let (heads, body) = bytes.get(12..)?.split_at_checked(len.div_ceil(BLOCK) * COUNT_HEAD)?;
        (len <= body.len()).then_some(Self { len, sum, heads, body })
    }

    /// How many codes have a count.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All counts together.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    fn head(&self, block: usize) -> Option<(u32, &'a [u8])> {
        let at = block * COUNT_HEAD;
        let body = self.body.get(u32_at(self.heads, at + 4)? as usize..)?;
        Some((u32_at(self.heads, at)?, body))
    }

    fn block(&self, block: usize, mut each: impl FnMut(u32, u64) -> bool) -> Option<()> {
        let (mut code, mut body) = self.head(block)?;
        let entries = (self.len - block * BLOCK).min(BLOCK);
        for entry in 0..entries {
            if entry > 0 {
                code = code.checked_add(u32::try_from(take(&mut body)?).ok()?)?;
            }
            if !each(code, take(&mut body)?) {
                break;
            }
        }
        Some(())
    }

    /// Calls `each` with every code and its count.
    pub(super) fn for_each(&self, mut each: impl FnMut(u32, u64)) -> Option<()> {
        for block in 0..self.len.div_ceil(BLOCK) {
            self.block(block, |code, count| {
                each(code, count);
                true
            })?;
        }
        Some(())
    }

    /// The count of a code; 0 where it has none.
    pub(super) fn get(&self, wanted: u32) -> Option<u64> {
        let before = |block: usize| Some(self.head(block)?.0 <= wanted);
        let Some(block) = last_place(self.len.div_ceil(BLOCK), before) else { return Some(0) };
        let mut found = 0;
        self.block(block, |code, count| {
            if code == wanted {
                found = count;
            }
            code < wanted
        })?;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            values in proptest::collection::btree_set(
                prop_oneof![0..300u128, any::<u128>()], 0..400),
            counts in proptest::collection::btree_map(
                prop_oneof![0..300u32, any::<u32>()], 1..u64::from(u32::MAX), 0..400),
            asked in prop_oneof![0..300u32, any::<u32>()],
        ) {
            let values: Vec<u128> = values.into_iter().collect();
            let bytes = write_values(&values);
            let list = Values::open(&bytes).unwrap();
            prop_assert_eq!(list.all().unwrap(), values.clone());
            for (code, value) in (0..).zip(&values) {
                prop_assert_eq!(list.get(code), Some(*value));
                prop_assert_eq!(list.find(*value), Some(Some(code)));
            }
            prop_assert_eq!(list.get(values.len() as u32), None);
            let place = values.binary_search(&u128::from(asked)).ok().map(|code| code as u32);
            prop_assert_eq!(list.find(u128::from(asked)), Some(place));

            let pairs: Vec<(u32, u64)> = counts.clone().into_iter().collect();
            let mut bytes = Vec::new();
            write_counts(&pairs, &mut bytes);
            let list = Counts::open(&bytes).unwrap();
            let mut read = Vec::new();
            list.for_each(|code, count| read.push((code, count))).unwrap();
            prop_assert_eq!(list.sum(), counts.values().sum::<u64>());
            prop_assert_eq!(&read, &pairs);
            for (code, count) in &pairs {
                prop_assert_eq!(list.get(*code), Some(*count));
            }
            prop_assert_eq!(list.get(asked), Some(counts.get(&asked).copied().unwrap_or(0)));
        }
    }
}
