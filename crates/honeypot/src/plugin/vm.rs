//! One Luau VM of one plug-in on one thread: what scripts may use is put in, all
//! else is taken out, memory and time are bounded.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlua::chunk::ChunkMode;
use mlua::{Lua, LuaOptions, StdLib, Value, VmState};

use super::conn::Visit;
use super::facts::Facts;
use super::fault::Fault;
use super::functions;
use super::manifest::{self, Functions, Manifest};
use super::source::{INIT, PluginName, Source};
use super::stats::PluginStats;

/// Memory of a VM without sessions, in bytes.
pub const VM_BYTES: usize = 16 * 1024 * 1024;
/// What each open session adds to that.
pub const SESSION_BYTES: usize = 32 * 1024;
/// Longest time that a script may run without waiting.
pub const MAX_RUN: Duration = Duration::from_millis(100);
/// The same for `init.luau` when it is loaded.
pub const MAX_LOAD: Duration = Duration::from_millis(500);
/// On a machine that is too busy to give the thread that time, so much of the
/// clock is waited at most.
const MAX_WALL_FACTOR: u32 = 20;
/// Calls of the interrupt between two looks at the clock.
const LOOK_EVERY: u32 = 32;
/// Deepest chain of modules that require each other.
const MAX_REQUIRE_DEPTH: usize = 16;

/// What scripts find in Luau and may not have.
const TAKEN_OUT: &[&str] = &[
    "collectgarbage",
    "gcinfo",
    "getfenv",
    "setfenv",
    "loadstring",
    "newproxy",
    "print",
    "require",
];

/// The time that a script has.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Since when it runs, and for how long at most.
    running: Cell<Option<(Instant, Duration)>>,
    /// What the thread had used of a processor at the first look: most turns end
    /// before one, and are not to ask the system for it.
    cpu: Cell<Option<Duration>>,
    calls: Cell<u32>,
    over: Cell<bool>,
}

impl Budget {
    fn begin(&self, longest: Duration) {
        self.running.set(Some((Instant::now(), longest)));
        self.cpu.set(None);
        self.calls.set(0);
        self.over.set(false);
    }

    fn end(&self) {
        self.running.set(None);
    }

    /// Whether the script has to stop.
    fn look(&self) -> bool {
        if self.over.get() {
            return true;
        }
        let calls = self.calls.get().wrapping_add(1);
        self.calls.set(calls);
        if !calls.is_multiple_of(LOOK_EVERY) {
            return false;
        }
        let Some((since, longest)) = self.running.get() else { return false };
        let passed = since.elapsed();
        let cpu = self.cpu.get().unwrap_or_else(cpu_time);
        self.cpu.set(Some(cpu));
        // The processor's time is asked for only when the clock says so.
        let over = passed > longest
            && (cpu_time().saturating_sub(cpu) > longest || passed > longest * MAX_WALL_FACTOR);
        self.over.set(over);
        over
    }
}

/// What this thread has used of a processor.
fn cpu_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(Duration::ZERO, Duration::from)
}

/// What host functions share; one for each VM.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) name: PluginName,
    pub(crate) facts: Arc<Facts>,
    pub(crate) stats: Arc<PluginStats>,
    /// Known once `init.luau` has returned.
    pub(crate) manifest: OnceCell<Arc<Manifest>>,
    /// The visit whose script runs now.
    current: RefCell<Option<Rc<Visit>>>,
    budget: Budget,
    /// The VM's own thread, in whose name the coroutines of visits run; compared
    /// with, never looked into.
    main: Cell<*const c_void>,
    /// Whether it is a transcript that talks: clock and chance are fixed.
    pub(crate) rehearsed: bool,
    files: HashMap<String, String>,
    modules: RefCell<HashMap<String, Value>>,
    loading: RefCell<Vec<String>>,
}

impl Inside {
    /// The visit whose script runs.
    ///
    /// # Errors
    /// None does: `init.luau` is being loaded.
    pub(crate) fn visit(&self, lua: &Lua) -> mlua::Result<Rc<Visit>> {
        let visit = self.current.borrow().clone().ok_or_else(|| {
            mlua::Error::runtime("this may be called while a client is served, not at load")
        })?;
        // Another coroutine than that of the visit cannot be stopped while it waits.
        if lua.current_thread().to_pointer() == self.main.get() {
            return Ok(visit);
        }
        Err(mlua::Error::runtime(
            "functions that wait belong to the coroutine of their own connection",
        ))
    }
}

/// A VM with a loaded plug-in.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) lua: Lua,
    pub(crate) inside: Rc<Inside>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) functions: Functions,
    sessions: Cell<usize>,
    /// Whether it leaks, so that new sessions need a new one.
    pub(crate) worn: Cell<bool>,
}

impl Vm {
    /// Makes a VM and runs `init.luau` in it.
    ///
    /// # Errors
    /// What is wrong with the plug-in.
    pub(crate) fn load(
        source: &Source,
        facts: Arc<Facts>,
        stats: Arc<PluginStats>,
        rehearsed: bool,
    ) -> Result<Self, Fault> {
        source.check().map_err(Fault::of)?;
        let name = source.name.as_str();
        let fault = |error: mlua::Error| Fault::of_error(name, &error);
        let libraries = StdLib::COROUTINE
            | StdLib::TABLE
            | StdLib::STRING
            | StdLib::UTF8
            | StdLib::BIT
            | StdLib::MATH
            | StdLib::BUFFER;
        let lua = Lua::new_with(libraries, LuaOptions::new()).map_err(fault)?;
        let files = source.files.iter().map(|(file, text)| (file.clone(), text.clone()));
        let inside = Rc::new(Inside {
            name: source.name.clone(),
            facts,
            stats,
            manifest: OnceCell::new(),
            current: RefCell::new(None),
            budget: Budget::default(),
            main: Cell::new(lua.current_thread().to_pointer()),
            rehearsed,
            files: files.collect(),
            modules: RefCell::default(),
            loading: RefCell::default(),
        });
        prepare(&lua, &inside).map_err(fault)?;
        lua.set_memory_limit(VM_BYTES).map_err(fault)?;
        inside.budget.begin(MAX_LOAD);
        let returned = evaluate(&lua, &inside, INIT);
        let over = inside.budget.over.get();
        inside.budget.end();
        let returned = returned.map_err(|error| {
            let mut fault = Fault::of_error(name, &error);
            if over {
                fault.what = format!("loading it takes more than {} ms", MAX_LOAD.as_millis());
            }
            fault
        })?;
        let (manifest, functions) = manifest::parse(&source.name, returned)
            .map_err(|what| Fault { what, file: Some(format!("{name}/{INIT}")), line: None })?;
        let manifest = Arc::new(manifest);
        // Empty until here.
        let _ = inside.manifest.set(Arc::clone(&manifest));
        Ok(Self {
            lua,
            inside,
            manifest,
            functions,
            sessions: Cell::new(0),
            worn: Cell::new(false),
        })
    }

    /// Runs `work`, in which the script of `visit` goes on; says whether it took
    /// too long.
    pub(crate) fn enter<R>(&self, visit: &Rc<Visit>, work: impl FnOnce() -> R) -> (R, bool) {
        let before = self.inside.current.replace(Some(Rc::clone(visit)));
        self.inside.budget.begin(MAX_RUN);
        let result = work();
        self.inside.budget.end();
        *self.inside.current.borrow_mut() = before;
        (result, self.inside.budget.over.get())
    }

    /// One session more; gives it room.
    pub(crate) fn opened(&self) {
        self.sessions.set(self.sessions.get() + 1);
        self.set_room();
    }

    /// One session less.
    pub(crate) fn closed(&self) {
        self.sessions.set(self.sessions.get().saturating_sub(1));
        self.set_room();
    }

    fn room(&self) -> usize {
        VM_BYTES + self.sessions.get().saturating_mul(SESSION_BYTES)
    }

    fn set_room(&self) {
        // Fails only for a VM with an allocator of somebody else.
        let _ = self.lua.set_memory_limit(self.room());
    }

    /// After a lack of memory: collects what can be. Where little became free
    /// the VM leaks, and new sessions get a new one.
    pub(crate) fn tidy(&self) {
        let _ = self.lua.gc_collect();
        if self.lua.used_memory() > self.room() / 2 {
            self.worn.set(true);
        }
    }
}

fn prepare(lua: &Lua, inside: &Rc<Inside>) -> mlua::Result<()> {
    let globals = lua.globals();
    for name in TAKEN_OUT {
        globals.raw_set(*name, Value::Nil)?;
    }
    functions::install(lua, inside)?;
    let shared = Rc::clone(inside);
    let require = lua.create_function(move |lua, name: String| require(lua, &shared, &name))?;
    globals.raw_set("require", require)?;
    let shared = Rc::clone(inside);
    lua.set_interrupt(move |_| {
        if shared.budget.look() {
            return Err(mlua::Error::runtime("it ran for too long without waiting"));
        }
        Ok(VmState::Continue)
    });
    lua.sandbox(true)
}

fn evaluate(lua: &Lua, inside: &Inside, file: &str) -> mlua::Result<Value> {
    let text = inside.files.get(file).map(String::as_str).unwrap_or_default();
    let name = format!("={}/{file}", inside.name);
    // Text alone: bytecode is not checked by Luau.
    lua.load(text).set_name(name).set_mode(ChunkMode::Text).eval()
}

/// A module of the same folder, evaluated once.
fn require(lua: &Lua, inside: &Inside, name: &str) -> mlua::Result<Value> {
    let file = name.strip_prefix("./").unwrap_or(name);
    let file = if file.ends_with(".luau") { file.to_owned() } else { format!("{file}.luau") };
    if let Some(module) = inside.modules.borrow().get(&file) {
        return Ok(module.clone());
    }
    if !inside.files.contains_key(&file) {
        let shown: String = file.chars().take(60).collect();
        let why = format!("there is no {} in this folder", shown.escape_default());
        return Err(mlua::Error::runtime(why));
    }
    {
        let mut loading = inside.loading.borrow_mut();
        if loading.contains(&file) || loading.len() >= MAX_REQUIRE_DEPTH {
            return Err(mlua::Error::runtime(format!("{file} requires itself")));
        }
        loading.push(file.clone());
    }
    let module = evaluate(lua, inside, &file);
    inside.loading.borrow_mut().pop();
    let module = module?;
    inside.modules.borrow_mut().insert(file, module.clone());
    Ok(module)
}
