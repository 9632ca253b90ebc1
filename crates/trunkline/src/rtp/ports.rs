//! RTP and RTCP port pairs.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

/// Pairs tried before the range is called exhausted.
const MOST_TRIES: u32 = 512;

/// Hands out pairs of bound sockets: an even port for RTP, the next for RTCP (RFC 3550 section 11).
///
/// It goes round the range, so a port comes back as late as possible; a port that still drains after its
/// call is simply still bound.
pub struct Ports {
    address: IpAddr,
    first: u16,
    pairs: u32,
    next: AtomicU32,
}

/// A bound pair.
pub struct Socket {
    /// Bound to `port`, non-blocking.
    pub rtp: UdpSocket,
    /// Bound to `port + 1`, non-blocking.
    pub rtcp: UdpSocket,
    /// The even RTP port.
    pub port: u16,
}

impl Ports {
    /// The pairs that lie wholly within `range`, on `address`.
    pub fn new(address: IpAddr, range: RangeInclusive<u16>) -> Self {
        let first = range.start().next_multiple_of(2);
        let pairs = (u32::from(*range.end()) + 1).saturating_sub(u32::from(first)) / 2;
        Self { address, first, pairs, next: AtomicU32::new(0) }
    }

    /// The address all pairs are bound to.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Binds the next free pair.
    pub fn bind(&self) -> io::Result<Socket> {
        for _ in 0..self.pairs.min(MOST_TRIES) {
            let n = self.next.fetch_add(1, Ordering::Relaxed) % self.pairs;
            let port = self.first + (n * 2) as u16;
            let bound = UdpSocket::bind(SocketAddr::new(self.address, port))
                .and_then(|rtp| Ok((rtp, UdpSocket::bind(SocketAddr::new(self.address, port + 1))?)));
            match bound {
                Ok((rtp, rtcp)) => {
                    rtp.set_nonblocking(true)?;
                    rtcp.set_nonblocking(true)?;
                    return Ok(Socket { rtp, rtcp, port });
                }
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no RTP port is free (setting rtp_ports)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_even_go_round_and_run_out() {
        let address = IpAddr::from([127, 0, 0, 1]);
        let base = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() & !1;
        let base = base.min(60_000);
        let ports = Ports::new(address, base - 1..=base + 5);
        let held: Vec<Socket> = std::iter::from_fn(|| ports.bind().ok()).collect();
        assert!(held.iter().all(|s| s.port % 2 == 0 && s.port >= base && s.port < base + 5));
        assert!(held.len() <= 3 && !held.is_empty());
        assert_eq!(ports.bind().err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
        let freed = held.into_iter().next().map(|s| s.port);
        assert_eq!(ports.bind().ok().map(|s| Some(s.port)).is_some(), freed.is_some());
    }
}
