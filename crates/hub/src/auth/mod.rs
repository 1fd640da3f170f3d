//! Who asks, and what they may do. Credentials are checked here and nowhere else.

mod principal;

pub use principal::{Permission, Principal};
