//! Scans: who looks at many ports, or does what scanners alone do. From
//! captured packets ([`capture`], optional), accepted connections and what was
//! said in them to one `scan.detected` for each source and window
//! ([`table`]).

pub mod capture;
pub mod packet;
mod ports;
pub mod table;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_event::{AttributeValue, Endpoint, Event, EventKind, Transport, Untrusted};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::capture::Own;
use self::table::{How, Scan, Table, Touch};
use crate::ScansConfig;
use crate::service::guess;
use crate::session::Zone;

/// How often it is looked whether a scan is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a zone knows of scans.
#[derive(Debug)]
pub(crate) struct Scans {
    table: Mutex<Table>,
    pub(crate) own: Own,
}

impl Scans {
    /// Nobody yet; `served` are the ports of the services.
    pub(crate) fn new(config: &ScansConfig, served: impl IntoIterator<Item = u16>) -> Self {
        let table = Mutex::new(Table::new(config.clone(), served));
        Self { table, own: Own::default() }
    }

    /// Further ports that are served.
    pub(crate) fn serve(&self, ports: impl IntoIterator<Item = u16>) {
        self.table().serve(ports);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a touch.
    pub(crate) fn touch(&self, touch: &Touch<'_>) {
        self.table().touch(touch, Instant::now());
    }

    /// Takes from an event of a session what it tells of a scan.
    pub(crate) fn notice(&self, event: &Event) {
        let (Some(source), Some(target)) = (event.source, event.target) else { return };
        let touch = |how, tool| {
            let (source, port, target) = (source.address, target.port, target.address);
            self.touch(&Touch { source, target, port, how, tool });
        };
        let text = |name: &str| match event.attributes.get(name) {
            Some(AttributeValue::Text(text)) => text.as_utf8(),
            _ => None,
        };
        match event.kind {
            EventKind::ConnectionOpened => {
                self.own.learn(target.address);
                touch(How::Connect, text("syn_tool"));
            }
            EventKind::DataReceived => {
                if target.transport == Some(Transport::Udp) {
                    touch(How::Datagram, None);
                }
                if let Some(scanner) = text("scanner") {
                    touch(How::Version, Some(scanner));
                }
            }
            EventKind::HttpRequested | EventKind::ClientIdentified | EventKind::AuthAttempted => {
                let request = event.request.as_ref().map_or([].as_slice(), Untrusted::as_bytes);
                if let Some(scanner) = guess::scanner(request) {
                    touch(How::Version, Some(scanner));
                }
                // What `nmap -sV` asks first: no other client sends no field at all.
                if matches!(request, b"GET /" | b"OPTIONS /")
                    && text("version") == Some("HTTP/1.0")
                    && text("headers").is_some_and(|fields| fields.trim().is_empty())
                {
                    touch(How::Version, None);
                }
                let agent =
                    event.fingerprints.as_ref().and_then(|prints| prints.user_agent.as_ref());
                for client in [event.client.as_ref(), agent].into_iter().flatten() {
                    if let Some(scanner) = guess::script(client.as_bytes()) {
                        touch(How::Script, Some(scanner));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Tells the scans of a zone as they are over, and those that are left at `stop`.
pub(crate) async fn tell(zone: Arc<Zone>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => true,
            () = zone.out.closed() => return,
            _ = ticks.tick() => false,
        };
        let (told, evicted) = {
            let mut table = zone.scans.table();
            let now = Instant::now();
            let told = if ended { table.rest(now) } else { table.due(now) };
            (told, table.take_evicted())
        };
        zone.stats.scan_sources_evicted.add(evicted);
        let last = ended && told.is_empty();
        for scan in told {
            let event = event(&zone, scan);
            zone.stats.scans.increase();
            match zone.out.send(event).await {
                Ok(()) => zone.stats.events.increase(),
                Err(_) => return zone.stats.events_lost.increase(),
            }
        }
        if last {
            return;
        }
    }
}

fn event(zone: &Zone, scan: Scan) -> Event {
    let mut event = zone.event(EventKind::ScanDetected);
    let end = |address: IpAddr, port| Endpoint { port, ..Endpoint::address(address) };
    event.source = Some(end(scan.source, None));
    event.target = Some(end(scan.target, scan.port));
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let started = event.observed_at.as_millis().saturating_sub_unsigned(millis(scan.since));
    // Who never got through a handshake may have lied about where it comes from.
    let reason = if scan.connections > 0 { "connected" } else { "unanswered" };
    event = event
        .with("ports", Untrusted::from(scan.ports))
        .with("port_count", u64::from(scan.port_count))
        .with("kinds", scan.kinds.as_str())
        .with("targets", scan.targets as u64)
        .with("packets", scan.packets)
        .with("connections", scan.connections)
        .with("started_ms", started)
        .with("duration_ms", millis(scan.lasted))
        .with("reason", reason);
    if scan.connections == 0 {
        event = event.with("spoofable", true);
    }
    if let Some(tool) = scan.tool {
        event = event.with("tool", Untrusted::from(tool));
    }
    event
}
