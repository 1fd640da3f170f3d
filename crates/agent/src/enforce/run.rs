//! Runs a program by its argument list, without a shell, within a time.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most of its output that is read, in bytes: a list of a million bans.
const MAX_OUTPUT_BYTES: u64 = 256 * 1024 * 1024;
/// Most of its complaint that is kept.
const MAX_COMPLAINT_CHARS: usize = 400;

/// Runs a program with something on its standard input, and gives what it prints.
///
/// # Errors
/// One sentence: it is not there, took too long or ended with an error, and what
/// it said.
pub(super) async fn run(argv: &[String], input: &[u8]) -> Result<Vec<u8>, String> {
    let (program, arguments) = argv.split_first().ok_or("no program is named")?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("LC_ALL", "C")
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| format!("cannot run {program}: {error}"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let work = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input is no error.
                let _ = stdin.write_all(input).await;
            }
        };
        let output = async {
            let mut bytes = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await?;
            }
            Ok::<_, std::io::Error>(bytes)
        };
        let complaint = async {
            let mut bytes = Vec::new();
            if let Some(stderr) = stderr {
                stderr.take(MAX_COMPLAINT_CHARS as u64 * 4).read_to_end(&mut bytes).await?;
            }
            Ok::<_, std::io::Error>(bytes)
        };
        let ((), output, complaint) = tokio::join!(write, output, complaint);
        let status = child.wait().await;
        Ok::<_, std::io::Error>((status?, output?, complaint?))
    };
    let ended = tokio::time::timeout(PATIENCE, work).await;
    let ended = ended.map_err(|_| format!("{program} took longer than {PATIENCE:?}"))?;
    let (status, output, complaint) = ended.map_err(|error| format!("{program}: {error}"))?;
    if status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&complaint);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(MAX_COMPLAINT_CHARS).collect();
    Err(format!("{program} ended with {status}: {text}"))
}

/// Words of a command line.
pub(super) fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|word| (*word).to_owned()).collect()
}
