//! When the machine is looked at: samples in short steps, what changes often in
//! longer ones, the rest seldom, devices when the kernel says so.

use std::path::Path;
use std::time::{Duration, SystemTime};

use palisade_event::{Event, HostName, SensorId, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::collector::{Collector, Due, Teller};
use super::config::InventoryConfig;
use super::plugged::Plugged;
use super::root::Root;
use crate::apart;
use crate::clock::Clocks;
use crate::health::{Health, HealthConfig};
use crate::source::{Ended, Outlet};

/// Devices that come together are looked at once, this long after the first.
const SETTLE: Duration = Duration::from_millis(500);

/// The task of the inventory.
pub(crate) struct Inventory {
    collector: Collector,
    health: Option<Health>,
    config: InventoryConfig,
    outlet: Outlet,
    clocks: Clocks,
}

/// What is to be done.
enum Turn {
    Sample,
    Collect(Due),
}

/// The name of this machine: as set, else the kernel's.
pub(crate) fn host_name(set: Option<&HostName>) -> Option<HostName> {
    set.cloned().or_else(|| {
        let name = rustix::system::uname();
        HostName::new(&name.nodename().to_string_lossy()).ok()
    })
}

impl Inventory {
    pub(crate) fn new(
        config: &InventoryConfig,
        health: &HealthConfig,
        who: (SensorId, Option<HostName>),
        folder: &Path,
        outlet: Outlet,
    ) -> Self {
        let teller = Teller { sensor: who.0, host: who.1 };
        let health = health.enabled.then(|| Health::new(health, teller.clone()));
        Self {
            collector: Collector::new(Root::here(), teller, config, folder),
            health,
            config: config.clone(),
            outlet,
            clocks: Clocks::now(),
        }
    }

    /// Runs until the agent ends.
    pub(crate) async fn run(self) {
        let cancel = self.outlet.cancel().clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = self.look_around() => {}
        }
    }

    async fn look_around(mut self) {
        let every = |seconds: u64| Duration::from_secs(seconds.max(1));
        let mut samples = interval(every(self.config.sample_secs));
        // The first section tells how busy the machine is, so samples come first.
        let begin = Instant::now() + Duration::from_millis(200);
        let mut often = interval_at(begin, every(self.config.often_secs));
        let mut seldom = interval_at(begin, every(self.config.seldom_secs));
        for timer in [&mut samples, &mut often, &mut seldom] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut plugged = Plugged::listen().map_err(|error| {
            tracing::info!(%error, "the kernel's messages about devices cannot be heard; they are looked for each minute");
        }).ok();
        loop {
            let heard = async {
                match &plugged {
                    Some(plugged) => plugged.happened().await,
                    None => std::future::pending().await,
                }
            };
            let turn = tokio::select! {
                biased;
                _ = samples.tick() => Turn::Sample,
                _ = often.tick() => Turn::Collect(Due::Often),
                _ = seldom.tick() => Turn::Collect(Due::Seldom),
                heard = heard => match heard {
                    Ok(()) => {
                        tokio::time::sleep(SETTLE).await;
                        Turn::Collect(Due::Devices)
                    }
                    Err(error) => {
                        tracing::info!(%error, "the kernel's messages about devices cannot be heard any more");
                        plugged = None;
                        continue;
                    }
                },
            };
            self = match self.turn(turn).await {
                Ok(own) => own,
                Err(Ended) => return,
            };
        }
    }

    /// One look, on a thread that may block, and its events into the pipeline.
    async fn turn(self, turn: Turn) -> Result<Self, Ended> {
        let is_collected = matches!(turn, Turn::Collect(_));
        let (mut own, events) = self.blocking(move |own| own.look(&turn)).await?;
        for event in events {
            own.outlet.event(event).await?;
        }
        if is_collected {
            own.outlet.reached().await?;
            (own, ()) = own.blocking(|own| own.collector.save()).await?;
        }
        Ok(own)
    }

    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> Result<(Self, T), Ended> {
        apart::blocking(self, "the machine cannot be looked at any more", work).await
    }

    fn look(&mut self, turn: &Turn) -> Vec<Event> {
        let now = Timestamp::from(SystemTime::now());
        match turn {
            Turn::Collect(due) => {
                let mut events = self.collector.collect(*due, now);
                if let (Some(health), Some(failed), Due::Often) =
                    (&mut self.health, self.collector.failed_units(), due)
                {
                    events.extend(health.units(failed, now));
                }
                events
            }
            Turn::Sample => {
                let step = self.clocks.step();
                let (sample, event) = self.collector.sample(step, now);
                let mut events = vec![event];
                if let Some(health) = &mut self.health {
                    events.extend(health.sample(&sample, now));
                }
                events
            }
        }
    }
}
