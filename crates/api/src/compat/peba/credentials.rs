//! Name and token inside a question's body, which is an EWS message without
//! alerts. Bounded by the body's size; a document type is refused, no entity but
//! XML's own five means anything.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Deepest element that is looked at.
const MAX_DEPTH: usize = 8;

/// What stands in `EWS-SimpleMessage/Authentication/username` and `token`.
pub(super) fn of(body: &[u8]) -> Option<(String, String)> {
    let mut reader = Reader::from_str(std::str::from_utf8(body).ok()?);
    let mut path: Vec<String> = Vec::new();
    let (mut name, mut token) = (String::new(), String::new());
    loop {
        let event = reader.read_event().ok()?;
        let text = match event {
            Event::Start(start) => {
                let element: &str = start.local_name().into_inner();
                path.push(element.to_owned());
                if path.len() > MAX_DEPTH {
                    return None;
                }
                continue;
            }
            Event::End(_) => {
                if path.pop()? == "Authentication" && path.len() == 1 {
                    break;
                }
                continue;
            }
            Event::Text(text) => text.xml10_content().into_owned(),
            Event::CData(text) => text.xml10_content().into_owned(),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                Some(c) => c.to_string(),
                None => entity(&reference.xml10_content())?.to_owned(),
            },
            Event::DocType(_) | Event::Eof => return None,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
        };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["EWS-SimpleMessage", "Authentication", "username"] => name.push_str(&text),
            ["EWS-SimpleMessage", "Authentication", "token"] => token.push_str(&text),
            _ => {}
        }
    }
    let (name, token) = (name.trim().to_owned(), token.trim().to_owned());
    (!name.is_empty() && !token.is_empty()).then_some((name, token))
}

fn entity(name: &str) -> Option<&'static str> {
    match name {
        "amp" => Some("&"),
        "lt" => Some("<"),
        "gt" => Some(">"),
        "quot" => Some("\""),
        "apos" => Some("'"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<EWS-SimpleMessage version=\"3.0\">{inner}</EWS-SimpleMessage>"
        )
    }

    #[test]
    fn name_and_token_are_read_from_their_place_alone() {
        let read = |inner: &str| of(message(inner).as_bytes());
        let pair = Some(("anna".to_owned(), "a&b<c".to_owned()));
        assert_eq!(
            read(
                "\n<Authentication>\n <username> anna </username><token>a&amp;b&#60;c</token>\n\
                 </Authentication><Alert/>"
            ),
            pair
        );
        for bad in [
            "",
            "<Authentication/>",
            "<Authentication><username>anna</username></Authentication>",
            "<Authentication><username>anna</username><token></token></Authentication>",
            "<Alert><Authentication><username>a</username><token>b</token></Authentication></Alert>",
            "<Authentication><username>anna</username><token>&secret;</token></Authentication>",
            "<Authentication><username>anna</token></username></Authentication>",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn hostile_documents_are_refused() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"b\">]>".to_owned()
            + &message("<Authentication><username>&a;</username><token>x</token></Authentication>");
        assert_eq!(of(bomb.as_bytes()), None);
        assert_eq!(of("<a>".repeat(20_000).as_bytes()), None);
        assert_eq!(of(b"\xff\xfe<EWS-SimpleMessage>"), None);
        assert_eq!(of(b"\0"), None);
    }
}
