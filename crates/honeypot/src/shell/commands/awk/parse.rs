//! The grammar of awk.

use regex::bytes::Regex;

use super::super::regex;

/// Most constructs inside each other.
const MAX_DEPTH: u32 = 24;

pub(super) struct Rule {
    pub(super) when: When,
    pub(super) body: Option<Vec<Statement>>,
}

pub(super) enum When {
    Begin,
    End,
    Always,
    If(Expr),
    Range(Expr, Expr),
}

pub(super) enum Statement {
    Print(Vec<Expr>),
    Printf(Vec<Expr>),
    Do(Expr),
    If(Expr, Vec<Statement>, Vec<Statement>),
    While(Expr, Vec<Statement>),
    For(Option<Expr>, Option<Expr>, Option<Expr>, Vec<Statement>),
    Each(String, String, Vec<Statement>),
    Next,
    Exit,
    Break,
    Delete(String, Option<Expr>),
}

pub(super) enum Expr {
    Text(String),
    Number(f64),
    Match(Regex),
    Name(String),
    Item(String, Box<Expr>),
    Field(Box<Expr>),
    Set(Box<Expr>, Option<char>, Box<Expr>),
    Step(Box<Expr>, f64, bool),
    Unary(char, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Choose(Box<Expr>, Box<Expr>, Box<Expr>),
    Call(String, Vec<Expr>),
    In(Box<Expr>, String),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Number(f64),
    Regex(String),
    Name(String),
    Mark(&'static str),
    Line,
}

const MARKS: [&str; 37] = [
    "&&", "||", "==", "!=", "<=", ">=", "++", "--", "+=", "-=", "*=", "/=", "%=", "!~", ">>", "{",
    "}", "(", ")", "[", "]", ";", ",", "+", "-", "*", "/", "%", "^", "!", ">", "<", "~", "?", ":",
    "=", "$",
];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut all: Vec<Token> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '\n' {
            all.push(Token::Line);
            rest = rest.get(1..)?;
        } else if first.is_whitespace() {
            rest = rest.get(first.len_utf8()..)?;
        } else if first == '\\' && rest.starts_with("\\\n") {
            rest = rest.get(2..)?;
        } else if first == '#' {
            rest = rest.get(rest.find('\n').unwrap_or(rest.len())..)?;
        } else if first == '"' {
            let (text, length) = quoted(rest.get(1..)?, '"')?;
            let text = crate::shell::escape::unescape(text.as_bytes(), false).0;
            all.push(Token::Text(String::from_utf8_lossy(&text).into_owned()));
            rest = rest.get(1 + length..)?;
        } else if first.is_ascii_digit() || first == '.' {
            let length =
                rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            all.push(Token::Number(rest.get(..length)?.parse().ok()?));
            rest = rest.get(length..)?;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            all.push(Token::Name(rest.get(..length)?.to_owned()));
            rest = rest.get(length..)?;
        } else if first == '/' && expects_value(all.last()) {
            let (text, length) = quoted(rest.get(1..)?, '/')?;
            all.push(Token::Regex(text));
            rest = rest.get(1 + length..)?;
        } else {
            let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark))?;
            all.push(Token::Mark(mark));
            rest = rest.get(mark.len()..)?;
        }
    }
    Some(all)
}

fn expects_value(last: Option<&Token>) -> bool {
    !matches!(
        last,
        Some(Token::Text(_) | Token::Number(_) | Token::Name(_) | Token::Mark(")" | "]" | "$"))
    )
}

/// The text up to `end`, and how many bytes it took with its end.
fn quoted(text: &str, end: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                let (_, next) = letters.next()?;
                if next != '/' || end != '/' {
                    out.push('\\');
                }
                out.push(next);
            }
            letter if letter == end => return Some((out, at + 1)),
            letter => out.push(letter),
        }
    }
    None
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
    /// Between brackets `>` compares, otherwise it would redirect.
    inside: u32,
}

pub(super) fn parse(text: &str) -> Option<Vec<Rule>> {
    let mut reader = Reader { tokens: tokens(text)?, at: 0, depth: 0, inside: 0 };
    let mut rules = Vec::new();
    loop {
        reader.gaps();
        if reader.at >= reader.tokens.len() {
            return Some(rules);
        }
        let when = if reader.name("BEGIN") {
            When::Begin
        } else if reader.name("END") {
            When::End
        } else if reader.sees("{") {
            When::Always
        } else {
            let first = reader.expr()?;
            if reader.takes(",") { When::Range(first, reader.expr()?) } else { When::If(first) }
        };
        let body = if reader.sees("{") { Some(reader.block()?) } else { None };
        rules.push(Rule { when, body });
    }
}

impl Reader {
    fn sees(&self, mark: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Mark(found)) if *found == mark)
    }

    fn takes(&mut self, mark: &str) -> bool {
        let there = self.sees(mark);
        self.at += usize::from(there);
        there
    }

    fn needs(&mut self, mark: &str) -> Option<()> {
        self.takes(mark).then_some(())
    }

    fn name(&mut self, name: &str) -> bool {
        let there = matches!(self.tokens.get(self.at), Some(Token::Name(found)) if found == name);
        self.at += usize::from(there);
        there
    }

    fn gaps(&mut self) {
        while matches!(self.tokens.get(self.at), Some(Token::Line | Token::Mark(";"))) {
            self.at += 1;
        }
    }

    fn lines(&mut self) {
        while matches!(self.tokens.get(self.at), Some(Token::Line)) {
            self.at += 1;
        }
    }

    fn block(&mut self) -> Option<Vec<Statement>> {
        self.needs("{")?;
        let mut body = Vec::new();
        loop {
            self.gaps();
            if self.takes("}") {
                return Some(body);
            }
            body.push(self.statement()?);
        }
    }

    fn body(&mut self) -> Option<Vec<Statement>> {
        self.lines();
        if self.sees("{") {
            return self.block();
        }
        if self.takes(";") {
            return Some(Vec::new());
        }
        Some(vec![self.statement()?])
    }

    fn statement(&mut self) -> Option<Statement> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let statement = self.statement_inside();
        self.depth -= 1;
        statement
    }

    fn statement_inside(&mut self) -> Option<Statement> {
        if self.name("print") {
            return Some(Statement::Print(self.list()?));
        }
        if self.name("printf") {
            return Some(Statement::Printf(self.list()?));
        }
        if self.name("next") {
            return Some(Statement::Next);
        }
        if self.name("break") || self.name("continue") {
            return Some(Statement::Break);
        }
        if self.name("exit") {
            if !matches!(
                self.tokens.get(self.at),
                None | Some(Token::Line | Token::Mark(";" | "}"))
            ) {
                self.expr()?;
            }
            return Some(Statement::Exit);
        }
        if self.name("delete") {
            let Some(Token::Name(name)) = self.tokens.get(self.at).cloned() else { return None };
            self.at += 1;
            let mut index = None;
            if self.takes("[") {
                index = Some(self.expr()?);
                self.needs("]")?;
            }
            return Some(Statement::Delete(name, index));
        }
        if self.name("if") {
            self.needs("(")?;
            let condition = self.grouped()?;
            let yes = self.body()?;
            let before = self.at;
            self.gaps();
            if self.name("else") {
                return Some(Statement::If(condition, yes, self.body()?));
            }
            self.at = before;
            return Some(Statement::If(condition, yes, Vec::new()));
        }
        if self.name("while") {
            self.needs("(")?;
            let condition = self.grouped()?;
            return Some(Statement::While(condition, self.body()?));
        }
        if self.name("for") {
            self.needs("(")?;
            if let (Some(Token::Name(item)), Some(Token::Name(word)), Some(Token::Name(array))) = (
                self.tokens.get(self.at).cloned(),
                self.tokens.get(self.at + 1).cloned(),
                self.tokens.get(self.at + 2).cloned(),
            ) && word == "in"
            {
                self.at += 3;
                self.needs(")")?;
                return Some(Statement::Each(item, array, self.body()?));
            }
            let part = |reader: &mut Self, end: &str| {
                if reader.takes(end) {
                    return Some(None);
                }
                let value = reader.expr()?;
                reader.needs(end)?;
                Some(Some(value))
            };
            let (first, test, step) = (part(self, ";")?, part(self, ";")?, part(self, ")")?);
            return Some(Statement::For(first, test, step, self.body()?));
        }
        Some(Statement::Do(self.expr()?))
    }

    fn grouped(&mut self) -> Option<Expr> {
        self.inside += 1;
        let value = self.expr();
        self.inside -= 1;
        self.needs(")")?;
        value
    }

    fn list(&mut self) -> Option<Vec<Expr>> {
        let mut all = Vec::new();
        while !matches!(
            self.tokens.get(self.at),
            None | Some(Token::Line | Token::Mark(";" | "}" | ">" | ">>"))
        ) {
            all.push(self.expr()?);
            if !self.takes(",") {
                break;
            }
            self.lines();
        }
        // A file or a pipe behind it: printed all the same.
        if self.takes(">") || self.takes(">>") {
            self.expr()?;
        }
        Some(all)
    }

    fn expr(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = self.assignment();
        self.depth -= 1;
        value
    }

    fn assignment(&mut self) -> Option<Expr> {
        let left = self.choice()?;
        for (mark, operator) in [
            ("=", None),
            ("+=", Some('+')),
            ("-=", Some('-')),
            ("*=", Some('*')),
            ("/=", Some('/')),
            ("%=", Some('%')),
        ] {
            if matches!(left, Expr::Name(_) | Expr::Item(..) | Expr::Field(_)) && self.takes(mark) {
                let right = self.expr()?;
                return Some(Expr::Set(Box::new(left), operator, Box::new(right)));
            }
        }
        Some(left)
    }

    fn choice(&mut self) -> Option<Expr> {
        let condition = self.level(0)?;
        if self.takes("?") {
            let yes = self.expr()?;
            self.needs(":")?;
            let no = self.expr()?;
            return Some(Expr::Choose(Box::new(condition), Box::new(yes), Box::new(no)));
        }
        Some(condition)
    }

    fn level(&mut self, level: usize) -> Option<Expr> {
        const LEVELS: [&[&str]; 7] = [
            &["||"],
            &["&&"],
            &["~", "!~"],
            &["==", "!=", "<=", ">=", "<", ">"],
            &[" "],
            &["+", "-"],
            &["*", "/", "%", "^"],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.level(level + 1)?;
        loop {
            if level == 2
                && let (Some(Token::Name(word)), Some(Token::Name(array))) =
                    (self.tokens.get(self.at).cloned(), self.tokens.get(self.at + 1).cloned())
                && word == "in"
            {
                self.at += 2;
                left = Expr::In(Box::new(left), array);
                continue;
            }
            let operator = if level == 4 {
                // Two values side by side are joined.
                let value = match self.tokens.get(self.at) {
                    Some(Token::Name(name)) => name != "in",
                    Some(Token::Text(_) | Token::Number(_) | Token::Mark("$" | "(" | "!")) => true,
                    _ => false,
                };
                value.then_some(" ")
            } else {
                operators
                    .iter()
                    .copied()
                    .find(|mark| self.sees(mark) && (*mark != ">" || self.inside > 0))
            };
            let Some(operator) = operator else { return Some(left) };
            self.at += usize::from(level != 4);
            let right = self.level(level + 1)?;
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH * 2 {
            return None;
        }
        let value = self.unary_inside();
        self.depth -= 1;
        value
    }

    fn unary_inside(&mut self) -> Option<Expr> {
        for (mark, by) in [("++", 1.0), ("--", -1.0)] {
            if self.takes(mark) {
                let place = self.unary()?;
                return Some(Expr::Step(Box::new(place), by, true));
            }
        }
        for (mark, sign) in [("!", '!'), ("-", '-'), ("+", '+')] {
            if self.takes(mark) {
                return Some(Expr::Unary(sign, Box::new(self.unary()?)));
            }
        }
        let value = self.primary()?;
        if matches!(value, Expr::Name(_) | Expr::Item(..) | Expr::Field(_)) {
            for (mark, by) in [("++", 1.0), ("--", -1.0)] {
                if self.takes(mark) {
                    return Some(Expr::Step(Box::new(value), by, false));
                }
            }
        }
        Some(value)
    }

    fn primary(&mut self) -> Option<Expr> {
        let token = self.tokens.get(self.at).cloned()?;
        self.at += 1;
        match token {
            Token::Text(text) => Some(Expr::Text(text)),
            Token::Number(number) => Some(Expr::Number(number)),
            Token::Regex(text) => Some(Expr::Match(regex(text.as_bytes(), false, true)?)),
            Token::Mark("(") => self.grouped(),
            Token::Mark("$") => Some(Expr::Field(Box::new(self.unary()?))),
            Token::Name(name) => {
                if self.takes("(") {
                    let mut arguments = Vec::new();
                    self.inside += 1;
                    while !self.takes(")") {
                        arguments.push(self.expr()?);
                        self.takes(",");
                    }
                    self.inside -= 1;
                    return Some(Expr::Call(name, arguments));
                }
                if self.takes("[") {
                    let index = self.expr()?;
                    self.needs("]")?;
                    return Some(Expr::Item(name, Box::new(index)));
                }
                if name == "length" {
                    return Some(Expr::Call(name, Vec::new()));
                }
                Some(Expr::Name(name))
            }
            _ => None,
        }
    }
}
