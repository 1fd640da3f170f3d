//! EWS alerts that come without a message around them, as the poster of T-Pot
//! publishes them on hpfeeds channels: one `Alert` element as XML, or the same
//! as JSON in the form of xmltodict (`@name` is an attribute, `#text` or `$`
//! the text, a list stands for elements of one name).
//!
//! JSON is written as XML and read like it, so that an alert is the same one in
//! whichever form it comes. And the other way round: a message without alerts,
//! which says who asks ([`credentials`]).

use std::fmt;
use std::sync::Arc;

use palisade_event::SensorId;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::analyzers::Analyzers;
use super::message::{Collected, Message};
use super::xml::{Item, Reader};

/// The element around a message.
const MESSAGE: &str = "EWS-SimpleMessage";
/// The element of one alert.
const ALERT: &str = "Alert";

/// Reads alerts in XML: one, or a whole message, whose credentials do not count.
/// `None` where it is neither.
pub(crate) fn from_xml(
    xml: &[u8],
    analyzers: &Arc<Analyzers>,
    sensor: &SensorId,
) -> Option<Collected> {
    let element = after_prolog(xml);
    let window = match root_of(element)? {
        name if name == MESSAGE.as_bytes() => element.to_vec(),
        name if name == ALERT.as_bytes() => {
            let (begin, end) = (format!("<{MESSAGE}>"), format!("</{MESSAGE}>"));
            [begin.as_bytes(), element, end.as_bytes()].concat()
        }
        _ => return None,
    };
    let mut message = Message::new(Arc::clone(analyzers), sensor.clone());
    message.window = window;
    message.parse(true).ok()?;
    let collected = message.collected;
    (!collected.alerts.is_empty() || !collected.unfit.is_empty()).then_some(collected)
}

/// Reads alerts in JSON. `None` where it is none.
pub(crate) fn from_json(
    json: &[u8],
    analyzers: &Arc<Analyzers>,
    sensor: &SensorId,
) -> Option<Collected> {
    let Ok(Node::Element(root)) = serde_json::from_slice(json) else { return None };
    let [(name, node)] = root.as_slice() else { return None };
    if name != ALERT && name != MESSAGE {
        return None;
    }
    let mut xml = String::with_capacity(json.len() * 2);
    write(&mut xml, name, node)?;
    from_xml(xml.as_bytes(), analyzers, sensor)
}

/// User and token of a message that is a question; `None` where it has none or
/// is no message.
pub(crate) fn credentials(xml: &[u8]) -> Option<(String, String)> {
    let mut found = None;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let read = Reader::default().read(xml, true, |item| {
        if let (Item::Authentication { username, token }, None) = (item, &found) {
            found = text(username).zip(text(token));
        }
    });
    read.ok()?;
    found.filter(|(name, token)| !name.is_empty() && !token.is_empty())
}

/// What stands behind a byte order mark and an XML declaration (XML 1.0,
/// section 2.8).
fn after_prolog(xml: &[u8]) -> &[u8] {
    let xml = xml.strip_prefix(b"\xef\xbb\xbf").unwrap_or(xml).trim_ascii();
    if !xml.starts_with(b"<?xml") {
        return xml;
    }
    let end = memchr::memmem::find(xml, b"?>").map(|at| at + 2);
    end.and_then(|end| xml.get(end..)).unwrap_or_default().trim_ascii_start()
}

/// The name of the element at the beginning, without its prefix.
fn root_of(xml: &[u8]) -> Option<&[u8]> {
    let rest = xml.strip_prefix(b"<")?;
    let end = rest.iter().position(|c| c.is_ascii_whitespace() || matches!(c, b'>' | b'/'))?;
    let name = rest.get(..end)?;
    Some(memchr::memchr(b':', name).and_then(|at| name.get(at + 1..)).unwrap_or(name))
}

/// A value of JSON; what is in an object stays in its order.
enum Node {
    Nothing,
    Text(String),
    List(Vec<Node>),
    Element(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut element = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            element.push(entry);
        }
        Ok(Node::Element(element))
    }
}

/// Writes an element, or several of one name. `None` where it cannot be XML.
/// The JSON reader has bounded the depth.
fn write(xml: &mut String, name: &str, node: &Node) -> Option<()> {
    if !is_name(name) {
        return None;
    }
    if let Node::List(list) = node {
        return list.iter().try_for_each(|one| match one {
            Node::List(_) => None,
            one => write(xml, name, one),
        });
    }
    xml.push('<');
    xml.push_str(name);
    if let Node::Element(inner) = node {
        for (key, value) in inner {
            let Some(attribute) = key.strip_prefix('@') else { continue };
            if !is_name(attribute) {
                return None;
            }
            xml.push(' ');
            xml.push_str(attribute);
            xml.push_str("=\"");
            match value {
                Node::Text(text) => escape(xml, text),
                Node::Nothing => {}
                Node::List(_) | Node::Element(_) => return None,
            }
            xml.push('"');
        }
    }
    xml.push('>');
    match node {
        Node::Nothing | Node::List(_) => {}
        Node::Text(text) => escape(xml, text),
        Node::Element(inner) => {
            for (key, value) in inner.iter().filter(|(key, _)| !key.starts_with('@')) {
                match (key.as_str(), value) {
                    ("#text" | "$", Node::Text(text)) => escape(xml, text),
                    ("#text" | "$", Node::Nothing) => {}
                    _ => write(xml, key, value)?,
                }
            }
        }
    }
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
    Some(())
}

/// Whether it can be the name of an element or attribute here; XML allows more.
fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.:".contains(&c);
    name.as_bytes().first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_')
        && name.bytes().all(plain)
}

fn escape(xml: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            c => xml.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor() -> SensorId {
        SensorId::new("pot-1").unwrap()
    }

    fn table() -> Arc<Analyzers> {
        Arc::new(Analyzers::load(None).unwrap())
    }

    fn xml(text: &str) -> Option<Collected> {
        from_xml(text.as_bytes(), &table(), &sensor())
    }

    fn json(text: &str) -> Option<Collected> {
        from_json(text.as_bytes(), &table(), &sensor())
    }

    const XML: &str = "<Alert><Analyzer id=\"cowrie-1\"/>\
        <CreateTime tz=\"+0000\">2026-11-20 20:07:14</CreateTime>\
        <Source category=\"ipv4\" port=\"4711\" protocol=\"tcp\">198.51.100.7</Source>\
        <Target category=\"ipv4\" port=\"22\" protocol=\"tcp\">203.0.113.5</Target>\
        <Request type=\"description\">SSH &lt;Honeypot&gt; &amp; more</Request>\
        <Request type=\"raw\">R0VUIC8gSFRUUC8xLjENCg0K</Request>\
        <AdditionalData type=\"string\" meaning=\"username\">ro\"ot</AdditionalData>\
        <AdditionalData type=\"string\" meaning=\"password\"></AdditionalData></Alert>";
    const JSON: &str = r##"{"Alert": {"Analyzer": {"@id": "cowrie-1"},
        "CreateTime": {"@tz": "+0000", "#text": "2026-11-20 20:07:14"},
        "Source": {"@category": "ipv4", "@port": "4711", "@protocol": "tcp", "#text": "198.51.100.7"},
        "Target": {"@category": "ipv4", "@port": 22, "@protocol": "tcp", "$": "203.0.113.5"},
        "Request": [{"@type": "description", "#text": "SSH <Honeypot> & more"},
                    {"@type": "raw", "#text": "R0VUIC8gSFRUUC8xLjENCg0K"}],
        "AdditionalData": [{"@type": "string", "@meaning": "username", "#text": "ro\"ot"},
                           {"@type": "string", "@meaning": "password"}]}}"##;

    fn ids(collected: Option<Collected>) -> Vec<String> {
        let mut collected = collected.unwrap();
        assert!(collected.unfit.is_empty(), "{:?}", collected.unfit);
        collected.alerts.iter_mut().for_each(|alert| alert.identify(&sensor()));
        collected.alerts.iter().map(|alert| alert.event.id.to_string()).collect()
    }

    #[test]
    fn an_alert_is_the_same_in_xml_in_json_and_in_a_message() {
        let once = ids(xml(XML));
        assert_eq!(once.len(), 1);
        assert_eq!(ids(json(JSON)), once);
        assert_eq!(
            ids(xml(&format!("\u{feff}<?xml version='1.0' encoding='UTF-8'?>\n{XML}\n"))),
            once
        );
        let message = format!(
            "<EWS-SimpleMessage version=\"3.0\"><Authentication><username>u</username>\
             <token>t</token></Authentication>{XML}{XML}</EWS-SimpleMessage>"
        );
        assert_eq!(ids(xml(&message)), [&once[..], &once[..]].concat());
        let inner = JSON.trim().strip_prefix("{\"Alert\": ").unwrap().strip_suffix('}').unwrap();
        let message = format!(
            "{{\"EWS-SimpleMessage\": {{\"@version\": \"3.0\", \"Alert\": [{inner}, {inner}]}}}}"
        );
        assert_eq!(ids(json(&message)), [&once[..], &once[..]].concat());
        let alert = &json(JSON).unwrap().alerts[0];
        assert_eq!(
            alert.event.credentials.as_ref().unwrap().username.as_ref().unwrap().as_bytes(),
            b"ro\"ot"
        );
        assert!(alert.captured.as_ref().unwrap().http);
    }

    #[test]
    fn what_is_wrong_with_an_alert_is_said_in_either_form() {
        let why = |collected: Option<Collected>| collected.unwrap().unfit[0].reason.clone();
        let reason = why(xml(&XML.replace("198.51.100.7", "localhost")));
        assert!(reason.contains("its Source is no address"), "{reason}");
        assert_eq!(why(json(&JSON.replace("198.51.100.7", "localhost"))), reason);
        assert!(why(xml("<Alert/>")).contains("empty"));
        assert!(why(json("{\"Alert\": null}")).contains("no id"));
        assert!(why(json("{\"Alert\": {\"A\": {\"B\": {\"C\": 1}}}}")).contains("within"));
    }

    #[test]
    fn name_and_token_are_read_from_their_place_alone() {
        let message = |inner: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<EWS-SimpleMessage version=\"3.0\">{inner}</EWS-SimpleMessage>"
            )
        };
        let read = |inner: &str| credentials(message(inner).as_bytes());
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
        let bomb = "<!DOCTYPE x [<!ENTITY a \"b\">]>".to_owned()
            + &message("<Authentication><username>&a;</username><token>x</token></Authentication>");
        assert_eq!(credentials(bomb.as_bytes()), None);
        assert_eq!(credentials("<a>".repeat(20_000).as_bytes()), None);
        assert_eq!(credentials(b"\xff\xfe<EWS-SimpleMessage>"), None);
        assert_eq!(credentials(b"\0"), None);
    }

    #[test]
    fn what_is_no_alert_is_left_alone() {
        for other in [
            "",
            "<",
            "<html/>",
            "<Alerts/>",
            "<Alert>",
            "<?xml",
            "<?xml?>",
            "<EWS-SimpleMessage/>",
            "<!DOCTYPE a []><Alert/>",
            "<Alert><A></Alert>",
        ] {
            assert!(xml(other).is_none(), "{other}");
        }
        for other in [
            "",
            "{}",
            "[]",
            "1",
            "{\"Alert\": {}, \"More\": 1}",
            "{\"Alert\": {\"a b\": 1}}",
            "{\"Alert\": {\"@a\": {}}}",
            "{\"Alert\": [[1]]}",
            "{\"Alert\": []}",
            "{\"Alert\": 1} x",
            "{\"Alert\": {\"@a=\\\"1\\\" b\": \"2\"}}",
        ] {
            assert!(json(other).is_none(), "{other}");
        }
        let deep = format!("{{\"Alert\": {}1{}}}", "{\"A\": ".repeat(1000), "}".repeat(1000));
        assert!(json(&deep).is_none());
    }
}
