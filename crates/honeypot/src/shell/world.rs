//! A machine with its files, as all sessions share it.

use std::path::Path;

use super::vfs::Tree;
use crate::persona::{Draw, Machine, Manifest, System};
use crate::{Persona, PersonaConfig};

/// Most files and bytes of an operator's folder.
const MAX_FOLDER_FILES: usize = 2_000;
const MAX_FOLDER_BYTES: u64 = 16 * 1024 * 1024;

/// A machine with its files.
#[derive(Debug)]
pub struct World {
    pub(crate) machine: Machine,
    pub(crate) tree: Tree,
}

impl World {
    /// The device that the web page and Telnet show.
    ///
    /// # Errors
    /// A sentence about a mistake in the persona's folder.
    pub fn device(persona: &Persona, config: &PersonaConfig) -> Result<Self, String> {
        let manifest = manifest("busybox", config.folder.as_deref())?;
        let machine = Machine::device(persona, &manifest, config.prompt.as_deref());
        Self::build(machine, &manifest, config)
    }

    /// The server of the configuration, or one that is drawn.
    ///
    /// # Errors
    /// A sentence, where there is no such persona or its folder has a mistake.
    pub fn server(persona: &Persona, config: &PersonaConfig) -> Result<Self, String> {
        let drawn = *Draw(persona.seed ^ 0x6b69_6e64).one(&["debian12", "debian12", "ubuntu2204"]);
        let name = config.server.as_deref().unwrap_or(drawn);
        let manifest = manifest(name, config.folder.as_deref())?;
        let system = if name == "ubuntu2204" { System::Ubuntu } else { System::Debian };
        let machine = Machine::server(&manifest, system, persona.seed, config.hostname.as_deref());
        Self::build(machine, &manifest, config)
    }

    fn build(
        machine: Machine,
        manifest: &Manifest,
        config: &PersonaConfig,
    ) -> Result<Self, String> {
        let mut tree = Tree::new(&machine, manifest);
        if let Some(folder) = &config.folder {
            let root = folder.join("root");
            if root.is_dir() {
                add_folder(&mut tree, &machine, &root)?;
            }
        }
        Ok(Self { machine, tree })
    }

    /// Its host name.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.machine.hostname
    }

    /// What its commands look like.
    #[must_use]
    pub fn system(&self) -> System {
        self.machine.system
    }
}

/// The shipped manifest, with the operator's `NAME.toml` in its place where
/// there is one.
fn manifest(name: &str, folder: Option<&Path>) -> Result<Manifest, String> {
    let own =
        folder.map(|folder| folder.join(format!("{name}.toml"))).filter(|path| path.is_file());
    match own {
        None => Manifest::shipped(name),
        Some(path) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            Manifest::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

/// Takes the files below `root` into the tree, once, at the start.
fn add_folder(tree: &mut Tree, machine: &Machine, root: &Path) -> Result<(), String> {
    let mut left = vec![root.to_path_buf()];
    let (mut files, mut bytes) = (0, 0);
    while let Some(directory) = left.pop() {
        let wrong = |error: std::io::Error| format!("cannot read {}: {error}", directory.display());
        for entry in std::fs::read_dir(&directory).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            let about = std::fs::symlink_metadata(&path).map_err(wrong)?;
            if about.is_dir() {
                left.push(path);
                continue;
            }
            let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else { continue };
            if !about.is_file() {
                continue;
            }
            files += 1;
            bytes += about.len();
            if files > MAX_FOLDER_FILES || bytes > MAX_FOLDER_BYTES {
                return Err(format!(
                    "{} holds more than {MAX_FOLDER_FILES} files or {} MiB",
                    root.display(),
                    MAX_FOLDER_BYTES / 1024 / 1024
                ));
            }
            let data = std::fs::read(&path).map_err(wrong)?;
            let text = match String::from_utf8(data) {
                Ok(text) => machine.fill(&text).into_bytes(),
                Err(error) => error.into_bytes(),
            };
            tree.add(&format!("/{name}"), text, 0o644, machine.installed + 900);
        }
    }
    Ok(())
}
