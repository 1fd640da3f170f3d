//! Whether a client could forge the address that a pattern finds.
//!
//! Programs write what clients sent beside the address of the client, and what
//! clients sent may look like the rest of the line: `Invalid user x from
//! 192.0.2.1 from 203.0.113.9`. Which of two addresses the program wrote is a
//! matter of where in the line it writes it, so this looks at the expression:
//!
//! - nothing of variable length before the address: it is at a fixed place;
//! - variable text before it: the expression must describe the line to its end
//!   (`$`), or a copy of its beginning inside that text would do;
//! - and variable text behind it that could hold such a copy as well: every
//!   place where the address could be is tried, and where another one fits too
//!   the address is unknown ([`Place::Doubtful`]).

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// The group that has the address.
const SOURCE: &str = "source";

/// Where an expression finds the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the program wrote it.
    Sure,
    /// Perhaps where a client wrote one: wherever these fit around it.
    Doubtful {
        /// What stands before the address, from the beginning of the line.
        before: Box<Hir>,
        /// What follows it, to the end of the line.
        after: Box<Hir>,
    },
}

/// A mistake, as a sentence without its subject.
pub(super) type Mistake = &'static str;

/// Looks at an expression.
pub(super) fn examine(hir: &Hir, last: bool) -> Result<Place, Mistake> {
    let properties = hir.properties();
    let starts = properties.look_set_prefix().contains(Look::Start);
    if last {
        return match starts {
            true => Err("begins with '^' and has last = true; one of them is wrong"),
            false => Ok(Place::Sure),
        };
    }
    if !starts {
        return Err(
            "must begin with '^', or a client could put a copy of it into any text of the line; \
             set last = true where it can stand anywhere and nothing that a client writes follows it",
        );
    }
    let mut walk = Walk::default();
    walk.see(hir);
    if !walk.found || !walk.varies {
        return Ok(Place::Sure);
    }
    if !properties.look_set_suffix().contains(Look::End) {
        return Err(
            "finds the address behind text of any length and does not end with '$': a client could \
             write a second address there; describe the line to its end",
        );
    }
    let holds = |byte: &u8| walk.after.0.get(usize::from(*byte)) == Some(&true);
    if !walk.before.iter().all(holds) {
        return Ok(Place::Sure);
    }
    let Some((before, after)) = halves(hir) else {
        return Err(
            "has the address inside a group, with text of any length before and behind it; \
             write a pattern for each of the cases",
        );
    };
    Ok(Place::Doubtful { before: Box::new(before), after: Box::new(after) })
}

/// What stands before and behind the address.
fn halves(hir: &Hir) -> Option<(Hir, Hir)> {
    let HirKind::Concat(parts) = hir.kind() else { return None };
    let is_source = |part: &Hir| match part.kind() {
        HirKind::Capture(capture) => capture.name.as_deref() == Some(SOURCE),
        _ => false,
    };
    let place = parts.iter().position(is_source)?;
    let (before, after) = (parts.get(..place)?, parts.get(place + 1..)?);
    Some((Hir::concat(before.to_vec()), Hir::concat(after.to_vec())))
}

/// A set of bytes.
struct Bytes([bool; 256]);

impl Default for Bytes {
    fn default() -> Self {
        Self([false; 256])
    }
}

impl Bytes {
    fn add(&mut self, byte: u8) {
        if let Some(place) = self.0.get_mut(usize::from(byte)) {
            *place = true;
        }
    }

    /// All bytes that can stand in a text that `hir` matches.
    fn add_all(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => literal.0.iter().for_each(|byte| self.add(*byte)),
            HirKind::Class(Class::Bytes(class)) => {
                for range in class.iter() {
                    (range.start()..=range.end()).for_each(|byte| self.add(byte));
                }
            }
            HirKind::Class(Class::Unicode(class)) => {
                for range in class.iter() {
                    let ascii = |c: char| u8::try_from(c).ok().filter(u8::is_ascii);
                    let (first, last) = (ascii(range.start()), ascii(range.end()).unwrap_or(127));
                    if let Some(first) = first {
                        (first..=last).for_each(|byte| self.add(byte));
                    }
                    if !range.end().is_ascii() {
                        (128..=255).for_each(|byte| self.add(byte));
                    }
                }
            }
            HirKind::Repetition(repetition) => self.add_all(&repetition.sub),
            HirKind::Capture(capture) => self.add_all(&capture.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => {
                parts.iter().for_each(|part| self.add_all(part));
            }
        }
    }

    /// Whether no name, path or other text of a client can be made of them:
    /// digits, hexadecimal letters, and what stands between numbers.
    fn are_numeric(&self) -> bool {
        let numeric = |byte: u8| byte.is_ascii_hexdigit() || b"x.:-+/ []()#*,".contains(&byte);
        (0..=255u8).zip(self.0).all(|(byte, is)| !is || numeric(byte))
    }
}

/// What was seen of an expression, from its beginning on.
#[derive(Default)]
struct Walk {
    /// The address was passed.
    found: bool,
    /// Before the address there is text of variable length that a client may
    /// have written.
    varies: bool,
    /// The fixed text directly before the address.
    before: Vec<u8>,
    /// All bytes that can follow the address.
    after: Bytes,
}

impl Walk {
    fn see(&mut self, hir: &Hir) {
        if self.found {
            self.after.add_all(hir);
            return;
        }
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => self.before.extend(literal.0.iter()),
            HirKind::Class(_) => self.before.clear(),
            HirKind::Repetition(repetition) => {
                self.see(&repetition.sub);
                if self.found {
                    // Optional or repeated: either way it may be elsewhere.
                    self.varies = true;
                    self.after.add_all(&repetition.sub);
                    return;
                }
                self.before.clear();
                let mut bytes = Bytes::default();
                bytes.add_all(&repetition.sub);
                if repetition.max.is_none_or(|max| max > 1) && !bytes.are_numeric() {
                    self.varies = true;
                }
            }
            HirKind::Capture(capture) if capture.name.as_deref() == Some(SOURCE) => {
                self.found = true;
            }
            HirKind::Capture(capture) => self.see(&capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.see(part)),
            HirKind::Alternation(branches) => self.see_one_of(branches),
        }
    }

    /// Of several branches one at most has the address; what the others can
    /// hold may stand before it as well.
    fn see_one_of(&mut self, branches: &[Hir]) {
        let before = std::mem::take(&mut self.before);
        let mut found_before = None;
        for branch in branches {
            self.before.clone_from(&before);
            self.found = false;
            self.see(branch);
            if self.found {
                found_before = Some(std::mem::take(&mut self.before));
            }
        }
        self.found = found_before.is_some();
        self.before = found_before.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(expression: &str) -> Result<Place, Mistake> {
        let hir = regex_syntax::ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .dot_matches_new_line(true)
            .build()
            .parse(expression)
            .unwrap();
        examine(&hir, false)
    }

    #[test]
    fn an_address_at_a_fixed_place_needs_no_end() {
        for expression in [
            r"^refused connect from (?<source>\S+)",
            r"^\[pid \d+\] client (?<source>\S+): (?<user>.*)",
            r"^user (?<user>.*) has no address",
            r"^(?:error|fatal): from (?<source>\S+)",
        ] {
            assert_eq!(place(expression), Ok(Place::Sure), "{expression}");
        }
    }

    #[test]
    fn behind_text_of_any_length_the_line_is_described_to_its_end() {
        for expression in [
            r"^Invalid user (?<user>.*) from (?<source>\S+)",
            r"^Invalid user (?<user>\S+) from (?<source>\S+)",
            r"^(?:\w+: )?from (?<source>\S+)",
            r"^(?:user (?<user>\w+) )?from (?<source>\S+)",
        ] {
            assert!(place(expression).unwrap_err().contains("'$'"), "{expression}");
            let whole = format!("{expression}$");
            assert_eq!(place(&whole), Ok(Place::Sure), "{whole}");
        }
        assert!(place(r"from (?<source>\S+)$").unwrap_err().contains("'^'"));
    }

    #[test]
    fn clients_text_on_both_sides_is_doubtful() {
        for expression in [
            r"^user (?<user>.*), client: (?<source>\S+), request: (?<request>.*)$",
            r"^user (?<user>\S*) (?<source>\S+) (?<request>.*)$",
            r"^user (?<user>.*),(?<source>\S+),(?<request>\S*)$",
            r"^user (?<user>.*)(?<source>\S+),(?<request>\S*)$",
        ] {
            assert!(matches!(place(expression), Ok(Place::Doubtful { .. })), "{expression}");
        }
        let grouped = r"^user (?<user>.*)(?:, client: (?<source>\S+)), request: (?<request>.*)$";
        assert!(place(grouped).is_err() || matches!(place(grouped), Ok(Place::Doubtful { .. })));
        let optional = r"^user (?<user>.*)(?:, client: (?<source>\S+))?, request: (?<request>.*)$";
        assert!(place(optional).unwrap_err().contains("inside a group"));
        let closed = r"^user (?<user>.*), rip=(?<source>\S+), lip=[0-9.]+$";
        assert_eq!(place(closed), Ok(Place::Sure));
    }
}
