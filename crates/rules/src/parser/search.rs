//! Short words in short texts, by their first byte: a line is read through before
//! a searcher that is made for long texts has got ready.

/// Where a word is, from the beginning on.
#[inline]
pub(super) fn places<'t>(text: &'t [u8], word: &'t [u8]) -> impl Iterator<Item = usize> + 't {
    let first = word.first().copied().unwrap_or(b' ');
    let is_word = move |at: &usize| text.get(*at..).is_some_and(|rest| rest.starts_with(word));
    memchr::memchr_iter(first, text).filter(is_word)
}

/// Where a word is, from the end on.
#[inline]
pub(super) fn last_places<'t>(text: &'t [u8], word: &'t [u8]) -> impl Iterator<Item = usize> + 't {
    let first = word.first().copied().unwrap_or(b' ');
    let is_word = move |at: &usize| text.get(*at..).is_some_and(|rest| rest.starts_with(word));
    memchr::memrchr_iter(first, text).filter(is_word)
}

/// Where a word is first.
#[inline]
pub(super) fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    places(text, word).next()
}

/// Where a word is last.
#[inline]
pub(super) fn rfind(text: &[u8], word: &[u8]) -> Option<usize> {
    last_places(text, word).next()
}

#[cfg(test)]
mod tests {
    use memchr::memmem;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_are_found_where_a_searcher_finds_them(
            text in "[ab: ]{0,60}",
            word in "[ab: ]{1,4}",
        ) {
            let (text, word) = (text.as_bytes(), word.as_bytes());
            prop_assert_eq!(find(text, word), memmem::find(text, word));
            prop_assert_eq!(rfind(text, word), memmem::rfind(text, word));
            let all: Vec<usize> = places(text, word).collect();
            let mut back: Vec<usize> = last_places(text, word).collect();
            back.reverse();
            prop_assert_eq!(&all, &back);
            prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
