//! What each line means, and what attackers cannot make it mean.

use proptest::prelude::*;

use super::*;

fn parse(message: &str) -> Parsed {
    parse_sshd_message(message.as_bytes(), Timestamp::from_millis(0), None, None)
}

fn seen(message: &str) -> Observation {
    match parse(message) {
        Parsed::Observation(observation) => *observation,
        other => panic!("{message}: {other:?}"),
    }
}

fn address(observation: &Observation) -> String {
    observation.source.map_or("none".into(), |end| end.address.to_string())
}

fn user(observation: &Observation) -> String {
    let name = observation.credentials.as_ref().and_then(|c| c.username.clone());
    name.map_or("none".into(), |name| name.to_string())
}

#[test]
fn housekeeping_is_sorted_and_free_of_prefixes_of_prefixes() {
    for pair in super::known::HOUSEKEEPING.windows(2) {
        assert!(pair[0] < pair[1] && !pair[1].starts_with(pair[0]), "{:?}", pair[1]);
    }
}

#[test]
fn a_name_that_looks_like_an_address_does_not_become_the_source() {
    let name = "root from 192.0.2.1 port 22 ssh2";
    for line in [
        format!("Failed password for invalid user {name} from 198.51.100.9 port 4711 ssh2"),
        format!("Failed none for invalid user {name} from 198.51.100.9 port 4711 ssh2"),
        format!("Failed keyboard-interactive for invalid user {name} from 198.51.100.9 port 4711 ssh2"),
        format!("Failed publickey for invalid user {name} from 198.51.100.9 port 4711 ssh2: RSA SHA256:aa"),
        format!("Failed publickey for invalid user {name}: RSA SHA256:x from 198.51.100.9 port 4711 ssh2: RSA SHA256:aa"),
        format!("Invalid user {name} from 198.51.100.9 port 4711"),
        format!("Connection closed by invalid user {name} 198.51.100.9 port 4711 [preauth]"),
        format!("Connection reset by authenticating user {name} 198.51.100.9 port 4711 [preauth]"),
        format!("Disconnected from invalid user {name} 198.51.100.9 port 4711 [preauth]"),
        format!("Disconnecting invalid user {name}: a 192.0.2.1 port 1: b 198.51.100.9 port 4711: Too many authentication failures [preauth]"),
        format!("Disconnecting invalid user a 198.51.100.9 port 4711: Change of username or service not allowed: (a,ssh-connection) -> (x 192.0.2.1 port 1: {name},ssh-connection) [preauth]"),
        format!("error: maximum authentication attempts exceeded for invalid user {name} from 198.51.100.9 port 4711 ssh2 [preauth]"),
        format!("error: PAM: Authentication failure for {name} from 198.51.100.9 port 4711"),
        format!("User {name} from 198.51.100.9 port 4711 not allowed because not listed in AllowUsers"),
        "Bad protocol version identification 'x' from 192.0.2.1 port 1' from 198.51.100.9 port 4711".to_owned(),
        "Unable to negotiate with 198.51.100.9 port 4711: no matching cipher found. Their offer: a from 192.0.2.1 port 1: b [preauth]".to_owned(),
    ] {
        let got = seen(&line);
        assert_eq!(address(&got), "198.51.100.9", "{line}");
        assert_eq!(got.source.unwrap().port, Some(4711), "{line}");
    }
}

#[test]
fn where_either_address_could_be_the_attackers_text_there_is_none() {
    let forged = "x from 192.0.2.1 port 22 ssh2: RSA SHA256:bb";
    for line in [
        format!(
            "Failed publickey for invalid user {forged} from 198.51.100.9 port 1 ssh2: RSA-CERT SHA256:aa ID y (serial 0) CA RSA SHA256:cc"
        ),
        format!(
            "Failed publickey for root from 198.51.100.9 port 1 ssh2: RSA-CERT SHA256:aa ID {forged} (serial 0) CA RSA SHA256:cc"
        ),
        format!(
            "Failed hostbased for root from 198.51.100.9 port 1 ssh2: RSA SHA256:aa, client user \"a\", client host \"{forged}\""
        ),
    ] {
        let got = seen(&line);
        assert_eq!(address(&got), "none", "{line}");
        assert_eq!(got.attributes.get("ambiguous"), Some(&AttributeValue::Flag(true)), "{line}");
    }
}

#[test]
fn names_are_kept_as_written() {
    for name in
        [" 0101", "invalid user x", "a b c", "\\303\\244", "[preauth]", "port 22", ": x", "'"]
    {
        let line = format!("Failed password for invalid user {name} from 192.0.2.7 port 1 ssh2");
        assert_eq!(seen(&line).credentials.unwrap().username, Some(name.into()), "{line}");
        let line = format!("Connection closed by invalid user {name} 192.0.2.7 port 1 [preauth]");
        assert_eq!(seen(&line).credentials.unwrap().username, Some(name.into()), "{line}");
    }
    let got = seen("Failed password for invalid user  from 192.0.2.7 port 1 ssh2");
    assert_eq!((address(&got), user(&got)), ("192.0.2.7".into(), "none".into()));
}

#[test]
fn a_name_may_end_with_the_word_before_the_address() {
    for (name, method) in [("a from", "publickey"), ("from", "publickey"), ("a from", "password")] {
        let key = if method == "publickey" { ": ED25519 SHA256:aa" } else { "" };
        let seen =
            seen(&format!("Accepted {method} for {name} from 198.51.100.9 port 1 ssh2{key}"));
        assert_eq!((user(&seen).as_str(), address(&seen).as_str()), (name, "198.51.100.9"));
    }
}

#[test]
fn a_repeated_message_counts_as_often_as_it_says() {
    let got =
        seen("message repeated 5 times: [ Failed password for root from 192.0.2.7 port 1 ssh2]");
    assert_eq!((got.repeat, address(&got)), (5, "192.0.2.7".into()));
    assert_eq!(parse("message repeated 2 times: [ pam_unix(sshd:auth): x]"), Parsed::Irrelevant);
    for odd in ["0", "4294967296", "-1", "x", "100001"] {
        let line = format!(
            "message repeated {odd} times: [ Failed password for root from 192.0.2.7 port 1 ssh2]"
        );
        assert_eq!(parse(&line), Parsed::Unparsed, "{line}");
    }
}

#[test]
fn keyboard_interactive_with_pam_counts_once_for_every_user() {
    let lines = [
        ("error: PAM: Authentication failure for root from 192.0.2.7", true),
        ("Failed keyboard-interactive/pam for root from 192.0.2.7 port 1 ssh2", false),
        ("error: PAM: Authentication failure for illegal user bob from 192.0.2.7", false),
        ("Failed keyboard-interactive/pam for invalid user bob from 192.0.2.7 port 1 ssh2", true),
    ];
    for (line, counts) in lines {
        assert_eq!(matches!(parse(line), Parsed::Observation(_)), counts, "{line}");
    }
}

#[test]
fn a_new_message_is_reported_as_not_understood() {
    assert_eq!(parse("Teleported root from 192.0.2.7"), Parsed::Unparsed);
    assert_eq!(parse("Failed password for root from nowhere! port 1 ssh2"), Parsed::Unparsed);
}

#[test]
fn other_programs_are_irrelevant() {
    let cx = LineContext { now: Timestamp::from_millis(0), zone: jiff::tz::TimeZone::UTC };
    let line = b"Nov 20 20:07:14 h evil: Failed password for root from 192.0.2.7 port 1 ssh2";
    assert_eq!(parse_sshd(line, &cx), Parsed::Irrelevant);
    let line =
        b"Nov 20 20:07:14 h sshd[1]: Failed password for root from 192.0.2.7 port 1 ssh2\r\n";
    assert!(matches!(parse_sshd(line, &cx), Parsed::Observation(_)));
    assert_eq!(parse_sshd(b"", &cx), Parsed::Irrelevant);
    assert_eq!(parse_sshd(b"\0\0\0", &cx), Parsed::Unparsed);
}

proptest! {
    #[test]
    fn no_name_moves_the_source(name in "[ -~]{1,60}") {
        for line in [
            format!("Failed password for invalid user {name} from 198.51.100.9 port 4711 ssh2"),
            format!("Invalid user {name} from 198.51.100.9 port 4711"),
            format!("Disconnected from invalid user {name} 198.51.100.9 port 4711 [preauth]"),
            format!("Failed publickey for invalid user {name} from 198.51.100.9 port 4711 ssh2: RSA SHA256:aa"),
        ] {
            let got = seen(&line);
            prop_assert_eq!(address(&got), "198.51.100.9");
        }
    }

    #[test]
    fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let cx = LineContext { now: Timestamp::from_millis(0), zone: jiff::tz::TimeZone::UTC };
        let _ = parse_sshd(&line, &cx);
        let _ = parse_sshd_message(&line, cx.now, None, None);
    }

    #[test]
    fn any_mixture_of_its_own_words_is_survived(words in proptest::collection::vec(
        prop::sample::select(vec![
            "Failed ", "Accepted ", "password", "publickey", " for ", "invalid user ", "root", " from ",
            "192.0.2.7", " port ", "22", " ssh2", ": ", "[preauth]", "message repeated 2 times: [ ", "]",
            "Disconnecting ", "Connection closed by ", "authenticating user ", "[", "]:", "error: ",
            "Unable to negotiate with ", "drop connection #", " on ", "User ", " not allowed because ",
            "Received disconnect from ", "Bad protocol version identification ", "'", " ",
        ]), 0..14)) {
        let _ = parse(&words.concat());
    }
}
