//! Which honeypot an analyzer id means: a table from a file, not code.

use std::path::Path;

use palisade_event::Category;
use serde::Deserialize;

/// The table that is built in.
const BUILT_IN: &str = include_str!("analyzers.toml");
/// Largest table of an operator, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// What an id means that no entry knows.
const UNCLASSIFIED: &str = "Unclassified";

/// The table: an operator's entries first, then those that are built in.
#[derive(Debug, Default)]
pub(crate) struct Analyzers {
    /// The last one is part of every id.
    entries: Vec<Analyzer>,
}

/// What is known of a honeypot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Analyzer {
    /// Parts of ids, one of which is enough.
    contains: Vec<String>,
    /// How events name it.
    pub(crate) category: Category,
    /// Its times are UTC already.
    #[serde(default)]
    pub(crate) utc: bool,
    /// Its request is the port that was attacked.
    #[serde(default)]
    pub(crate) port_text: bool,
    /// Requests and meanings that are percent-encoded.
    #[serde(default)]
    pub(crate) percent: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    analyzer: Vec<Analyzer>,
}

impl Analyzers {
    /// The built-in table, behind the one in `file` where there is one.
    ///
    /// # Errors
    /// One sentence: what is wrong with which file.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, String> {
        let mut entries = Vec::new();
        if let Some(path) = file {
            let wrong = |what: String| format!("ews.analyzers: {}: {what}", path.display());
            let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
            if size > MAX_FILE_BYTES {
                return Err(wrong(format!("larger than {MAX_FILE_BYTES} bytes")));
            }
            let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            entries = parse(&text).map_err(wrong)?;
        }
        entries.extend(parse(BUILT_IN)?);
        let category = Category::new(UNCLASSIFIED).map_err(|error| error.to_string())?;
        let (contains, percent) = (vec![String::new()], Vec::new());
        entries.push(Analyzer { contains, category, utc: false, port_text: false, percent });
        Ok(Self { entries })
    }

    /// What an id means; `None` only where there is no table.
    pub(crate) fn of(&self, id: &str) -> Option<&Analyzer> {
        let id = id.to_ascii_lowercase();
        self.entries
            .iter()
            .find(|entry| entry.contains.iter().any(|part| id.contains(part.as_str())))
    }
}

fn parse(text: &str) -> Result<Vec<Analyzer>, String> {
    let file: File =
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let mut entries = file.analyzer;
    for entry in &mut entries {
        if entry.contains.is_empty() || entry.contains.iter().any(String::is_empty) {
            return Err(format!("'{}' needs texts in 'contains', none empty", entry.category));
        }
        for part in &mut entry.contains {
            part.make_ascii_lowercase();
        }
        // As the network has always done it.
        entry.utc |= entry.category.as_str().to_ascii_lowercase().contains("honeytrap");
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_poster_has_a_category() {
        let table = Analyzers::load(None).unwrap();
        let modules = [
            "adbhoney",
            "beelzebub",
            "ciscoasa",
            "citrix",
            "conpot",
            "cowrie",
            "ddospot",
            "dicompot",
            "dionaea",
            "elasticpot",
            "emobility",
            "endlessh",
            "fatt",
            "galah",
            "glastopfv3",
            "glutton",
            "gopot",
            "h0neytr4p",
            "hellpot",
            "heralding",
            "honeyaml",
            "honeypots",
            "honeypy",
            "honeysap",
            "honeytrap",
            "ipphoney",
            "kippo",
            "log4pot",
            "mailoney",
            "medpot",
            "miniprint",
            "rdphoneypot",
            "rdpy",
            "redishoneypot",
            "sentrypeer",
            "snare",
            "suricata",
            "tanner",
            "vnclowpot",
            "wordpot",
        ];
        assert_eq!(modules.len(), 40);
        for module in modules {
            let category = &table.of(&format!("{module}-community-01")).unwrap().category;
            let plain = category.as_str().to_lowercase().replace(['-', ')'], "");
            let named = plain.contains(module);
            let known = ["Webpage", "SSH/console(cowrie)", "Service(ES)", "Service(Medicine)"];
            assert!(named || known.contains(&category.as_str()), "{module}: {category}");
        }
    }

    #[test]
    fn ids_of_the_contract_mean_what_they_always_did() {
        let table = Analyzers::load(None).unwrap();
        for (id, category) in [
            ("WebHoneypot-3", "Webpage"),
            ("sensor.gt3", "Webpage"),
            ("a.dio", "Network(Dionaea)"),
            ("honeytrap-9", "Network(honeytrap)"),
            ("x.kip", "SSH/console(cowrie)"),
            ("x.vnc", "VNC(vnclowpot)"),
            ("x.rdp", "RDP(rdpy)"),
            ("x.mail", "E-Mail(mailoney)"),
            ("x.her", "Passwords(heralding)"),
            ("ciscoasa", "Network(cisco-asa)"),
            ("x.elk", "Service(ES)"),
            ("suricata", "Network(suricata)"),
            ("medpot", "Service(Medicine)"),
            ("eMobility", "Service(emobility)"),
            ("x.con", "Industrial(conpot)"),
            ("glutton", "Network(glutton)"),
            ("something else", "Unclassified"),
            // The first match counts.
            ("tanner-dionaea", "Webpage"),
        ] {
            assert_eq!(table.of(id).unwrap().category.as_str(), category, "{id}");
        }
        assert!(table.of("x.ht").unwrap().utc && !table.of("cowrie").unwrap().utc);
    }

    #[test]
    fn an_operators_entries_come_first_and_mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, "[[analyzer]]\ncontains = [\"COWRIE-lab\"]\ncategory = \"Lab\"\n")
            .unwrap();
        let table = Analyzers::load(Some(&path)).unwrap();
        assert_eq!(table.of("cowrie-lab-1").unwrap().category.as_str(), "Lab");
        assert_eq!(table.of("cowrie-1").unwrap().category.as_str(), "SSH/console(cowrie)");
        for wrong in ["[[analyzer]]\ncontains = []\ncategory = \"x\"", "[[analyser]]", "category"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(Analyzers::load(Some(&path)).unwrap_err().contains("mine.toml"), "{wrong}");
        }
        assert!(Analyzers::load(Some(Path::new("/nowhere"))).is_err());
    }
}
