//! Writes answers as XML: the declaration, then elements indented by two spaces
//! for each level. What XML cannot hold (control characters) becomes U+FFFD.

use std::borrow::Cow;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// An element: a name, and text or further elements.
pub(super) enum Element<'a> {
    /// With text; with none it is written `<Name/>`.
    Text(&'static str, Cow<'a, str>),
    /// With elements; with none it is written `<Name/>`.
    Parent(&'static str, Vec<Element<'a>>),
}

/// An element with text.
pub(super) fn text<'a>(name: &'static str, text: impl Into<Cow<'a, str>>) -> Element<'a> {
    Element::Text(name, text.into())
}

/// An element with a number.
pub(super) fn number(name: &'static str, number: u64) -> Element<'static> {
    Element::Text(name, number.to_string().into())
}

/// An element with elements.
pub(super) fn parent<'a>(name: &'static str, children: Vec<Element<'a>>) -> Element<'a> {
    Element::Parent(name, children)
}

/// The document with this root.
pub(super) fn document(root: &Element<'_>) -> Vec<u8> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    let declaration = Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None));
    // Writing to memory does not fail.
    let _ = writer.write_event(declaration).and_then(|()| write(&mut writer, root));
    let mut document = writer.into_inner();
    document.push(b'\n');
    document
}

fn write(writer: &mut Writer<Vec<u8>>, element: &Element<'_>) -> io::Result<()> {
    match element {
        Element::Text(name, text) if text.is_empty() => {
            writer.create_element(*name).write_empty()?;
        }
        Element::Text(name, text) => {
            writer.create_element(*name).write_text_content(BytesText::new(&plain(text)))?;
        }
        Element::Parent(name, children) if children.is_empty() => {
            writer.create_element(*name).write_empty()?;
        }
        Element::Parent(name, children) => {
            let inner = |writer: &mut Writer<Vec<u8>>| {
                children.iter().try_for_each(|child| write(writer, child))
            };
            writer.create_element(*name).write_inner_content(inner)?;
        }
    }
    Ok(())
}

/// Text of characters that XML 1.0 has (its production 2, Char).
fn plain(text: &str) -> Cow<'_, str> {
    let is_char = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if text.chars().all(is_char) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if is_char(c) { c } else { '\u{fffd}' }).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_indented_and_texts_escaped() {
        let alert = parent(
            "Alert",
            vec![
                text("Id", "1"),
                parent(
                    "Peer",
                    vec![text("Type", "a<b>&\"c\" \u{0}\u{1b}[31m"), text("Country", "")],
                ),
            ],
        );
        let document = document(&parent("Alerts", vec![alert, parent("Alert", Vec::new())]));
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <Alerts>\n  <Alert>\n    <Id>1</Id>\n    <Peer>\n      \
            <Type>a&lt;b&gt;&amp;&quot;c&quot; \u{fffd}\u{fffd}[31m</Type>\n      <Country/>\n    \
            </Peer>\n  </Alert>\n  <Alert/>\n</Alerts>\n";
        assert_eq!(String::from_utf8(document).unwrap(), expected);
    }
}
