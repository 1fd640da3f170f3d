//! Settings of health (`[agent.health]`).

use serde::{Deserialize, Serialize};

use super::watch::Level;

/// When a value is in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// From here on it is a warning; unset: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<f64>,
    /// From here on it is an alert; unset: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<f64>,
    /// Seconds that it must stay there, or below, before it is told. Default 60.
    #[serde(default = "hold")]
    pub hold_secs: u64,
    /// How far below a threshold it must fall to be well again, in its own unit.
    /// Default 5.
    #[serde(default = "margin")]
    pub margin: f64,
}

fn hold() -> u64 {
    60
}

fn margin() -> f64 {
    5.0
}

impl Threshold {
    const fn new(warning: Option<f64>, alert: Option<f64>, hold_secs: u64, margin: f64) -> Self {
        Self { warning, alert, hold_secs, margin }
    }

    /// The level of a value, where `told` is the one that was told: to leave it the
    /// value must fall below its threshold by the margin.
    pub(super) fn level(&self, value: f64, told: Option<Level>) -> Option<Level> {
        let over = |bound: Option<f64>, level: Level| {
            let slack = if told >= Some(level) { self.margin } else { 0.0 };
            bound.is_some_and(|bound| value >= bound - slack)
        };
        if over(self.alert, Level::Alert) {
            Some(Level::Alert)
        } else if over(self.warning, Level::Warning) {
            Some(Level::Warning)
        } else {
            None
        }
    }

    /// Whether a value is beyond any threshold.
    pub(super) fn is_over(&self, value: f64) -> bool {
        self.level(value, None).is_some()
    }
}

/// Sets of thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthPreset {
    /// For servers that may work hard: trouble is what lasts.
    #[default]
    Standard,
    /// Those of Glimpse: processors over 40 %, memory over 50 and 80 %.
    Glimpse,
}

/// What is called healthy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Whether trouble is told. Needs the inventory.
    pub enabled: bool,
    /// Thresholds where none are set.
    pub preset: HealthPreset,
    /// Whether units of systemd that have failed are trouble.
    pub units: bool,
    /// Use of the processors, per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Threshold>,
    /// Use of memory, per cent of what is there; what can be freed is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Threshold>,
    /// Use of swap, per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Threshold>,
    /// Use of each disk, per cent of what users may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Threshold>,
    /// Files of each disk, per cent of those that it can have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes: Option<Threshold>,
    /// Load of five minutes, a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Threshold>,
    /// Milliseconds by which the clock was set at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Threshold>,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            preset: HealthPreset::default(),
            units: true,
            cpu: None,
            memory: None,
            swap: None,
            disk: None,
            inodes: None,
            load: None,
            clock: None,
        }
    }
}

impl HealthConfig {
    fn glimpse(&self) -> bool {
        self.preset == HealthPreset::Glimpse
    }

    pub(super) fn cpu(&self) -> Threshold {
        let preset = match self.glimpse() {
            true => Threshold::new(Some(40.0), None, 60, 5.0),
            false => Threshold::new(Some(90.0), Some(98.0), 300, 10.0),
        };
        self.cpu.unwrap_or(preset)
    }

    pub(super) fn memory(&self) -> Threshold {
        let preset = match self.glimpse() {
            true => Threshold::new(Some(50.0), Some(80.0), 60, 5.0),
            false => Threshold::new(Some(90.0), Some(97.0), 120, 5.0),
        };
        self.memory.unwrap_or(preset)
    }

    pub(super) fn swap(&self) -> Threshold {
        self.swap.unwrap_or(Threshold::new(Some(60.0), Some(90.0), 300, 10.0))
    }

    pub(super) fn disk(&self) -> Threshold {
        self.disk.unwrap_or(Threshold::new(Some(85.0), Some(95.0), 60, 2.0))
    }

    pub(super) fn inodes(&self) -> Threshold {
        self.inodes.unwrap_or(Threshold::new(Some(85.0), Some(95.0), 60, 2.0))
    }

    pub(super) fn load(&self) -> Threshold {
        self.load.unwrap_or(Threshold::new(Some(2.0), Some(5.0), 300, 0.5))
    }

    pub(super) fn clock(&self) -> Threshold {
        // It was set, and that is all: told at once, over with the next sample.
        self.clock.unwrap_or(Threshold::new(Some(2_000.0), Some(60_000.0), 0, 0.0))
    }

    /// Mistakes, one sentence each.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (name, threshold, most) in [
            ("cpu", self.cpu, 100.0),
            ("memory", self.memory, 100.0),
            ("swap", self.swap, 100.0),
            ("disk", self.disk, 100.0),
            ("inodes", self.inodes, 100.0),
            ("load", self.load, 100_000.0),
            ("clock", self.clock, 1e15),
        ] {
            let Some(Threshold { warning, alert, hold_secs, margin }) = threshold else { continue };
            let good = |value: f64| value.is_finite() && (0.0..=most).contains(&value);
            if !warning.is_none_or(good) || !alert.is_none_or(good) || !good(margin) {
                mistakes.push(format!("health: {name}: values must be between 0 and {most}"));
            }
            if warning.zip(alert).is_some_and(|(warning, alert)| warning > alert) {
                mistakes.push(format!("health: {name}: warning must not be above alert"));
            }
            if hold_secs > 86_400 {
                mistakes.push(format!("health: {name}: hold_secs must be at most 86400"));
            }
        }
        mistakes
    }
}
