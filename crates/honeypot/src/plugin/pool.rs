//! The threads of plug-ins. A script that computes takes turns from other
//! scripts of its thread, never from services written in Rust: those have
//! threads of their own.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::shared::{Local, Plugin};
use super::source::PluginName;
use crate::ServiceKind;
use crate::listener::{Listener, OnPluginThread};
use crate::session::Zone;
use crate::udp::UdpListener;

/// Most threads of plug-ins; there are no more than processors.
const MAX_THREADS: usize = 2;
/// What plug-ins listen on anew that waits for the threads; then its sender waits.
pub(crate) const MAX_WAITING: usize = 8;

/// What plug-ins listen on.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) listeners: Vec<(TcpListener, Listener, Arc<Plugin>)>,
    pub(crate) datagrams: Vec<(UdpSocket, UdpListener, Arc<Plugin>)>,
}

/// What one thread serves.
#[derive(Default)]
struct Share {
    listeners: Vec<(TcpListener, Listener, Arc<Plugin>)>,
    datagrams: Vec<(UdpSocket, UdpListener, Arc<Plugin>)>,
}

impl Pool {
    /// What listens where.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (ServiceKind, SocketAddr)> {
        let streams = self.listeners.iter().map(|(_, listener, _)| listener.address);
        let datagrams = self.datagrams.iter().map(|(_, listener, _)| listener.address);
        streams.chain(datagrams).map(|address| (ServiceKind::Plugin, address))
    }

    fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.datagrams.is_empty()
    }

    /// Serves on threads of its own until `end` or until nobody takes events
    /// (`zone`), with what comes later as `more`; ready when all have ended.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) async fn run(
        self,
        mut more: Option<mpsc::Receiver<Self>>,
        zone: Arc<Zone>,
        end: CancellationToken,
        shutdown: Duration,
    ) -> io::Result<()> {
        let mut threads = Threads { end: end.clone(), shutdown, next: 0, all: Vec::new() };
        if !self.is_empty() {
            threads.serve(self).await?;
        }
        while let Some(orders) = &mut more {
            tokio::select! {
                () = end.cancelled() => break,
                () = zone.out.closed() => break,
                pool = orders.recv() => match pool {
                    Some(pool) => threads.serve(pool).await?,
                    None => break,
                },
            }
        }
        for Thread { shares, over } in threads.all {
            drop(shares);
            // An error is the word that it has ended.
            let _ = over.await;
        }
        Ok(())
    }
}

/// One thread: what it gets to serve, and the word that it has ended.
struct Thread {
    shares: mpsc::Sender<Share>,
    over: oneshot::Receiver<()>,
}

/// All of them; started when there is something to serve.
struct Threads {
    end: CancellationToken,
    shutdown: Duration,
    /// Where the next socket for datagrams goes.
    next: usize,
    all: Vec<Thread>,
}

impl Threads {
    fn start(&mut self) -> io::Result<()> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        for index in self.all.len()..count {
            let (done, over) = oneshot::channel::<()>();
            let (shares, shared) = mpsc::channel(MAX_WAITING);
            let (end, shutdown) = (self.end.clone(), self.shutdown);
            std::thread::Builder::new().name(format!("plugin-{index}")).spawn(move || {
                if let Err(error) = serve(shared, &end, shutdown) {
                    tracing::error!(%error, "plug-ins cannot be served");
                }
                drop(done);
            })?;
            self.all.push(Thread { shares, over });
        }
        Ok(())
    }

    async fn serve(&mut self, pool: Pool) -> io::Result<()> {
        self.start()?;
        let mut shares: Vec<Share> = self.all.iter().map(|_| Share::default()).collect();
        // Each thread accepts from every socket; datagrams of one stay in order.
        for (socket, listener, plugin) in pool.listeners {
            for share in shares.iter_mut().skip(1) {
                let (socket, plugin) = (socket.try_clone()?, Arc::clone(&plugin));
                share.listeners.push((socket, listener.clone(), plugin));
            }
            if let Some(first) = shares.first_mut() {
                first.listeners.push((socket, listener, plugin));
            }
        }
        for (socket, listener, plugin) in pool.datagrams {
            let place = self.next % shares.len().max(1);
            self.next = self.next.wrapping_add(1);
            if let Some(share) = shares.get_mut(place) {
                share.datagrams.push((socket, listener, plugin));
            }
        }
        for (thread, share) in self.all.iter().zip(shares) {
            // One that cannot serve has said so.
            let _ = thread.shares.send(share).await;
        }
        Ok(())
    }
}

fn serve(
    mut shares: mpsc::Receiver<Share>,
    end: &CancellationToken,
    shutdown: Duration,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut loops = JoinSet::new();
        // One VM for all ports of a plug-in.
        let mut locals: BTreeMap<PluginName, Rc<Local>> = BTreeMap::new();
        let mut local = |plugin: Arc<Plugin>| {
            let name = plugin.name.clone();
            Rc::clone(locals.entry(name).or_insert_with(|| Rc::new(Local::new(plugin))))
        };
        let mut more = true;
        while more || !loops.is_empty() {
            tokio::select! {
                share = shares.recv(), if more => {
                    let Some(share) = share else {
                        more = false;
                        continue;
                    };
                    for (socket, listener, plugin) in share.listeners {
                        let host = OnPluginThread(local(plugin));
                        let end = end.child_token();
                        loops.spawn_local(listener.run(socket, end, shutdown, host));
                    }
                    for (socket, listener, plugin) in share.datagrams {
                        let end = end.child_token();
                        loops.spawn_local(listener.run(socket, end, shutdown, local(plugin)));
                    }
                }
                Some(ended) = loops.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a listener of a plug-in failed");
                    }
                }
            }
        }
    });
    Ok(())
}
