//! The addresses of a name, asked of a name server (RFC 1035) without the C
//! library, which would open files and load code. Only the form of questions
//! and answers; answers may be the attacker's, whose name it is.

use std::net::{IpAddr, SocketAddr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

/// Longest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 4_096;
/// Most addresses that are taken of one answer.
pub const MAX_ADDRESSES: usize = 16;
/// Most name servers that are asked.
const MAX_SERVERS: usize = 3;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The addresses; may be none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// The server cannot tell.
    Failed,
}

/// A question for the addresses of `host` in one family; `None` where that is
/// no name.
#[must_use]
pub fn question(id: u16, host: &str, six: bool) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let kind = QTYPE::TYPE(if six { TYPE::AAAA } else { TYPE::A });
    let name = Name::new(host).ok()?;
    packet.questions.push(Question::new(name, kind, QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().ok()
}

/// What `bytes` say as an answer to the question with this `id` for `host`;
/// `None`: it is the answer to something else.
#[must_use]
pub fn answer(id: u16, host: &str, bytes: &[u8]) -> Option<Answer> {
    let bytes = bytes.get(..MAX_ANSWER_BYTES).unwrap_or(bytes);
    let packet = Packet::parse(bytes).ok()?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let asked = packet.questions.first()?.qname.to_string();
    if !asked.trim_end_matches('.').eq_ignore_ascii_case(host.trim_end_matches('.')) {
        return None;
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Some(Answer::NoName),
        _ => return Some(Answer::Failed),
    }
    // Of a chain of other names the last has the addresses; who is asked has
    // put the whole chain into the answer.
    let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(four) => Some(IpAddr::from(four.address.to_be_bytes())),
        RData::AAAA(six) => Some(IpAddr::from(six.address.to_be_bytes())),
        _ => None,
    });
    Some(Answer::Addresses(addresses.take(MAX_ADDRESSES).collect()))
}

/// The name servers of the text of `/etc/resolv.conf`.
#[must_use]
pub fn servers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        Some(SocketAddr::new(words.next()?.parse().ok()?, 53))
    };
    text.lines().filter_map(server).take(MAX_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answer of a server: the question, and records of this name.
    fn answered(id: u16, flags: [u8; 2], host: &str, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question(id, host, false).unwrap();
        bytes[2..4].copy_from_slice(&flags);
        bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    #[test]
    fn an_answer_is_read_and_another_is_not_taken_for_it() {
        let mut six = [0; 16];
        six[15] = 1;
        let records: [(u16, &[u8]); 3] =
            [(5, &[1, b'x', 0]), (1, &[192, 0, 2, 7]), (28, six.as_slice())];
        let bytes = answered(7, [0x81, 0x80], "Evil.test", &records);
        let addresses = vec!["192.0.2.7".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(answer(7, "evil.test", &bytes), Some(Answer::Addresses(addresses)));
        assert_eq!(answer(8, "evil.test", &bytes), None);
        assert_eq!(answer(7, "other.test", &bytes), None);
        let query = question(7, "evil.test", true).unwrap();
        assert_eq!(answer(7, "evil.test", &query), None, "a question is no answer");
        let none = answered(7, [0x81, 0x83], "evil.test", &[]);
        assert_eq!(answer(7, "evil.test", &none), Some(Answer::NoName));
        let failed = answered(7, [0x81, 0x82], "evil.test", &[]);
        assert_eq!(answer(7, "evil.test", &failed), Some(Answer::Failed));
        let many = [(1, [192, 0, 2, 7].as_slice()); 40];
        let Some(Answer::Addresses(all)) =
            answer(7, "evil.test", &answered(7, [0x81, 0x80], "evil.test", &many))
        else {
            panic!("no answer");
        };
        assert_eq!(all.len(), MAX_ADDRESSES);
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for wrong in ["a".repeat(64), format!("{}x", "a.".repeat(200))] {
            assert_eq!(question(1, &wrong, false), None, "{wrong}");
        }
    }

    #[test]
    fn name_servers_are_found() {
        let text =
            "# x\nsearch a\nnameserver 192.0.2.53\nnameserver ::1\nnameserver x\nnameserver\n";
        let wanted = ["192.0.2.53:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!(servers(text), wanted);
        assert_eq!(servers(&"nameserver ::1\n".repeat(9)).len(), MAX_SERVERS);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = answer(0, "a", &bytes);
            let answer_bytes = [&[0, 0, 0x80, 0], bytes.as_slice()].concat();
            let _ = answer(0, "a", &answer_bytes);
        }
    }
}
