//! What bots type after a telnet login, line after line.

use anyhow::ensure;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::until;

/// Lines of an automated session: recognition, dropper, persistence.
const COMMANDS: &str = include_str!("../../../crates/honeypot/examples/session.txt");

/// How many lines that is.
pub(super) fn commands() -> usize {
    COMMANDS.lines().count()
}

/// Logs in and types everything, each line after the prompt of the last.
pub(super) async fn run(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut read = Vec::new();
    until(&mut stream, &mut read, &[b"ogin: "]).await?;
    stream.write_all(b"root\r\n").await?;
    until(&mut stream, &mut read, &[b"assword: "]).await?;
    stream.write_all(b"admin\r\n").await?;
    prompt(&mut stream).await?;
    for line in COMMANDS.lines() {
        stream.write_all(line.as_bytes()).await?;
        stream.write_all(b"\r\n").await?;
        prompt(&mut stream).await?;
    }
    Ok(())
}

/// Reads until the shell waits.
async fn prompt(stream: &mut TcpStream) -> anyhow::Result<()> {
    use tokio::io::AsyncReadExt as _;
    let mut read = Vec::new();
    while !read.ends_with(b"# ") {
        ensure!(read.len() < 1024 * 1024 && stream.read_buf(&mut read).await? > 0, "it hung up");
    }
    Ok(())
}
