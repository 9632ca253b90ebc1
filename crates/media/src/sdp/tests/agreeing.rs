//! Codecs, digits, packet lengths and m-lines, agreed on both ways.

use super::*;
use crate::dtmf::By;

fn all() -> Local {
    Local { codecs: vec![Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma], ..local() }
}

/// The payload types of the m-line of ours.
fn formats(sdp: &str) -> String {
    let line = sdp.lines().find(|line| line.starts_with("m=audio 16384")).expect("our m-line");
    line.split(' ').skip(3).collect::<Vec<_>>().join(" ")
}

#[test]
fn offers_any_list_of_codecs_with_the_events_that_go_with_them() {
    let offered = |codecs: &[Codec]| formats(&offer(&Local { codecs: codecs.to_vec(), ..local() }));
    use Codec::{G722, Opus, Pcma, Pcmu};
    assert_eq!(offered(&[Opus, G722, Pcmu, Pcma]), "111 9 0 8 101 110");
    assert_eq!(offered(&[Pcma, Opus]), "8 111 101 110");
    assert_eq!(offered(&[Opus]), "111 110");
    assert_eq!(offered(&[G722]), "9 101");
    let sdp = offer(&Local { ptime_ms: 40, ..all() });
    for line in [
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-15",
        "a=ptime:40",
    ] {
        assert!(sdp.contains(&format!("{line}\r\n")), "{line} in {sdp}");
    }
}

#[test]
fn what_we_prefer_is_chosen_where_they_offer_it() {
    let offer = audio_of(
        "96 0 97 98",
        "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/8000\r\na=rtpmap:98 telephone-event/48000\r\n",
    );
    for (prefers, codec, listed) in [
        (None, Codec::Opus, "96 0 98"),
        (Some(Codec::Pcmu), Codec::Pcmu, "0 96 97"),
        (Some(Codec::Pcma), Codec::Opus, "96 0 98"),
    ] {
        let (sdp, agreed) = answer(offer.as_bytes(), &Local { prefers, ..all() }).unwrap();
        assert_eq!((agreed.codec, &*formats(&sdp)), (codec, listed), "{prefers:?}");
    }
    assert_eq!(codecs(offer.as_bytes()), [Codec::Opus, Codec::Pcmu]);
    assert_eq!(codecs(b"v=1"), []);
}

#[test]
fn answers_with_their_payload_types_in_their_order() {
    for (formats_of_offer, lines, answered, codec, dtmf) in [
        ("9 0 8 101", "a=rtpmap:101 telephone-event/8000\r\n", "9 0 8 101", Codec::G722, Dtmf::Rfc4733(101)),
        (
            "96 0 97 98",
            "a=rtpmap:96 OPUS/48000/2\r\na=fmtp:96 useinbandfec=1; stereo=0\r\na=rtpmap:97 telephone-event/8000\r\n\
             a=rtpmap:98 telephone-event/48000\r\n",
            "96 0 98",
            Codec::Opus,
            Dtmf::Rfc4733(98),
        ),
        // Only events at the other rate: those, counted at their rate.
        (
            "96 97",
            "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/8000\r\n",
            "96 97",
            Codec::Opus,
            Dtmf::Rfc4733(97),
        ),
        ("18 3 8 13", "", "8", Codec::Pcma, Dtmf::Inband),
        (
            "100 101",
            "a=rtpmap:100 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n",
            "100 101",
            Codec::Pcmu,
            Dtmf::Rfc4733(101),
        ),
        ("96 0", "a=rtpmap:96 opus/16000/2\r\n", "0", Codec::Pcmu, Dtmf::Inband),
    ] {
        let (sdp, negotiated) = answer(audio_of(formats_of_offer, lines).as_bytes(), &all()).unwrap();
        assert_eq!(formats(&sdp), answered, "{formats_of_offer}");
        assert_eq!((negotiated.codec, negotiated.dtmf), (codec, dtmf), "{formats_of_offer}");
        assert_eq!(negotiated.clock, codec.clock());
    }
    let opus = audio_of("96", "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1; stereo=0\r\n");
    assert_eq!(accept(&all(), opus.as_bytes()).unwrap().fmtp, "useinbandfec=1; stereo=0");
}

#[test]
fn an_event_is_counted_at_its_own_rate() {
    let lines = "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/8000\r\n";
    let negotiated = accept(&all(), audio_of("96 97", lines).as_bytes()).unwrap();
    assert_eq!((negotiated.clock, negotiated.event_clock), (48_000, 8000));
    assert_eq!(negotiated.format(97), Some(Format::Event(8000)));
    // What we offered ourselves is taken too.
    assert_eq!(negotiated.format(101), Some(Format::Event(8000)));
    assert_eq!(negotiated.format(110), Some(Format::Event(48_000)));
}

#[test]
fn what_was_listed_is_known_and_nothing_else() {
    let lines = "a=rtpmap:100 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=rtpmap:13 CN/8000\r\n";
    let (_, negotiated) = answer(audio_of("100 0 101 13", lines).as_bytes(), &local()).unwrap();
    for (payload_type, format) in [
        (100, Some(Format::Audio(Codec::Pcma))),
        (0, Some(Format::Audio(Codec::Pcmu))),
        (8, Some(Format::Audio(Codec::Pcma))),
        (101, Some(Format::Event(8000))),
        (13, Some(Format::ComfortNoise)),
        (96, None),
        (18, None),
    ] {
        assert_eq!(negotiated.format(payload_type), format, "{payload_type}");
    }
}

#[test]
fn digits_go_as_the_trunk_is_set() {
    let events = audio_of("0 101", "a=rtpmap:101 telephone-event/8000\r\n");
    let none = audio_of("0", "");
    for (by, theirs, dtmf, listed) in [
        (By::Rfc4733, &events, Dtmf::Rfc4733(101), true),
        (By::Rfc4733, &none, Dtmf::Inband, false),
        (By::Info, &events, Dtmf::Info, false),
        (By::Inband, &events, Dtmf::Inband, false),
    ] {
        let us = Local { dtmf: by, ..local() };
        let (sdp, negotiated) = answer(theirs.as_bytes(), &us).unwrap();
        assert_eq!(negotiated.dtmf, dtmf, "{by:?}");
        assert_eq!(sdp.contains("telephone-event"), listed, "{by:?}");
        assert_eq!(offer(&us).contains("telephone-event"), by == By::Rfc4733, "{by:?}");
    }
}

#[test]
fn packets_are_no_longer_than_they_can_take() {
    for (lines, ptime_ms) in [
        ("", 20),
        ("a=ptime:10\r\n", 10),
        ("a=ptime:60\r\n", 60),
        ("a=ptime:60\r\na=maxptime:40\r\n", 40),
        ("a=maxptime:10\r\n", 10),
        ("a=maxptime:150\r\n", 20),
        ("a=maxptime:0\r\n", 20),
        ("a=ptime:5\r\n", 20),
    ] {
        let negotiated = accept(&local(), audio_of("0", lines).as_bytes()).unwrap();
        assert_eq!(negotiated.ptime_ms, ptime_ms, "{lines}");
    }
}

#[test]
fn one_port_for_both_is_answered_and_never_asked_for() {
    let (sdp, negotiated) = answer(audio_of("0", "a=rtcp-mux\r\n").as_bytes(), &local()).unwrap();
    assert!(negotiated.rtcp_mux && sdp.contains("a=rtcp-mux\r\na=rtcp:16384\r\n"), "{sdp}");
    assert!(!offer(&local()).contains("rtcp-mux"));
    // An answer that has it without our asking means nothing (RFC 5761 5.1.1).
    assert!(!accept(&local(), audio_of("0", "a=rtcp-mux\r\n").as_bytes()).unwrap().rtcp_mux);
}

#[test]
fn a_later_offer_keeps_places_and_payload_types() {
    let theirs = "v=0\r\no=- 1 1 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\n\
                  m=video 5000 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 97 8 100\r\na=rtpmap:97 opus/48000/2\r\n\
                  a=rtpmap:100 telephone-event/48000\r\nm=image 4004 udptl t38\r\n";
    let us = Local { version: 2, direction: Direction::SendOnly, ..all() };
    let (_, negotiated) = answer(theirs.as_bytes(), &us).unwrap();
    let again = reoffer(&us, &negotiated);
    let lines: Vec<_> = again.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        ["m=video 0 RTP/AVP 96", "m=audio 16384 RTP/AVP 97 8 100 9 0 101", "m=image 0 udptl t38"]
    );
    assert!(again.contains("a=sendonly\r\n") && again.contains("o=- 7 2 IN"), "{again}");
    // Their answer to that fits again.
    let them = Local { addr: [198, 51, 100, 2].into(), port: 4000, ..all() };
    let (answered, _) = answer(again.as_bytes(), &them).unwrap();
    let agreed = accept(&us, answered.as_bytes()).unwrap();
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::Opus, 97));
    assert_eq!(agreed.places.iter().map(Option::is_none).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(reoffer(&us, &agreed).lines().filter(|line| line.starts_with("m=")).count(), 3);
}

#[test]
fn no_two_formats_share_a_payload_type_in_a_later_offer() {
    // They use our numbers for something else.
    let lines = "a=rtpmap:111 telephone-event/8000\r\na=rtpmap:101 PCMA/8000\r\n";
    let (_, negotiated) = answer(audio_of("101 111", lines).as_bytes(), &all()).unwrap();
    let again = reoffer(&all(), &negotiated);
    let types = formats(&again);
    let mut once: Vec<_> = types.split(' ').collect();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), types.split(' ').count(), "{types}");
    assert!(types.starts_with("101 111 "), "{types}");
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let ours = offer(&local());
    let them = Local { addr: [192, 0, 2, 9].into(), port: 20000, ..all() };
    let (in_ack, at_them) = answer(ours.as_bytes(), &them).unwrap();
    let at_us = accept(&local(), in_ack.as_bytes()).unwrap();
    assert_eq!((at_us.codec, at_them.codec), (Codec::Pcmu, Codec::Pcmu));
    assert_eq!(accept(&local(), b""), Err(SdpError::NotSdp));
}

#[test]
fn hold_works_both_ways_and_in_ipv6() {
    use Direction::*;
    let us = Local { addr: "2001:db8::1".parse().unwrap(), direction: SendOnly, ..local() };
    let them = Local { addr: "2001:db8::2".parse().unwrap(), port: 20000, ..local() };
    let (answered, at_them) = answer(offer(&us).as_bytes(), &them).unwrap();
    assert!(
        answered.contains("c=IN IP6 2001:db8::2\r\n") && answered.contains("a=recvonly\r\n"),
        "{answered}"
    );
    let at_us = accept(&us, answered.as_bytes()).unwrap();
    assert_eq!((at_us.direction, at_them.direction), (SendOnly, RecvOnly));
    assert_eq!(at_us.remote, "[2001:db8::2]:20000".parse().unwrap());
    for nowhere in ["c=IN IP4 0.0.0.0", "c=IN IP6 ::"] {
        let (answered, held) = answer(audio_of("0", &format!("{nowhere}\r\n")).as_bytes(), &local()).unwrap();
        assert_eq!(held.direction, RecvOnly, "{nowhere}");
        assert!(answered.contains("a=recvonly\r\n"));
    }
}
