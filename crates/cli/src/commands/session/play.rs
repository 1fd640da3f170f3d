//! `palisade session play ID`: what an attacker saw, in the operator's terminal
//! and at the attacker's pace. What could do harm to that terminal is left out;
//! [`palisade_event::terminal`] says what that is.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use palisade_event::Untrusted;
use palisade_event::asciicast::{Code, Line, parse_line, to_bytes};
use palisade_event::terminal::Filter;

use super::Which;
use crate::reach::Reach;

/// Looks as they are, and the beginning of a line.
const RESET: &str = "\u{1b}[0m\r\n";

#[derive(Clone, Debug, Args)]
pub(crate) struct PlayArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How many times faster, from 0.1 to 1000
    #[arg(long, default_value_t = 1.0, value_name = "N", value_parser = speed)]
    pub(crate) speed: f64,
    /// Wait no longer than this where nothing happens
    #[arg(long, default_value_t = 2.0, value_name = "SECS", value_parser = seconds)]
    pub(crate) idle_limit: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    between(text, 0.1, 1_000.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    between(text, 0.0, 3_600.0)
}

fn between(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

/// Replays a session. Control-C ends it and leaves the terminal as it was.
pub(super) async fn play(hub: &Reach, args: &PlayArgs) -> anyhow::Result<()> {
    let recording = args.which.recording(hub).await?;
    let stopped = tokio::select! {
        ended = show(&recording, args) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted,
    };
    // Whatever was being written in which looks.
    let ended = write(RESET);
    closed(stopped.and(ended))?;
    Ok(())
}

async fn show(recording: &str, args: &PlayArgs) -> io::Result<()> {
    let mut player = Player::default();
    let idle = Duration::from_secs_f64(args.idle_limit);
    // Behind the header.
    for line in recording.lines().skip(1).filter_map(parse_line) {
        let wait = player.wait(&line).min(idle).div_f64(args.speed);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let text = player.text(&line);
        if !text.is_empty() {
            write(&text)?;
        }
    }
    Ok(())
}

/// A closed pipe is an end like another.
fn closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[derive(Default)]
struct Player {
    filter: Filter,
    at_ms: u64,
}

impl Player {
    /// How long after the line before it comes.
    fn wait(&mut self, line: &Line) -> Duration {
        let wait = line.at_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(line.at_ms);
        Duration::from_millis(wait)
    }

    /// What is shown of a line.
    fn text(&mut self, line: &Line) -> String {
        let mut text = String::new();
        match line.code {
            Code::Output => self.filter.push(&line.text, &mut text),
            // No terminal showed it; it is told what was run.
            Code::Marker => {
                let label = Untrusted::new(to_bytes(&line.text));
                text = format!("\u{1b}[0;2m$ {label}{RESET}");
            }
            Code::Input | Code::Resize => {}
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, code: Code, text: &str) -> Line {
        Line { at_ms, code, text: text.to_owned() }
    }

    #[test]
    fn output_is_harmless_and_markers_are_one_line() {
        let mut player = Player::default();
        assert_eq!(player.text(&line(0, Code::Output, "a\u{1b}]0;ow")), "a");
        assert_eq!(player.text(&line(0, Code::Output, "ned\u{7}\u{1b}[31mb")), "\u{1b}[31mb");
        assert_eq!(player.text(&line(0, Code::Input, "\u{1b}]52;c;x\u{7}")), "");
        let marker = player.text(&line(0, Code::Marker, "id\u{1b}[2J\nls\u{efff}"));
        assert_eq!(marker, "\u{1b}[0;2m$ id\\u{1b}[2J\\nls\\xff\u{1b}[0m\r\n");
    }

    #[test]
    fn a_clock_that_goes_back_waits_for_nothing() {
        let mut player = Player::default();
        let waits = [100, 50, 250].map(|at| player.wait(&line(at, Code::Output, "")).as_millis());
        assert_eq!(waits, [100, 0, 150]);
    }

    #[test]
    fn speeds_are_bounded() {
        assert_eq!(speed("8"), Ok(8.0));
        for wrong in ["0", "-1", "nan", "inf", "fast", "1e9"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }
}
