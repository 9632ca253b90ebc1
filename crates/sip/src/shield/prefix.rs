use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses, `192.0.2.0/24`. A single address is written without a length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix {
    /// IPv4 stands in the range for mapped addresses, ::ffff:0:0/96 (RFC 4291 section 2.5.5.2).
    first: u128,
    /// Of 128 bits.
    length: u8,
}

/// Where IPv4 begins among IPv6.
const MAPPED: u8 = 96;

impl Prefix {
    /// The prefix of `length` bits `address` is in; `None` where the family has no such length. An address of the
    /// mapped range is IPv4.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let is_v4 = address.to_canonical().is_ipv4();
        let (longest, extra) = if is_v4 { (32, MAPPED) } else { (128, 0) };
        (length <= longest).then(|| Self::within(bits(address), length + extra))
    }

    /// What counts as one source: an IPv4 address, or the /64 that one subscriber's IPv6 addresses are in.
    pub fn source(address: IpAddr) -> Self {
        let bits = bits(address);
        Self::within(bits, if is_v4(bits) { 128 } else { 64 })
    }

    /// The sources that are counted together where they are too many: an IPv4 /24, an IPv6 /48.
    pub fn block(address: IpAddr) -> Self {
        let bits = bits(address);
        Self::within(bits, if is_v4(bits) { MAPPED + 24 } else { 48 })
    }

    fn within(bits: u128, length: u8) -> Self {
        Self { first: bits & !host_bits(length), length }
    }

    /// The lowest address.
    pub fn address(self) -> IpAddr {
        Ipv6Addr::from_bits(self.first).to_canonical()
    }

    /// How many bits of the address are fixed: up to 32 of IPv4, up to 128 of IPv6.
    pub fn length(self) -> u8 {
        if is_v4(self.first) && self.length >= MAPPED { self.length - MAPPED } else { self.length }
    }

    /// Whether `address` is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        (self.first..=self.last()).contains(&bits(address))
    }

    pub(super) fn first(self) -> u128 {
        self.first
    }

    pub(super) fn last(self) -> u128 {
        self.first | host_bits(self.length)
    }

    /// Both in one number: two prefixes have the same only where they are the same.
    pub(super) fn token(self) -> (u128, u8) {
        (self.first, self.length)
    }
}

/// An address of either family among those of IPv6.
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn is_v4(bits: u128) -> bool {
    bits >> 32 == Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().to_bits() >> 32
}

fn host_bits(length: u8) -> u128 {
    u128::MAX.checked_shr(length.into()).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            128 => self.address().fmt(f),
            _ => write!(f, "{}/{}", self.address(), self.length()),
        }
    }
}

/// The text is no address and no `address/length`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an address or a prefix such as 192.0.2.0/24")]
pub struct NotAPrefix;

impl FromStr for Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| NotAPrefix)?;
        let whole = if address.to_canonical().is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(whole), str::parse).map_err(|_| NotAPrefix)?;
        Self::new(address, length).ok_or(NotAPrefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_blocks() {
        for (address, source, block) in [
            ("192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
            ("::1", "::/64", "::/48"),
            ("::fffe:c000:24d", "::/64", "::/48"),
        ] {
            let ip = address.parse().unwrap();
            assert_eq!(Prefix::source(ip).to_string(), source, "{address}");
            assert_eq!(Prefix::block(ip).to_string(), block, "{address}");
            assert!(Prefix::source(ip).contains(ip) && Prefix::block(ip).contains(ip), "{address}");
        }
    }

    #[test]
    fn text() {
        for (text, read) in [
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("::/0", Some("::/0")),
            ("10.0.0.0/33", None),
            ("::/129", None),
            ("10.0.0.0/", None),
            ("example.com", None),
        ] {
            assert_eq!(
                text.parse::<Prefix>().ok().map(|prefix| prefix.to_string()).as_deref(),
                read,
                "{text}"
            );
        }
        let v4: Prefix = "0.0.0.0/0".parse().unwrap();
        assert!(v4.contains("203.0.113.1".parse().unwrap()) && !v4.contains("2001:db8::1".parse().unwrap()));
    }
}
