//! Checks and generated files: `cargo xtask layers`, `cargo xtask golden`.

mod golden;
mod layers;

use std::process::ExitCode;

fn main() -> ExitCode {
    let task = std::env::args().nth(1);
    let outcome = match task.as_deref() {
        Some("layers") => layers::check(),
        Some("golden") => golden::write(),
        _ => {
            eprintln!(
                "usage: cargo xtask TASK\n  layers  check that crates import only what the \
                 design allows\n  golden  write the generated files (docs/EVENTS.md)"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
