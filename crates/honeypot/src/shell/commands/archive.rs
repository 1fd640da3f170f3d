//! Archives: what attackers unpack did not come here, or came and is kept; its
//! parts are not unpacked.

use super::{Options, Run};
use crate::shell::Shell;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "tar" => tar,
        "gzip" | "gunzip" | "bzip2" | "bunzip2" | "xz" | "unxz" | "lzma" | "zstd" => compress,
        "zcat" | "bzcat" | "xzcat" => |shell, words| {
            let (_, status) = shell.inputs("gzip", &Options::new(words, "").rest);
            status
        },
        "unzip" | "zip" => zip,
        _ => return None,
    })
}

fn tar(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let mut words = words.to_vec();
    // `tar xvf` is `tar -xvf`.
    if let Some(first) = words.first_mut()
        && !first.starts_with(b"-")
    {
        first.insert(0, b'-');
    }
    let options = Options::new(&words, "fC");
    if !options.any("xct") && options.long("help").is_none() && options.long("version").is_none() {
        shell.err(b"tar: You must specify one of the '-Acdtrux', '--delete' or '--test-label' options\nTry 'tar --help' or 'tar --usage' for more information.\n");
        return 2;
    }
    if options.long("version").is_some() {
        shell.say("tar (GNU tar) 1.34");
        return 0;
    }
    let Some(file) = options.value('f').map(str::to_owned) else {
        let piped = shell.read_all();
        if piped.is_empty() || options.has('c') {
            return 0;
        }
        return not_an_archive(shell);
    };
    if options.has('c') {
        return u8::from(!shell.write_file("tar", &file, &[0; 1_024], false));
    }
    match shell.slurp(&file) {
        Ok(bytes) if bytes.len() >= 512 => 0,
        Ok(_) => not_an_archive(shell),
        Err(why) => {
            if shell.gnu() {
                shell.err(format!("tar: {file}: Cannot open: {}\ntar: Error is not recoverable: exiting now\n", why.text()).as_bytes());
                2
            } else {
                shell.fails("tar", &format!("can't open '{file}': {}", why.text()))
            }
        }
    }
}

fn not_an_archive(shell: &mut Shell) -> u8 {
    if shell.gnu() {
        shell.err(b"\ngzip: stdin: unexpected end of file\ntar: Child returned status 1\ntar: Error is not recoverable: exiting now\n");
        2
    } else {
        shell.fails("tar", "short read")
    }
}

fn compress(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "");
    let mut status = 0;
    for file in &options.rest {
        let path = shell.path(file);
        if !shell.files.exists(&path) {
            status = shell.fails("gzip", &format!("{file}: No such file or directory"));
            continue;
        }
        let goal = match file
            .strip_suffix(".gz")
            .or_else(|| file.strip_suffix(".bz2"))
            .or_else(|| file.strip_suffix(".xz"))
        {
            Some(plain) => plain.to_owned(),
            None if options.has('d') => {
                status = shell.fails("gzip", &format!("{file}: unknown suffix -- ignored"));
                continue;
            }
            None => format!("{file}.gz"),
        };
        // It keeps its bytes under its new name.
        let _ = shell.files.rename(&path, &shell.path(&goal));
    }
    status
}

fn zip(shell: &mut Shell, words: &[Vec<u8>]) -> u8 {
    let options = Options::new(words, "dP");
    let Some(file) = options.rest.first().cloned() else { return 10 };
    if shell.files.exists(&shell.path(&file)) {
        shell.say(&format!("Archive:  {file}"));
        return 0;
    }
    shell.say(&format!("unzip:  cannot find or open {file}, {file}.zip or {file}.ZIP."));
    9
}
