//! A row of the table, and the file that rows of several honeypots are written to.

use std::fs::File;
use std::io::Write as _;

use anyhow::Context as _;

use super::Args;
use super::subject::Memory;
use super::tries::{self, Lost};
use crate::table::{number, print};

/// A row of the table; what does not apply stays empty.
#[derive(Default)]
pub(super) struct Row {
    /// What is measured, in the same words for each honeypot.
    pub(super) what: String,
    /// How it went this time, behind it.
    pub(super) how: String,
    pub(super) a_second: Option<f64>,
    /// Milliseconds of processor time each, of the honeypots and of the agent.
    pub(super) cpu: Option<(f64, Option<f64>)>,
    /// What failed, or did not stay.
    pub(super) lost: Option<usize>,
    /// What was not tried because the row ended before.
    pub(super) left: usize,
    pub(super) memory: Option<Memory>,
    pub(super) kilobytes_each: Option<f64>,
    pub(super) aim: &'static str,
    /// Why, said below the table.
    pub(super) why: Lost,
}

const HEADER: [&str; 11] = [
    "what",
    "a second",
    "CPU ms each",
    "agent's",
    "lost",
    "RSS MB",
    "PSS MB",
    "anonymous",
    "of files",
    "kB each",
    "aim",
];

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let of = |part: fn(&Memory) -> u64| {
            self.memory.as_ref().map(|memory| megabytes(part(memory))).unwrap_or_default()
        };
        let shared = self.memory.and_then(|memory| memory.proportional);
        let cpu = |millis: f64| format!("{millis:.3}");
        vec![
            format!("{}{}", self.what, self.how),
            self.a_second.map(number).unwrap_or_default(),
            self.cpu.map(|(zone, _)| cpu(zone)).unwrap_or_default(),
            self.cpu.and_then(|(_, agent)| agent).map(cpu).unwrap_or_default(),
            self.lost.map(|count| count.to_string()).unwrap_or_default(),
            of(|memory| memory.resident),
            shared.map(megabytes).unwrap_or_default(),
            of(|memory| memory.anonymous),
            of(|memory| memory.file),
            self.kilobytes_each.map(|each| format!("{each:.1}")).unwrap_or_default(),
            self.aim.to_owned(),
        ]
    }

    /// All of it in one cell.
    fn value(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.a_second.map(|rate| format!("{}/s", number(rate))));
        parts.extend(self.cpu.map(|(zone, agent)| match agent {
            Some(agent) => format!("{zone:.2} + {agent:.2} ms"),
            None => format!("{zone:.2} ms"),
        }));
        parts.extend(self.memory.map(|memory| format!("{} MB", megabytes(memory.resident))));
        parts.extend(self.kilobytes_each.map(|each| format!("{each:.1} kB each")));
        let lost = self.lost.filter(|lost| *lost > 0);
        // Where nothing works, why is the figure.
        let reasons = self.why.iter().filter(|(why, _)| !why.starts_with("not tried"));
        let why = reasons.max_by_key(|(_, count)| **count);
        let why = why.filter(|_| self.a_second.is_none() && self.memory.is_none());
        parts.extend(lost.map(|lost| match why {
            Some((why, _)) => format!("{lost} lost: {why}"),
            None => format!("{lost} lost"),
        }));
        if self.left > 0 {
            parts.push(format!("{} not tried", self.left));
        }
        parts.join(", ")
    }
}

/// All rows of a run.
pub(super) struct Rows {
    all: Vec<Row>,
    record: Option<(File, String)>,
}

impl Rows {
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let open = |path: &std::path::Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("cannot open {}", path.display()))
        };
        let file = args.record.as_deref().map(open).transpose()?;
        Ok(Self { all: Vec::new(), record: file.map(|file| (file, args.peer.clone())) })
    }

    /// Adds one, and writes it to the file at once: what was measured stays so though
    /// a later row fails.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn push(&mut self, row: Row) -> anyhow::Result<()> {
        if let Some((file, peer)) = &mut self.record {
            writeln!(file, "{peer}\t{}\t{}", row.what, row.value())?;
        }
        self.all.push(row);
        Ok(())
    }

    pub(super) fn print(&self, title: &str) {
        let cells: Vec<Vec<String>> = self.all.iter().map(Row::cells).collect();
        print(title, &HEADER, &cells);
        for row in self.all.iter().filter(|row| !row.why.is_empty()) {
            println!("lost of \"{}\": {}", row.what, tries::told(&row.why));
        }
    }
}
