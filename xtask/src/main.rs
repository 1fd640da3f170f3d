//! Checks, generated files and tests: `cargo xtask layers`, `cargo xtask golden`,
//! `cargo xtask test`.

mod golden;
mod layers;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    let task = std::env::args().nth(1);
    let outcome = match task.as_deref() {
        Some("layers") => layers::check(),
        Some("golden") => golden::write(),
        Some("test") => test::run(std::env::args().any(|word| word == "--browser")),
        _ => {
            eprintln!(
                "usage: cargo xtask TASK\n  layers  check that crates import only what the \
                 design allows\n  golden  write the generated files (docs/EVENTS.md)\n  \
                 test    run all tests, as many programs at a time as there are processors;\n          \
                 with --browser also those of the page"
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
