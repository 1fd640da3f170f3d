//! `palisade-bench slowdisk`: a disk that is as slow as it is told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A write that was not let go has not ended after this.
const STILL: Duration = Duration::from_millis(300);
/// One that was let go has.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_write_waits_until_the_disk_is_let_go_and_what_was_written_is_there() {
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_palisade-bench"))
        .arg("slowdisk")
        .arg(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pace = child.stdin.take().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    if said.is_empty() {
        assert!(!child.wait().unwrap().success());
        eprintln!("skipped: no file system can be mounted here (that takes root and /dev/fuse)");
        return;
    }
    assert_eq!(said, "mounted\n");
    let (path, other) = (home.path().join("file"), home.path().join("other"));
    std::fs::write(&path, "at once").unwrap();
    std::fs::write(&other, "at once too").unwrap();

    // An hour a write, from the first that has to wait on.
    writeln!(pace, "3600000").unwrap();
    let (ended, written) = mpsc::sync_channel(0);
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            while ended.send(()).is_ok() {
                let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
                file.write_all(b".").unwrap();
            }
        }
    });
    while written.recv_timeout(STILL).is_ok() {}
    assert!(written.try_recv().is_err(), "the disk stands still");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "at once too", "reading does not wait");

    writeln!(pace, "0").unwrap();
    written.recv_timeout(DEADLINE).unwrap();
    drop(written);
    writer.join().unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("at once."));
    drop(pace);
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "it is not mounted any more");
}
