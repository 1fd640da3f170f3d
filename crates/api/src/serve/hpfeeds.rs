//! Listening for hpfeeds, and to brokers elsewhere: addresses are bound,
//! connections taken and ended as those of HTTP are, with permits of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{BindError, ClientTls, Shared, accept_failed, listen};
use crate::compat::hpfeeds::{self, Broker, HpfeedsConfig, HpfeedsSubscription};
use crate::dial::Dialer;
use crate::limits::ConnectionLimit;
use crate::router::App;

/// A silent client is asked after so long whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Bound addresses of the broker, and brokers elsewhere.
#[derive(Default)]
pub(super) struct Doors {
    broker: Option<Arc<Broker>>,
    bound: Vec<(TcpListener, SocketAddr, bool)>,
    brokers: Vec<(HpfeedsSubscription, Dialer)>,
}

/// What the accept loops share.
struct Gate {
    broker: Arc<Broker>,
    permits: Arc<Semaphore>,
    per_address: Arc<ConnectionLimit>,
}

impl Doors {
    pub(super) async fn bind(app: &App) -> Result<Self, BindError> {
        let config = app.config.hpfeeds.clone();
        if config.listeners.is_empty() {
            return Ok(Self::default());
        }
        let mut bound = Vec::new();
        for listener in &config.listeners {
            let failed = |error| BindError::tcp(listener.address, &error);
            let door = listen(listener.address).map_err(failed)?;
            let address = door.local_addr().map_err(failed)?;
            bound.push((door, address, listener.tls));
        }
        let app = app.clone();
        let broker = tokio::task::spawn_blocking(move || Broker::new(&app, &config)).await;
        let broker = broker.map_err(std::io::Error::other)?;
        let broker = broker.map_err(|error| BindError::new("hpfeeds", error))?;
        Ok(Self { broker: Some(Arc::new(broker)), bound, brokers: Vec::new() })
    }

    pub(super) fn listen_to_brokers(
        &mut self,
        config: &HpfeedsConfig,
        tls: &ClientTls,
    ) -> Result<(), BindError> {
        for one in &config.subscriptions {
            let failed = |error: String| BindError::Address {
                place: format!("the hpfeeds broker {}", one.address),
                advice: error,
            };
            let settings = match one.tls {
                true => Some(tls(one.pin.as_deref(), one.ca_file.as_deref()).map_err(failed)?),
                false => None,
            };
            let dialer = Dialer::new(&one.address, settings).map_err(failed)?;
            self.brokers.push((one.clone(), dialer));
        }
        Ok(())
    }

    pub(super) fn addresses(&self) -> Vec<(SocketAddr, bool)> {
        self.bound.iter().map(|(_, address, tls)| (*address, *tls)).collect()
    }

    /// Starts everything.
    pub(super) fn open(
        self,
        tasks: &TaskTracker,
        shared: &Arc<Shared>,
        cancel: &CancellationToken,
    ) {
        for (config, dialer) in self.brokers {
            tasks.spawn(hpfeeds::subscribe(shared.app.clone(), config, dialer, cancel.clone()));
        }
        let Some(broker) = self.broker else { return };
        let config = &shared.app.config.hpfeeds;
        let gate = Arc::new(Gate {
            broker: Arc::clone(&broker),
            permits: Arc::new(Semaphore::new(config.connections)),
            per_address: ConnectionLimit::new(config.connections_per_address),
        });
        tasks.spawn(hpfeeds::announce(broker, cancel.clone()));
        for (listener, _, tls) in self.bound {
            let (gate, shared) = (Arc::clone(&gate), Arc::clone(shared));
            tasks.spawn(accept(listener, tls, gate, shared, cancel.clone()));
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: bool,
    gate: Arc<Gate>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    loop {
        let next = async {
            let permit = Arc::clone(&gate.permits).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            next = next => match next { Some(next) => next, None => return },
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error, &cancel).await;
                continue;
            }
        };
        let (gate, shared, cancel) = (Arc::clone(&gate), Arc::clone(&shared), cancel.clone());
        let tasks = shared.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = serve(stream, peer, tls, &gate, &shared, cancel) => {}
                () = shared.abort.cancelled() => {}
            }
            drop(permit);
        });
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: bool,
    gate: &Gate,
    shared: &Shared,
    cancel: CancellationToken,
) {
    let address = peer.ip().to_canonical();
    let refused = || hpfeeds::count(&shared.app.metrics.hpfeeds.refused);
    let Some(_place) = gate.per_address.take(address) else { return refused() };
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let _ = stream.set_nodelay(true);
    let broker = Arc::clone(&gate.broker);
    let Some(acceptor) = shared.tls.as_ref().filter(|_| tls) else {
        return hpfeeds::serve(stream, address, broker, cancel).await;
    };
    let handshake = Duration::from_secs(shared.app.config.limits.handshake_secs);
    let shaken = TlsAcceptor::from(acceptor.server()).accept(stream);
    match tokio::time::timeout(handshake, shaken).await {
        Ok(Ok(stream)) => hpfeeds::serve(stream, address, broker, cancel).await,
        Ok(Err(_)) | Err(_) => refused(),
    }
}
