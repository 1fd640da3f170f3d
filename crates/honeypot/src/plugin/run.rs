//! Runs the script of one visit: a coroutine that is polled like any other
//! future, with a budget for each turn.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use mlua::{Function, Value};
use palisade_event::{EventKind, Untrusted};

use super::conn::{Conn, Ended, Visit};
use super::fault::Fault;
use super::shared::Local;
use super::source::PluginName;
use super::stats::PluginStats;
use super::vm::{MAX_RUN, Vm};
use crate::{Closed, Session};

/// A session that counts in its VM while it lives.
struct Counted<'a>(&'a Vm);

impl<'a> Counted<'a> {
    fn new(vm: &'a Vm) -> Self {
        vm.opened();
        Self(vm)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// Runs `function` of a plug-in for a visit until it returns.
///
/// # Errors
/// Why it did not come to its end.
pub(crate) async fn converse(
    vm: &Vm,
    visit: &Rc<Visit>,
    function: &Function,
    argument: Value,
) -> Result<Value, Ended> {
    let _counted = Counted::new(vm);
    let name = vm.inside.name.as_str();
    let fault = |error: &mlua::Error| {
        let fault = Fault::of_error(name, error);
        if is_of_memory(error) {
            vm.tidy();
        }
        Ended::Fault(fault)
    };
    let mut running = function.call_async::<Value>(argument);
    poll_fn(|cx| {
        if vm.inside.stats.rests() {
            let what = "it ran for too long again and again, and rests for some seconds";
            return Poll::Ready(Err(Ended::Fault(Fault::of(what))));
        }
        let (polled, over) = vm.enter(visit, || Pin::new(&mut running).poll(cx));
        if over {
            vm.inside.stats.overran(Instant::now());
            let at = match &polled {
                Poll::Ready(Err(error)) => Fault::of_error(name, error),
                _ => Fault::of(""),
            };
            let what = format!("it ran for more than {} ms without waiting", MAX_RUN.as_millis());
            return Poll::Ready(Err(Ended::Fault(Fault { what, ..at })));
        }
        if let Some(ended) = visit.take_ended() {
            return Poll::Ready(Err(ended));
        }
        if polled.is_pending() && !visit.waits() {
            let what = "it yields outside of a coroutine of its own, where nobody resumes it";
            return Poll::Ready(Err(Ended::Fault(Fault::of(what))));
        }
        polled.map(|result| result.map_err(|error| fault(&error)))
    })
    .await
}

fn is_of_memory(error: &mlua::Error) -> bool {
    match error {
        mlua::Error::MemoryError(_) => true,
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => {
            is_of_memory(cause)
        }
        mlua::Error::RuntimeError(text) => text.contains("not enough memory"),
        _ => false,
    }
}

/// Serves a connection; a fault is told. The parts of `visit` stay with it.
///
/// # Errors
/// [`Closed`]: why the session has ended, where the script did not end it.
pub(crate) async fn serve(local: &Local, visit: &Rc<Visit>) -> Result<(), Closed> {
    let vm = local.vm();
    let ended = match &vm {
        Ok(vm) => talk(vm, visit).await,
        Err(fault) => Err(Ended::Fault(fault.clone())),
    };
    if let (true, Ok(vm)) = (visit.waits(), &vm) {
        // A call that could not wait, such as in a comparator, is left behind by
        // the error; with it go the parts that it has.
        let _ = vm.lua.gc_collect();
    }
    match ended {
        Ok(()) if visit.client_left() => Err(Closed::ClientClosed),
        Ok(()) | Err(Ended::Closed(Closed::Completed)) => Ok(()),
        Err(Ended::Closed(why)) => Err(why),
        Err(Ended::Fault(fault)) => {
            if let Ok(mut parts) = visit.take() {
                // In a box: else every session has the room for it.
                Box::pin(local.plugin.tell_fault(&mut parts.session, &fault)).await?;
            }
            Err(Closed::Failed)
        }
    }
}

/// Runs `serve(conn)`.
///
/// # Errors
/// Why it did not come to its end.
pub(crate) async fn talk(vm: &Vm, visit: &Rc<Visit>) -> Result<(), Ended> {
    let Some(function) = &vm.functions.serve else {
        return Err(Ended::Fault(Fault::of("there is no function serve(conn)")));
    };
    let conn = vm.lua.create_userdata(Conn(Rc::clone(visit), Rc::clone(&vm.inside)));
    let conn =
        conn.map_err(|error| Ended::Fault(Fault::of_error(vm.inside.name.as_str(), &error)))?;
    converse(vm, visit, function, Value::UserData(conn)).await.map(drop)
}

/// Counts a fault, and tells it as an event unless there were too many.
pub(crate) async fn tell_fault(
    stats: &PluginStats,
    name: &PluginName,
    session: &mut Session,
    fault: &Fault,
) -> Result<(), Closed> {
    if !stats.fault(fault, Instant::now()) {
        return Ok(());
    }
    tracing::warn!(plugin = %name, fault = %Untrusted::from(fault.to_string().as_str()), "a plug-in has failed in a session");
    let mut event = session
        .event(EventKind::PluginFailed)
        .with("plugin", name.as_str())
        .with("reason", Untrusted::from(fault.what.as_str()));
    if let (Some(file), Some(line)) = (&fault.file, fault.line) {
        event = event.with("file", file.as_str()).with("line", i64::from(line));
    }
    session.emit(event).await
}
