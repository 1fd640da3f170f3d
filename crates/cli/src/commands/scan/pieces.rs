//! A list that grows without being moved: moving a list of a hundred thousand
//! needs the memory of it twice and three times.

use palisade_resident::prefer_huge_pages;
use prefetch_index::prefetch_index;

/// Elements of the first piece, a power of two; each of the others has twice as many
/// as the one before.
const FIRST: usize = 1 << 10;

/// A list in pieces.
#[derive(Debug)]
pub(super) struct Pieces<T> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }
}

/// The piece of an element, and its place there.
#[inline]
fn locate(place: usize) -> (usize, usize) {
    let place = place.saturating_add(FIRST);
    let size = place.ilog2();
    ((size - FIRST.ilog2()) as usize, place - (1 << size))
}

impl<T> Pieces<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        let (piece, place) = locate(place);
        self.pieces.get(piece)?.get(place)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        let (piece, place) = locate(place);
        self.pieces.get_mut(piece)?.get_mut(place)
    }

    /// Asks for the memory of an element, and does not wait for it.
    #[inline]
    pub(super) fn ask(&self, place: usize) {
        let (piece, place) = locate(place);
        if let Some(piece) = self.pieces.get(piece) {
            prefetch_index(piece, place);
        }
    }

    pub(super) fn push(&mut self, element: T) {
        let (piece, _) = locate(self.len);
        self.len += 1;
        match self.pieces.get_mut(piece) {
            Some(last) => last.push(element),
            // The first may stay short and grows as a list does.
            None if piece == 0 => self.pieces.push(vec![element]),
            None => {
                let mut last = Vec::with_capacity(FIRST << piece);
                prefer_huge_pages(last.spare_capacity_mut());
                last.push(element);
                self.pieces.push(last);
            }
        }
    }

    /// In their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }
}

impl<T> IntoIterator for Pieces<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_at_its_place_however_many_there_are() {
        let mut all = Pieces::default();
        for n in 0..FIRST * 9 + 1 {
            assert_eq!((all.len(), all.get(n)), (n, None));
            all.ask(n);
            all.push(n);
        }
        assert!(all.iter().copied().eq(0..all.len()));
        for n in 0..all.len() {
            assert_eq!(all.get(n), Some(&n));
            if let Some(element) = all.get_mut(n) {
                *element += 1;
            }
        }
        assert_eq!((all.get(usize::MAX), all.pieces.len()), (None, 4));
        assert!(all.into_iter().eq(1..FIRST * 9 + 2));
    }
}
