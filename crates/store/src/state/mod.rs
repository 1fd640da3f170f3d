//! State that is not events: accounts, sessions, keys, sensors, settings.
