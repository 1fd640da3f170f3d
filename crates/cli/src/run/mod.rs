//! The composition root: which parts run together, in which order they start
//! and end.
//!
//! Start: state and store, then the doors, then what attackers see, then the
//! sources. End: honeypots and sources first, so that what they saw is drained
//! into the hub, then the doors, then the hub. Each step has a deadline; a
//! second signal ends the process at once.

mod figures;
mod honeypots;
mod outbound;
pub(crate) mod plugins;
mod shutdown;
mod uplink;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use palisade_agent::{Follow, Guidance, Intake};
use palisade_event::SensorId;
use palisade_hub::{DetectionSetup, Hub, Principal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::code;
use crate::commands::tells;
use crate::demo::Replay;
use crate::out;
use crate::settings::{Settings, detect_sources};
use honeypots::Honeypots;
use uplink::LocalUplink;

/// Longest wait for one part to end: more than the deadlines inside any part add
/// up to (the agent drains for 10 s, tries the hub for 5, ends its tasks in 5),
/// so that a part is only left behind when its own deadlines have failed.
const PART_DEADLINE: Duration = Duration::from_secs(25);

/// The runtime of the process: two worker threads at least, few blocking ones,
/// small stacks, because an idle process shall be small.
///
/// # Errors
/// The system gives no threads.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(32)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .context("cannot start the runtime")
}

/// `palisade up`: everything on this machine.
///
/// # Errors
/// A part cannot start.
pub(crate) async fn up(settings: &Settings) -> anyhow::Result<ExitCode> {
    let stop = shutdown::on_signal()?;
    let doors = CancellationToken::new();
    let Some((hub, server)) = open_unless(settings, &stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let sensor = settings.sensor();
    let here = settings.agent.detect.enabled.then(|| sensor.clone());
    hub.set_up_detection(detection(settings, here)?);
    let outbound = outbound::start(&hub, &doors)?;
    let (honeypot, pipeline) = Honeypots::open(settings).await?;
    let who = Principal::local(Some(sensor));
    hub.note_sensor_version(&who, env!("CARGO_PKG_VERSION"));
    let uplink = LocalUplink::new(hub.clone(), who);
    let guidance = Guidance {
        switches: Some(hub.switches()),
        decisions: Some(uplink.clone()),
        effect: Some(uplink.clone()),
    };
    // Before the agent tells of this machine.
    let empty = hub.status().store.events == 0;
    let agent = start_agent(settings, uplink, pipeline, guidance, &stop)?;
    server.show_metrics(figures::text(agent.metrics(), honeypot.stats(), honeypot.counters()));
    server.show_honeypot_ports(honeypot.ports());
    let tried = settings.clone();
    server.try_honeypots(move || {
        let settings = tried.clone();
        async move { tells::report(&settings).await.map_err(|error| format!("{error:#}")) }
    });
    let server = tokio::spawn(server.run(doors.clone()));
    let honeypot = tokio::spawn(honeypot.run(stop.clone()));
    let demo = settings
        .demo
        .enabled
        .then(|| tokio::spawn(replay(hub.clone(), settings.demo.rate, empty, stop.clone())));
    ready();

    stop.cancelled().await;
    tracing::info!("ending: honeypots and sources first, then the page, then the hub");
    ended("honeypots", honeypot).await;
    if let Some(demo) = demo {
        ended("demo", demo).await;
    }
    within("agent", agent.join()).await;
    doors.cancel();
    ended("page and API", server).await;
    within("forwarding", outbound.join()).await;
    within("hub", hub.close()).await;
    Ok(ExitCode::SUCCESS)
}

/// `palisade hub`: takes events, keeps and shows them.
///
/// # Errors
/// A part cannot start.
pub(crate) async fn hub(settings: &Settings) -> anyhow::Result<ExitCode> {
    let stop = shutdown::on_signal()?;
    let Some((hub, server)) = open_unless(settings, &stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    hub.set_up_detection(detection(settings, None)?);
    let outbound = outbound::start(&hub, &stop)?;
    let server = tokio::spawn(server.run(stop.clone()));
    ready();
    stop.cancelled().await;
    tracing::info!("ending: the page first, then the hub");
    ended("page and API", server).await;
    within("forwarding", outbound.join()).await;
    within("hub", hub.close()).await;
    Ok(ExitCode::SUCCESS)
}

/// `palisade agent`: watches logs and forwards.
///
/// # Errors
/// A part cannot start.
pub(crate) async fn agent(settings: &Settings) -> anyhow::Result<ExitCode> {
    let stop = shutdown::on_signal()?;
    let (_, _, pipeline) = Intake::channel(1);
    let uplink = remote_uplink(settings)?;
    let agent = start_agent(settings, uplink, pipeline, remote_guidance(settings)?, &stop)?;
    ready();
    stop.cancelled().await;
    within("agent", agent.join()).await;
    Ok(ExitCode::SUCCESS)
}

/// `palisade sensor`: honeypots alone, forwarded.
///
/// # Errors
/// A part cannot start.
pub(crate) async fn sensor(settings: &Settings) -> anyhow::Result<ExitCode> {
    let stop = shutdown::on_signal()?;
    let mut settings = settings.clone();
    settings.agent.sources.clear();
    let (mut honeypot, pipeline) = Honeypots::open(&settings).await?;
    honeypot.tell_tells(&settings);
    let uplink = remote_uplink(&settings)?;
    let guidance = remote_guidance(&settings)?;
    let agent = start(&settings.agent, &settings, uplink, pipeline, guidance, &stop)?;
    let honeypot = tokio::spawn(honeypot.run(stop.clone()));
    ready();
    stop.cancelled().await;
    ended("honeypots", honeypot).await;
    within("agent", agent.join()).await;
    Ok(ExitCode::SUCCESS)
}

/// Opens the hub, unless a signal ends the wait for its state database first.
async fn open_unless(
    settings: &Settings,
    stop: &CancellationToken,
) -> anyhow::Result<Option<(Hub, palisade_api::Server)>> {
    tokio::select! {
        opened = open_hub(settings) => opened.map(Some),
        () = stop.cancelled() => Ok(None),
    }
}

/// Opens the hub, binds its doors, and prints how to get in.
async fn open_hub(settings: &Settings) -> anyhow::Result<(Hub, palisade_api::Server)> {
    let data = settings.data_dir();
    let hub = Hub::open(&data, &settings.hub).await?;
    let mut server = palisade_api::Server::bind(&settings.api, hub.clone(), &data).await?;
    if let Some(password) = hub.bootstrap_admin(SystemTime::now().into()).await? {
        out::line(&format!("first start: sign in as admin with the password {password}"));
        out::line(
            "             (printed this once; change it with `palisade user password admin`)",
        );
    }
    if let Some(token) = hub.bootstrap_community(SystemTime::now().into()).await? {
        out::line(&format!("community user: {}", palisade_hub::COMMUNITY_USER));
        out::line(&format!("community token: {token}"));
    }
    server.listen_to_brokers(&outbound::client_tls)?;
    for address in server.addresses() {
        out::line(&format!("page and API on {}", address));
    }
    for (address, tls) in server.hpfeeds_addresses() {
        let with = if tls { " with TLS" } else { "" };
        out::line(&format!("hpfeeds broker{with} on {address}"));
    }
    if let Some(fingerprint) = server.certificate_fingerprint() {
        out::line(&format!("certificate SHA-256 {fingerprint}"));
    }
    let socket = data.join("palisade.sock");
    server
        .serve_unix(&socket)
        .with_context(|| format!("cannot open the management socket {}", socket.display()))?;
    Ok((hub, server))
}

fn remote_uplink(settings: &Settings) -> anyhow::Result<palisade_agent::HttpUplink> {
    let hub = settings.agent.hub.as_ref().context("no hub is configured in [agent.hub]")?;
    Ok(palisade_agent::HttpUplink::new(hub)?)
}

/// What the page shows of detection; `here` is the sensor whose detector runs in
/// this process.
fn detection(settings: &Settings, here: Option<SensorId>) -> anyhow::Result<DetectionSetup> {
    let config = &settings.agent.detect;
    // Jails run in the agent alone; what of them does not is told by it.
    let detector = match settings.agent.fail2ban.as_ref().filter(|_| here.is_some()) {
        Some(fail2ban) => fail2ban.load().and_then(|jails| config.detector_with(&jails, 0)),
        None => config.detector(0),
    };
    let detector = detector.map_err(|mistakes| {
        anyhow::anyhow!("the scenarios have mistakes:\n  {}", mistakes.join("\n  "))
    })?;
    let hub = config.enabled.then(|| config.hub_detector(rand::random())).transpose();
    let mut hub = hub.map_err(|mistakes| {
        anyhow::anyhow!("the scenarios of the hub have mistakes:\n  {}", mistakes.join("\n  "))
    })?;
    if let Some(hub) = &mut hub {
        hub.allowlist.set_system(palisade_agent::system_networks().networks);
    }
    Ok(DetectionSetup { detector, hub, disabled: config.disable.clone(), here })
}

/// What comes from a hub elsewhere and goes there, each over a connection of its
/// own: its decisions with its switches, and what comes of them here.
fn remote_guidance(settings: &Settings) -> anyhow::Result<Guidance<palisade_agent::HttpUplink>> {
    let (decisions, effect) = (Some(remote_uplink(settings)?), Some(remote_uplink(settings)?));
    Ok(Guidance { switches: None, decisions, effect })
}

/// Starts the agent on the configured sources, or on those found here.
fn start_agent<U: palisade_agent::Uplink, F: Follow>(
    settings: &Settings,
    uplink: U,
    events: Intake,
    guidance: Guidance<F>,
    stop: &CancellationToken,
) -> anyhow::Result<palisade_agent::Agent> {
    let mut config = settings.agent.clone();
    config.machine = true;
    if config.sources.is_empty() {
        config.sources = detect_sources();
    }
    for source in &config.sources {
        out::line(&format!("watching {source}"));
    }
    start(&config, settings, uplink, events, guidance, stop)
}

fn start<U: palisade_agent::Uplink, F: Follow>(
    config: &palisade_agent::Config,
    settings: &Settings,
    uplink: U,
    events: Intake,
    guidance: Guidance<F>,
    stop: &CancellationToken,
) -> anyhow::Result<palisade_agent::Agent> {
    let data = settings.data_dir();
    let agent = palisade_agent::Agent::guided(
        config,
        &data,
        settings.sensor(),
        uplink,
        events,
        guidance,
        stop.clone(),
    )?;
    Ok(agent)
}

/// Replays recorded attacks: on an empty store one day of them at once, so that
/// the first look has something to show, then `rate` a second.
async fn replay(hub: Hub, rate: f64, empty: bool, stop: CancellationToken) {
    let mut replay = match Replay::new() {
        Ok(replay) => replay,
        Err(error) => {
            tracing::error!(error = %error, "no demo events");
            return;
        }
    };
    let who = Principal::local(None);
    hub.mark_demo();
    if empty {
        let now = palisade_event::Timestamp::from(SystemTime::now());
        let count = replay.len() * 4;
        let day = 86_400_000.0;
        let records: Vec<Vec<u8>> = (0..count)
            .map(|index| {
                let back = day * (1.0 - tide(index as f64 / count as f64));
                replay.next(now.plus_millis(-(back as i64)))
            })
            .collect();
        deliver(&hub, &who, &records).await;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        deliver(&hub, &who, &[replay.next(SystemTime::now().into())]).await;
    }
}

/// Spreads `0..1` over `0..1` in order, here denser and there thinner, as
/// attacks come: a curve whose slope is never negative.
fn tide(x: f64) -> f64 {
    let wave = |height: f64, times: f64| {
        let turn = std::f64::consts::TAU * times;
        height * (turn * x).sin() / turn
    };
    x + wave(0.6, 2.0) + wave(0.35, 9.0)
}

async fn deliver(hub: &Hub, who: &Principal, records: &[Vec<u8>]) {
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    if let Err(error) = hub.accept(who, None, &records).await {
        tracing::warn!(error = %error, "demo events were not taken");
    }
}

/// Says that the start is over, also to systemd (sd_notify(3)).
fn ready() {
    out::line("ready");
    drop(tokio::spawn(code::give_back(code::find())));
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::debug!(error = %error, "no readiness notification");
    }
}

async fn ended(part: &'static str, task: JoinHandle<()>) {
    within(part, async {
        if let Err(error) = task.await {
            tracing::error!(part, error = %error, "a part ended badly");
        }
    })
    .await;
}

async fn within(part: &'static str, end: impl Future<Output = ()>) {
    if tokio::time::timeout(PART_DEADLINE, end).await.is_err() {
        tracing::error!(part, "did not end within 25 s and is left behind");
    }
}
