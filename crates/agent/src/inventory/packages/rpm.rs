//! RPM's database: headers in an SQLite file (RPM 4.16 and newer). Older forms are
//! read by `rpm` itself.

use std::fs::File;

use super::sqlite::{Database, Value, u32_at};
use super::{Collected, Manager, Package, Packages, word};

/// Where it is: on Fedora and SUSE, and on RHEL.
pub(super) const SQLITE: [&str; 2] =
    ["/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite"];
/// Forms before that.
pub(super) const OLD: [&str; 3] =
    ["/var/lib/rpm/Packages", "/var/lib/rpm/Packages.db", "/usr/lib/sysimage/rpm/Packages.db"];

/// Tags of a header (rpmtag.h).
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCH: u32 = 1022;
const SOURCE: u32 = 1044;

/// Reads the packages.
pub(super) fn read(file: File) -> Result<Packages, String> {
    let mut found = Collected::new();
    let mut broken = 0usize;
    Database::open(file)?.rows("Packages", |row| {
        match row.get(1) {
            Some(Value::Bytes(header)) => match package(header) {
                // Keys that packages are signed with are kept as packages too.
                Some(package) if package.name == "gpg-pubkey" => {}
                Some(package) => found.add(package),
                None => broken += 1,
            },
            _ => broken += 1,
        }
        true
    })?;
    found.left_out += broken;
    Ok(found.done(Manager::Rpm))
}

/// What a header says: a count of entries, the bytes of their values, the
/// entries (tag, type, place, count), the values.
fn package(header: &[u8]) -> Option<Package> {
    let entries = usize::try_from(u32_at(header, 0)?).ok()?;
    let values = header.get(entries.checked_mul(16)?.checked_add(8)?..)?;
    let index = header.get(8..8 + entries * 16)?;
    let place = |tag: u32| {
        let entry = index.chunks_exact(16).find(|entry| u32_at(entry, 0) == Some(tag))?;
        usize::try_from(u32_at(entry, 8)?).ok()
    };
    let text = |tag: u32| {
        let bytes = values.get(place(tag)?..)?;
        let end = bytes.iter().take(4096).position(|byte| *byte == 0)?;
        Some(word(&String::from_utf8_lossy(bytes.get(..end)?)))
    };
    let epoch = place(EPOCH).and_then(|at| u32_at(values, at)).filter(|epoch| *epoch > 0);
    let version = format!("{}-{}", text(VERSION)?, text(RELEASE)?);
    let name = text(NAME)?;
    let source = text(SOURCE).and_then(|file| {
        // "openssh-8.7p1-38.el9.src.rpm" without version and release.
        let mut parts = file.rsplitn(3, '-');
        let (_, _) = (parts.next()?, parts.next()?);
        parts.next().map(str::to_owned)
    });
    Some(Package {
        version: epoch.map_or_else(|| version.clone(), |epoch| format!("{epoch}:{version}")),
        arch: text(ARCH).unwrap_or_default(),
        source: source.filter(|source| *source != name),
        name,
    })
}

/// Reads the list that `rpm` prints.
pub(super) fn parse_list(text: &str) -> Packages {
    let mut found = Collected::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        if let (Some(name), Some(version)) = (fields.next(), fields.next())
            && name != "gpg-pubkey"
        {
            let version = version.strip_prefix("(none):").unwrap_or(version);
            found.add(Package {
                name: word(name),
                version: word(version),
                arch: word(fields.next().unwrap_or_default()),
                source: None,
            });
        }
    }
    found.done(Manager::Rpm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, epoch: u32, source: &str) -> Vec<u8> {
        let mut values = vec![0, 0, 0, 0];
        values.splice(0..4, epoch.to_be_bytes());
        let mut entries = vec![(EPOCH, 4u32, 0u32)];
        for (tag, text) in [
            (NAME, name),
            (VERSION, "8.7p1"),
            (RELEASE, "38.el9"),
            (ARCH, "x86_64"),
            (SOURCE, source),
        ] {
            entries.push((tag, 6, values.len() as u32));
            values.extend(text.as_bytes());
            values.push(0);
        }
        let mut header = (entries.len() as u32).to_be_bytes().to_vec();
        header.extend((values.len() as u32).to_be_bytes());
        for (tag, kind, place) in entries {
            for number in [tag, kind, place, 1] {
                header.extend(number.to_be_bytes());
            }
        }
        header.extend(values);
        header
    }

    #[test]
    fn a_header_says_name_epoch_version_and_source() {
        let found = package(&header("openssh-server", 2, "openssh-8.7p1-38.el9.src.rpm")).unwrap();
        assert_eq!(found.version, "2:8.7p1-38.el9");
        assert_eq!(found.source.as_deref(), Some("openssh"));
        for cut in 0..60 {
            let whole = header("a", 0, "a-1-1.src.rpm");
            assert!(package(&whole[..whole.len().min(cut)]).is_none());
        }
    }

    #[test]
    fn a_database_is_read_with_rows_of_several_pages_and_trees_of_several_levels() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/host/rpmdb.sqlite");
        let found = read(File::open(path).unwrap()).unwrap();
        assert_eq!((found.list.len(), found.left_out), (300, 0));
        let last = found.list.iter().find(|package| package.name == "package-299").unwrap();
        assert_eq!((last.version.as_str(), last.arch.as_str()), ("1.299-7.el9", "x86_64"));
    }

    #[test]
    fn a_damaged_database_is_refused_in_a_sentence() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/host/rpmdb.sqlite");
        let whole = std::fs::read(path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db");
        let mut refused = 0;
        for at in (0..whole.len().min(20_000)).step_by(211) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&file, &bytes).unwrap();
            refused += usize::from(read(File::open(&file).unwrap()).is_err());
        }
        assert!(refused > 2, "{refused}");
        std::fs::write(&file, &whole[..5000]).unwrap();
        assert!(read(File::open(&file).unwrap()).is_err());
    }

    #[test]
    fn a_list_of_rpm_is_read() {
        let found = parse_list(
            "bash\t(none):5.1-6\tx86_64\ngpg-pubkey\t(none):1-2\t(none)\nglib\t1:2-3\tnoarch\n",
        );
        assert_eq!(found.list.len(), 2);
        assert_eq!(found.list[1].version, "1:2-3");
    }
}
