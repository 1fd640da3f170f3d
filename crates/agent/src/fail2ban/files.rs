//! Reads the texts of a fail2ban configuration folder.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use palisade_rules::fail2ban::{Files, MAX_FILE_BYTES};

/// Folders in folders that are read.
const MAX_DEPTH: u32 = 4;
/// Files of a configuration that are read.
const MAX_FILES: usize = 10_000;

/// Reads the `*.conf` and `*.local` files of a folder and what they include from
/// elsewhere.
///
/// # Errors
/// One sentence: what cannot be read, and why.
pub fn read_fail2ban(folder: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    let mut count = 0;
    read_into(&mut files, folder, "", 0, &mut count)?;
    // Included files may include others.
    for _ in 0..MAX_DEPTH {
        let mut added = false;
        for wanted in files.wanted() {
            let path = folder.join(&wanted);
            if path.is_file() && (wanted.ends_with(".conf") || wanted.ends_with(".local")) {
                add(&mut files, &path, wanted)?;
                added = true;
            }
        }
        if !added {
            break;
        }
    }
    Ok(files)
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

fn read_into(
    files: &mut Files,
    folder: &Path,
    prefix: &str,
    depth: u32,
    count: &mut usize,
) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
        let path = entry.map_err(|error| failed(folder, &error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            if depth < MAX_DEPTH {
                read_into(files, &path, &format!("{relative}/"), depth + 1, count)?;
            }
        } else if name.ends_with(".conf") || name.ends_with(".local") {
            *count += 1;
            if *count > MAX_FILES {
                return Err(format!("{} has more than {MAX_FILES} files", folder.display()));
            }
            add(files, &path, relative)?;
        }
    }
    Ok(())
}

fn add(files: &mut Files, path: &Path, name: String) -> Result<(), String> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(path, &error))?;
    files
        .insert(name, String::from_utf8_lossy(&bytes))
        .map_err(|_| format!("{} has more than {MAX_FILE_BYTES} bytes", path.display()))
}
