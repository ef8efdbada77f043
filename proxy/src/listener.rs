//! The ports of one data thread. Each thread has sockets of its own on every port, and the kernel spreads the clients
//! over them; when the document changes, ports that are new are bound and those that are gone closed.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluice_mesh::model::{BrokerRef, Model};
use sluice_mesh::name::ProxyName;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::connection::Connection;
use crate::thread::Thread;

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// What a proxy listens on.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) name: ProxyName,
    pub(crate) listen: IpAddr,
    pub(crate) bootstrap: u16,
    pub(crate) base: u16,
}

impl Ports {
    /// Each port to bind, with the broker that it answers as.
    pub(crate) fn wanted(&self, model: &Model) -> HashMap<u16, BrokerRef> {
        let served = model.brokers_served_by(&self.name).filter_map(|broker| {
            let port = self.base.checked_add(broker.index);
            if port.is_none() {
                tracing::error!(
                    broker = broker.id,
                    "port base + {} is no port: choose a lower --port-base",
                    broker.index
                );
            }
            Some((port?, broker.broker))
        });
        let bootstrap = model.first_home_broker(&self.name).map(|broker| (self.bootstrap, broker.broker));
        served.chain(bootstrap).collect()
    }
}

/// The listeners of one data thread.
pub(crate) struct Listeners {
    thread: Rc<Thread>,
    ports: Ports,
    slots: Arc<Semaphore>,
    open: HashMap<u16, Listening>,
}

struct Listening {
    /// Whom the port answers as, and the [`Thread::order`] that this is said in.
    broker: Rc<Cell<(BrokerRef, u64)>>,
    /// Dropped: the listener takes who waits already, and closes.
    _open: watch::Sender<()>,
}

impl Listeners {
    pub(crate) fn new(thread: Rc<Thread>, ports: Ports, slots: Arc<Semaphore>) -> Self {
        Self { thread, ports, slots, open: HashMap::new() }
    }

    /// Binds and closes ports as the document wants. False if some port could not be bound: try again.
    pub(crate) fn follow(&mut self, model: &Model) -> bool {
        let wanted = self.ports.wanted(model);
        self.open.retain(|port, _| wanted.contains_key(port));
        let mut complete = true;
        for (&port, &broker) in &wanted {
            let broker = (broker, self.thread.order());
            if let Some(listening) = self.open.get(&port) {
                listening.broker.set(broker);
                continue;
            }
            match bind(SocketAddr::new(self.ports.listen, port)) {
                Ok(listener) => {
                    let broker = Rc::new(Cell::new(broker));
                    let (open, closed) = watch::channel(());
                    let accept = Accept {
                        thread: Rc::clone(&self.thread),
                        slots: Arc::clone(&self.slots),
                        port,
                        broker: Rc::clone(&broker),
                    };
                    tokio::task::spawn_local(accept.run(listener, closed));
                    self.open.insert(port, Listening { broker, _open: open });
                }
                Err(error) => {
                    complete = false;
                    tracing::error!(address = %self.ports.listen, port, %error, "the port cannot be bound: is another process on it?");
                }
            }
        }
        self.leave(model, &wanted);
        complete
    }

    /// Connections whose virtual broker is not served here any more are closed at their next good moment.
    fn leave(&self, model: &Model, wanted: &HashMap<u16, BrokerRef>) {
        for handle in self.thread.connections.idle_first() {
            let Some((port, broker)) = handle.dialled.get() else { continue };
            let served = port == self.ports.bootstrap || wanted.get(&port) == Some(&broker);
            let moved = handle.order.get() != self.thread.order();
            if moved || !served || model.broker(broker).is_none() {
                handle.drain();
            }
        }
    }

    /// Takes who waits already, then closes all ports.
    pub(crate) fn close(&mut self) {
        self.open.clear();
    }
}

/// Accepts the clients of one port.
struct Accept {
    thread: Rc<Thread>,
    slots: Arc<Semaphore>,
    port: u16,
    broker: Rc<Cell<(BrokerRef, u64)>>,
}

impl Accept {
    async fn run(self, listener: TcpListener, mut closed: watch::Receiver<()>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = closed.changed() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // At the limit one client per port waits here, the others in the kernel.
                    let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
                    self.serve(stream, peer, slot);
                }
                Err(error) => {
                    if let Some(unsaid) = self.thread.may_complain() {
                        tracing::warn!(%error, unsaid, "a client could not be accepted; are there enough file descriptors?");
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        // Whoever has been let in by the kernel is not turned away with a reset.
        while let Ok(Ok((stream, peer))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return };
            self.serve(stream, peer, slot);
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, slot: tokio::sync::OwnedSemaphorePermit) {
        if stream.set_nodelay(true).is_err() {
            // Gone already.
            return;
        }
        sluice_net::dial::keep_alive(&stream);
        let (broker, order) = self.broker.get();
        let connection = Connection::new(Rc::clone(&self.thread), stream, peer, broker);
        let handle = connection.handle();
        handle.dialled.set(Some((self.port, broker)));
        handle.order.set(order);
        // A panic in it ends this task alone.
        tokio::task::spawn_local(async move {
            connection.await;
            drop(slot);
        });
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
