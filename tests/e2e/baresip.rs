//! baresip as the callee, its sound judged in both directions.

use crate::peers::baresip::{Baresip, TONE};
use crate::server::Server;
use crate::sound::{self, Recording, Sound};
use serde_json::json;

const CALLEE: &str = "+12025550123";

/// Our tone at baresip: frequency within 2 %, less than 1 % of its frames lost; baresip's tone in the other
/// channel of our recording.
#[track_caller]
pub fn both_ways(phone: &Baresip, recording: &Recording, hz: f64, seconds: f64, packets_sent: u64) {
    let heard = phone.heard();
    let tone = heard.active();
    let found = tone.frequency().expect("baresip heard nothing");
    assert!((found / hz - 1.0).abs() < 0.02, "{hz} Hz arrived as {found} Hz");
    assert!(tone.share_of(hz) > 0.97, "something else is in what baresip heard: {}", tone.share_of(hz));
    assert!((tone.seconds() / seconds - 1.0).abs() < 0.02, "{} s of {seconds} s", tone.seconds());
    assert!(tone.longest_gap_ms() < 40.0, "a gap of {} ms", tone.longest_gap_ms());
    let (_, received) = phone.packets();
    let lost = packets_sent.saturating_sub(received) as f64 / packets_sent as f64;
    assert!(packets_sent > 0 && lost < 0.01, "{received} of {packets_sent} packets arrived");

    let ours = recording.heard.active();
    let found = ours.frequency().expect("nothing of baresip's tone in the recording");
    assert!((found / TONE - 1.0).abs() < 0.02, "{TONE} Hz was recorded as {found} Hz");
    assert!(ours.share_of(TONE) > 0.9, "{}", ours.share_of(TONE));
    assert!(ours.seconds() > seconds * 0.9, "{} s", ours.seconds());
    assert!(ours.longest_gap_ms() < 40.0, "a gap of {} ms", ours.longest_gap_ms());
    let sent: Sound = recording.sent.active();
    assert!((sent.frequency().expect("the sent channel is silent") / hz - 1.0).abs() < 0.005);
}

#[test]
fn a_tone_goes_both_ways() {
    let mut server = Server::for_trunks();
    let Some(phone) = Baresip::start(server.folder(), CALLEE) else { return };
    server.trunk(phone.port, json!({}));
    let file = server.upload("tone.wav", sound::tone_wav(1000.0, 6.0));
    let id = server.play_to(CALLEE, &file);
    let call = server.wait_for_end(&id, "completed");
    let recording = server.recording(&id);
    let quality = &call["quality"];
    both_ways(&phone, &recording, 1000.0, 6.0, quality["packets_sent"].as_u64().expect("packets_sent"));
    assert!(quality["mos"].as_f64().is_some_and(|mos| mos > 4.0), "{call:#}");
    assert!(phone.log().contains("Call established"));
}

#[test]
fn a_sip_address_is_called_directly() {
    let mut server = Server::for_trunks();
    let Some(phone) = Baresip::start(server.folder(), "bob") else { return };
    // With a real trunk as default, an address goes straight to its host.
    server.trunk(crate::ports::take(1), json!({}));
    let file = server.upload("tone.wav", sound::tone_wav(1000.0, 2.0));
    let reply = server
        .post(
            "/api/calls/initiate",
            json!({
                "fromNumber": "+12025550100", "toNumber": format!("sip:bob@127.0.0.1:{}", phone.port), "audioFile": file,
            }),
        )
        .expect(200)
        .json();
    assert_eq!(reply["callType"], "SIP");
    server.wait_for_end(reply["callId"].as_str().unwrap(), "completed");
    let tone = phone.heard().active();
    assert!((tone.frequency().expect("baresip heard nothing") / 1000.0 - 1.0).abs() < 0.02);
}

#[test]
fn speech_arrives_at_the_phone() {
    if crate::tool::find("flite", "flite").is_none() {
        return;
    }
    let mut server = Server::for_trunks();
    let Some(phone) = Baresip::start(server.folder(), CALLEE) else { return };
    server.trunk(phone.port, json!({}));
    let id = server.initiate(json!({
        "fromNumber": "+12025550100", "toNumber": CALLEE, "text": "Your table is ready. Please come in and sit down.",
    }));
    server.wait_for_end(&id, "completed");
    let (heard, sent) = (phone.heard().active(), server.recording(&id).sent.active());
    assert!(heard.rms() > 0.01, "speech arrived: {}", heard.rms());
    assert!(
        sent.seconds() > 1.5 && (heard.seconds() / sent.seconds() - 1.0).abs() < 0.05,
        "{} s were sent, {} s heard",
        sent.seconds(),
        heard.seconds()
    );
}
