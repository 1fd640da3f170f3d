//! One listening socket: takes connections while there are permits, gives each
//! a session and a task, and says when it opened and closed.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as BoundListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use palisade_event::{Category, EventKind};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fingerprint::{self, Fingerprint, Syn};
use crate::permits::{AddressPermit, GlobalPermit, Permits};
use crate::plugin::{self, Wire};
use crate::proxy::{self, Header};
use crate::service::{Service, catch_all};
use crate::session::{Session, Zone};
use crate::stream::{Closed, Stream, Traffic};
use crate::tls::{self, Tls};
use crate::{Limits, ProxyMode, Refusal, ServiceKind, TrustedProxy};

/// Pause after accept(2) failed, such as for want of file descriptors; doubled
/// up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(10);
/// Longest such pause.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// How often refusals are logged at most; a flood must not fill the log.
const REFUSAL_LOG_EVERY: Duration = Duration::from_secs(10);
/// Time a proxy has to send its header.
const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// What serves one socket.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) kind: ServiceKind,
    pub(crate) service: Service,
    pub(crate) tls: Option<Tls>,
    /// What a plug-in may begin TLS with.
    pub(crate) certificate: Option<Tls>,
    pub(crate) category: Option<Category>,
    pub(crate) proxy_protocol: ProxyMode,
    pub(crate) trusted_proxies: Arc<[TrustedProxy]>,
    pub(crate) zone: Arc<Zone>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) limits: Arc<Limits>,
    /// Lets nobody in any more; sessions go on.
    pub(crate) retire: CancellationToken,
}

/// Where the tasks of connections run.
pub(crate) trait Host {
    /// Starts the task of a visit.
    fn visit(&self, sessions: &mut JoinSet<()>, visit: Visit);
    /// Starts the task of one that is known when a proxy has spoken.
    fn coming(
        &self,
        sessions: &mut JoinSet<()>,
        coming: impl Future<Output = Option<Visit>> + Send + 'static,
    );
}

/// On any thread of the runtime.
#[derive(Debug)]
pub(crate) struct Anywhere;

impl Host for Anywhere {
    fn visit(&self, sessions: &mut JoinSet<()>, visit: Visit) {
        sessions.spawn(Box::new(visit).run());
    }

    fn coming(
        &self,
        sessions: &mut JoinSet<()>,
        coming: impl Future<Output = Option<Visit>> + Send + 'static,
    ) {
        sessions.spawn(async move {
            if let Some(visit) = coming.await {
                // In a box: else the largest state of a visit is part of every
                // wait for a header.
                Box::pin(Box::new(visit).run()).await;
            }
        });
    }
}

/// On the thread that has the VM of a plug-in.
#[derive(Debug)]
pub(crate) struct OnPluginThread(pub(crate) Rc<plugin::Local>);

impl Host for OnPluginThread {
    fn visit(&self, sessions: &mut JoinSet<()>, visit: Visit) {
        sessions.spawn_local(Box::new(visit).run_plugin(Rc::clone(&self.0)));
    }

    fn coming(
        &self,
        sessions: &mut JoinSet<()>,
        coming: impl Future<Output = Option<Visit>> + Send + 'static,
    ) {
        let local = Rc::clone(&self.0);
        sessions.spawn_local(async move {
            if let Some(visit) = coming.await {
                Box::pin(Box::new(visit).run_plugin(local)).await;
            }
        });
    }
}

/// What one connection needs; owned by its task.
pub(crate) struct Visit {
    socket: TcpStream,
    early: Vec<u8>,
    peer: SocketAddr,
    local: SocketAddr,
    proxied: bool,
    /// Where it came in.
    door: Arc<Listener>,
    end: CancellationToken,
    /// Given back when the visit is over.
    permits: (GlobalPermit, AddressPermit),
}

impl Listener {
    /// Accepts until `end` or until nobody takes events; then see
    /// [`crate::Honeypot::run`].
    pub(crate) async fn run(
        self,
        socket: BoundListener,
        end: CancellationToken,
        shutdown: Duration,
        host: impl Host,
    ) {
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, service = %self.kind, "cannot serve connections");
                return;
            }
        };
        let this = Arc::new(self);
        let mut sessions = JoinSet::new();
        let mut refusals = RefusalLog::new(this.kind);
        let mut backoff = MIN_BACKOFF;
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                () = this.zone.out.closed() => break,
                () = this.retire.cancelled() => break,
                Some(ended) = sessions.join_next() => this.joined(ended),
                accepted = socket.accept() => match accepted {
                    Ok((socket, peer)) => {
                        backoff = MIN_BACKOFF;
                        this.take(socket, peer, &end, (&mut sessions, &host), &mut refusals);
                    }
                    Err(error) if is_clients_fault(&error) => {}
                    Err(error) => {
                        this.zone.stats.accept_errors.increase();
                        tracing::error!(%error, service = %this.kind, "cannot accept connections");
                        // The connection stays in the backlog: trying again at
                        // once would only burn the processor.
                        tokio::select! {
                            () = end.cancelled() => break,
                            () = tokio::time::sleep(backoff) => {}
                        }
                        backoff = (backoff * 2).min(MAX_BACKOFF);
                    }
                },
            }
        }
        if this.retire.is_cancelled() && !end.is_cancelled() {
            // Those who came before the port was given up are served.
            let now = |cx: &mut Context<'_>| Poll::Ready(socket.poll_accept(cx));
            while let Poll::Ready(Ok((socket, peer))) = poll_fn(now).await {
                this.take(socket, peer, &end, (&mut sessions, &host), &mut refusals);
            }
        }
        drop(socket);
        if this.retire.is_cancelled() {
            // Another one lets in who comes now; these stay until they go.
            loop {
                tokio::select! {
                    biased;
                    () = end.cancelled() => break,
                    () = this.zone.out.closed() => break,
                    ended = sessions.join_next() => match ended {
                        Some(ended) => this.joined(ended),
                        None => break,
                    },
                }
            }
        }
        end.cancel();
        let (zone, kind) = (&this.zone, this.kind);
        let drained = tokio::time::timeout(shutdown, async {
            while let Some(ended) = sessions.join_next().await {
                count_panic(zone, ended);
            }
        });
        if drained.await.is_err() {
            let open = sessions.len();
            tracing::error!(open, service = %kind, "sessions did not end in time and were cut off");
            (0..open).for_each(|_| zone.stats.aborted.increase());
            sessions.shutdown().await;
        }
    }

    fn joined(&self, ended: Result<(), JoinError>) {
        count_panic(&self.zone, ended);
    }

    /// Gives a new connection its permits and its task, or turns it away.
    fn take(
        self: &Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        end: &CancellationToken,
        (sessions, host): (&mut JoinSet<()>, &impl Host),
        refusals: &mut RefusalLog,
    ) {
        let mut refuse = |reason| {
            self.zone.stats.refused_counter(reason).increase();
            refusals.count(reason, peer.ip());
        };
        let Some(global) = self.permits.global() else {
            return refuse(Refusal::Global);
        };
        // Only who listens on all addresses has to ask which was meant. Without an
        // answer the connection is already gone.
        let local = match self.address.ip().is_unspecified() {
            true => socket.local_addr().ok(),
            false => Some(self.address),
        };
        let Some(local) = local else { return };
        let meant = (self.kind == ServiceKind::CatchAll).then(|| catch_all::meant(&socket, local));
        let local = meant.flatten().unwrap_or(local);
        if self.proxy_protocol == ProxyMode::Required {
            if !self.trusted_proxies.iter().any(|proxy| proxy.contains(peer.ip())) {
                return refuse(Refusal::UntrustedProxy);
            }
            host.coming(sessions, self.proxied(socket, global, end.clone()));
            return;
        }
        let Some(address) = self.permits.address(peer.ip()) else {
            return refuse(Refusal::PerAddress);
        };
        let (early, door, end) = (Vec::new(), Arc::clone(self), end.clone());
        let permits = (global, address);
        let visit = Visit { socket, early, peer, local, proxied: false, door, end, permits };
        host.visit(sessions, visit);
    }

    /// A connection that starts with a PROXY header: the visit begins when the header has said whose it is.
    fn proxied(
        self: &Arc<Self>,
        mut socket: TcpStream,
        global: GlobalPermit,
        end: CancellationToken,
    ) -> impl Future<Output = Option<Visit>> + Send + 'static {
        let door = Arc::clone(self);
        async move {
            let stats = &door.zone.stats;
            let header = tokio::select! {
                biased;
                () = end.cancelled() => return None,
                header = tokio::time::timeout(PROXY_HEADER_TIMEOUT, read_header(&mut socket)) => header,
            };
            let (peer, local, early) = match header {
                Ok(Some((Header::Proxied { source, target, .. }, early))) => {
                    (source, target, early)
                }
                Ok(Some((Header::Local { .. }, _))) => {
                    stats.proxy_checks.increase();
                    return None;
                }
                Ok(None) | Err(_) => {
                    tracing::debug!("a trusted proxy sent no valid PROXY header");
                    stats.refused_counter(Refusal::ProxyHeader).increase();
                    return None;
                }
            };
            let Some(address) = door.permits.address(peer.ip()) else {
                tracing::debug!(address = %peer.ip(), "refused a proxied connection");
                stats.refused_counter(Refusal::PerAddress).increase();
                return None;
            };
            let permits = (global, address);
            Some(Visit { socket, early, peer, local, proxied: true, door, end, permits })
        }
    }
}

/// Reads a PROXY header and what came with it; `None` where there is none.
async fn read_header(socket: &mut TcpStream) -> Option<(Header, Vec<u8>)> {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    loop {
        match proxy::decode(&bytes) {
            Ok(Some(header @ (Header::Proxied { length, .. } | Header::Local { length }))) => {
                return Some((header, bytes.split_off(length)));
            }
            // Room for one byte at least: decode() has decided by MAX_HEADER_BYTES.
            Ok(None) if bytes.len() < proxy::MAX_HEADER_BYTES => {
                let mut room = AsyncReadExt::take(&mut *socket, proxy::MAX_HEADER_BYTES as u64);
                if room.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            }
            Ok(None) | Err(_) => return None,
        }
    }
}

impl Visit {
    /// Out of its box.
    #[expect(clippy::boxed_local, reason = "the box is given back here, not at the visit's end")]
    fn out(self: Box<Self>) -> Self {
        *self
    }

    /// The whole life of a session. In a box: a future holds what it was given for
    /// as long as it lives, and beside it what it makes of that.
    async fn run(self: Box<Self>) {
        let Self { socket, early, peer, local, proxied, door, end, permits: _permits } = self.out();
        let zone = &door.zone;
        let _open = Open::new(zone);
        let mut session = Session::new(Arc::clone(zone), door.category.clone(), peer, local);
        // Behind a proxy the first packet is the proxy's.
        let fingerprint = if proxied { None } else { first_packet(zone, &socket) };
        let mut stream = Stream::new(socket, early, &door.limits, end);
        let opened = fingerprint::record(session.event(EventKind::ConnectionOpened), fingerprint);
        let opened = session.emit(opened).await;
        let why = match opened {
            Ok(()) => match caught(Box::pin(attend(&door, &mut session, &mut stream))).await {
                Ok(Ok(())) => Closed::Completed,
                Ok(Err(why)) => why,
                Err(Panicked) => {
                    zone.stats.panics.increase();
                    tracing::error!(session = %session.id(), "a honeypot service panicked");
                    Closed::Error(io::Error::other("panicked"))
                }
            },
            Err(why) => why,
        };
        // The end in boxes: else every open session has the room for it.
        if matches!(why, Closed::Completed) {
            Box::pin(stream.linger()).await;
        }
        let traffic = stream.traffic();
        drop(stream);
        Box::pin(session.close(&why, traffic)).await;
    }
}

/// What came of the begin of a visit to a plug-in.
enum Begun {
    /// Its script has its turn.
    Serve(Rc<plugin::Visit>),
    /// It is over already, and why.
    Over(Box<Session>, Box<Stream>, Closed),
}

impl Visit {
    /// The whole life of a session that a plug-in serves. Its begin and its end in
    /// boxes: for most of it the script waits, and thousands may.
    async fn run_plugin(self: Box<Self>, local: Rc<plugin::Local>) {
        let Self { socket, early, peer, local: here, proxied, door, end, permits: _permits } =
            self.out();
        let _open = Open::new(&door.zone);
        let ends = (peer, here);
        let begun = begin_plugin(&door, &local, (socket, early, end), ends, proxied);
        let over = match Box::pin(begun).await {
            Begun::Serve(visit) => {
                let why = match caught(Box::pin(plugin::serve(&local, &visit))).await {
                    Ok(ended) => ended.err().unwrap_or(Closed::Completed),
                    Err(Panicked) => {
                        door.zone.stats.panics.increase();
                        tracing::error!(plugin = %local.plugin.name, "a plug-in made its host panic");
                        Closed::Error(io::Error::other("panicked"))
                    }
                };
                let Some(parts) = visit.finish() else {
                    // All calls of a script that has ended are over.
                    door.zone.stats.panics.increase();
                    tracing::error!(plugin = %local.plugin.name, "the session of a plug-in was lost");
                    return;
                };
                let (session, stream) = parts.into_session();
                Box::pin(end_plugin(session, stream, why))
            }
            Begun::Over(session, stream, why) => Box::pin(end_plugin(*session, Some(stream), why)),
        };
        over.await;
    }
}

/// Opens the session of a visit to a plug-in, and begins TLS where it is spoken.
async fn begin_plugin(
    door: &Listener,
    local: &plugin::Local,
    (socket, early, end): (TcpStream, Vec<u8>, CancellationToken),
    (peer, here): (SocketAddr, SocketAddr),
    proxied: bool,
) -> Begun {
    let zone = &door.zone;
    let mut session = Session::new(Arc::clone(zone), door.category.clone(), peer, here);
    local.plugin.begin(&mut session);
    let fingerprint = if proxied { None } else { first_packet(zone, &socket) };
    let mut stream = Box::new(Stream::new(socket, early, &door.limits, end));
    let opened = fingerprint::record(session.event(EventKind::ConnectionOpened), fingerprint);
    let mut begun = session.emit(opened).await.map(|()| true);
    if let (Ok(_), Some(tls)) = (&begun, &door.tls) {
        begun = begin_tls(tls, &mut session, &mut stream).await;
    }
    match begun {
        Ok(true) if !stream.is_misplaced() => {
            let wire = Wire::Socket(stream, door.certificate.clone());
            Begun::Serve(plugin::Visit::new(session, wire))
        }
        Ok(true) => {
            // No server answers without TLS where it is wanted.
            let ended = record_misplaced(&mut session, &mut stream).await;
            Begun::Over(Box::new(session), stream, ended.err().unwrap_or(Closed::Completed))
        }
        Ok(false) => Begun::Over(Box::new(session), stream, Closed::Completed),
        Err(why) => Begun::Over(Box::new(session), stream, why),
    }
}

/// Tells the end of a visit to a plug-in.
async fn end_plugin(mut session: Session, stream: Option<Box<Stream>>, why: Closed) {
    let mut traffic = Traffic::default();
    if let Some(mut stream) = stream {
        if matches!(why, Closed::Completed) {
            stream.linger().await;
        }
        traffic = stream.traffic();
    }
    session.close(&why, traffic).await;
}

/// Begins TLS, and records what the client offers; whether it can be served.
async fn begin_tls(tls: &Tls, session: &mut Session, stream: &mut Stream) -> Result<bool, Closed> {
    let greeting = stream.start_tls(tls).await?;
    tls::told(greeting, session).await
}

/// Records bytes of a client that speaks without TLS where it is wanted.
async fn record_misplaced(session: &mut Session, stream: &mut Stream) -> Result<(), Closed> {
    Box::pin(Service::recorder().serve(session, stream)).await
}

/// Begins TLS where it is spoken, and serves.
async fn attend(door: &Listener, session: &mut Session, stream: &mut Stream) -> Result<(), Closed> {
    if let Some(tls) = &door.tls
        && !Box::pin(begin_tls(tls, session, stream)).await?
    {
        return Ok(());
    }
    door.service.serve(session, stream).await
}

/// What the first packet of a connection says about its sender.
fn first_packet(zone: &Zone, socket: &TcpStream) -> Option<Fingerprint> {
    let mut memory = [0; palisade_savedsyn::MAX_BYTES];
    let syn = Syn::parse(palisade_savedsyn::take(socket, &mut memory)?)?;
    Some(zone.signatures.identify(&syn))
}

/// Counts a session as open for as long as it lives, even where its task is aborted.
struct Open(Arc<Zone>);

impl Open {
    fn new(zone: &Arc<Zone>) -> Self {
        zone.stats.accepted.increase();
        zone.stats.open.increase();
        Self(Arc::clone(zone))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stats.open.decrease();
    }
}

/// A service panicked; the message is on stderr or wherever the hook puts it.
struct Panicked;

/// Runs `work` and turns a panic into a value, so that the session still ends in
/// order. It comes in a box: a future that takes another holds room for it twice.
fn caught<F: Future>(mut work: Pin<Box<F>>) -> impl Future<Output = Result<F::Output, Panicked>> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
}

/// A panic outside of a service: the session's end could not be said.
fn count_panic(zone: &Zone, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        zone.stats.panics.increase();
        tracing::error!(%error, "a honeypot session panicked");
    }
}

/// The connection broke while it waited; the socket that listens is fine.
fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Says in the log that connections are refused, but not for each.
struct RefusalLog {
    kind: ServiceKind,
    next: Instant,
    unsaid: u64,
}

impl RefusalLog {
    fn new(kind: ServiceKind) -> Self {
        Self { kind, next: Instant::now(), unsaid: 0 }
    }

    fn count(&mut self, reason: Refusal, address: IpAddr) {
        self.unsaid += 1;
        let now = Instant::now();
        if now >= self.next {
            let (service, refused, reason) = (self.kind.as_str(), self.unsaid, reason.as_str());
            tracing::warn!(service, refused, reason, last = %address, "connections refused");
            (self.next, self.unsaid) = (now + REFUSAL_LOG_EVERY, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::SensorId;
    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;

    use super::*;
    use crate::sockets::listen;
    use crate::{PersonaConfig, Stats};

    #[tokio::test]
    async fn a_session_whose_service_panics_is_closed_in_order() {
        let (out, mut events) = mpsc::channel(8);
        let sensor = SensorId::new("a").unwrap();
        let (stats, config) = (Arc::new(Stats::default()), PersonaConfig::default());
        let zone = Arc::new(Zone::new(&config, sensor, None, out, Arc::clone(&stats)).unwrap());
        let socket = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener {
            retire: CancellationToken::new(),
            address,
            kind: ServiceKind::Telnet,
            service: Service::Panics,
            tls: None,
            certificate: None,
            category: None,
            proxy_protocol: ProxyMode::Off,
            trusted_proxies: Vec::new().into(),
            zone,
            permits: Permits::new(8, 8),
            limits: Arc::new(Limits::default()),
        };
        let end = CancellationToken::new();
        let running =
            tokio::spawn(listener.run(socket, end.clone(), Duration::from_secs(10), Anywhere));
        for sessions in 1..=2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0);
            assert_eq!(events.recv().await.unwrap().kind, EventKind::ConnectionOpened);
            let closed = events.recv().await.unwrap();
            assert_eq!(closed.kind, EventKind::SessionClosed);
            assert_eq!(closed.attributes.get("reason"), Some(&"error".into()));
            assert_eq!(stats.panics.get(), sessions);
        }
        end.cancel();
        running.await.unwrap();
        assert_eq!(stats.open.get(), 0);
    }
}
