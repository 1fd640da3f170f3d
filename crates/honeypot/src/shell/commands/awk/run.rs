//! Runs a parsed awk program.

use std::collections::BTreeMap;

use super::super::{chomp, lines, printf, regex};
use super::parse::{Expr, Rule, Statement, When};
use crate::shell::Shell;

/// Longest text of a variable, in bytes.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Most variables and items of arrays.
const MAX_VARIABLES: usize = 8_192;

enum Leave {
    Next,
    Exit,
    Break,
}

pub(super) struct Machine<'a> {
    pub(super) shell: &'a mut Shell,
    variables: BTreeMap<String, String>,
    pub(super) fields: Vec<String>,
    ranges: Vec<bool>,
}

pub(super) fn run(
    shell: &mut Shell,
    rules: &[Rule],
    variables: BTreeMap<String, String>,
    files: &[String],
) -> u8 {
    let mut machine =
        Machine { shell, variables, fields: Vec::new(), ranges: vec![false; rules.len()] };
    let mut left = false;
    for rule in rules.iter().filter(|rule| matches!(rule.when, When::Begin)) {
        left |= matches!(machine.block(rule.body.as_deref().unwrap_or_default()), Err(Leave::Exit));
    }
    let reads = rules.iter().any(|rule| !matches!(rule.when, When::Begin));
    let mut status = 0;
    if reads && !left {
        let (all, failed) = machine.shell.inputs("awk", files);
        status = if failed == 0 { 0 } else { 2 };
        let bytes: Vec<u8> = all.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let mut number = 0;
        for line in lines(&bytes) {
            if !machine.shell.budget.work(line.len() + 64) {
                break;
            }
            number += 1;
            machine.record(&String::from_utf8_lossy(chomp(line)), number);
            if matches!(machine.rules(rules), Err(Leave::Exit)) {
                break;
            }
        }
    }
    for rule in rules.iter().filter(|rule| matches!(rule.when, When::End)) {
        if machine.block(rule.body.as_deref().unwrap_or_default()).is_err() {
            break;
        }
    }
    status
}

impl Machine<'_> {
    pub(super) fn get(&self, name: &str) -> String {
        self.variables.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn set(&mut self, name: String, mut value: String) {
        if value.len() > MAX_TEXT_BYTES {
            value = value.chars().take(MAX_TEXT_BYTES / 4).collect();
        }
        if self.variables.len() < MAX_VARIABLES || self.variables.contains_key(&name) {
            self.variables.insert(name, value);
        } else {
            self.shell.budget.spend();
        }
    }

    fn record(&mut self, line: &str, number: usize) {
        let separator = self.get("FS");
        let parts = split(line, &separator);
        self.fields = std::iter::once(line.to_owned()).chain(parts).collect();
        self.variables.insert("NR".to_owned(), number.to_string());
        self.variables.insert("FNR".to_owned(), number.to_string());
        self.variables.insert("NF".to_owned(), (self.fields.len() - 1).to_string());
    }

    fn rules(&mut self, rules: &[Rule]) -> Result<(), Leave> {
        for (index, rule) in rules.iter().enumerate() {
            let applies = match &rule.when {
                When::Begin | When::End => false,
                When::Always => true,
                When::If(condition) => self.truth(condition),
                When::Range(from, to) => {
                    let inside =
                        self.ranges.get(index).copied().unwrap_or(false) || self.truth(from);
                    let stays = inside && !self.truth(to);
                    if let Some(range) = self.ranges.get_mut(index) {
                        *range = stays;
                    }
                    inside
                }
            };
            if !applies {
                continue;
            }
            match &rule.body {
                None => {
                    let line = self.fields.first().cloned().unwrap_or_default();
                    self.shell.say(&line);
                }
                Some(body) => match self.block(body) {
                    Err(Leave::Next) => return Ok(()),
                    other => other?,
                },
            }
        }
        Ok(())
    }

    fn block(&mut self, body: &[Statement]) -> Result<(), Leave> {
        for statement in body {
            if !self.shell.budget.take(1) {
                return Err(Leave::Exit);
            }
            self.statement(statement)?;
        }
        Ok(())
    }

    /// A loop's body; whether the loop is over.
    fn turn(&mut self, body: &[Statement]) -> Result<bool, Leave> {
        if !self.shell.budget.take(1) {
            return Err(Leave::Exit);
        }
        match self.block(body) {
            Ok(()) => Ok(false),
            Err(Leave::Break) => Ok(true),
            Err(other) => Err(other),
        }
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), Leave> {
        match statement {
            Statement::Print(list) => {
                let separator =
                    self.variables.get("OFS").cloned().unwrap_or_else(|| " ".to_owned());
                let end = self.variables.get("ORS").cloned().unwrap_or_else(|| "\n".to_owned());
                let text = if list.is_empty() {
                    self.fields.first().cloned().unwrap_or_default()
                } else {
                    let values: Vec<String> = list.iter().map(|item| self.text(item)).collect();
                    values.join(&separator)
                };
                self.shell.put((text + &end).as_bytes());
            }
            Statement::Printf(list) => {
                let words: Vec<Vec<u8>> =
                    list.iter().map(|item| self.text(item).into_bytes()).collect();
                if let Some((format, rest)) = words.split_first() {
                    let text = printf::format_once(format, rest).0;
                    self.shell.put(&text);
                }
            }
            Statement::Do(value) => {
                self.text(value);
            }
            Statement::If(condition, yes, no) => {
                let body = if self.truth(condition) { yes } else { no };
                self.block(body)?;
            }
            Statement::While(condition, body) => {
                while self.truth(condition) {
                    if self.turn(body)? {
                        break;
                    }
                }
            }
            Statement::For(first, test, step, body) => {
                if let Some(first) = first {
                    self.text(first);
                }
                while test.as_ref().is_none_or(|test| self.truth(test)) {
                    if self.turn(body)? {
                        break;
                    }
                    if let Some(step) = step {
                        self.text(step);
                    }
                }
            }
            Statement::Each(item, array, body) => {
                for key in self.keys(array) {
                    self.set(item.clone(), key);
                    if self.turn(body)? {
                        break;
                    }
                }
            }
            Statement::Next => return Err(Leave::Next),
            Statement::Exit => return Err(Leave::Exit),
            Statement::Break => return Err(Leave::Break),
            Statement::Delete(name, index) => match index {
                Some(index) => {
                    let key = format!("{name}\u{1}{}", self.text(index));
                    self.variables.remove(&key);
                }
                None => {
                    for key in self.keys(name) {
                        self.variables.remove(&format!("{name}\u{1}{key}"));
                    }
                }
            },
        }
        Ok(())
    }

    fn keys(&self, array: &str) -> Vec<String> {
        let prefix = format!("{array}\u{1}");
        self.variables
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix))
            .filter_map(|(name, _)| name.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }

    fn truth(&mut self, value: &Expr) -> bool {
        match value {
            Expr::Match(regex) => {
                let line = self.fields.first().cloned().unwrap_or_default();
                self.shell.budget.work(line.len());
                regex.is_match(line.as_bytes())
            }
            Expr::Number(number) => *number != 0.0,
            Expr::Text(text) => !text.is_empty(),
            other => {
                let text = self.text(other);
                match text.trim().parse::<f64>() {
                    Ok(number) => number != 0.0,
                    Err(_) => !text.is_empty(),
                }
            }
        }
    }

    fn number(&mut self, value: &Expr) -> f64 {
        number_of(&self.text(value))
    }

    pub(super) fn text(&mut self, value: &Expr) -> String {
        match value {
            Expr::Text(text) => text.clone(),
            Expr::Number(number) => shown(*number),
            Expr::Match(_) => shown(f64::from(u8::from(self.truth(value)))),
            Expr::Name(name) => self.get(name),
            Expr::Item(name, index) => {
                let key = format!("{name}\u{1}{}", self.text(index));
                self.get(&key)
            }
            Expr::Field(index) => {
                let index = self.place(index);
                self.fields.get(index).cloned().unwrap_or_default()
            }
            Expr::Set(place, operator, right) => {
                let right = match operator {
                    None => self.text(right),
                    Some(operator) => {
                        let (a, b) = (self.number(place), self.number(right));
                        shown(calculate(*operator, a, b))
                    }
                };
                self.store(place, right.clone());
                right
            }
            Expr::Step(place, by, before) => {
                let old = self.number(place);
                self.store(place, shown(old + by));
                shown(if *before { old + by } else { old })
            }
            Expr::Unary('!', inner) => shown(f64::from(u8::from(!self.truth(inner)))),
            Expr::Unary(sign, inner) => {
                let number = self.number(inner);
                shown(if *sign == '-' { -number } else { number })
            }
            Expr::Choose(condition, yes, no) => {
                if self.truth(condition) {
                    self.text(yes)
                } else {
                    self.text(no)
                }
            }
            Expr::In(key, array) => {
                let key = format!("{array}\u{1}{}", self.text(key));
                shown(f64::from(u8::from(self.variables.contains_key(&key))))
            }
            Expr::Binary(operator, left, right) => self.binary(operator, left, right),
            Expr::Call(name, arguments) => self.call(name, arguments),
        }
    }

    fn place(&mut self, index: &Expr) -> usize {
        let number = self.number(index);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a field's number; saturates"
        )]
        let index = number.max(0.0) as usize;
        index
    }

    pub(super) fn store(&mut self, place: &Expr, value: String) {
        match place {
            Expr::Name(name) => self.set(name.clone(), value),
            Expr::Item(name, index) => {
                let key = format!("{name}\u{1}{}", self.text(index));
                self.set(key, value);
            }
            Expr::Field(index) => {
                let index = self.place(index);
                if index == 0 {
                    let number = number_of(&self.get("NR"));
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a line's number"
                    )]
                    self.record(&value, number as usize);
                } else if index < 1_000 {
                    if self.fields.len() <= index {
                        self.fields.resize(index + 1, String::new());
                    }
                    if let Some(field) = self.fields.get_mut(index) {
                        *field = value;
                    }
                    let separator =
                        self.variables.get("OFS").cloned().unwrap_or_else(|| " ".to_owned());
                    let line = self.fields.get(1..).unwrap_or_default().join(&separator);
                    if let Some(whole) = self.fields.first_mut() {
                        *whole = line;
                    }
                }
            }
            _ => {}
        }
    }

    fn binary(&mut self, operator: &str, left: &Expr, right: &Expr) -> String {
        let flag = |yes: bool| if yes { "1" } else { "0" }.to_owned();
        match operator {
            "||" => flag(self.truth(left) || self.truth(right)),
            "&&" => flag(self.truth(left) && self.truth(right)),
            "~" | "!~" => {
                let text = self.text(left);
                self.shell.budget.work(text.len());
                let found = match right {
                    Expr::Match(regex) => regex.is_match(text.as_bytes()),
                    other => {
                        let pattern = self.text(other);
                        self.shell.budget.take(20);
                        regex(pattern.as_bytes(), false, true)
                            .is_some_and(|r| r.is_match(text.as_bytes()))
                    }
                };
                flag(found == (operator == "~"))
            }
            " " => {
                let mut text = self.text(left);
                text.push_str(&self.text(right));
                // The parts were copied, too, and the whole will be.
                self.shell.budget.work(text.len() / 4);
                if text.len() > MAX_TEXT_BYTES {
                    self.shell.budget.spend();
                    return String::new();
                }
                text
            }
            "==" | "!=" | "<" | ">" | "<=" | ">=" => {
                let (a, b) = (self.text(left), self.text(right));
                let literal = matches!(left, Expr::Text(_)) || matches!(right, Expr::Text(_));
                let order = match (a.trim().parse::<f64>(), b.trim().parse::<f64>()) {
                    (Ok(a), Ok(b)) if !literal => a.total_cmp(&b),
                    (Ok(a), Err(_)) if b.is_empty() && !literal => a.total_cmp(&0.0),
                    _ => a.cmp(&b),
                };
                flag(match operator {
                    "==" => order.is_eq(),
                    "!=" => order.is_ne(),
                    "<" => order.is_lt(),
                    ">" => order.is_gt(),
                    "<=" => order.is_le(),
                    _ => order.is_ge(),
                })
            }
            _ => {
                let (a, b) = (self.number(left), self.number(right));
                shown(calculate(operator.chars().next().unwrap_or('+'), a, b))
            }
        }
    }
}

pub(super) fn split(text: &str, separator: &str) -> Vec<String> {
    if separator == " " {
        return text.split_whitespace().map(str::to_owned).collect();
    }
    if text.is_empty() {
        return Vec::new();
    }
    if separator.chars().count() == 1 {
        return text.split(separator).map(str::to_owned).collect();
    }
    match regex(separator.as_bytes(), false, true) {
        Some(regex) => regex
            .split(text.as_bytes())
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect(),
        None => vec![text.to_owned()],
    }
}

pub(super) fn number_of(text: &str) -> f64 {
    let text = text.trim_start();
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || *at == 0 && matches!(c, '-' | '+')))
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).and_then(|t| t.parse().ok()).unwrap_or(0.0)
}

fn calculate(operator: char, a: f64, b: f64) -> f64 {
    match operator {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        '/' => {
            if b == 0.0 {
                0.0
            } else {
                a / b
            }
        }
        '%' => {
            if b == 0.0 {
                0.0
            } else {
                a % b
            }
        }
        _ => a.powf(b),
    }
}

/// A number as awk prints it (`%.6g`).
pub(super) fn shown(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e16 {
        return format!("{number:.0}");
    }
    if !number.is_finite() {
        return "inf".to_owned();
    }
    let digits = 6 - 1 - number.abs().log10().floor().clamp(-4.0, 5.0) as i32;
    let text = format!("{number:.*}", usize::try_from(digits).unwrap_or(0));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
