use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use sip::Transport;

/// Peers whose local address is remembered.
const MAX_ROUTES: usize = 4096;

/// Which address of ours a peer sees.
pub struct Routes {
    bound: SocketAddr,
    /// The port of TLS, where it is listened on.
    secure: Option<u16>,
    external: Option<IpAddr>,
    known: HashMap<IpAddr, IpAddr>,
}

impl Routes {
    /// The routes of a socket bound to `bound`, with TLS on the port `secure`.
    pub fn new(bound: SocketAddr, secure: Option<u16>, external: Option<IpAddr>) -> Self {
        Self { bound, secure, external, known: HashMap::new() }
    }

    /// What the socket is bound to.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// The address to advertise towards `remote`: the external one for peers elsewhere, the bound one
    /// where it is definite, else the one the kernel would send from; with the port that listens for `transport`.
    pub fn local(&mut self, remote: SocketAddr, transport: Transport) -> io::Result<SocketAddr> {
        let ip = match (self.external, self.bound.ip()) {
            (Some(external), _) if !remote.ip().is_loopback() => external,
            (_, bound) if !bound.is_unspecified() => bound,
            _ => match self.known.get(&remote.ip()) {
                Some(&ip) => ip,
                None => {
                    let probe = std::net::UdpSocket::bind(SocketAddr::new(self.bound.ip(), 0))?;
                    probe.connect(remote)?;
                    let ip = probe.local_addr()?.ip();
                    if self.known.len() >= MAX_ROUTES {
                        self.known.clear();
                    }
                    self.known.insert(remote.ip(), ip);
                    ip
                }
            },
        };
        let port = self.secure.filter(|_| transport.is_secure()).unwrap_or(self.bound.port());
        Ok(SocketAddr::new(ip, port))
    }
}
