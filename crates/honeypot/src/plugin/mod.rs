//! Plug-ins: services written in Luau by whoever runs Palisade.
//!
//! [`source`] is the text of a plug-in, [`vm`] one VM of it on one thread (memory
//! and time bounded, nothing of the machine in reach), [`run`] the coroutine of
//! one visit, [`conn`], [`tell`] and [`tools`] what it can call ([`functions`]
//! lists and documents all of it). A script talks to a stranger through the same
//! stream and tells through the same session as a service written in Rust.
//! [`rehearse`] plays transcripts instead, without a network.

mod change;
mod columns;
mod conn;
mod datagram;
mod dialog;
mod facts;
mod fault;
mod functions;
mod manifest;
mod pool;
mod rehearse;
mod run;
mod shared;
mod source;
mod stats;
mod tell;
mod tools;
pub mod transcript;
mod vm;
mod wire;

pub use change::{Change, Order, Served};
pub(crate) use change::{Room, place};
pub use columns::{
    Column, ColumnType, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS, MAX_ROW_BYTES, MAX_VALUE_BYTES,
    RefusedRow,
};
pub(crate) use conn::Visit;
pub(crate) use datagram::{answer as answer_datagram, session as datagram_session};
pub(crate) use facts::Facts;
pub use fault::Fault;
pub use functions::{ALL as HOST_FUNCTIONS, HostFunction, reference};
pub use manifest::{API, MAX_PORTS, Manifest};
pub(crate) use pool::{MAX_WAITING, Pool};
pub use rehearse::{Played, check, play, test};
pub(crate) use run::serve;
pub use shared::Plugins;
pub(crate) use shared::{Local, Plugin};
pub use source::{
    Found, INIT, MAX_FILES, MAX_NAME_BYTES, MAX_SOURCE_BYTES, Origin, PluginName, Source, folders,
    read_all,
};
pub use vm::{MAX_LOAD, MAX_RUN, SESSION_BYTES, VM_BYTES};
pub(crate) use wire::Wire;
