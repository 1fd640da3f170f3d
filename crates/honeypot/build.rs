//! Puts the shipped plug-ins of `plugins/` into the program: their Luau files,
//! and what `palisade plugin new` starts with. A list of them is written, so that
//! a new folder or file is seen by the next build.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let plugins = root.join("../../plugins");
    println!("cargo::rerun-if-changed={}", plugins.display());
    let mut code = String::from("&[\n");
    for folder in sorted(&plugins)? {
        if !folder.join("init.luau").is_file() {
            continue;
        }
        println!("cargo::rerun-if-changed={}", folder.display());
        let _ = writeln!(code, "({:?}, &[", name(&folder));
        for file in sorted(&folder)? {
            if file.extension().is_some_and(|ending| ending == "luau") {
                let path = file.canonicalize()?;
                let _ = writeln!(code, "({:?}, include_str!({path:?})),", name(&file));
            }
        }
        code.push_str("]),\n");
    }
    code.push(']');
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("plugins.rs"), code)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is in a folder, by name; nothing where there is no such folder.
fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut all: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>()?;
    all.sort();
    Ok(all)
}
