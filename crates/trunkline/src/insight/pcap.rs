//! A call's messages as a capture file that tshark, Wireshark and sngrep read: classic pcap, raw IP.
//!
//! Only the messages are real. The headers of IP, UDP and TCP around them are made up from their addresses; what went
//! over TLS or WebSocket is written as plain TCP on port 5060, so that it is shown as SIP.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sip::Transport;

use super::{Leg, Message};

/// `LINKTYPE_RAW`: packets begin with the IP header.
const RAW_IP: u32 = 101;
/// The most bytes of a packet.
const SNAPLEN: u32 = 262_144;
const UDP: u8 = 17;
const TCP: u8 = 6;
const HOPS: u8 = 64;
/// PSH and ACK.
const FLAGS: u8 = 0x18;
const SIP_PORT: u16 = 5060;

/// The file. Its packets are in the order of their times.
pub fn write(legs: &[Leg]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, SNAPLEN, RAW_IP] {
        file.extend(u32::to_le_bytes(word));
    }
    let messages = legs.iter().flat_map(|leg| &leg.messages);
    let mut times: Vec<(i64, &Message)> = messages
        .flat_map(|message| {
            std::iter::once(message.at).chain(message.again.iter().copied()).map(move |at| (at, message))
        })
        .collect();
    times.sort_by_key(|(at, _)| *at);
    let mut flows = Flows::default();
    for (at, message) in times {
        let Some((packet, length)) = flows.packet(message) else { continue };
        let (seconds, micros) = (at.div_euclid(1_000_000), at.rem_euclid(1_000_000));
        let taken = packet.len();
        for word in [seconds, micros, count(taken), count(length)] {
            file.extend(u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How far each direction of a connection has come.
#[derive(Default)]
struct Flows {
    sent: HashMap<(SocketAddr, SocketAddr), u32>,
    packets: u16,
}

impl Flows {
    /// A packet and its whole length, which is more where the message was cut. None where it fits in none.
    fn packet(&mut self, message: &Message) -> Option<(Vec<u8>, usize)> {
        let (local, remote) = addresses(message);
        let (from, to) = if message.sent { (local, remote) } else { (remote, local) };
        let header = if message.transport == Transport::Udp { 8 } else { 20 };
        let whole = u16::try_from(header + message.length).ok()?;
        let (protocol, mut segment) = match message.transport {
            Transport::Udp => (UDP, udp(from, to, whole)),
            _ => (TCP, self.tcp(from, to, message)),
        };
        segment.extend_from_slice(&message.bytes);
        // A checksum of bytes that are not there cannot be told.
        if !message.is_cut() {
            put_checksum(&mut segment, protocol, from.ip(), to.ip());
        }
        self.packets = self.packets.wrapping_add(1);
        let mut packet = ip(from.ip(), to.ip(), protocol, whole, self.packets)?;
        let length = packet.len() + usize::from(whole);
        packet.append(&mut segment);
        Some((packet, length))
    }

    fn tcp(&mut self, from: SocketAddr, to: SocketAddr, message: &Message) -> Vec<u8> {
        let acknowledged = self.sent.get(&(to, from)).copied().unwrap_or(1);
        let next = self.sent.entry((from, to)).or_insert(1);
        let sequence = *next;
        *next = next.wrapping_add(u32::try_from(message.length).unwrap_or(0));
        let mut header = ports(from, to);
        header.extend(sequence.to_be_bytes());
        header.extend(acknowledged.to_be_bytes());
        // Five words, flags, window, checksum, urgent pointer.
        header.extend([0x50, FLAGS, 0xff, 0xff, 0, 0, 0, 0]);
        header
    }
}

/// The two ends, with ports at which SIP is looked for, and addresses of one family.
fn addresses(message: &Message) -> (SocketAddr, SocketAddr) {
    let (mut local, mut remote) = (message.local, message.remote);
    if !matches!(message.transport, Transport::Udp | Transport::Tcp) {
        local.set_port(SIP_PORT);
        remote.set_port(if remote.port() <= SIP_PORT + 1 { SIP_PORT } else { remote.port() });
    }
    let ips = (local.ip().to_canonical(), remote.ip().to_canonical());
    let (one, other) = match ips {
        (IpAddr::V4(one), IpAddr::V6(other)) => (IpAddr::V6(one.to_ipv6_mapped()), IpAddr::V6(other)),
        (IpAddr::V6(one), IpAddr::V4(other)) => (IpAddr::V6(one), IpAddr::V6(other.to_ipv6_mapped())),
        same => same,
    };
    local.set_ip(one);
    remote.set_ip(other);
    (local, remote)
}

fn ports(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    [from.port().to_be_bytes(), to.port().to_be_bytes()].concat()
}

/// RFC 768.
fn udp(from: SocketAddr, to: SocketAddr, length: u16) -> Vec<u8> {
    let mut header = ports(from, to);
    header.extend(length.to_be_bytes());
    header.extend([0, 0]);
    header
}

/// The header of IP; none where the packet would be too long.
fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: u16, number: u16) -> Option<Vec<u8>> {
    let mut header = Vec::with_capacity(40);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x45, 0]);
            header.extend(payload.checked_add(20)?.to_be_bytes());
            header.extend(number.to_be_bytes());
            // May not be fragmented.
            header.extend([0x40, 0, HOPS, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&[&header]);
            if let Some(place) = header.get_mut(10..12) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
        }
        (from, to) => {
            header.extend([0x60, 0, 0, 0]);
            header.extend(payload.to_be_bytes());
            header.extend([protocol, HOPS]);
            header.extend(v6(from).octets());
            header.extend(v6(to).octets());
        }
    }
    Some(header)
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// Over the pseudo-header of RFC 768, RFC 9293 section 3.1 or RFC 8200 section 8.1, and the segment.
fn put_checksum(segment: &mut [u8], protocol: u8, from: IpAddr, to: IpAddr) {
    let length = u32::try_from(segment.len()).unwrap_or(0).to_be_bytes();
    let protocol_word = [0, 0, 0, protocol];
    let sum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            checksum(&[&from.octets(), &to.octets(), &protocol_word, &length, segment])
        }
        (from, to) => checksum(&[&v6(from).octets(), &v6(to).octets(), &length, &protocol_word, segment]),
    };
    // Zero says "none" over UDP.
    let sum = if sum == 0 && protocol == UDP { 0xffff } else { sum };
    let at = if protocol == UDP { 6 } else { 16 };
    if let Some(place) = segment.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

/// RFC 1071; every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let word = |pair: &[u8]| match pair {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high] => u64::from(*high) << 8,
        _ => 0,
    };
    let mut sum: u64 = words.map(word).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;

    use super::super::testing::Script;
    use super::*;

    /// What tshark shows of a capture, all checksums checked; `None` where it is not installed.
    fn tshark(legs: &[Leg], arguments: &[&str]) -> Option<String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&write(legs)).unwrap();
        let checks = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"];
        let mut command = Command::new("tshark");
        command.arg("-n").arg("-r").arg(file.path()).args(checks.iter().flat_map(|check| ["-o", check]));
        let Ok(output) = command.args(arguments).output() else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "with CI=true nothing is skipped: no tshark"
            );
            // Not eprintln!, which the test harness would swallow.
            let _ =
                writeln!(std::io::stderr(), "SKIP: insight::pcap: tshark not found (apt-get install tshark)");
            return None;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }

    fn fields(legs: &[Leg]) -> Option<String> {
        let names = ["frame.time_relative", "sip.Request-Line", "sip.Status-Line", "sdp.media.port"];
        let names: Vec<&str> = names.iter().flat_map(|name| ["-e", *name]).collect();
        tshark(legs, &[&["-Y", "sip", "-T", "fields", "-E", "separator=|"][..], &names].concat())
    }

    fn legs() -> Vec<(&'static str, Leg)> {
        let ends = [("192.0.2.1:5060", "203.0.113.9:5060"), ("[2001:db8::1]:5060", "[2001:db8::9]:5062")];
        let mut legs = Vec::new();
        for (local, remote) in ends {
            for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Wss] {
                legs.push((
                    transport.param(),
                    Script::new("a@b", transport, local, remote).answer().leg("first", ""),
                ));
            }
        }
        let odd = Script::new("a@b", Transport::Tls, "192.0.2.1:5060", "203.0.113.9:5061")
            .answer()
            .leg("first", "");
        legs.push(("tls to 5061", odd));
        let mapped = Script::new("a@b", Transport::Udp, "[2001:db8::1]:5060", "[::ffff:203.0.113.9]:5060");
        legs.push(("mapped", mapped.answer().leg("first", "")));
        legs
    }

    #[test]
    fn tshark_shows_a_call_over_every_transport() {
        for (what, leg) in legs() {
            let Some(shown) = fields(std::slice::from_ref(&leg)) else { return };
            let lines: Vec<&str> = shown.lines().collect();
            assert_eq!(lines.len(), leg.messages.len(), "{what}: {shown}");
            assert!(
                lines[0].contains("INVITE sip:+12025550123@sip.acme.test SIP/2.0")
                    && lines[0].ends_with("16384"),
                "{what}: {shown}"
            );
            assert!(lines[9].contains("SIP/2.0 200 OK"), "{what}: {shown}");
        }
    }

    #[test]
    fn tshark_finds_nothing_wrong() {
        for (what, leg) in legs() {
            let filter = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0 \
                          || tcp.analysis.flags || _ws.expert.severity == error";
            let Some(bad) = tshark(&[leg], &["-Y", filter]) else { return };
            assert_eq!(bad, "", "{what}");
        }
    }

    #[test]
    fn repeated_messages_come_at_their_times_and_legs_are_mixed() {
        let one = Script::udp().request(0, "INVITE", 1, "", "").again(500).again(1500).response(
            1700,
            "486 Busy Here",
            "1 INVITE",
            "",
            "",
        );
        let other = Script::new("c@d", Transport::Tcp, "192.0.2.1:5060", "203.0.113.10:5060")
            .request(600, "INVITE", 1, "", "");
        let Some(shown) = fields(&[one.leg("first", ""), other.leg("second", "")]) else { return };
        let times: Vec<&str> = shown.lines().filter_map(|line| line.split('|').next()).collect();
        assert_eq!(times, ["0.000000000", "0.500000000", "0.600000000", "1.500000000", "1.700000000"]);
    }

    #[test]
    fn a_message_without_its_body_is_a_packet_that_was_not_taken_whole() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut leg =
                Script::new("a@b", transport, "192.0.2.1:5060", "203.0.113.9:5060").answer().leg("first", "");
            leg.messages[0].bytes.truncate(400);
            let Some(shown) =
                tshark(&[leg], &["-T", "fields", "-e", "frame.len", "-e", "frame.cap_len", "-c", "1"])
            else {
                return;
            };
            let lengths: Vec<usize> = shown.split_whitespace().map(|n| n.parse().unwrap()).collect();
            assert!(lengths[0] > lengths[1], "{lengths:?}");
        }
    }

    #[test]
    fn nothing_makes_an_empty_file() {
        assert_eq!(write(&[]).len(), 24);
    }

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0xff, 0xff], &[0x01]]), !0x0100);
    }
}
