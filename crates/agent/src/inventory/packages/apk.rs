//! apk's database (`/lib/apk/db/installed`): lines of a letter, a colon, a value.

use std::io::Read;

use super::{Collected, Manager, Package, Packages, Unseen, each_line, word};

/// Where it is.
pub(super) const INSTALLED: &str = "/lib/apk/db/installed";

/// Reads the packages.
pub(super) fn read(file: impl Read) -> Result<Packages, Unseen> {
    let mut found = Collected::new();
    let empty = || Package {
        name: String::new(),
        version: String::new(),
        arch: String::new(),
        source: None,
    };
    let mut package = empty();
    each_line(file, |line| match line.split_once(':') {
        Some(("P", name)) => package.name = word(name),
        Some(("V", version)) => package.version = word(version),
        Some(("A", arch)) => package.arch = word(arch),
        Some(("o", origin)) => package.source = Some(word(origin)),
        None if line.is_empty() => found.keep(std::mem::replace(&mut package, empty())),
        _ => {}
    })?;
    found.keep(package);
    Ok(found.done(Manager::Apk))
}

impl Collected {
    fn keep(&mut self, mut package: Package) {
        package.source = package.source.filter(|source| *source != package.name);
        if !package.name.is_empty() {
            self.add(package);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_alpine_are_read() {
        let text = "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\n\nP:libssl3\nV:3.1.4-r5\nA:x86_64\no:openssl\n";
        let found = read(text.as_bytes()).unwrap();
        assert_eq!(found.list.len(), 2);
        assert_eq!(found.list[1].version, "3.1.4-r5");
        assert_eq!(
            (found.list[0].source.as_deref(), found.list[1].source.as_deref()),
            (None, Some("openssl"))
        );
    }
}
