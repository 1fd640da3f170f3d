//! The grammar: from words to commands, pipelines, loops. After POSIX's shell
//! command language with what of bash's own attacks use.

use std::sync::Arc;

use super::ast::{Chain, Command, Item, Link, Pipeline, Redirect, RedirectTo, Script, Shape, Word};
use super::lexer::{MAX_NESTING, Parsed, Parser, SyntaxError, is_meta};

const RESERVED: [&[u8]; 16] = [
    b"if",
    b"then",
    b"elif",
    b"else",
    b"fi",
    b"while",
    b"until",
    b"for",
    b"do",
    b"done",
    b"case",
    b"esac",
    b"{",
    b"}",
    b"!",
    b"function",
];
/// Reserved words that end a list.
const ENDS: [&[u8]; 8] = [b"then", b"elif", b"else", b"fi", b"do", b"done", b"esac", b"}"];

/// Reads a script to its end.
pub(super) fn parse(source: &[u8]) -> Parsed<Script> {
    Parser::new(source).whole()
}

impl Parser<'_> {
    /// The source to its end.
    pub(super) fn whole(mut self) -> Parsed<Script> {
        let script = self.script()?;
        match self.peek() {
            None => {
                self.read_heredocs()?;
                Ok(script)
            }
            Some(_) => Err(self.unexpected()),
        }
    }

    pub(super) fn unexpected(&self) -> SyntaxError {
        let rest = self.rest();
        let shown: &[u8] = match rest {
            [] => return SyntaxError::Incomplete,
            [b'\n', ..] => b"newline",
            [b';', b';', ..] => b";;",
            [b'&', b'&', ..] => b"&&",
            [b'|', b'|', ..] => b"||",
            [first, ..] if is_meta(*first) => rest.get(..1).unwrap_or_default(),
            _ => {
                let length = rest.iter().position(|byte| is_meta(*byte)).unwrap_or(rest.len());
                rest.get(..length.min(80)).unwrap_or_default()
            }
        };
        SyntaxError::Unexpected(shown.to_vec(), self.line)
    }

    pub(super) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'\\') if self.ahead(1) == Some(b'\n') => {
                    self.at += 2;
                    self.line += 1;
                }
                Some(b'#') => {
                    let rest = self.rest();
                    self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    /// Blanks, comments and line ends; at a line end the here-documents that
    /// the line announced are read.
    pub(super) fn lines(&mut self) -> Parsed<()> {
        loop {
            self.blanks();
            if self.peek() != Some(b'\n') {
                return Ok(());
            }
            self.bump();
            self.read_heredocs()?;
        }
    }

    /// The reserved word at the present place.
    fn reserved(&self) -> Option<&'static [u8]> {
        let rest = self.rest();
        let length = rest.iter().position(|byte| is_meta(*byte)).unwrap_or(rest.len());
        let word = rest.get(..length)?;
        let word = word.strip_suffix(b"\r").unwrap_or(word);
        RESERVED.into_iter().find(|reserved| *reserved == word)
    }

    /// Takes `word` where it stands here.
    fn takes(&mut self, word: &[u8]) -> bool {
        let there = self.reserved().is_some_and(|reserved| reserved == word);
        if there {
            self.at += word.len();
        }
        there
    }

    fn needs(&mut self, word: &[u8]) -> Parsed<()> {
        self.lines()?;
        if self.takes(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Commands up to what ends a list: a reserved word, `)`, `;;`, the end.
    pub(super) fn script(&mut self) -> Parsed<Script> {
        let mut script = Vec::new();
        loop {
            self.lines()?;
            if self.peek().is_none()
                || matches!(self.peek(), Some(b')'))
                || self.looks_at(b";;")
                || self.reserved().is_some_and(|word| ENDS.contains(&word))
            {
                return Ok(script);
            }
            let chain = self.chain()?;
            self.blanks();
            let mut background = false;
            match self.peek() {
                Some(b';') if !self.looks_at(b";;") => self.at += 1,
                Some(b'&') if !self.looks_at(b"&&") => {
                    self.at += 1;
                    background = true;
                }
                Some(b'\n') | Some(b')') | Some(b';') | None => {}
                Some(_) => return Err(self.unexpected()),
            }
            script.push(Item { chain, background });
        }
    }

    /// A list that may not be empty.
    fn body(&mut self) -> Parsed<Script> {
        let script = self.script()?;
        if script.is_empty() {
            return Err(self.unexpected());
        }
        Ok(script)
    }

    fn chain(&mut self) -> Parsed<Chain> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let link = match (self.looks_at(b"&&"), self.looks_at(b"||")) {
                (true, _) => Link::And,
                (_, true) => Link::Or,
                _ => return Ok(Chain { first, rest }),
            };
            self.at += 2;
            self.lines()?;
            rest.push((link, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        let mut negate = false;
        self.blanks();
        while self.takes(b"!") {
            negate = !negate;
            self.blanks();
        }
        let mut stages = vec![self.command()?];
        loop {
            self.blanks();
            if self.peek() != Some(b'|') || self.looks_at(b"||") {
                return Ok(Pipeline { negate, stages });
            }
            self.at += 1;
            if self.peek() == Some(b'&') {
                self.at += 1;
                if let Some(last) = stages.last_mut() {
                    let to = RedirectTo::Duplicate(Word::of(b"1"));
                    last.redirects.push(Redirect { fd: Some(2), to });
                }
            }
            self.lines()?;
            stages.push(self.command()?);
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        if self.depth >= MAX_NESTING {
            return Err(SyntaxError::TooDeep);
        }
        self.depth += 1;
        let command = self.command_inside();
        self.depth -= 1;
        command
    }

    fn command_inside(&mut self) -> Parsed<Command> {
        self.blanks();
        let line = self.line;
        let shape = if self.looks_at(b"((")
            && let Some(text) = self.arithmetic(2)
        {
            Shape::Let(self.inner_expression(text)?)
        } else if self.peek() == Some(b'(') {
            self.at += 1;
            Shape::Subshell(self.until_paren()?)
        } else if self.looks_at(b"[[") && self.ahead(2).is_some_and(is_meta) {
            self.at += 2;
            Shape::Test(self.test()?)
        } else {
            match self.reserved() {
                Some(b"{") => {
                    self.at += 1;
                    let script = self.body()?;
                    self.needs(b"}")?;
                    Shape::Group(script)
                }
                Some(b"if") => self.condition()?,
                Some(word @ (b"while" | b"until")) => {
                    self.at += word.len();
                    let condition = self.body()?;
                    let body = self.done()?;
                    Shape::Loop { until: word == b"until", condition, body }
                }
                Some(b"for") => self.counted()?,
                Some(b"case") => self.cases()?,
                Some(b"function") => {
                    self.at += 8;
                    self.blanks();
                    let name = self.word()?.and_then(|word| word.plain().map(<[u8]>::to_vec));
                    let Some(name) = name else { return Err(self.unexpected()) };
                    self.blanks();
                    if self.looks_at(b"()") {
                        self.at += 2;
                    }
                    self.lines()?;
                    Shape::Function { name, body: Arc::new(self.command()?) }
                }
                Some(_) => return Err(self.unexpected()),
                None => return self.simple(line),
            }
        };
        let mut redirects = Vec::new();
        while let Some(redirect) = self.redirect()? {
            redirects.push(redirect);
        }
        Ok(Command { line, shape, redirects })
    }

    fn done(&mut self) -> Parsed<Script> {
        self.needs(b"do")?;
        let body = self.body()?;
        self.needs(b"done")?;
        Ok(body)
    }

    fn condition(&mut self) -> Parsed<Shape> {
        self.at += 2;
        let mut arms = Vec::new();
        let mut otherwise = None;
        loop {
            let condition = self.body()?;
            self.needs(b"then")?;
            arms.push((condition, self.body()?));
            if self.takes(b"elif") {
                continue;
            }
            if self.takes(b"else") {
                otherwise = Some(self.body()?);
            }
            self.needs(b"fi")?;
            return Ok(Shape::If { arms, otherwise });
        }
    }

    fn counted(&mut self) -> Parsed<Shape> {
        self.at += 3;
        self.blanks();
        if self.looks_at(b"((") {
            let Some(text) = self.arithmetic(2) else { return Err(self.unexpected()) };
            let mut fields = text.splitn(3, |byte| *byte == b';');
            let mut next = || self.inner_expression(fields.next().unwrap_or_default());
            let (init, test, step) = (next()?, next()?, next()?);
            self.blanks();
            if self.peek() == Some(b';') {
                self.at += 1;
            }
            let body = self.done()?;
            return Ok(Shape::Count { init, test, step, body });
        }
        let name = self.word()?.and_then(|word| word.plain().map(<[u8]>::to_vec));
        let Some(name) = name else { return Err(self.unexpected()) };
        self.lines()?;
        let mut words = None;
        let rest = self.rest();
        if rest.starts_with(b"in") && rest.get(2).is_none_or(|byte| is_meta(*byte)) {
            self.at += 2;
            let mut list = Vec::new();
            loop {
                self.blanks();
                match self.word()? {
                    Some(word) => list.push(word),
                    None => break,
                }
            }
            words = Some(list);
        }
        self.blanks();
        if self.peek() == Some(b';') {
            self.at += 1;
        }
        let body = self.done()?;
        Ok(Shape::For { name, words, body })
    }

    fn cases(&mut self) -> Parsed<Shape> {
        self.at += 4;
        self.blanks();
        let Some(subject) = self.word()? else { return Err(self.unexpected()) };
        self.lines()?;
        if !self.looks_at(b"in") {
            return Err(self.unexpected());
        }
        self.at += 2;
        let mut arms = Vec::new();
        loop {
            self.lines()?;
            if self.takes(b"esac") {
                return Ok(Shape::Case { subject, arms });
            }
            if self.peek() == Some(b'(') {
                self.at += 1;
            }
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                match self.word()? {
                    Some(word) => patterns.push(word),
                    None => return Err(self.unexpected()),
                }
                self.blanks();
                match self.bump() {
                    Some(b'|') => {}
                    Some(b')') => break,
                    None => return Err(SyntaxError::Incomplete),
                    Some(byte) => return Err(SyntaxError::Unexpected(vec![byte], self.line)),
                }
            }
            let body = self.script()?;
            arms.push((patterns, body));
            if self.looks_at(b";;") {
                self.at += 2;
            }
        }
    }

    /// The words of `[[ … ]]`; operators become words.
    fn test(&mut self) -> Parsed<Vec<Word>> {
        let mut words = Vec::new();
        loop {
            self.lines()?;
            if let Some(word) = self.word()? {
                if word.plain() == Some(b"]]") {
                    return Ok(words);
                }
                words.push(word);
                continue;
            }
            let operators: [&[u8]; 6] = [b"&&", b"||", b"(", b")", b"<", b">"];
            let Some(operator) = operators.into_iter().find(|text| self.looks_at(text)) else {
                return Err(self.unexpected());
            };
            self.at += operator.len();
            words.push(Word::of(operator));
        }
    }

    fn simple(&mut self, line: u32) -> Parsed<Command> {
        let (mut assigns, mut words, mut redirects) = (Vec::new(), Vec::<Word>::new(), Vec::new());
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            if words.is_empty()
                && let Some(assign) = self.assign()?
            {
                assigns.push(assign);
                continue;
            }
            let Some(word) = self.word()? else { break };
            // `name()` defines a function.
            if words.is_empty()
                && assigns.is_empty()
                && let Some(name) = word.plain().map(<[u8]>::to_vec)
            {
                self.blanks();
                if self.peek() == Some(b'(') {
                    self.at += 1;
                    self.blanks();
                    if self.peek() != Some(b')') {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                    self.lines()?;
                    let body = Arc::new(self.command()?);
                    return Ok(Command { line, shape: Shape::Function { name, body }, redirects });
                }
            }
            words.push(word);
        }
        if assigns.is_empty() && words.is_empty() && redirects.is_empty() {
            return Err(self.unexpected());
        }
        Ok(Command { line, shape: Shape::Simple { assigns, words }, redirects })
    }
}
