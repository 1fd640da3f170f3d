//! The threads of plug-ins. A script that computes takes turns from other
//! scripts of its thread, never from services written in Rust: those have
//! threads of their own.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::shared::{Local, Plugin};
use super::source::PluginName;
use crate::ServiceKind;
use crate::listener::{Listener, OnPluginThread};
use crate::udp::UdpListener;

/// Most threads of plug-ins; there are no more than processors.
const MAX_THREADS: usize = 2;

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

    /// Serves on threads of its own until `end`; ready when all have ended.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) async fn run(self, end: CancellationToken, shutdown: Duration) -> io::Result<()> {
        if self.listeners.is_empty() && self.datagrams.is_empty() {
            return Ok(());
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let mut shares: Vec<Share> = (0..threads).map(|_| Share::default()).collect();
        // Each thread accepts from every socket; datagrams of one stay in order.
        for (socket, listener, plugin) in self.listeners {
            for share in shares.iter_mut().skip(1) {
                let (socket, plugin) = (socket.try_clone()?, Arc::clone(&plugin));
                share.listeners.push((socket, listener.clone(), plugin));
            }
            if let Some(first) = shares.first_mut() {
                first.listeners.push((socket, listener, plugin));
            }
        }
        for (index, (socket, listener, plugin)) in self.datagrams.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(index % threads) {
                share.datagrams.push((socket, listener, plugin));
            }
        }
        let mut ended = Vec::new();
        for (index, share) in shares.into_iter().enumerate() {
            let (done, over) = oneshot::channel::<()>();
            let end = end.clone();
            std::thread::Builder::new().name(format!("plugin-{index}")).spawn(move || {
                if let Err(error) = serve(share, &end, shutdown) {
                    tracing::error!(%error, "plug-ins cannot be served");
                }
                drop(done);
            })?;
            ended.push(over);
        }
        for over in ended {
            // An error is the word that it has ended.
            let _ = over.await;
        }
        Ok(())
    }
}

fn serve(share: Share, end: &CancellationToken, shutdown: Duration) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut loops = JoinSet::new();
        // One VM for all ports of a plug-in.
        let mut locals: BTreeMap<PluginName, Rc<Local>> = BTreeMap::new();
        let mut local = |plugin: Arc<Plugin>| {
            let name = plugin.name.clone();
            Rc::clone(locals.entry(name).or_insert_with(|| Rc::new(Local::new(plugin))))
        };
        for (socket, listener, plugin) in share.listeners {
            let host = OnPluginThread(local(plugin));
            loops.spawn_local(listener.run(socket, end.child_token(), shutdown, host));
        }
        for (socket, listener, plugin) in share.datagrams {
            loops.spawn_local(listener.run(socket, end.child_token(), shutdown, local(plugin)));
        }
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a listener of a plug-in failed");
            }
        }
    });
    Ok(())
}
