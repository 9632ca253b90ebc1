use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

/// Connections taken in one turn.
const BATCH: usize = 64;
/// How long to wait when the system gives no more connections (out of file descriptors).
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket in somebody's loop.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// Somebody may be waiting although no readiness will announce it.
    waiting: bool,
    /// When to look again after the system gave none.
    again: Option<Instant>,
}

impl Listener {
    pub fn new(mut socket: TcpListener, registry: &Registry, token: Token) -> io::Result<Self> {
        let address = socket.local_addr()?;
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self { socket, address, waiting: false, again: None })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    pub fn again(&self) -> Option<Instant> {
        self.again
    }

    /// Gives connections to `take`, at most a batch of them.
    pub fn accept(&mut self, now: Instant, mut take: impl FnMut(TcpStream, SocketAddr) -> io::Result<()>) {
        if self.again.is_some_and(|at| now < at) {
            return;
        }
        (self.waiting, self.again) = (false, None);
        for _ in 0..BATCH {
            let taken = match self.socket.accept() {
                Ok((stream, remote)) => take(stream, remote),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    _ => {
                        tracing::warn!(%error, "a SIP connection could not be accepted");
                        self.again = Some(now + PAUSE);
                        return;
                    }
                },
            };
            if let Err(error) = taken {
                tracing::warn!(%error, "a SIP connection was refused");
            }
        }
        self.waiting = true;
    }
}
