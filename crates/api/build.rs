//! Makes a table of the files in `ui/dist`, which are embedded in the binary.
//! Without that folder the table is empty and a built-in page takes its place.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Names a folder to embed in place of `ui/dist`, for packagers.
const DIST_VARIABLE: &str = "PALISADE_UI_DIST";
/// Deepest folder that is looked at.
const MAX_DEPTH: u32 = 8;

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={DIST_VARIABLE}");
    let dist = match env::var_os(DIST_VARIABLE) {
        Some(dist) => PathBuf::from(dist),
        None => root.join("../../ui/dist"),
    };
    // Cargo takes a path that is not there for always changed and would build
    // this crate again each time. An empty folder prevents that; where it
    // cannot be made, building again is all that happens.
    if dist.parent().is_some_and(Path::is_dir) {
        let _ = fs::create_dir(&dist);
        println!("cargo:rerun-if-changed={}", dist.display());
    }

    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist.canonicalize()?, "", 0, &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for (name, path) in &files {
        if name.ends_with(".br") || name.ends_with(".gz") || name.ends_with(".map") {
            continue;
        }
        let packed = |suffix: &str| {
            let packed = format!("{name}.{suffix}");
            let found = files.iter().find(|(other, _)| *other == packed);
            found.map_or("None".to_owned(), |(_, path)| {
                format!("Some(include_bytes!({:?}))", path.to_string_lossy())
            })
        };
        let _ = writeln!(
            table,
            "    Asset {{ name: {name:?}, plain: include_bytes!({:?}), br: {}, gz: {} }},",
            path.to_string_lossy(),
            packed("br"),
            packed("gz"),
        );
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("assets.rs"), table)
}

fn collect(
    dir: &Path,
    prefix: &str,
    depth: u32,
    files: &mut Vec<(String, PathBuf)>,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let own = entry.file_name().to_string_lossy().into_owned();
        // `.vite` and the like are for tools, not for browsers.
        if own.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{own}");
        if entry.file_type()?.is_dir() && depth < MAX_DEPTH {
            collect(&entry.path(), &format!("{name}/"), depth + 1, files)?;
        } else if entry.file_type()?.is_file() {
            files.push((name, entry.path()));
        }
    }
    Ok(())
}
