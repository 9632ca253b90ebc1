use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Peers whose local address is remembered.
const MAX_ROUTES: usize = 4096;

/// Which address of ours a peer sees.
pub struct Routes {
    bound: SocketAddr,
    external: Option<IpAddr>,
    known: HashMap<IpAddr, IpAddr>,
}

impl Routes {
    /// The routes of a socket bound to `bound`.
    pub fn new(bound: SocketAddr, external: Option<IpAddr>) -> Self {
        Self { bound, external, known: HashMap::new() }
    }

    /// What the socket is bound to.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// The address to advertise towards `remote`: the external one for peers elsewhere, the bound one
    /// where it is definite, else the one the kernel would send from.
    pub fn local(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
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
        Ok(SocketAddr::new(ip, self.bound.port()))
    }
}
