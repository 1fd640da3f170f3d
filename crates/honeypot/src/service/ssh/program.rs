//! What runs in the channels of a client that has logged in: shells, commands,
//! tunnels that lead nowhere. Everything is recorded, nothing is opened.

use palisade_event::{EventKind, MAX_TEXT_BYTES, Untrusted};

use super::channel::{Asked, Channels, Exit, Kind, Tunnel};
use super::desk::{self, Answer, Desk, Typed};
use super::scp::{self, Scp};
use super::sftp::Sftp;
use super::{Over, Visit};
use crate::service::{guess, record};
use crate::{Closed, SshTunnels};

/// Most bytes that a command reads from its input.
const MAX_INPUT_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of such input that are recorded; the file that it may become is
/// captured by itself.
const MAX_RECORDED_INPUT_BYTES: usize = 4 * 1024;
/// Most bytes of a tunnel's data in one event, and most of such events.
const MAX_TUNNEL_BYTES: usize = 4_096;
const MAX_TUNNEL_EVENTS: u32 = 4;
/// Most bytes that a client has not read when it is answered more requests.
const MAX_UNREAD_BYTES: usize = 256 * 1024;

/// What runs in a channel.
pub(super) enum Program {
    Shell(Box<Desk>),
    /// A command that reads its input to the end before it answers.
    Reading {
        desk: Box<Desk>,
        command: Vec<u8>,
        input: Vec<u8>,
    },
    Sftp(Box<Sftp>),
    Scp(Box<Scp>),
    Tunnel {
        host: Vec<u8>,
        port: Option<u32>,
        recorded: u32,
    },
}

/// The channels of a visit and what runs in them.
#[derive(Default)]
pub(super) struct Programs {
    pub(super) channels: Channels,
    running: Vec<(u32, Program)>,
    terminals: Vec<u32>,
}

impl Programs {
    fn get(&mut self, channel: u32) -> Option<&mut Program> {
        self.running.iter_mut().find(|(number, _)| *number == channel).map(|(_, program)| program)
    }

    fn take(&mut self, channel: u32) -> Option<Program> {
        let place = self.running.iter().position(|(number, _)| *number == channel)?;
        Some(self.running.swap_remove(place).1)
    }
}

impl Visit<'_> {
    /// Does what a client asks.
    pub(super) async fn asked(&mut self, asked: Asked) -> Result<(), Over> {
        match asked {
            Asked::Terminal { channel, term, columns, rows } => {
                self.session.note("terminal_type", Untrusted::new(term));
                self.session.set_size(columns, rows);
                self.programs.terminals.push(channel);
            }
            Asked::Variable { name, value } => {
                let text = [name.as_slice(), b"=", value.as_slice()].concat();
                self.session.note("environment", Untrusted::new(text));
            }
            Asked::Shell(channel) => {
                let desk = self.desk(channel);
                let opening = desk.opening(self.session, &self.user);
                self.programs.running.push((channel, Program::Shell(desk)));
                self.session.record_output(&opening);
                self.show(channel, Kind::Output, opening);
            }
            Asked::Command(channel, command) => self.command(channel, command).await?,
            Asked::Sftp(channel) => {
                let shell = desk::shell(self.session, &self.user, false);
                let home = shell.files().seat.home.clone();
                let sftp = Box::new(Sftp::new(shell, home));
                self.programs.running.push((channel, Program::Sftp(sftp)));
            }
            Asked::Data(channel, bytes) => self.data(channel, bytes).await?,
            Asked::Room(channel) => self.more_room(channel).await?,
            Asked::EndOfData(channel) => self.end_of_data(channel).await?,
            Asked::Resized(_, columns, rows) => self.session.set_size(columns, rows),
            Asked::Signal(channel, name) => self.signal(channel, &name),
            Asked::Closed(channel) => {
                let program = self.programs.take(channel);
                self.programs.terminals.retain(|known| *known != channel);
                self.ended(program).await?;
            }
            Asked::Connect(tunnel) => self.connect(tunnel).await?,
            Asked::Listen { host, port } => {
                let mut event = self.event(EventKind::TunnelRequested).with("direction", "reverse");
                event = event.with("host", Untrusted::new(host)).with("port", i64::from(port));
                self.session.emit(event).await?;
            }
        }
        Ok(())
    }

    /// Records what was left when the connection ended.
    pub(super) async fn record_rest(&mut self) -> Result<(), Closed> {
        for (_, program) in std::mem::take(&mut self.programs.running) {
            self.ended(Some(program)).await?;
        }
        Ok(())
    }

    async fn ended(&mut self, program: Option<Program>) -> Result<(), Closed> {
        match program {
            Some(Program::Shell(mut desk)) => {
                let rest = desk.rest();
                if !rest.is_empty() {
                    self.record(&rest, true).await?;
                }
                record::acts(self.session, desk.finish()).await?;
            }
            Some(Program::Reading { mut desk, .. }) => {
                record::acts(self.session, desk.finish()).await?;
            }
            Some(Program::Sftp(mut sftp)) => {
                record::acts(self.session, sftp.shell().finish()).await?;
            }
            Some(Program::Scp(mut scp)) => {
                record::acts(self.session, scp.shell().finish()).await?;
            }
            Some(Program::Tunnel { .. }) | None => {}
        }
        Ok(())
    }

    fn desk(&self, channel: u32) -> Box<Desk> {
        let tty = self.programs.terminals.contains(&channel);
        Box::new(Desk::new(self.session, &self.user, tty))
    }

    fn show(&mut self, channel: u32, kind: Kind, bytes: Vec<u8>) {
        self.programs.channels.write(channel, kind, bytes, &mut self.transport);
    }

    async fn record(&mut self, line: &[u8], unfinished: bool) -> Result<(), Closed> {
        let mut event = self.session.event(EventKind::CommandEntered);
        if unfinished {
            event = event.with("unfinished", true);
        }
        event.request = Some(line.get(..MAX_TEXT_BYTES).unwrap_or(line).into());
        self.session.emit(event).await
    }

    async fn command(&mut self, channel: u32, command: Vec<u8>) -> Result<(), Over> {
        self.record(&command, false).await?;
        if let Some(copy) = scp::Command::parse(&command) {
            let shell = desk::shell(self.session, &self.user, false);
            let home = shell.files().seat.home.clone();
            let mut out = Vec::new();
            let scp = Box::new(Scp::new(shell, &home, &copy, &mut out));
            self.programs.running.push((channel, Program::Scp(scp)));
            self.show(channel, Kind::Output, out);
            return Ok(());
        }
        // No terminal shows it.
        self.session.record_marker(&command);
        let desk = self.desk(channel);
        if reads_input(&command) {
            let program = Program::Reading { desk, command, input: Vec::new() };
            self.programs.running.push((channel, program));
            return Ok(());
        }
        self.run(channel, desk, command, Vec::new()).await
    }

    async fn run(
        &mut self,
        channel: u32,
        desk: Box<Desk>,
        command: Vec<u8>,
        input: Vec<u8>,
    ) -> Result<(), Over> {
        let (mut desk, answer) = desk.command(self.session, command, input).await?;
        let left = desk.finish();
        self.answer(channel, answer).await?;
        record::acts(self.session, left).await?;
        Ok(())
    }

    /// Shows what a line brought about.
    async fn answer(&mut self, channel: u32, answer: Answer) -> Result<(), Over> {
        record::acts(self.session, answer.acts).await?;
        if !answer.pause.is_zero() {
            self.flush().await?;
            self.stream.pause(answer.pause).await?;
        }
        for (kind, text) in [(Kind::Output, answer.output), (Kind::Errors, answer.errors)] {
            if self.programs.terminals.contains(&channel) {
                self.session.record_output(&text);
            } else {
                // As the client's own terminal shows it.
                self.session.record_output(&desk::lines(&text));
            }
            self.show(channel, kind, text);
        }
        if answer.ended {
            let exit = Exit::Status(answer.status);
            self.programs.channels.end(channel, exit, &mut self.transport);
        }
        // Written before the next line is looked at, so that answers to a
        // long paste do not pile up.
        self.flush().await?;
        if self.session.has_recording() {
            self.session.tell_recording().await?;
        }
        Ok(())
    }

    async fn data(&mut self, channel: u32, bytes: Vec<u8>) -> Result<(), Over> {
        match self.programs.get(channel) {
            Some(Program::Shell(_)) => self.typed(channel, &bytes).await,
            Some(Program::Reading { input, .. }) => {
                let room = MAX_RECORDED_INPUT_BYTES.saturating_sub(input.len());
                self.session.record_input(bytes.get(..room).unwrap_or(&bytes));
                if input.len() + bytes.len() <= MAX_INPUT_BYTES {
                    input.extend_from_slice(&bytes);
                }
                Ok(())
            }
            Some(Program::Sftp(_)) => self.sftp(channel, &bytes).await,
            Some(Program::Scp(scp)) => {
                let mut out = Vec::new();
                let goes_on = scp.feed(&bytes, &mut out);
                self.show(channel, Kind::Output, out);
                if goes_on { Ok(()) } else { self.end_of_data(channel).await }
            }
            Some(Program::Tunnel { host, port, recorded }) => {
                *recorded += 1;
                if *recorded > MAX_TUNNEL_EVENTS {
                    return Ok(());
                }
                let (host, port) = (host.clone(), *port);
                let mut event = self.event(EventKind::DataReceived);
                event = event.with("tunnel_host", Untrusted::new(host));
                if let Some(port) = port {
                    event = event.with("tunnel_port", i64::from(port));
                }
                if let Some(protocol) = guess::protocol(&bytes) {
                    event = event.with("protocol", protocol);
                }
                event.request = Some(bytes.get(..MAX_TUNNEL_BYTES).unwrap_or(&bytes).into());
                self.session.emit(event).await?;
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn sftp(&mut self, channel: u32, mut bytes: &[u8]) -> Result<(), Over> {
        let Some(Program::Sftp(mut sftp)) = self.programs.take(channel) else { return Ok(()) };
        let now = desk::now().as_millis().div_euclid(1_000);
        let mut goes_on = true;
        loop {
            let mut out = Vec::new();
            goes_on &= sftp.feed(bytes, now, &mut out).is_some();
            bytes = &[];
            for line in sftp.take_log() {
                let mut event = self.event(EventKind::CommandEntered).with("subsystem", "sftp");
                event.request = Some(Untrusted::new(line));
                self.session.emit(event).await?;
            }
            self.show(channel, Kind::Output, out);
            self.flush().await?;
            // The rest is answered when the client has read some of this.
            let unread = self.programs.channels.waiting(channel);
            if !goes_on || !sftp.waits() || unread > MAX_UNREAD_BYTES {
                break;
            }
        }
        self.programs.running.push((channel, Program::Sftp(sftp)));
        if goes_on { Ok(()) } else { self.end_of_data(channel).await }
    }

    /// A client has read what was there for it.
    async fn more_room(&mut self, channel: u32) -> Result<(), Over> {
        let waits = matches!(self.programs.get(channel), Some(Program::Sftp(sftp)) if sftp.waits());
        let unread = self.programs.channels.waiting(channel);
        if waits && unread <= MAX_UNREAD_BYTES { self.sftp(channel, &[]).await } else { Ok(()) }
    }

    async fn typed(&mut self, channel: u32, bytes: &[u8]) -> Result<(), Over> {
        let Some(Program::Shell(mut desk)) = self.programs.take(channel) else { return Ok(()) };
        for byte in bytes {
            let mut echo = Vec::new();
            self.session.record_input(&[*byte]);
            let typed = desk.push(*byte, &mut echo);
            self.session.record_output(&echo);
            self.show(channel, Kind::Output, echo);
            let answer = match typed {
                None => continue,
                Some(Typed::Interrupt) => Answer { output: desk.interrupt(), ..Answer::default() },
                Some(Typed::EndOfFile) => desk.end_of_file(),
                Some(Typed::Complete) => {
                    let mut output = Vec::new();
                    desk.complete(&mut output);
                    Answer { output, ..Answer::default() }
                }
                Some(Typed::Line(line)) => {
                    if !line.is_empty() {
                        self.record(&line, false).await?;
                    }
                    if !self.programs.terminals.contains(&channel) {
                        self.session.record_marker(&line);
                    }
                    let answer;
                    (desk, answer) = desk.line(self.session, line).await?;
                    answer
                }
            };
            let ended = answer.ended;
            self.answer(channel, answer).await?;
            if ended {
                return Ok(self.ended(Some(Program::Shell(desk))).await?);
            }
        }
        self.programs.running.push((channel, Program::Shell(desk)));
        Ok(())
    }

    async fn end_of_data(&mut self, channel: u32) -> Result<(), Over> {
        match self.programs.take(channel) {
            Some(Program::Shell(mut desk)) => {
                let rest = desk.rest();
                let mut answer = Answer::default();
                if !rest.is_empty() {
                    self.record(&rest, false).await?;
                    (desk, answer) = desk.line(self.session, rest).await?;
                }
                answer.ended = true;
                self.answer(channel, answer).await?;
                Ok(self.ended(Some(Program::Shell(desk))).await?)
            }
            Some(Program::Reading { desk, command, input }) => {
                self.run(channel, desk, command, input).await
            }
            Some(Program::Scp(scp)) => {
                let exit = Exit::Status(scp.status());
                self.programs.channels.end(channel, exit, &mut self.transport);
                Ok(self.ended(Some(Program::Scp(scp))).await?)
            }
            Some(program @ Program::Sftp(_)) => {
                self.programs.channels.end(channel, Exit::Status(0), &mut self.transport);
                Ok(self.ended(Some(program)).await?)
            }
            Some(Program::Tunnel { .. }) => {
                self.programs.channels.end(channel, Exit::None, &mut self.transport);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn signal(&mut self, channel: u32, name: &[u8]) {
        if matches!(name, b"HUP" | b"INT" | b"KILL" | b"QUIT" | b"TERM")
            && matches!(self.programs.get(channel), Some(Program::Reading { .. }))
        {
            self.programs.take(channel);
            self.programs.channels.end(channel, Exit::None, &mut self.transport);
        }
    }

    async fn connect(&mut self, tunnel: Tunnel) -> Result<(), Over> {
        let mut event = self.event(EventKind::TunnelRequested).with("direction", "forward");
        event = event.with("host", Untrusted::from(tunnel.host.as_slice()));
        if let Some(port) = tunnel.port {
            event = event.with("port", i64::from(port));
        }
        self.session.emit(event).await?;
        if self.ssh.config.tunnels == SshTunnels::Refused {
            Channels::refuse(&tunnel, "Connection refused", &mut self.transport);
        } else if let Some(number) = self.programs.channels.connect(&tunnel, &mut self.transport) {
            let Tunnel { host, port, .. } = tunnel;
            self.programs.running.push((number, Program::Tunnel { host, port, recorded: 0 }));
        }
        Ok(())
    }
}

/// Whether a command reads its input. Others are answered at once, because
/// robots do not end the input of a command that does not read it.
fn reads_input(command: &[u8]) -> bool {
    let text = String::from_utf8_lossy(command);
    text.split([';', '&', '(', '{', '\n']).any(|part| {
        // Input that comes from a pipe or a file is no matter of the client.
        let part = part.split('|').next().unwrap_or_default();
        let fed = part.contains('<');
        let mut words = part.split_whitespace().skip_while(|word| {
            word.contains('=')
                || matches!(
                    *word,
                    "sudo" | "nohup" | "exec" | "busybox" | "/bin/busybox" | "do" | "then"
                )
        });
        let name = words.next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or(name);
        let arguments: Vec<&str> =
            words.take_while(|word| !word.starts_with(['>', '1', '2'])).collect();
        match name {
            _ if fed => false,
            "cat" => arguments.is_empty() || arguments == ["-"],
            "sh" | "bash" | "dash" | "ash" => arguments.is_empty() || arguments == ["-s"],
            "tee" | "chpasswd" | "passwd" | "read" => true,
            "base64" | "gzip" | "gunzip" | "xz" | "python" | "python3" | "perl" | "crontab" => {
                arguments.iter().all(|word| word.starts_with('-'))
                    && !arguments.contains(&"-l")
                    && !arguments
                        .iter()
                        .any(|word| matches!(*word, "-c" | "-e" | "-V" | "--version" | "-r"))
            }
            "dd" => !arguments.iter().any(|word| word.starts_with("if=")),
            "tar" => {
                arguments.iter().any(|word| word.contains('x'))
                    && !arguments.iter().any(|word| {
                        word.ends_with(".tar") || word.ends_with(".gz") || word.ends_with("tgz")
                    })
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_read_are_told_from_those_that_do_not() {
        for reading in [
            "cat > /tmp/x",
            "cat > /tmp/x; wc -c < /tmp/x",
            "cat >/tmp/x; chmod 777 /tmp/x",
            "cd /tmp && cat - > a",
            "sh",
            "/bin/bash -s",
            "dd of=/tmp/x bs=1",
            "tee /tmp/a",
            "base64 -d > /tmp/x",
            "tar xzf -",
            "passwd",
        ] {
            assert!(reads_input(reading.as_bytes()), "{reading}");
        }
        for silent in [
            "uname -a",
            "cat /proc/cpuinfo | grep name | wc -l",
            "echo -e 'a\\nb' | passwd",
            "echo x | bash",
            "cat < /etc/passwd",
            "crontab -l",
            "sh /tmp/x",
            "python3 -c 'print(1)'",
            "dd if=/bin/ls",
            "tar xf a.tar",
            "",
        ] {
            assert!(!reads_input(silent.as_bytes()), "{silent}");
        }
    }
}
