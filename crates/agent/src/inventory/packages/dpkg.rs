//! dpkg's database (deb-control(5), `/var/lib/dpkg/status`).

use std::io::Read;

use super::{Collected, Manager, Package, Packages, Unseen, each_line, word};

/// Where it is.
pub(super) const STATUS: &str = "/var/lib/dpkg/status";

/// Reads the packages that are installed; others are known, but not there.
pub(super) fn read(file: impl Read) -> Result<Packages, Unseen> {
    let mut found = Collected::new();
    let mut paragraph = Paragraph::default();
    each_line(file, |line| {
        if line.is_empty() {
            found.extend(std::mem::take(&mut paragraph));
        } else if let Some((key, value)) = line.split_once(':') {
            match key {
                "Package" => paragraph.name = word(value),
                "Version" => paragraph.version = word(value),
                "Architecture" => paragraph.arch = word(value),
                "Source" => {
                    // "openssh (1:9.2p1-2)" where the versions differ.
                    paragraph.source = Some(word(value.split('(').next().unwrap_or_default()));
                }
                "Status" => paragraph.installed = value.trim_end().ends_with(" installed"),
                _ => {}
            }
        }
    })?;
    found.extend(paragraph);
    Ok(found.done(Manager::Dpkg))
}

#[derive(Default)]
struct Paragraph {
    name: String,
    version: String,
    arch: String,
    source: Option<String>,
    installed: bool,
}

impl Collected {
    fn extend(&mut self, paragraph: Paragraph) {
        let Paragraph { name, version, arch, source, installed } = paragraph;
        if installed && !name.is_empty() {
            let source = source.filter(|source| *source != name && !source.is_empty());
            self.add(Package { name, version, arch, source });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_PACKAGES;
    use super::*;

    #[test]
    fn installed_packages_are_read_and_removed_ones_are_not() {
        let text = "Package: openssh-server\nStatus: install ok installed\nArchitecture: amd64\n\
                    Source: openssh (1:9.2)\nVersion: 1:9.2p1-2\nDescription: x\n more: text\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: last\nStatus: install ok installed\nVersion: 2";
        let found = read(text.as_bytes()).unwrap();
        let names: Vec<&str> = found.list.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["openssh-server", "last"]);
        assert_eq!(found.list[0].version, "1:9.2p1-2");
        assert_eq!(found.list[0].source.as_deref(), Some("openssh"));
    }

    #[test]
    fn a_hundred_thousand_packages_are_bounded_and_counted() {
        let mut text = String::new();
        for number in 0..100_000 {
            text += &format!("Package: p{number}\nStatus: install ok installed\nVersion: 1\n\n");
        }
        let found = read(text.as_bytes()).unwrap();
        assert_eq!((found.list.len(), found.left_out), (MAX_PACKAGES, 100_000 - MAX_PACKAGES));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let text = format!(
            "Package: a\nStatus: install ok installed\nVersion: {}\n",
            "9".repeat(1_000_000)
        );
        let found = read(text.as_bytes()).unwrap();
        assert_eq!(found.list[0].version.len(), 256);
    }
}
