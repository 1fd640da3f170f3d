//! The functions of awk.

use super::super::{printf, regex};
use super::parse::Expr;
use super::run::{Machine, number_of, shown, split};

impl Machine<'_> {
    pub(super) fn call(&mut self, name: &str, arguments: &[Expr]) -> String {
        let values: Vec<String> = arguments
            .iter()
            .map(|a| if matches!(a, Expr::Match(_)) { String::new() } else { self.text(a) })
            .collect();
        let value = |index: usize| values.get(index).cloned().unwrap_or_default();
        let line = self.fields.first().cloned().unwrap_or_default();
        match name {
            "length" => shown(if values.is_empty() { line.len() } else { value(0).len() } as f64),
            "substr" => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "places in a text; saturates"
                )]
                let place = |number: f64| number.max(0.0) as usize;
                let from = place(number_of(&value(1)) - 1.0);
                let count = if values.len() > 2 { place(number_of(&value(2))) } else { usize::MAX };
                value(0).chars().skip(from).take(count).collect()
            }
            "index" => shown(value(0).find(&value(1)).map_or(0, |at| at + 1) as f64),
            "tolower" => value(0).to_lowercase(),
            "toupper" => value(0).to_uppercase(),
            "int" => shown(number_of(&value(0)).trunc()),
            "sprintf" => {
                let words: Vec<Vec<u8>> = values.iter().map(|v| v.clone().into_bytes()).collect();
                words.split_first().map_or(String::new(), |(format, rest)| {
                    String::from_utf8_lossy(&printf::format_once(format, rest).0).into_owned()
                })
            }
            "split" => {
                let Some(Expr::Name(array)) = arguments.get(1) else { return "0".to_owned() };
                let separator = if values.len() > 2 { value(2) } else { self.get("FS") };
                let parts = split(&value(0), &separator);
                let count = parts.len();
                for (index, part) in parts.into_iter().enumerate().take(1_000) {
                    self.set(format!("{array}\u{1}{}", index + 1), part);
                }
                count.to_string()
            }
            "sub" | "gsub" => {
                let pattern = match arguments.first() {
                    Some(Expr::Match(regex)) => Some(regex.clone()),
                    _ => regex(value(0).as_bytes(), false, true),
                };
                let Some(pattern) = pattern else { return "0".to_owned() };
                let whole = Expr::Field(Box::new(Expr::Number(0.0)));
                let place = arguments.get(2).unwrap_or(&whole);
                let before = self.text(place);
                self.shell.budget.work(before.len() * 2);
                let with = value(1).replace('$', "$$").replace('&', "$0");
                let limit = usize::from(name == "sub");
                let count = pattern.find_iter(before.as_bytes()).count();
                let after = pattern.replacen(before.as_bytes(), limit, with.as_bytes());
                let after = String::from_utf8_lossy(&after).into_owned();
                self.store(place, after);
                shown(if limit == 1 { count.min(1) } else { count } as f64)
            }
            "match" => {
                let found = regex(value(1).as_bytes(), false, true);
                shown(
                    found
                        .and_then(|r| r.find(value(0).as_bytes()).map(|m| m.start() + 1))
                        .unwrap_or(0) as f64,
                )
            }
            "system" => {
                let command = value(0);
                let done = self.shell.deeper(|shell| shell.run_text(command.as_bytes()));
                if done.is_err() {
                    self.shell.budget.spend();
                }
                self.shell.status.to_string()
            }
            "systime" => self.shell.files.now.to_string(),
            "rand" => "0.237788".to_owned(),
            _ => String::new(),
        }
    }
}
