use super::*;
use crate::FRAME;
use crate::srtp::{Crypto, Key, Suite};

const NAT: &str = "203.0.113.7:61000";

fn key(suite: Suite, first: u8) -> Key {
    let bytes: Vec<_> = (first..).take(30).collect();
    Key::new(suite, &bytes).or_else(|| Key::new(suite, &bytes[..28])).unwrap()
}

fn secret(remote: &str, suite: Suite, ours: u8, theirs: u8) -> Negotiated {
    let crypto = Crypto { suite, ours: key(suite, ours), theirs: key(suite, theirs) };
    Negotiated { crypto: Some(crypto), ..negotiated(remote) }
}

fn call(suite: Suite) -> Call {
    Call::with(
        Setup { negotiated: secret(THERE, suite, 1, 2), ..setup(THERE, 1) },
        Setup { negotiated: secret(HERE, suite, 2, 1), ..setup(HERE, 2) },
    )
}

#[test]
fn encrypted_calls_sound_like_others_and_report() {
    for suite in Suite::ALL {
        let mut call = call(suite);
        call.here.play(7, Clip::tone(1004.0, 8000, 0.5), call.now);
        call.there.digits(8, "1w2", call.now).unwrap();
        call.run(400, 0);
        let heard = channel(&call.there_recorded, 0);
        let (hz, _) = tone::frequency(&heard[1000..60_000]).expect("a tone");
        assert!((hz - 1004.0).abs() < 10.0);
        let digits = call.here_events.iter().filter(|event| matches!(event, Event::Digit { .. })).count();
        assert_eq!(digits, 2, "{suite:?}");
        let stats = call.here.stats();
        assert_eq!((stats.unauthentic, stats.invalid, stats.foreign, stats.lost), (0, 0, 0, 0), "{suite:?}");
        assert!(stats.round_trip_ms.is_some(), "{suite:?}: RTCP is encrypted too");
    }
}

#[test]
fn plain_packets_and_those_of_other_keys_are_neither_heard_nor_followed() {
    let suite = Suite::AesCm128HmacSha1_80;
    let now = Instant::now();
    let of = |ours, theirs| {
        Session::new(Setup { negotiated: secret(THERE, suite, ours, theirs), ..setup(THERE, 1) }, now)
    };
    let (mut here, mut stranger) = (of(1, 2), of(9, 1));
    here.handle_rtp(&packet(1), address(NAT), now);
    let mut out = [0; 1500];
    let send = stranger.tick(now, &mut out).unwrap();
    here.handle_rtp(&out[..send.len], address(NAT), now);
    here.handle_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 1], address(NAT), now);
    assert_eq!(here.tick(now, &mut out).unwrap().to, address(THERE));
    let stats = here.stats();
    assert_eq!((stats.unauthentic, stats.packets_received, stats.source), (3, 0, None));
    assert!(events(&mut here).is_empty());
}

#[test]
fn who_proves_to_be_the_same_may_move_and_a_replay_moves_nothing() {
    let suite = Suite::AeadAes128Gcm;
    let start = Instant::now();
    let mut here = Session::new(Setup { negotiated: secret(THERE, suite, 1, 2), ..setup(THERE, 1) }, start);
    let mut there = Session::new(Setup { negotiated: secret(HERE, suite, 2, 1), ..setup(HERE, 2) }, start);
    let mut out = [0; 1500];
    let mut packet = |n: u32| {
        let now = start + FRAME_TIME * n;
        let send = there.tick(now, &mut out).unwrap();
        (now, out[..send.len].to_vec())
    };
    let (now, first) = packet(1);
    here.handle_rtp(&first, address(THERE), now);
    let (_, moved) = packet(2);
    let later = start + Duration::from_secs(30);
    here.handle_rtp(&moved, address(NAT), later);
    assert_eq!(here.stats().source, Some(address(NAT)));
    here.handle_rtp(&first, address("203.0.113.66:9"), later);
    assert_eq!((here.stats().source, here.stats().unauthentic), (Some(address(NAT)), 1));
    assert_eq!(here.tick(later, &mut [0; 1500]).unwrap().to, address(NAT));
}

#[test]
fn a_re_invite_changes_keys_without_a_gap() {
    for suite in Suite::ALL {
        let mut call = call(suite);
        call.here.play(7, Clip::tone(1004.0, 4000, 0.5), call.now);
        call.run(100, 0);
        call.here.update(secret(THERE, suite, 11, 12), call.now);
        call.there.update(secret(HERE, suite, 12, 11), call.now);
        call.run(100, 0);
        let stats = call.there.stats();
        assert_eq!((stats.unauthentic, stats.lost), (0, 0), "{suite:?}");
        let heard = channel(&call.there_recorded, 0);
        assert!(tone::frequency(&heard[16_000..]).is_some(), "{suite:?}");
    }
}

#[test]
fn encryption_may_begin_and_end() {
    let suite = Suite::AesCm128HmacSha1_32;
    let mut call = Call::new();
    call.run(10, 0);
    call.here.update(secret(THERE, suite, 1, 2), call.now);
    call.there.update(secret(HERE, suite, 2, 1), call.now);
    call.run(10, 0);
    call.here.update(negotiated(THERE), call.now);
    call.there.update(negotiated(HERE), call.now);
    call.run(10, 0);
    let stats = call.there.stats();
    assert_eq!((stats.packets_received, stats.unauthentic, stats.invalid), (30, 0, 0));
}

#[test]
fn packets_of_60_ms_leave_room_for_the_tag() {
    let suite = Suite::AeadAes128Gcm;
    let now = Instant::now();
    let agreed = Negotiated { ptime_ms: 60, ..secret(THERE, suite, 1, 2) };
    let mut session = Session::new(Setup { negotiated: agreed, ..setup(THERE, 1) }, now);
    let mut out = [0; 1500];
    let sent: Vec<_> = (0..6).filter_map(|n| session.tick(now + FRAME_TIME * n, &mut out)).collect();
    assert!(sent.iter().all(|send| send.len == 12 + 3 * FRAME + 16), "{sent:?}");
}
