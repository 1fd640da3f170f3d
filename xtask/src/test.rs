//! All tests, as `cargo test` runs them, but as many test programs at a time as
//! there are processors: most of ours wait for processes and networks, and one
//! after the other would leave the machine idle. A crate's tests from outside are
//! one program (one link); each of its modules runs as a process of its own, and
//! so does each file of browser tests.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// What cargo says of something that it has built (`cargo help build`,
/// `--message-format=json`).
#[derive(Deserialize)]
struct Built {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Lines of a failed program that are printed again in the end.
const LAST_LINES: usize = 40;

/// A program with tests, or a module of one.
struct Program {
    name: String,
    path: PathBuf,
    /// The folder of its package, where cargo runs it.
    folder: PathBuf,
    integration: bool,
    arguments: Vec<String>,
}

/// How a program ended.
struct Ended {
    name: String,
    passed: bool,
    took: Duration,
    output: String,
}

/// Builds and runs all tests; those of the page in a browser only when asked, for
/// they need one.
///
/// # Errors
/// Something does not compile, or a test fails.
pub(crate) fn run(with_browser: bool) -> anyhow::Result<()> {
    let mut programs = Vec::new();
    for program in build()? {
        programs.extend(modules(program)?);
    }
    // Those that wait first, so that something runs beside the long ones.
    programs.sort_by_key(|program| (!program.integration, program.name.clone()));
    if with_browser {
        // Each takes a minute: begun last they would be waited for alone.
        programs.splice(0..0, pages()?);
    }
    programs.push(documentation());
    let all = programs.len();
    let begun = Instant::now();
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let (left, ended) = (Mutex::new(VecDeque::from(programs)), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(program) = next else { return };
                    let one = test(&program);
                    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    report(&one, ended.len() + 1, all);
                    ended.push(one);
                }
            });
        }
    });
    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed: Vec<&Ended> = ended.iter().filter(|one| !one.passed).collect();
    if !failed.is_empty() {
        // What was printed an hour ago is not looked for again.
        for Ended { name, output, .. } in &failed {
            let lines: Vec<&str> = output.lines().collect();
            let last = lines.len().saturating_sub(LAST_LINES);
            eprintln!("\n{name}, its last lines:\n{}", lines.get(last..).unwrap_or(&[]).join("\n"));
        }
    }
    let sums = ended.iter().map(|one| Sums::of(&one.output)).fold(Sums::default(), Sums::and);
    // As the last of a test program's lines, for those who read no other.
    eprintln!("\n{}", sums.line(failed.is_empty(), begun.elapsed()));
    if !failed.is_empty() {
        let failed: Vec<&str> = failed.iter().map(|one| one.name.as_str()).collect();
        bail!("tests failed in {}", failed.join(", "));
    }
    if sums.passed == 0 {
        bail!("no test was run");
    }
    Ok(())
}

/// How many tests of a program, or of all, ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Sums {
    /// Adds up what programs said in the end: Rust's test harness in one line,
    /// `node --test` (TAP) in one for each number.
    fn of(output: &str) -> Self {
        let mut sums = Self::default();
        for line in output.lines() {
            if let Some((_, numbers)) =
                line.strip_prefix("test result: ").and_then(|line| line.split_once(". "))
            {
                for (number, what) in numbers.split("; ").filter_map(|one| one.split_once(' ')) {
                    sums.add(what, number);
                }
            } else if let Some((what, number)) =
                line.strip_prefix("# ").and_then(|line| line.split_once(' '))
            {
                sums.add(what, number);
            }
        }
        sums
    }

    fn add(&mut self, what: &str, number: &str) {
        let Ok(number) = number.parse::<u64>() else { return };
        match what {
            "passed" | "pass" => self.passed += number,
            "failed" | "fail" => self.failed += number,
            "ignored" | "skipped" => self.ignored += number,
            _ => {}
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }

    /// As the test harness says it.
    fn line(self, ok: bool, took: Duration) -> String {
        let Self { passed, failed, ignored } = self;
        let verdict = if ok { "ok" } else { "FAILED" };
        format!(
            "test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; \
             0 measured; 0 filtered out; finished in {:.2}s",
            took.as_secs_f64()
        )
    }
}

fn cargo() -> PathBuf {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into()
}

/// The examples in the documentation; cargo alone runs them.
fn documentation() -> Program {
    Program {
        name: "documentation".to_owned(),
        path: cargo(),
        folder: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        integration: false,
        arguments: ["test", "--quiet", "--locked", "--workspace", "--doc"]
            .map(str::to_owned)
            .to_vec(),
    }
}

/// Builds all programs with tests and gives them.
fn build() -> anyhow::Result<Vec<Program>> {
    let mut child = Command::new(cargo())
        .args(["test", "--locked", "--workspace", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let out = child.stdout.take().context("cargo says nothing")?;
    let mut programs = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        let Ok(built) = serde_json::from_str::<Built>(&line) else { continue };
        let tests = built.profile.is_some_and(|profile| profile.test);
        if built.reason != "compiler-artifact" || !tests {
            continue;
        }
        if let (Some(path), Some(manifest), Some(target)) =
            (built.executable, built.manifest_path, built.target)
        {
            let folder = manifest.parent().context("a package without a folder")?.to_owned();
            let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            programs.push(Program {
                name: format!("{package}::{}", target.name),
                path,
                folder,
                integration: target.kind.iter().any(|kind| kind == "test"),
                arguments: Vec::new(),
            });
        }
    }
    if !child.wait()?.success() {
        bail!("the tests do not compile");
    }
    Ok(programs)
}

/// A program of tests from outside, a part for each of its modules.
fn modules(program: Program) -> anyhow::Result<Vec<Program>> {
    if !program.integration {
        return Ok(vec![program]);
    }
    let listed = Command::new(&program.path)
        .args(["--list", "--format", "terse"])
        .current_dir(&program.folder)
        .output()
        .with_context(|| format!("{} does not list its tests", program.name))?;
    if !listed.status.success() {
        bail!("{} does not list its tests", program.name);
    }
    let mut parts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let listed = String::from_utf8(listed.stdout).context("a test's name is not UTF-8")?;
    for name in listed.lines().filter_map(|line| line.strip_suffix(": test")) {
        let module = name.split_once("::").map_or("", |(module, _)| module);
        parts.entry(module).or_default().push(name.to_owned());
    }
    let package = program.name.split("::").next().unwrap_or_default();
    let parts = parts.into_iter().map(|(module, only)| Program {
        name: format!("{package}::{module}"),
        path: program.path.clone(),
        folder: program.folder.clone(),
        integration: true,
        arguments: std::iter::once("--exact".to_owned()).chain(only).collect(),
    });
    Ok(parts.collect())
}

/// The files of browser tests.
fn pages() -> anyhow::Result<Vec<Program>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui");
    let tests = folder.join("tests");
    let mut programs = Vec::new();
    for entry in std::fs::read_dir(&tests).context("there is no folder of browser tests")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(page) = name.strip_suffix(".test.mjs") {
            programs.push(Program {
                name: format!("ui::{page}"),
                path: "node".into(),
                folder: folder.clone(),
                integration: true,
                arguments: ["--test", "--test-reporter=tap", &format!("tests/{name}")]
                    .map(str::to_owned)
                    .to_vec(),
            });
        }
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    if programs.is_empty() {
        bail!("there are no browser tests in {}", tests.display());
    }
    Ok(programs)
}

/// Runs one program to its end.
fn test(program: &Program) -> Ended {
    let begun = Instant::now();
    let (passed, output) = match output(program) {
        Ok((passed, output)) => (passed, output),
        Err(error) => (false, format!("{error:#}\n")),
    };
    Ended { name: program.name.clone(), passed, took: begun.elapsed(), output }
}

/// Whether it ended well, and what it said, both of its outputs in their order.
fn output(program: &Program) -> anyhow::Result<(bool, String)> {
    // A file, for nobody waits at its end where a test leaves a process behind.
    let mut said = tempfile::tempfile().context("no temporary file")?;
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?);
    let status = command.status().context("cannot be started")?;
    let mut bytes = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if !status.success() && status.code() != Some(101) {
        let _ = writeln!(text, "ended with {status}");
    }
    Ok((status.success(), text))
}

/// A line for a program that passed; all that it said for one that failed.
fn report(ended: &Ended, number: usize, all: usize) {
    let Ended { name, passed, took, output } = ended;
    let seconds = took.as_secs_f64();
    if *passed {
        let Sums { passed, ignored, .. } = Sums::of(output);
        eprintln!("[{number}/{all}] {name}: {passed} passed, {ignored} ignored ({seconds:.1} s)");
    } else {
        eprintln!("[{number}/{all}] {name} FAILED after {seconds:.1} s\n{output}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_in_the_end_is_added_up() {
        let rust = "running 2 tests\n\ntest result: ok. 2 passed; 0 failed; 1 ignored; \
                    0 measured; 7 filtered out; finished in 0.00s\n";
        let node = "# tests 12\n# suites 0\n# pass 11\n# fail 1\n# cancelled 0\n# skipped 0\n";
        assert_eq!(Sums::of(rust), Sums { passed: 2, failed: 0, ignored: 1 });
        assert_eq!(Sums::of(node), Sums { passed: 11, failed: 1, ignored: 0 });
        let both = Sums::of(&format!("{rust}{node}"));
        assert_eq!(both, Sums::of(rust).and(Sums::of(node)));
        let line = both.line(false, Duration::from_secs(3));
        assert!(line.starts_with("test result: FAILED. 13 passed; 1 failed; 1 ignored;"), "{line}");
        assert_eq!(Sums::of(&line), both);
        assert_eq!(Sums::of("# a note 3\nall is well. 3 passed"), Sums::default());
    }
}
