//! Walks the tree: lists, pipelines, conditions, loops, functions. Every step
//! is charged to the line's budget, so that every walk ends.

use std::sync::Arc;

use super::ast::{Assign, Chain, Command, Link, Pipeline, Script, Shape, Value, Word};
use super::budget::MAX_DEPTH;
use super::io::Target;
use super::{Flavor, Flow, Shell, pattern};

impl Shell {
    /// Runs a script; its result is `status`.
    pub(super) fn run_script(&mut self, script: &Script) -> Result<(), Flow> {
        for item in script {
            self.step()?;
            if !item.background {
                self.run_chain(&item.chain)?;
                continue;
            }
            // It "runs" meanwhile: its time does not count.
            let before = self.budget.virtual_ms;
            let saved = self.enter_subshell();
            let flow = self.run_chain(&item.chain);
            self.leave_subshell(saved);
            self.budget.virtual_ms = before;
            self.last_background = self.next_pid();
            if self.interactive() {
                self.jobs += 1;
                let text = format!("[{}] {}\n", self.jobs, self.last_background);
                self.err(text.as_bytes());
            }
            self.status = 0;
            match flow {
                Err(Flow::Stop) => return Err(Flow::Stop),
                _ => continue,
            }
        }
        Ok(())
    }

    pub(super) fn step(&mut self) -> Result<(), Flow> {
        if self.budget.take(1) { Ok(()) } else { Err(Flow::Stop) }
    }

    /// Does `work` one level deeper. What is nested too deep looks like a
    /// system without processes left.
    pub(super) fn deeper<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Flow>,
    ) -> Result<T, Flow> {
        if self.budget.depth >= MAX_DEPTH {
            let message: &[u8] = match self.flavor {
                Flavor::Bash => b"fork: retry: Resource temporarily unavailable",
                Flavor::Dash => b"Cannot fork",
                Flavor::Ash => b"can't fork: Resource temporarily unavailable",
            };
            self.complain(message);
            self.status = 254;
            self.budget.spend();
            return Err(Flow::Stop);
        }
        self.budget.depth += 1;
        let result = work(self);
        self.budget.depth -= 1;
        result
    }

    fn run_chain(&mut self, chain: &Chain) -> Result<(), Flow> {
        self.run_pipeline(&chain.first)?;
        for (link, pipeline) in &chain.rest {
            if (*link == Link::And) == (self.status == 0) {
                self.run_pipeline(pipeline)?;
            }
        }
        Ok(())
    }

    fn run_pipeline(&mut self, pipeline: &Pipeline) -> Result<(), Flow> {
        if let [only] = pipeline.stages.as_slice() {
            self.run_command(only)?;
        } else {
            self.run_stages(pipeline)?;
        }
        if pipeline.negate {
            self.status = u8::from(self.status == 0);
        }
        Ok(())
    }

    fn run_stages(&mut self, pipeline: &Pipeline) -> Result<(), Flow> {
        let mut piped: Option<Vec<u8>> = None;
        let last = pipeline.stages.len().saturating_sub(1);
        for (index, stage) in pipeline.stages.iter().enumerate() {
            self.step()?;
            let saved = self.enter_subshell();
            let stdin = piped.take().map(|bytes| self.swap_stdin(bytes));
            let flow = if index == last {
                self.run_command(stage)
            } else {
                let capture = self.begin_capture();
                let flow = self.run_command(stage);
                piped = Some(self.end_capture(capture));
                flow
            };
            if let Some(stdin) = stdin {
                self.stdin = stdin;
            }
            self.leave_subshell(saved);
            match flow {
                // Leaving a stage leaves no more than the stage.
                Ok(()) | Err(Flow::Exit | Flow::Return | Flow::Abort) => {}
                Err(Flow::Break(_) | Flow::Continue(_)) => {}
                Err(Flow::Stop) => return Err(Flow::Stop),
            }
        }
        Ok(())
    }

    /// What a script prints, without the line ends at its end.
    pub(super) fn output_of(&mut self, script: &Arc<Script>) -> Result<Vec<u8>, Flow> {
        let script = Arc::clone(script);
        self.deeper(|shell| {
            let saved = shell.enter_subshell();
            let capture = shell.begin_capture();
            let flow = shell.run_script(&script);
            let mut text = shell.end_capture(capture);
            shell.leave_subshell(saved);
            if matches!(flow, Err(Flow::Stop)) {
                return Err(Flow::Stop);
            }
            while text.last() == Some(&b'\n') {
                text.pop();
            }
            text.retain(|byte| *byte != 0);
            Ok(text)
        })
    }

    pub(super) fn run_command(&mut self, command: &Command) -> Result<(), Flow> {
        self.line = command.line;
        if command.redirects.is_empty() {
            return self.run_shape(command);
        }
        let saved = self.save_io();
        let result = match self.redirect(&command.redirects) {
            Ok(()) => {
                // `exec > file` keeps its redirections.
                if let Shape::Simple { words, .. } = &command.shape
                    && let [word] = words.as_slice()
                    && word.plain() == Some(b"exec")
                {
                    self.status = 0;
                    self.replaced.pop();
                    return Ok(());
                }
                self.run_shape(command)
            }
            Err(None) => {
                self.status = if self.flavor == Flavor::Bash { 1 } else { 2 };
                Ok(())
            }
            Err(Some(flow)) => Err(flow),
        };
        self.restore_io(saved);
        result
    }

    fn run_shape(&mut self, command: &Command) -> Result<(), Flow> {
        match &command.shape {
            Shape::Simple { assigns, words } => self.simple(assigns, words),
            Shape::Group(script) => self.deeper(|shell| shell.run_script(script)),
            Shape::Subshell(script) => self.deeper(|shell| {
                let saved = shell.enter_subshell();
                let flow = shell.run_script(script);
                shell.leave_subshell(saved);
                match flow {
                    Err(Flow::Stop) => Err(Flow::Stop),
                    _ => Ok(()),
                }
            }),
            Shape::If { arms, otherwise } => self.deeper(|shell| {
                for (condition, body) in arms {
                    shell.run_script(condition)?;
                    if shell.status == 0 {
                        return shell.run_script(body);
                    }
                }
                match otherwise {
                    Some(body) => shell.run_script(body),
                    None => {
                        shell.status = 0;
                        Ok(())
                    }
                }
            }),
            Shape::Loop { until, condition, body } => self.deeper(|shell| {
                let mut status = 0;
                loop {
                    shell.step()?;
                    shell.run_script(condition)?;
                    if (shell.status == 0) == *until {
                        shell.status = status;
                        return Ok(());
                    }
                    let flow = shell.run_script(body);
                    if shell.ends_loop(flow)? {
                        return Ok(());
                    }
                    status = shell.status;
                }
            }),
            Shape::For { name, words, body } => {
                let values = match words {
                    Some(words) => self.fields(words)?,
                    None => self.parameters.clone(),
                };
                self.deeper(|shell| {
                    shell.status = 0;
                    for value in values {
                        shell.step()?;
                        shell.assign(name, value);
                        let flow = shell.run_script(body);
                        if shell.ends_loop(flow)? {
                            break;
                        }
                    }
                    Ok(())
                })
            }
            Shape::Count { init, test, step, body } => self.deeper(|shell| {
                shell.number(init)?;
                loop {
                    shell.step()?;
                    let test_text = shell.one(test)?;
                    if !test_text.trim_ascii().is_empty() && shell.calculate(&test_text)? == 0 {
                        return Ok(());
                    }
                    let flow = shell.run_script(body);
                    if shell.ends_loop(flow)? {
                        return Ok(());
                    }
                    shell.number(step)?;
                }
            }),
            Shape::Case { subject, arms } => {
                let subject = self.one(subject)?;
                self.status = 0;
                for (patterns, body) in arms {
                    for word in patterns {
                        let pattern = self.pattern(word)?;
                        self.charge(subject.len() + pattern.len())?;
                        if pattern::matches(&pattern, &subject) {
                            return self.deeper(|shell| shell.run_script(body));
                        }
                    }
                }
                Ok(())
            }
            Shape::Function { name, body } => {
                self.define(name, body);
                self.status = 0;
                Ok(())
            }
            Shape::Test(words) => {
                let mut plain = Vec::with_capacity(words.len());
                let mut compares = false;
                for word in words {
                    let text = if compares { self.pattern(word)? } else { self.one(word)? };
                    compares = matches!(word.plain(), Some(b"==" | b"=" | b"!="));
                    plain.push(text);
                }
                self.status = super::test::double(self, &plain);
                Ok(())
            }
            Shape::Let(word) => {
                let value = self.number(word)?;
                self.status = u8::from(value == 0);
                Ok(())
            }
        }
    }

    fn number(&mut self, word: &Word) -> Result<i64, Flow> {
        let text = self.one(word)?;
        self.calculate(&text)
    }

    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Flow> {
        if self.budget.work(bytes) { Ok(()) } else { Err(Flow::Stop) }
    }

    /// What a body's end means for its loop: whether it is over.
    fn ends_loop(&mut self, flow: Result<(), Flow>) -> Result<bool, Flow> {
        match flow {
            Ok(()) | Err(Flow::Continue(0 | 1)) => Ok(false),
            Err(Flow::Break(0 | 1)) => {
                self.status = 0;
                Ok(true)
            }
            Err(Flow::Break(levels)) => Err(Flow::Break(levels - 1)),
            Err(Flow::Continue(levels)) => Err(Flow::Continue(levels - 1)),
            Err(other) => Err(other),
        }
    }

    fn simple(&mut self, assigns: &[Assign], words: &[Word]) -> Result<(), Flow> {
        let fields = self.fields(words)?;
        if fields.is_empty() {
            self.status = 0;
            return self.assign_all(assigns);
        }
        if assigns.is_empty() {
            return self.invoke(fields);
        }
        // For this command alone.
        let before: Vec<_> = assigns
            .iter()
            .map(|assign| (assign.name.clone(), self.variables.get(&assign.name).cloned()))
            .collect();
        self.assign_all(assigns)?;
        for assign in assigns {
            if let Some(variable) = self.variables.get_mut(&assign.name) {
                variable.exported = true;
            }
        }
        let result = self.invoke(fields);
        for (name, variable) in before {
            match variable {
                Some(variable) => self.variables.insert(name, variable),
                None => self.variables.remove(&name),
            };
        }
        result
    }

    fn assign_all(&mut self, assigns: &[Assign]) -> Result<(), Flow> {
        for assign in assigns {
            let before = if assign.append { self.array(&assign.name) } else { Vec::new() };
            match &assign.value {
                Value::One(word) => {
                    let mut value = before.first().cloned().unwrap_or_default();
                    value.extend(self.one(word)?);
                    self.assign(&assign.name, value);
                }
                Value::Many(words) => {
                    let mut items = before;
                    items.extend(self.fields(words)?);
                    self.assign_array(&assign.name, items);
                }
            }
        }
        Ok(())
    }

    /// Calls a function of the session's own.
    pub(super) fn call_function(
        &mut self,
        body: &Arc<Command>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<(), Flow> {
        let body = Arc::clone(body);
        self.deeper(|shell| {
            let parameters = std::mem::replace(&mut shell.parameters, arguments);
            shell.locals.push(Vec::new());
            let flow = shell.run_command(&body);
            for (name, variable) in shell.locals.pop().unwrap_or_default() {
                match variable {
                    Some(variable) => shell.variables.insert(name, variable),
                    None => shell.variables.remove(&name),
                };
            }
            shell.parameters = parameters;
            match flow {
                Err(Flow::Return) => Ok(()),
                other => other,
            }
        })
    }

    /// Runs the text of a script in this shell, as `eval` and `.` do.
    pub(super) fn run_text(&mut self, text: &[u8]) -> Result<(), Flow> {
        self.charge(text.len())?;
        match super::parser::parse(text) {
            Ok(script) => self.deeper(|shell| shell.run_script(&script)),
            Err(error) => {
                self.syntax_error(&error, text);
                self.status = 2;
                Ok(())
            }
        }
    }

    /// Runs a script in a shell of its own: `sh file`, `bash -c`, `./file`.
    pub(super) fn run_child(
        &mut self,
        flavor: Flavor,
        label: Vec<u8>,
        text: &[u8],
        arguments: Vec<Vec<u8>>,
    ) -> Result<(), Flow> {
        if !self.budget.work(text.len()) {
            return Err(Flow::Stop);
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let script = match super::parser::parse(text) {
            Ok(script) => Some(script),
            Err(error) => {
                let (before, old) =
                    (std::mem::replace(&mut self.flavor, flavor), self.level.clone());
                self.level.label = label.clone();
                self.level.script = true;
                self.syntax_error(&error, text);
                (self.flavor, self.level) = (before, old);
                self.status = 2;
                None
            }
        };
        let Some(script) = script else { return Ok(()) };
        self.deeper(|shell| {
            let saved = shell.enter_subshell();
            let (before, level) =
                (std::mem::replace(&mut shell.flavor, flavor), shell.level.clone());
            shell.level.label = label;
            shell.level.script = true;
            shell.variables.retain(|_, variable| variable.exported);
            shell.functions.clear();
            shell.parameters = arguments;
            let flow = shell.run_script(&script);
            (shell.flavor, shell.level) = (before, level);
            shell.leave_subshell(saved);
            match flow {
                Err(Flow::Stop) => Err(Flow::Stop),
                _ => Ok(()),
            }
        })
    }

    /// Whether descriptor 1 is the terminal.
    pub(super) fn to_terminal(&self) -> bool {
        self.tty && matches!(self.fds.first(), Some(Target::Buffer(0)))
    }
}
