//! The syntax tree of a script. Made by the parser, walked by the evaluator;
//! it holds no state.

use std::sync::{Arc, OnceLock};

/// Commands one after the other.
pub(super) type Script = Vec<Item>;

/// A chain, perhaps sent to the background.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) chain: Chain,
    pub(super) background: bool,
}

/// Pipelines joined by `&&` and `||`.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) first: Pipeline,
    pub(super) rest: Vec<(Link, Pipeline)>,
}

/// What joins two pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    And,
    Or,
}

/// Commands joined by `|`.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) negate: bool,
    pub(super) stages: Vec<Command>,
}

/// A command with its redirections.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) line: u32,
    pub(super) shape: Shape,
    pub(super) redirects: Vec<Redirect>,
}

/// The kinds of commands.
#[derive(Debug)]
pub(super) enum Shape {
    Simple { assigns: Vec<Assign>, words: Vec<Word> },
    Group(Script),
    Subshell(Script),
    If { arms: Vec<(Script, Script)>, otherwise: Option<Script> },
    Loop { until: bool, condition: Script, body: Script },
    For { name: Vec<u8>, words: Option<Vec<Word>>, body: Script },
    Count { init: Word, test: Word, step: Word, body: Script },
    Case { subject: Word, arms: Vec<(Vec<Word>, Script)> },
    Function { name: Vec<u8>, body: Arc<Command> },
    Test(Vec<Word>),
    Let(Word),
}

/// `name=value`, `name+=value` or `name=(a b)`.
#[derive(Debug)]
pub(super) struct Assign {
    pub(super) name: Vec<u8>,
    pub(super) append: bool,
    pub(super) value: Value,
}

/// What is assigned.
#[derive(Debug)]
pub(super) enum Value {
    One(Word),
    Many(Vec<Word>),
}

/// A redirection of descriptor `fd` (by default 0 or 1).
#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) fd: Option<u8>,
    pub(super) to: RedirectTo,
}

/// Where a redirection goes.
#[derive(Debug)]
pub(super) enum RedirectTo {
    Read(Word),
    Write(Word),
    Append(Word),
    ReadWrite(Word),
    /// `>&` and `<&`.
    Duplicate(Word),
    /// `&>` and `&>>`.
    Both(Word, bool),
    /// A here-document; its text is known when the line is over.
    Here(Arc<OnceLock<Word>>),
    HereString(Word),
}

/// A word before expansion.
#[derive(Clone, Debug, Default)]
pub(super) struct Word(pub(super) Vec<Part>);

/// A piece of a word.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Bytes that were not quoted: subject to tilde, braces and patterns.
    Plain(Vec<u8>),
    /// Quoted bytes.
    Quoted(Vec<u8>),
    /// `$name`, `${name…}`.
    Parameter { name: Vec<u8>, index: Option<Box<Word>>, change: Change, quoted: bool },
    /// `$(…)` and `` `…` ``.
    Output { script: Arc<Script>, quoted: bool },
    /// `$((…))`.
    Number { expression: Word, quoted: bool },
}

/// What is done to a parameter's value.
#[derive(Clone, Debug)]
pub(super) enum Change {
    None,
    Length,
    /// `${!name}`.
    Indirect,
    /// `:-`, `-`; the flag: also where it is empty.
    Default(Box<Word>, bool),
    Assign(Box<Word>, bool),
    Other(Box<Word>, bool),
    Complain(Box<Word>, bool),
    TrimStart(Box<Word>, bool),
    TrimEnd(Box<Word>, bool),
    Replace {
        pattern: Box<Word>,
        with: Box<Word>,
        all: bool,
    },
    Slice {
        from: Box<Word>,
        length: Option<Box<Word>>,
    },
    Upper(bool),
    Lower(bool),
}

impl Word {
    /// The bytes of a word without quotes and expansions.
    pub(super) fn plain(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [Part::Plain(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// A word of unquoted bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(vec![Part::Plain(bytes.to_vec())])
    }
}
