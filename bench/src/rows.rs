//! Made-up events as files of lines, so that other databases get the same data;
//! and how fast they are made.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use palisade_event::Timestamp;

use crate::generate::{Attacks, rows};
use crate::store::{DAYS, SEED};
use crate::table::{number, print};

/// Events of one file.
const FILE: u64 = 1_000_000;

/// What to write.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many events
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Where the files go; none: only the speed is measured
    #[arg(long)]
    out: Option<PathBuf>,
    /// When the events end, in milliseconds since 1970; default: now
    #[arg(long)]
    end: Option<i64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let now = Timestamp::from(std::time::SystemTime::now());
    let end = args.end.map_or(now, Timestamp::from_millis);
    let attacks = Attacks::new(SEED, args.events, end, DAYS)?;
    let Some(dir) = &args.out else {
        return speed(&attacks, args.events);
    };
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("columns"), rows::COLUMNS.join("\n"))?;
    for (number, from) in (0..args.events).step_by(FILE as usize).enumerate() {
        let file = std::fs::File::create(dir.join(format!("{number:04}.tsv")))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        for event in attacks.events(from..(from + FILE).min(args.events)) {
            rows::write(&mut out, &event)?;
        }
        out.flush()?;
    }
    std::fs::write(dir.join("end"), end.as_millis().to_string())?;
    Ok(())
}

fn speed(attacks: &Attacks, events: u64) -> anyhow::Result<()> {
    let per_second = |begun: Instant| number(events as f64 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    for i in 0..events {
        std::hint::black_box(attacks.draft(i));
    }
    let drafts = per_second(begun);
    let begun = Instant::now();
    attacks.events(0..events).for_each(|event| drop(std::hint::black_box(event)));
    let whole = per_second(begun);
    let begun = Instant::now();
    let mut sink = BufWriter::with_capacity(1 << 20, std::io::sink());
    for event in attacks.events(0..events) {
        rows::write(&mut sink, &event)?;
    }
    print(
        "Made-up events a second, one thread",
        &["as numbers", "as events", "as lines"],
        &[vec![drafts, whole, per_second(begun)]],
    );
    Ok(())
}
