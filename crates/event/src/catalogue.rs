//! Renders the event catalogue as `docs/EVENTS.md`.

use std::fmt::Write as _;

use crate::EventKind;

/// The text of `docs/EVENTS.md`. `cargo xtask golden` writes it; a test holds
/// the committed file equal to it.
#[must_use]
pub fn catalogue_markdown() -> String {
    let mut page = String::from(
        "# Event catalogue\n\n\
         Generated from `crates/event/src/kind.rs` by `cargo xtask golden`; edit there.\n\n\
         Every event has `id`, `kind`, `observed_at`, `domain` and `sensor`; the hub adds\n\
         `received_at` and where it can `source_geo` and `target_geo`. The last column names what\n\
         a kind carries beside these. Text made by an attacker is a JSON string, or\n\
         `{\"base64\": \"…\"}` where its bytes are no UTF-8.\n\n\
         | kind | meaning | made by | carries |\n|---|---|---|---|\n",
    );
    for kind in EventKind::ALL {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            kind.as_str(),
            kind.meaning(),
            kind.made_by(),
            kind.fields()
        );
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_catalogue_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/EVENTS.md");
        let committed = std::fs::read_to_string(path).unwrap();
        assert_eq!(committed, super::catalogue_markdown(), "run: cargo xtask golden");
    }
}
