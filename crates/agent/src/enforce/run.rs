//! Runs a program by its argument list, without a shell, within a time.

use std::io::{self, Read};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use palisade_event::DecisionTarget;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;

use super::{Held, Take};

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
pub(crate) async fn run(argv: &[String], input: &[u8]) -> Result<Vec<u8>, String> {
    let program = argv.first().map_or("", String::as_str);
    let mut child = spawn(argv, Stdio::piped())?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let work = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input is no error.
                let _ = stdin.write_all(input).await;
            }
        };
        let ((), output, complaint) =
            tokio::join!(write, read_all(stdout, MAX_OUTPUT_BYTES), complaint(stderr));
        let status = child.wait().await;
        Ok::<_, io::Error>((status?, output?, complaint?))
    };
    let ended = tokio::time::timeout(PATIENCE, work).await;
    let ended = ended.map_err(|_| format!("{program} took longer than {PATIENCE:?}"))?;
    let (status, output, complaint) = ended.map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(output) } else { Err(failed(program, status, &complaint)) }
}

/// Starts a program, which is ended when nobody waits for it any more.
fn spawn(argv: &[String], stdin: Stdio) -> Result<Child, String> {
    let (program, arguments) = argv.split_first().ok_or("no program is named")?;
    Command::new(program)
        .args(arguments)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("LC_ALL", "C")
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))
}

async fn read_all(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What a program complains of.
async fn complaint(stderr: Option<ChildStderr>) -> io::Result<Vec<u8>> {
    read_all(stderr, MAX_COMPLAINT_CHARS as u64 * 4).await
}

fn failed(program: &str, status: ExitStatus, complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(MAX_COMPLAINT_CHARS).collect();
    format!("{program} ended with {status}: {text}")
}

/// Items that are handed over at once.
const CHUNK: usize = 1_000;

/// Runs a program and reads what it prints while it runs, on another thread; the
/// items are taken here. Nothing holds all of them.
///
/// # Errors
/// As [`run`], or what the reader says of the output.
pub(super) async fn list_by(
    argv: &[String],
    read: impl FnOnce(&mut dyn Read, Take<'_>) -> Result<(), String> + Send + 'static,
    take: Take<'_>,
) -> Result<(), String> {
    let shown = argv.join(" ");
    let mut child = spawn(argv, Stdio::null())?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = stdout.ok_or_else(|| format!("{shown} has no output"))?;
    let (sender, mut receiver) = mpsc::channel::<Vec<(DecisionTarget, Held)>>(4);
    let reading = tokio::task::spawn_blocking(move || {
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut output = SyncIoBridge::new(stdout.take(MAX_OUTPUT_BYTES));
        let mut give = |target, held| {
            chunk.push((target, held));
            if chunk.len() == CHUNK {
                // Nobody takes them any more: the program took too long.
                let _ = sender.blocking_send(std::mem::take(&mut chunk));
            }
        };
        read(&mut output, &mut give)?;
        let _ = sender.blocking_send(chunk);
        Ok::<_, String>(())
    });
    let work = async {
        let taking = async {
            while let Some(chunk) = receiver.recv().await {
                for (target, held) in chunk {
                    take(target, held);
                }
            }
        };
        let (read, complaint, ()) = tokio::join!(reading, complaint(stderr), taking);
        (read, complaint, child.wait().await)
    };
    let ended = tokio::time::timeout(PATIENCE, work).await;
    let (read, complaint, status) =
        ended.map_err(|_| format!("{shown} took longer than {PATIENCE:?}"))?;
    let status = status.map_err(|error| format!("{shown}: {error}"))?;
    if !status.success() {
        return Err(failed(&shown, status, &complaint.unwrap_or_default()));
    }
    let read = read.map_err(|error| error.to_string())?;
    read.map_err(|reason| format!("the output of {shown}: {reason}"))
}

/// Words of a command line.
pub(crate) fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|word| (*word).to_owned()).collect()
}
