//! The report for a terminal.

use std::fmt::Write as _;

use palisade_agent::audit::{Report, Severity, Verdict};

use super::{coverage, is_open, shown};

/// Checks named under "do these first".
const FIRST: usize = 5;
/// Width of text that is broken into lines, in characters.
const WIDTH: usize = 96;

/// A style of the terminal.
#[derive(Clone, Copy)]
enum Style {
    Bold,
    Red,
    Yellow,
    Green,
    Dim,
}

struct Painter(bool);

impl Painter {
    fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Bold => "1",
            Style::Red => "1;31",
            Style::Yellow => "33",
            Style::Green => "32",
            Style::Dim => "2",
        };
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Critical | Severity::High => Style::Red,
        Severity::Medium => Style::Yellow,
        Severity::Low => Style::Dim,
    }
}

/// The report: the score, what to do first, what fails; with `all` the rest too.
pub(super) fn table(report: &Report, all: bool, colour: bool) -> String {
    let painter = Painter(colour);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} · {} · {}",
        painter.paint(Style::Bold, &shown(&report.host)),
        shown(&report.system),
        report.at
    );
    let score = match report.score() {
        None => "no score: nothing could be judged".to_owned(),
        Some(score) => {
            let style = match score {
                80.. => Style::Green,
                50..80 => Style::Yellow,
                _ => Style::Red,
            };
            let bar = "█".repeat(score as usize / 5) + &"░".repeat(20 - score as usize / 5);
            format!("score {} {bar}", painter.paint(style, &format!("{score} of 100")))
        }
    };
    let _ = writeln!(text, "{score}\n{}", coverage(report));
    let failures = report.failures();
    if !failures.is_empty() {
        let _ = writeln!(text, "\n{}", painter.paint(Style::Bold, "Do these first"));
        for (number, finding) in (1..).zip(failures.iter().take(FIRST)) {
            let check = &finding.check;
            let severity = painter.paint(style_of(check.severity), check.severity.as_str());
            let _ = writeln!(text, "{number}. {} ({severity}, {})", check.title, check.id);
            for line in wrapped(&format!("seen: {}", shown(finding.verdict.evidence()))) {
                let _ = writeln!(text, "   {}", painter.paint(Style::Dim, &line));
            }
            for line in wrapped(&check.fix) {
                let _ = writeln!(text, "   {line}");
            }
        }
    }
    let mut area = "";
    for finding in &report.findings {
        let check = &finding.check;
        if !all && !is_open(&finding.verdict) {
            continue;
        }
        if check.area != area {
            area = check.area;
            let _ = writeln!(text, "\n{}", painter.paint(Style::Bold, area));
        }
        let (mark, style) = match finding.verdict {
            Verdict::Pass(_) => ("pass", Style::Green),
            Verdict::Fail(_) => ("FAIL", style_of(check.severity)),
            Verdict::NotJudged(_) => ("?", Style::Yellow),
            Verdict::NotApplicable(_) => ("-", Style::Dim),
        };
        let severity = format!("{:<8}", check.severity.as_str());
        let mark = painter.paint(style, &format!("{mark:<4}"));
        let _ = writeln!(text, "  {mark} {severity} {:<28} {}", check.id, check.title);
        for line in wrapped(&shown(finding.verdict.evidence())) {
            let _ = writeln!(text, "       {}", painter.paint(Style::Dim, &line));
        }
    }
    if !all {
        let hint = "`palisade audit --all` shows every check, `--explain ID` why and what to do.";
        let _ = writeln!(text, "\n{hint}");
    }
    text
}

/// Lines of a bounded width, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_broken_between_words_and_none_is_lost() {
        let text = "word ".repeat(60);
        let lines = wrapped(text.trim());
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= WIDTH));
        assert_eq!(lines.join(" "), text.trim());
        assert_eq!(wrapped(""), [""]);
    }
}
