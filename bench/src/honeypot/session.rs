//! What bots type after a telnet login, line after line.

use std::time::Duration;

use tokio::net::TcpStream;

use super::talk::Talk;

/// Lines of an automated session: recognition, dropper, persistence.
const COMMANDS: &str = include_str!("../../../crates/honeypot/examples/session.txt");
/// How long a command may take: some wait for servers that do not answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// The prompt that our settings ask for.
const PROMPT: &[u8] = b"# ";

/// How many lines that is.
pub(super) fn commands() -> usize {
    COMMANDS.lines().count()
}

/// Logs in and types everything, each line after the prompt of the last.
pub(super) async fn run(stream: TcpStream) -> anyhow::Result<()> {
    let mut talk = Talk::telnet(stream);
    talk.patience = PATIENCE;
    talk.until("asking for a name", &[b"ogin: "]).await?;
    talk.say("root\r\n").await?;
    talk.until("asking for a password", &[b"assword: "]).await?;
    talk.say("admin\r\n").await?;
    talk.until_end("a shell", PROMPT).await?;
    for line in COMMANDS.lines() {
        talk.say(&format!("{line}\r\n")).await?;
        talk.until_end("the next prompt", PROMPT).await?;
    }
    Ok(())
}
