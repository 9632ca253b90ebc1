//! RTP and RTCP into a session, packet after packet, with time passing: nothing panics, nothing grows.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use media::{Clip, Session, rtcp, rtp};
use trunkline_fuzz::Script;

fuzz_target!(|input: &[u8]| {
    let _ = rtp::Packet::parse(input);
    rtcp::parse(input).into_iter().flatten().for_each(drop);

    let start = Instant::now();
    let mut now = start;
    let mut script = Script::new(input);
    let mut session = Session::new(trunkline_fuzz::setup(script.byte()), now);
    let mut other = Session::new(trunkline_fuzz::setup(script.byte()), now);
    // Half of them are joined: what may go through as it is does.
    if script.byte() % 2 == 0 {
        for session in [&mut session, &mut other] {
            session.deaf(true);
            session.live(true);
        }
        session.pair(&mut other);
    }
    let mut out = [0; 1500];
    let peers: [SocketAddr; 2] =
        ["192.0.2.1:4000", "192.0.2.66:6666"].map(|peer| peer.parse().expect("an address"));
    let mut heard: u16 = 0;
    while !script.is_over() {
        match script.byte() % 8 {
            0 => {
                let peer = peers[usize::from(script.byte() % 2)];
                if let Some(relayed) = session.handle_rtp(script.bytes(), peer, now) {
                    let _ = other.forward(relayed, &mut out);
                }
            }
            1 => session.handle_rtcp(script.bytes(), peers[usize::from(script.byte() % 2)], now),
            // A sound packet of the stream, so that what is odd stands among what is right.
            2 => {
                heard = heard.wrapping_add(u16::from(script.byte() % 4));
                let mut packet = vec![0x80, script.byte()];
                packet.extend(heard.to_be_bytes());
                packet.extend((u32::from(heard) * 160).to_be_bytes());
                packet.extend(7u32.to_be_bytes());
                packet.extend(script.bytes());
                if let Some(relayed) = session.handle_rtp(&packet, peers[0], now) {
                    let _ = other.forward(relayed, &mut out);
                }
            }
            3 => {
                for _ in 0..script.byte() % 64 {
                    now += Duration::from_millis(20);
                    if let Some(send) = session.tick(now, &mut out) {
                        assert!(send.len <= out.len());
                    }
                }
                let _ = session.poll_rtcp(now, 1 << 40, &mut out);
            }
            4 => session.play(u32::from(script.byte()), Clip::tone(440.0, 100, 0.5), now),
            5 => {
                let _ = session.digits(1, &String::from_utf8_lossy(script.bytes()), now);
            }
            6 => session.stop(),
            _ => now += script.time(),
        }
        while session.poll_event().is_some() {}
        session.clear_recorded();
    }
    let _ = session.stats();
    let _ = session.close(&mut out);
});
