use super::*;
use crate::dtmf::DtmfError;

fn heard(events: &[Event]) -> String {
    events
        .iter()
        .filter_map(|event| if let Event::Digit { digit, .. } = event { Some(*digit) } else { None })
        .collect()
}

#[test]
fn every_digit_arrives_once_under_loss() {
    for lose in [0, 20, 10] {
        let mut call = Call::new();
        call.here.digits(9, "0123456789*#ABCDw1122", call.now).unwrap();
        call.run(250, lose);
        assert_eq!(heard(&call.there_events), "0123456789*#ABCD1122", "one packet of {lose} lost");
        assert!(call.here_events.contains(&Event::Played { id: 9, whole: true }));
    }
}

#[test]
fn digits_wait_for_the_clip_before_them() {
    let mut call = Call::new();
    call.here.play(1, Clip::tone(500.0, 490, 0.5), call.now);
    call.here.digits(2, "7", call.now).unwrap();
    call.here.play(3, Clip::tone(500.0, 100, 0.5), call.now);
    call.run(25, 0);
    assert_eq!(heard(&call.there_events), "");
    call.run(13, 0);
    assert_eq!(call.there_events[1..], [Event::Digit { digit: '7', ms: 100, by: By::Rfc4733 }]);
    let over: Vec<_> = (1..=3).map(|id| Event::Played { id, whole: true }).collect();
    assert_eq!(call.here_events[1..], over);
}

#[test]
fn digits_need_an_agreed_payload_type() {
    let now = Instant::now();
    let mut session = session(THERE, now);
    assert_eq!(session.digits(1, "12x", now), Err(DtmfError::NotADigit('x')));
    session.digits(2, "12", now).unwrap();
    session.update(Negotiated { dtmf: Dtmf::Info, ..negotiated(THERE) }, now);
    assert_eq!(events(&mut session), [Event::Played { id: 2, whole: false }]);
    assert_eq!(session.digits(3, "12", now), Err(DtmfError::ByInfo));
}

#[test]
fn each_side_may_have_a_payload_type_of_its_own() {
    let agreed = Negotiated { dtmf: Dtmf::Rfc4733(96), ..negotiated(THERE) };
    let mut call = Call::with(Setup { negotiated: agreed, ..setup(THERE, 1) }, setup(HERE, 2));
    call.there.digits(1, "3", call.now).unwrap();
    call.run(12, 0);
    assert_eq!(heard(&call.here_events), "3");
    assert_eq!(call.here.stats().invalid, 0);
}

#[test]
fn digits_that_others_sent_are_heard() {
    let Some(corpus) = crate::testing::corpora("rtp/sipp-pcap") else { return };
    for digit in '0'..='4' {
        let packets = crate::testing::rtp_of(&corpus.join(format!("dtmf_2833_{digit}.pcap")));
        let events_type = packets.first().expect("a packet")[1] & 0x7F;
        let start = Instant::now();
        let agreed = Negotiated { formats: vec![(events_type, Format::Event(8000))], ..negotiated(THERE) };
        let mut session = Session::new(Setup { negotiated: agreed, ..setup(THERE, 1) }, start);
        for (n, packet) in (0..).zip(&packets) {
            session.handle_rtp(packet, address(THERE), start + FRAME_TIME * n);
        }
        assert_eq!(heard(&events(&mut session)), digit.to_string());
    }
}

/// A leg on which digits go as tones.
fn inband(remote: &str, ssrc: u32) -> Setup {
    Setup { negotiated: Negotiated { dtmf: Dtmf::Inband, ..negotiated(remote) }, ..setup(remote, ssrc) }
}

#[test]
fn digits_go_and_come_as_tones_where_there_is_nothing_else() {
    let mut call = Call::with(inband(THERE, 1), inband(HERE, 2));
    call.here.digits(9, "0123456789*#ABCDw1122", call.now).unwrap();
    call.run(250, 0);
    assert_eq!(heard(&call.there_events), "0123456789*#ABCD1122");
    assert!(
        call.there_events
            .iter()
            .all(|event| !matches!(event, Event::Digit { by: By::Rfc4733 | By::Info, .. }))
    );
    assert!(call.here_events.contains(&Event::Played { id: 9, whole: true }));
}

#[test]
fn a_carrier_that_sends_tones_and_events_is_heard_once() {
    // There sends events; into its sound the same digits are fed as tones.
    let mut call = Call::with(inband(THERE, 1), setup(HERE, 2));
    let tones = crate::dtmf::tones("158").unwrap();
    for frame in tones.samples().chunks(crate::FRAME) {
        call.there.live(true);
        call.there.feed(frame);
        call.run(1, 0);
    }
    call.there.digits(1, "158", call.now).unwrap();
    call.run(60, 0);
    assert_eq!(heard(&call.here_events), "158", "what follows within two seconds is the same press");
}

#[test]
fn digits_by_info_are_heard_unless_they_also_come_in_the_media() {
    let mut call = Call::new();
    call.here.info('4', 100, call.now);
    call.run(1, 0);
    assert_eq!(events(&mut call.here), []);
    assert!(call.here_events.contains(&Event::Digit { digit: '4', ms: 100, by: By::Info }));
    call.run(150, 0);
    call.there.digits(1, "5", call.now).unwrap();
    call.run(20, 0);
    call.here.info('5', 100, call.now);
    call.run(1, 0);
    assert_eq!(heard(&call.here_events), "45");
}
