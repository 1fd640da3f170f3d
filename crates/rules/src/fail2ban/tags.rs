//! `<name>` in values, and `name[option="value", …]`.

/// How often one name may be put into one value; fail2ban's limit.
const MAX_REPEATS: u32 = 25;
/// Longest value that may come out of substitution, in bytes.
const MAX_VALUE_BYTES: usize = 256 * 1024;

/// Names and values in order; later ones of the same name replace earlier ones
/// in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values {
    items: Vec<(String, String)>,
}

impl Values {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.items.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.items.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value.into(),
            None => self.items.push((name.to_owned(), value.into())),
        }
    }

    pub(crate) fn extend_from(&mut self, other: &Self) {
        for (name, value) in &other.items {
            self.set(name, value.clone());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.items.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Values {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(items: I) -> Self {
        let mut values = Self::default();
        for (name, value) in items {
            values.set(&name.into(), value);
        }
        values
    }
}

/// The next `<name>` at or after `from`: (start, end, name).
pub(crate) fn next_tag(text: &str, from: usize) -> Option<(usize, usize, &str)> {
    let mut at = from;
    loop {
        let start = at + text.get(at..)?.find('<')?;
        let body = text.get(start + 1..)?;
        match body.find(['<', '>', ' ']) {
            Some(end) if end > 0 && body.as_bytes().get(end) == Some(&b'>') => {
                return Some((start, start + end + 2, body.get(..end)?));
            }
            Some(_) => at = start + 1,
            None => return None,
        }
    }
}

/// Replaces `<name>` in all values by the value of that name, again and again
/// until nothing changes; names that are not known stay as they are. `other`
/// is asked for names that are not among the values.
pub(crate) fn substitute(
    values: &mut Values,
    ignore: &[String],
    other: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<(), String> {
    let names: Vec<String> = values.items.iter().map(|(name, _)| name.clone()).collect();
    let mut counts: Vec<Vec<(String, u32)>> = vec![Vec::new(); names.len()];
    let mut done = vec![false; names.len()];
    loop {
        let mut again = false;
        for (index, name) in names.iter().enumerate() {
            let (Some(count), Some(done)) = (counts.get_mut(index), done.get_mut(index)) else {
                continue;
            };
            if *done || ignore.contains(name) {
                continue;
            }
            let before = values.get(name).unwrap_or_default().to_owned();
            let after = one(name, &before, values, ignore, count, other)?;
            *done = !after.contains('<');
            if after != before {
                again |= next_tag(&after, 0).is_some();
                values.set(name, after);
            }
        }
        if !again {
            return Ok(());
        }
    }
}

fn one(
    name: &str,
    value: &str,
    values: &Values,
    ignore: &[String],
    counts: &mut Vec<(String, u32)>,
    other: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<String, String> {
    let mut value = value.to_owned();
    let mut from = 0;
    while let Some((start, end, tag)) = next_tag(&value, from) {
        if ignore.iter().any(|ignored| ignored == tag) {
            from = end;
            continue;
        }
        let tag = tag.to_owned();
        let position = match counts.iter().position(|(counted, _)| *counted == tag) {
            Some(position) => position,
            None => {
                counts.push((tag.clone(), 0));
                counts.len() - 1
            }
        };
        let count = counts.get_mut(position).map(|(_, count)| count);
        if tag == name || count.as_ref().is_some_and(|count| **count > MAX_REPEATS) {
            return Err(format!("<{tag}> in {name} refers to itself"));
        }
        let Some(replacement) = values.get(&tag).map(str::to_owned).or_else(|| other(&tag)) else {
            from = end;
            continue;
        };
        value = value.replace(&format!("<{tag}>"), &replacement);
        if value.len() > MAX_VALUE_BYTES {
            return Err(format!("{name} grows beyond {MAX_VALUE_BYTES} bytes"));
        }
        if let Some(count) = count {
            *count += 1;
        }
        from = start;
    }
    Ok(value)
}

/// Takes `name[a=1, b="x, y"][c='z']` apart.
///
/// # Errors
/// What is wrong, for a person.
pub(crate) fn options_of(text: &str) -> Result<(String, Vec<(String, String)>), String> {
    let Some(bracket) = text.find('[') else {
        return Ok((text.trim_end().to_owned(), Vec::new()));
    };
    let (name, rest) = text.split_at(bracket);
    let body = rest.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (false, Some(body)) = (name.is_empty(), body) else {
        return Err(format!("option syntax: {}", short(text)));
    };
    Ok((name.to_owned(), pairs(body)?))
}

fn pairs(body: &str) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = body;
    loop {
        let trimmed = rest.trim_start();
        if trimmed.is_empty() || trimmed.trim_end() == "," {
            return Ok(found);
        }
        let end = trimmed
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .unwrap_or(trimmed.len());
        let (name, after) = trimmed.split_at(end);
        let Some(after) = after.strip_prefix('=').filter(|_| !name.is_empty()) else {
            return Err(format!("an option was expected: {}", short(trimmed)));
        };
        let (value, after) = value_of(after);
        let Some(after) = next_option(after) else {
            return Err(format!("unexpected text behind option {name}: {}", short(after)));
        };
        let value = value.trim().to_owned();
        match found.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value,
            None => found.push((name.to_owned(), value)),
        }
        rest = after;
    }
}

/// An option's value and what is behind it.
fn value_of(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote)
            && let Some((value, after)) = inner.split_once(quote)
        {
            return (value, after);
        }
    }
    text.split_at(text.find([',', ']']).unwrap_or(text.len()))
}

/// Steps over `,` or `][`; `None` where something else is written.
fn next_option(text: &str) -> Option<&str> {
    if text.is_empty() || text == "\n" {
        return Some("");
    }
    text.strip_prefix(',')
        .or_else(|| text.strip_prefix(']').and_then(|rest| rest.trim_start().strip_prefix('[')))
}

/// The actions of a jail: `name[…]` divided by white space or new lines, which
/// may also stand within the brackets.
pub(crate) fn words_with_options(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = word_end(rest);
        let (word, after) = rest.split_at(end);
        if !word.trim().is_empty() {
            found.push(word.trim());
        }
        rest = after.trim_start();
    }
    found
}

fn word_end(text: &str) -> usize {
    let name = text.find(|c: char| c == '[' || c.is_whitespace()).unwrap_or(text.len());
    let after = text.get(name..).unwrap_or_default();
    let Some(mut at) = after.find(|c: char| !c.is_whitespace()).map(|gap| gap + name) else {
        return name.max(1);
    };
    if text.as_bytes().get(at) != Some(&b'[') || name == 0 {
        return if name == 0 { text.find(char::is_whitespace).unwrap_or(text.len()) } else { name };
    }
    let mut quote = None;
    let mut end = text.len();
    let start = at;
    for (offset, c) in text.get(start..).unwrap_or_default().char_indices() {
        at = start + offset;
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, ']') => {
                let behind = text.get(at + 1..).unwrap_or_default();
                if !behind.trim_start().starts_with('[') {
                    end = at + 1;
                    break;
                }
            }
            _ => {}
        }
    }
    end
}

/// The beginning of a text, for messages.
pub(crate) fn short(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]
mod tests {
    use super::*;

    #[test]
    fn tags_are_replaced_from_the_inside_out() {
        let mut values: Values = [("mode", "x"), ("re", "a<m-<mode>>b<HOST>"), ("m-x", "[<mode>]")]
            .into_iter()
            .collect();
        substitute(&mut values, &[], &mut |_| None).unwrap();
        assert_eq!(values.get("re").unwrap(), "a[x]b<HOST>");
    }

    #[test]
    fn a_tag_that_refers_to_itself_is_an_error() {
        let mut values: Values = [("a", "<b>"), ("b", "<a>")].into_iter().collect();
        assert!(substitute(&mut values, &[], &mut |_| None).is_err());
        let mut values: Values =
            [("a", "x<b><b>"), ("b", "<c><c>"), ("c", "1")].into_iter().collect();
        substitute(&mut values, &[], &mut |_| None).unwrap();
        assert_eq!(values.get("a").unwrap(), "x1111");
    }

    #[test]
    fn options_may_be_quoted_and_in_several_groups() {
        let (name, options) =
            options_of("sshd[mode=\"aggressive, x\", a='b]c',\n n=1][z=[y]").unwrap();
        assert_eq!(name, "sshd");
        let expected = [("mode", "aggressive, x"), ("a", "b]c"), ("n", "1"), ("z", "[y")];
        let expected: Vec<(String, String)> =
            expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(options, expected);
        assert!(options_of("sshd[mode").is_err());
        assert!(options_of("sshd[mode=\"x\" y]").is_err());
        assert_eq!(options_of("sshd").unwrap(), ("sshd".to_owned(), Vec::new()));
    }

    #[test]
    fn actions_are_divided_outside_of_brackets() {
        let text = "iptables[name=\"a b\",\n   port=ssh]\n  mail-whois[x=1] dummy\nlast [y='2']";
        let words = words_with_options(text);
        assert_eq!(
            words,
            ["iptables[name=\"a b\",\n   port=ssh]", "mail-whois[x=1]", "dummy", "last [y='2']"]
        );
    }
}
