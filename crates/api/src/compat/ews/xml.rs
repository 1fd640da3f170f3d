//! Takes an EWS message apart while it comes in: no tree, no copies of what
//! needs none, nothing unbounded. It knows elements, attributes and text; what
//! they mean is decided in [`super::alert`].
//!
//! Bytes → window of whole and one broken-off alert → [`Reader::read`] → one
//! [`Item`] after the other. There is no DTD, and no entity but those of XML.

use std::borrow::Cow;

use quick_xml::Reader as Tokens;
use quick_xml::events::Event as Token;

use super::text;

/// Deepest nesting of elements.
const MAX_DEPTH: usize = 16;
/// Most elements of one alert.
pub(crate) const MAX_FIELDS: usize = 256;
/// Most attributes of one element.
const MAX_ATTRIBUTES: usize = 16;
/// The element around a message.
const ROOT: &[u8] = b"EWS-SimpleMessage";

/// The message as a whole cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// It is not XML.
    #[error("it is not well-formed XML")]
    Syntax,
    /// It declares a document type.
    #[error("it has a document type declaration, which is not read")]
    Doctype,
    /// Elements within elements within elements.
    #[error("its elements are nested more than 16 deep")]
    Depth,
    /// Another document.
    #[error("its root element is not EWS-SimpleMessage")]
    Root,
    /// It ends too early.
    #[error("it ends before its root element does")]
    Cut,
}

/// An element of an alert: a name, attributes, text.
#[derive(Debug)]
pub(crate) struct Field<'w> {
    /// Its name, without a prefix.
    pub(crate) name: &'w [u8],
    /// Its text; references are replaced.
    pub(crate) text: Cow<'w, [u8]>,
    first_attribute: usize,
    attributes: usize,
}

/// One `Alert` element.
#[derive(Debug, Default)]
pub(crate) struct Alert<'w> {
    /// The element as it came.
    pub(crate) raw: &'w [u8],
    /// What is in it, in order.
    pub(crate) fields: Vec<Field<'w>>,
    attributes: Vec<(&'w [u8], Cow<'w, [u8]>)>,
}

impl<'w> Alert<'w> {
    /// Attributes of one of its elements, in order.
    pub(crate) fn attributes(&self, field: &Field<'w>) -> &[(&'w [u8], Cow<'w, [u8]>)] {
        let end = field.first_attribute + field.attributes;
        self.attributes.get(field.first_attribute..end).unwrap_or_default()
    }

    /// An attribute by name; empty ones do not count.
    pub(crate) fn attribute(&self, field: &Field<'w>, name: &[u8]) -> Option<&[u8]> {
        let found = self.attributes(field).iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.trim_ascii()).filter(|value| !value.is_empty())
    }
}

/// A part of a message.
#[derive(Debug)]
pub(crate) enum Item<'a, 'w> {
    /// Who sends it.
    Authentication {
        /// The user, as it came.
        username: &'a [u8],
        /// Its token, as it came.
        token: &'a [u8],
    },
    /// An alert.
    Alert(&'a Alert<'w>),
    /// An alert that cannot be taken apart, and why.
    Broken(&'w [u8], &'static str),
}

/// Where in the message the reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Inside,
    After,
}

/// Reads one message, window by window.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    place: Place,
}

/// Why a part of a message was not read.
enum Stop {
    /// The rest of it is not there yet.
    Incomplete,
    /// The whole message is of no use.
    Malformed(Malformed),
}

impl Reader {
    /// Reads what is complete in `window`; how many bytes that was. The rest
    /// must be the beginning of the next window. With `last` nothing follows,
    /// and all must be complete.
    ///
    /// # Errors
    /// [`Malformed`]
    pub(crate) fn read<'w>(
        &mut self,
        window: &'w [u8],
        last: bool,
        mut sink: impl FnMut(Item<'_, 'w>),
    ) -> Result<usize, Malformed> {
        let skipped =
            if self.place == Place::Before && window.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let body = window.get(skipped..).unwrap_or_default();
        let mut cursor = Cursor::new(body);
        let mut alert = Alert::default();
        loop {
            match self.item(&mut cursor, &mut alert, &mut sink) {
                Ok(()) => {}
                Err(Stop::Malformed(why)) => return Err(why),
                Err(Stop::Incomplete) if !last => return Ok(skipped + cursor.done),
                Err(Stop::Incomplete) if self.place == Place::After && cursor.ended => {
                    return Ok(window.len());
                }
                Err(Stop::Incomplete) if cursor.ended => return Err(Malformed::Cut),
                Err(Stop::Incomplete) => return Err(Malformed::Syntax),
            }
            cursor.done = cursor.at();
        }
    }

    /// Reads one part at the level of the root element.
    fn item<'w>(
        &mut self,
        cursor: &mut Cursor<'w>,
        alert: &mut Alert<'w>,
        sink: &mut impl FnMut(Item<'_, 'w>),
    ) -> Result<(), Stop> {
        let begin = cursor.at();
        match cursor.token()? {
            Token::DocType(_) => Err(Stop::Malformed(Malformed::Doctype)),
            Token::Start(_) | Token::Empty(_) if self.place == Place::After => {
                Err(Stop::Malformed(Malformed::Syntax))
            }
            Token::Start(_) if self.place == Place::Before => {
                self.place = Place::Inside;
                root(cursor.tag_name(begin))
            }
            Token::Empty(_) if self.place == Place::Before => {
                self.place = Place::After;
                root(cursor.tag_name(begin))
            }
            Token::Start(_) => {
                let outer = cursor.tag_name(begin);
                let name = local(outer);
                let (is_alert, is_authentication) = (name == b"Alert", name == b"Authentication");
                let outcome = alert.fill(cursor, outer)?;
                match outcome {
                    Some(why) if is_alert => sink(Item::Broken(cursor.since(begin), why)),
                    None if is_alert => {
                        alert.raw = cursor.since(begin);
                        sink(Item::Alert(alert));
                    }
                    None if is_authentication => {
                        let find = |name: &[u8]| {
                            let field = alert.fields.iter().find(|field| field.name == name);
                            field.map(|field| field.text.trim_ascii()).unwrap_or_default()
                        };
                        sink(Item::Authentication {
                            username: find(b"username"),
                            token: find(b"token"),
                        });
                    }
                    _ => {}
                }
                Ok(())
            }
            Token::Empty(_) if local(cursor.tag_name(begin)) == b"Alert" => {
                sink(Item::Broken(cursor.since(begin), "it is empty"));
                Ok(())
            }
            Token::End(_) if self.place == Place::Inside => {
                self.place = Place::After;
                root(cursor.end_name(begin))
            }
            Token::End(_) => Err(Stop::Malformed(Malformed::Syntax)),
            Token::Text(words) if self.place != Place::Inside => {
                if words.bytes().all(|byte| byte.is_ascii_whitespace()) {
                    return Ok(());
                }
                Err(Stop::Malformed(Malformed::Syntax))
            }
            Token::GeneralRef(_) | Token::CData(_) if self.place != Place::Inside => {
                Err(Stop::Malformed(Malformed::Syntax))
            }
            _ => Ok(()),
        }
    }
}

fn root(name: &[u8]) -> Result<(), Stop> {
    if local(name) == ROOT { Ok(()) } else { Err(Stop::Malformed(Malformed::Root)) }
}

/// The tokens of a window.
struct Cursor<'w> {
    window: &'w [u8],
    tokens: Tokens<&'w [u8]>,
    /// Up to here all is read.
    done: usize,
    /// The window is at its end, between two tokens.
    ended: bool,
}

impl<'w> Cursor<'w> {
    fn new(window: &'w [u8]) -> Self {
        let mut tokens = Tokens::from_reader(window);
        let config = tokens.config_mut();
        // A window begins and ends anywhere; ends are checked by name here.
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        // What is wrong with a reference costs its alert, not the message.
        config.allow_dangling_amp = true;
        Self { window, tokens, done: 0, ended: false }
    }

    fn at(&self) -> usize {
        usize::try_from(self.tokens.buffer_position()).unwrap_or(usize::MAX)
    }

    fn since(&self, begin: usize) -> &'w [u8] {
        self.window.get(begin..self.at()).unwrap_or_default()
    }

    fn token(&mut self) -> Result<Token<'w>, Stop> {
        match self.tokens.read_event() {
            Ok(Token::Eof) => {
                self.ended = true;
                Err(Stop::Incomplete)
            }
            Ok(token) => Ok(token),
            // What is wrong and what is not there yet look alike.
            Err(_) => Err(Stop::Incomplete),
        }
    }

    /// The name in the tag that began at `begin` and was just read.
    fn tag_name(&self, begin: usize) -> &'w [u8] {
        name_and_rest(self.since(begin)).0
    }

    /// The name in `</name>` that began at `begin` and was just read.
    fn end_name(&self, begin: usize) -> &'w [u8] {
        let tag = self.since(begin);
        let tag = tag.strip_prefix(b"<").unwrap_or(tag);
        let tag = tag.strip_prefix(b"/").unwrap_or(tag);
        tag.strip_suffix(b">").unwrap_or(tag).trim_ascii_end()
    }
}

/// The whole name in `<name …>`, and what follows it.
fn name_and_rest(tag: &[u8]) -> (&[u8], &[u8]) {
    let inner = tag.strip_prefix(b"<").unwrap_or(tag);
    let inner = inner.strip_suffix(b">").unwrap_or(inner);
    let inner = inner.strip_suffix(b"/").unwrap_or(inner);
    let end = inner.iter().position(u8::is_ascii_whitespace).unwrap_or(inner.len());
    inner.split_at(end)
}

/// A name without its prefix.
fn local(name: &[u8]) -> &[u8] {
    memchr::memchr(b':', name).and_then(|at| name.get(at + 1..)).unwrap_or(name)
}

impl<'w> Alert<'w> {
    /// Reads up to the end of the element that was just begun. Returns what is
    /// wrong with it, where something is.
    fn fill(
        &mut self,
        cursor: &mut Cursor<'w>,
        outer: &'w [u8],
    ) -> Result<Option<&'static str>, Stop> {
        self.fields.clear();
        self.attributes.clear();
        let mut wrong = None;
        loop {
            let begin = cursor.at();
            let outcome = match cursor.token()? {
                Token::Start(_) => self.element(cursor, begin)?,
                Token::Empty(_) => self.add(cursor.since(begin), Cow::Borrowed(b"")),
                Token::End(_) if cursor.end_name(begin) == outer => return Ok(wrong),
                Token::End(_) => return Err(Stop::Malformed(Malformed::Syntax)),
                Token::DocType(_) => return Err(Stop::Malformed(Malformed::Doctype)),
                _ => Ok(()),
            };
            wrong = wrong.or(outcome.err());
        }
    }

    /// Reads one element whose tag began at `begin`.
    fn element(
        &mut self,
        cursor: &mut Cursor<'w>,
        begin: usize,
    ) -> Result<Result<(), &'static str>, Stop> {
        let tag = cursor.since(begin);
        let mut open: Vec<&'w [u8]> = vec![name_and_rest(tag).0];
        let first = cursor.at();
        let mut nested = false;
        // Text with something within it is put together; else it is as it came.
        let mut pieces: Option<Vec<u8>> = None;
        let mut wrong = None;
        let end = loop {
            let at = cursor.at();
            match cursor.token()? {
                Token::Start(_) => {
                    nested = true;
                    if open.len() >= MAX_DEPTH {
                        return Err(Stop::Malformed(Malformed::Depth));
                    }
                    open.push(cursor.tag_name(at));
                }
                Token::Empty(_) => nested = true,
                Token::End(_) => {
                    if open.pop() != Some(cursor.end_name(at)) {
                        return Err(Stop::Malformed(Malformed::Syntax));
                    }
                    if open.is_empty() {
                        break at;
                    }
                }
                Token::DocType(_) => return Err(Stop::Malformed(Malformed::Doctype)),
                Token::CData(data) => {
                    let before = cursor.window.get(first..at).unwrap_or_default();
                    match whole(&mut pieces, before) {
                        Ok(text) => text.extend_from_slice(data.as_bytes()),
                        Err(why) => wrong = Some(why),
                    }
                }
                Token::Comment(_) | Token::PI(_) | Token::Decl(_) => {
                    let before = cursor.window.get(first..at).unwrap_or_default();
                    wrong = wrong.or(whole(&mut pieces, before).err());
                }
                Token::Text(_) | Token::GeneralRef(_) => {
                    let piece = cursor.since(at);
                    if let Some(text) = &mut pieces {
                        match text::unescape(piece) {
                            Ok(piece) => text.extend_from_slice(&piece),
                            Err(why) => wrong = Some(why),
                        }
                    }
                }
                Token::Eof => return Err(Stop::Incomplete),
            }
        };
        if nested {
            return Ok(Err("it has an element within an element"));
        }
        let text = match pieces {
            Some(text) => Ok(Cow::Owned(text)),
            None => text::unescape(cursor.window.get(first..end).unwrap_or_default()),
        };
        Ok(match (text, wrong) {
            (_, Some(why)) | (Err(why), None) => Err(why),
            (Ok(text), None) => self.add(tag, text),
        })
    }

    /// Adds an element.
    fn add(&mut self, tag: &'w [u8], text: Cow<'w, [u8]>) -> Result<(), &'static str> {
        if self.fields.len() >= MAX_FIELDS {
            return Err("it has more than 256 elements");
        }
        let (name, mut rest) = name_and_rest(tag);
        let first_attribute = self.attributes.len();
        loop {
            rest = rest.trim_ascii_start();
            if rest.is_empty() {
                break;
            }
            let (key, value, tail) = attribute(rest).ok_or("an attribute is not name=\"value\"")?;
            let others = self.attributes.get(first_attribute..).unwrap_or_default();
            if others.iter().any(|(other, _)| *other == key) {
                return Err("an element has the same attribute twice");
            }
            if others.len() >= MAX_ATTRIBUTES {
                return Err("an element has more than 16 attributes");
            }
            self.attributes.push((key, text::unescape(value)?));
            rest = tail;
        }
        let attributes = self.attributes.len() - first_attribute;
        self.fields.push(Field { name: local(name), text, first_attribute, attributes });
        Ok(())
    }
}

/// The text so far, begun with what came before the first other thing.
fn whole<'p>(
    pieces: &'p mut Option<Vec<u8>>,
    before: &[u8],
) -> Result<&'p mut Vec<u8>, &'static str> {
    if pieces.is_none() {
        *pieces = Some(text::unescape(before)?.into_owned());
    }
    pieces.as_mut().ok_or("it has no text")
}

/// `name="value"` at the beginning: name, raw value, what follows.
fn attribute(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = text.split_at_checked(memchr::memchr(b'=', text)?)?;
    let rest = rest.get(1..)?.trim_ascii_start();
    let quote = rest.first().copied().filter(|c| matches!(c, b'"' | b'\''))?;
    let rest = rest.get(1..)?;
    let (value, rest) = rest.split_at_checked(memchr::memchr(quote, rest)?)?;
    let name = name.trim_ascii_end();
    if name.is_empty() || name.iter().any(|c| c.is_ascii_whitespace() || matches!(c, b'"' | b'\''))
    {
        return None;
    }
    Some((local(name), value, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(window: &[u8], last: bool) -> Result<(usize, Vec<String>), Malformed> {
        let mut items = Vec::new();
        let done = Reader::default().read(window, last, |item| items.push(shown(&item)))?;
        Ok((done, items))
    }

    fn shown(item: &Item<'_, '_>) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match item {
            Item::Authentication { username, token } => {
                format!("{}:{}", text(username), text(token))
            }
            Item::Broken(_, why) => (*why).to_owned(),
            Item::Alert(alert) => {
                let mut out = String::new();
                for field in &alert.fields {
                    out.push_str(&text(field.name));
                    for (name, value) in alert.attributes(field) {
                        out.push_str(&format!(" {}={}", text(name), text(value)));
                    }
                    out.push_str(&format!("[{}]", text(&field.text)));
                }
                out
            }
        }
    }

    fn message(inner: &str) -> Vec<u8> {
        format!("<EWS-SimpleMessage version=\"3.0\">{inner}</EWS-SimpleMessage>\n").into_bytes()
    }

    fn items(inner: &str) -> Vec<String> {
        read(&message(inner), true).unwrap().1
    }

    #[test]
    fn a_message_comes_apart() {
        let xml = "<?xml version='1.0'?><!-- c --><EWS-SimpleMessage version='2.0'>\n\
            <Authentication><username> u&amp;1 </username><token>t</token></Authentication>\n\
            <Alert><Analyzer id=\"a\"/><Source category = 'ipv4' port=\"1\">8.8.8.8</Source></Alert>\n\
            <Else><A><B/></A></Else>\n\
            <Alert><Request type='raw'>a<![CDATA[<b>&amp;]]>c&#33;<!-- x -->d</Request></Alert>\n\
            </EWS-SimpleMessage>\n";
        let (done, items) = read(xml.as_bytes(), true).unwrap();
        assert_eq!(done, xml.len());
        assert_eq!(
            items,
            [
                "u&1:t",
                "Analyzer id=a[]Source category=ipv4 port=1[8.8.8.8]",
                "Request type=raw[a<b>&amp;c!d]"
            ]
        );
        assert_eq!(read(b"\xef\xbb\xbf<EWS-SimpleMessage/>", true).unwrap().1, [""; 0]);
    }

    #[test]
    fn cut_anywhere_the_parts_are_the_same() {
        let inner = "<Authentication><username>u</username><token>t</token></Authentication>\
            <Alert><A x=\"1\">one &amp; two</A></Alert> <Alert><B><![CDATA[]]]]></B><C/></Alert>";
        let whole = message(inner);
        let expected = read(&whole, true).unwrap().1;
        for cut in 0..=whole.len() {
            let mut items = Vec::new();
            let mut reader = Reader::default();
            let head = &whole[..cut];
            let done = reader.read(head, false, |item| items.push(shown(&item))).unwrap();
            assert!(done <= cut);
            reader.read(&whole[done..], true, |item| items.push(shown(&item))).unwrap();
            assert_eq!(items, expected, "cut at {cut}");
            // The head alone is no message.
            if cut < whole.len() - 1 {
                assert!(read(head, true).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_one_alert_costs_no_other() {
        let good = "<Alert><A>1</A></Alert>";
        for (bad, why) in [
            ("<Alert><A x='1' x='2'/></Alert>", "an element has the same attribute twice"),
            ("<Alert><A x=1/></Alert>", "an attribute is not name=\"value\""),
            ("<Alert><A>&lol;</A></Alert>", "a reference to an entity that XML does not have"),
            ("<Alert><A><B/></A></Alert>", "it has an element within an element"),
            ("<Alert/>", "it is empty"),
        ] {
            assert_eq!(items(&format!("{good}{bad}{good}")), ["A[1]", why, "A[1]"], "{bad}");
        }
        let many = format!("<Alert>{}</Alert>", "<A/>".repeat(MAX_FIELDS + 1));
        assert_eq!(items(&many), ["it has more than 256 elements"]);
        let wide: String = (0..17).map(|n| format!(" a{n}=''")).collect();
        assert_eq!(
            items(&format!("<Alert><A{wide}/></Alert>")),
            ["an element has more than 16 attributes"]
        );
    }

    #[test]
    fn what_is_no_message_says_why() {
        let why = |xml: &str| read(xml.as_bytes(), true).unwrap_err();
        assert_eq!(why(""), Malformed::Cut);
        assert_eq!(why("hello"), Malformed::Syntax);
        assert_eq!(why("<html></html>"), Malformed::Root);
        assert_eq!(why("<EWS-SimpleMessage><Alert>"), Malformed::Cut);
        assert_eq!(
            why("<EWS-SimpleMessage><Alert></Other></EWS-SimpleMessage>"),
            Malformed::Syntax
        );
        assert_eq!(why("<EWS-SimpleMessage/><EWS-SimpleMessage/>"), Malformed::Syntax);
        assert_eq!(why("<EWS-SimpleMessage><Alert><A></B></Alert>"), Malformed::Syntax);
        let bomb =
            "<!DOCTYPE a [<!ENTITY lol \"lol\"><!ENTITY b \"&lol;&lol;\">]><EWS-SimpleMessage/>";
        assert_eq!(why(bomb), Malformed::Doctype);
        let deep = format!("<EWS-SimpleMessage><Alert>{}", "<a>".repeat(1_000_000));
        assert_eq!(why(&deep), Malformed::Depth);
        let deep = "<EWS-SimpleMessage>".repeat(1_000_000);
        assert_eq!(why(&deep), Malformed::Depth);
    }
}
