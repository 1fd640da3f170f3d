//! Transports of outbound forwarding: what is said to a far side that is no
//! Palisade hub, and to webhooks on decisions. Queues, repetition and order are the hub's business.

mod dshield;
mod ews;
mod hpfeeds;
mod http;
mod webhook;

pub use dshield::Dshield;
pub use ews::Ews;
pub use hpfeeds::Hpfeeds;
pub use webhook::{Slack, Webhook};
