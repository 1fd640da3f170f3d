//! The words of free text: what the engines index and the oracle compares.

use crate::Event;

/// Longest word, in bytes; longer ones are cut.
pub const MAX_WORD_BYTES: usize = 128;

/// Calls `each` with every word of `text`: runs of letters and digits, in
/// lower case, cut at [`MAX_WORD_BYTES`].
pub fn words(text: &str, buffer: &mut String, mut each: impl FnMut(&str)) {
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        fold(word, buffer);
        each(buffer);
    }
}

/// Writes one word's folded form to `buffer`.
pub fn fold(word: &str, buffer: &mut String) {
    buffer.clear();
    for c in word.chars().flat_map(char::to_lowercase) {
        if buffer.len() + c.len_utf8() > MAX_WORD_BYTES {
            break;
        }
        buffer.push(c);
    }
}

/// The words that a free text asks for.
#[must_use]
pub fn wanted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    words(text, &mut String::new(), |word| found.push(word.to_owned()));
    found
}

/// The texts of an event that free text searches.
pub fn searched(event: &Event) -> impl Iterator<Item = &crate::Untrusted> {
    let login = event.credentials.as_ref();
    [
        event.request.as_ref(),
        event.client.as_ref(),
        login.and_then(|login| login.username.as_ref()),
        login.and_then(|login| login.password.as_ref()),
        event.fingerprints.as_deref().and_then(|prints| prints.user_agent.as_ref()),
        event.payload_name.as_ref(),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_and_split_at_everything_else() {
        assert_eq!(wanted("GET /cgi-bin/LUCI?x=1"), ["get", "cgi", "bin", "luci", "x", "1"]);
        assert_eq!(wanted("ÄÖ_\u{0}b"), ["äö", "b"]);
        assert_eq!(wanted("--- "), Vec::<String>::new());
        assert_eq!(wanted(&"é".repeat(100))[0].len(), MAX_WORD_BYTES);
    }
}
