//! Dialects of others, each thin: what their clients send becomes events, what
//! they ask for is answered as they expect it.

pub(crate) mod ews;
pub(crate) mod hpfeeds;
pub(crate) mod peba;
