//! A list that grows without being moved: moving a list of a hundred thousand
//! needs the memory of it twice and three times.

/// Elements of a piece; a power of two, so that their places are cheap to find.
const PIECE: usize = 1 << 10;

/// A list in pieces of the same length.
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

impl<T> Pieces<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.pieces.get(place / PIECE)?.get(place % PIECE)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.pieces.get_mut(place / PIECE)?.get_mut(place % PIECE)
    }

    pub(super) fn push(&mut self, element: T) {
        self.len += 1;
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(element),
            // The first may stay short and grows as a list does.
            None => self.pieces.push(vec![element]),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(element);
                self.pieces.push(piece);
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
        for n in 0..PIECE * 3 + 1 {
            assert_eq!((all.len(), all.get(n)), (n, None));
            all.push(n);
        }
        assert!(all.iter().copied().eq(0..all.len()));
        for n in 0..all.len() {
            assert_eq!(all.get(n), Some(&n));
            if let Some(element) = all.get_mut(n) {
                *element += 1;
            }
        }
        assert!(all.into_iter().eq(1..PIECE * 3 + 2));
    }
}
