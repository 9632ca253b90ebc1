//! Sound that went one way only, or none.

use super::facts::Facts;
use super::{A_SECOND, EXTERNAL_IP, Evidence, Why};
use crate::insight::Sound;
use crate::insight::sdp::is_private;

const FIREWALL: &str = "A firewall or NAT between the two is likely: let UDP through to rtp_ports of this server, and set external_ip if it \
                        stands behind NAT.";

/// What was wrong with the sound of any leg.
pub(super) fn why(evidence: &Evidence<'_>) -> Option<Why> {
    let one_way = evidence.sound.iter().enumerate().find_map(|(at, sound)| {
        let (facts, whom) = leg(evidence, at, sound);
        match sound {
            _ if sound.sent < A_SECOND => None,
            _ if sound.received == 0 => Some(nothing_came(sound, &facts, whom)),
            _ if sound.unheard => Some(nothing_arrived(sound, &facts, whom)),
            _ => None,
        }
    });
    let is_silenced = || evidence.outcome.is_some_and(|outcome| outcome.code == "rtp_silence");
    one_way.or_else(|| {
        // Whose sound broke off sent least of what it should have.
        let heard = evidence.sound.iter().enumerate().filter(|(_, sound)| sound.received > 0);
        let (at, sound) = heard
            .filter(|_| is_silenced())
            .max_by_key(|(_, sound)| sound.sent.saturating_sub(sound.received))?;
        Some(broke_off(sound, leg(evidence, at, sound).1))
    })
}

/// What the leg of this sound said, and, where two sides talked, which of them is on it.
fn leg<'a>(evidence: &Evidence<'a>, at: usize, sound: &Sound) -> (Facts<'a>, Option<&'static str>) {
    let is_alike = |other: &&Sound| other.leg == sound.leg;
    let before = evidence.sound.iter().take(at).filter(is_alike).count();
    let legs = evidence.legs.iter().filter(|leg| leg.role == sound.leg);
    let facts = legs.map(Facts::read).filter(Facts::is_answered).nth(before).unwrap_or_default();
    let whom = match (sound.leg.as_str(), facts.is_outgoing()) {
        _ if evidence.sound.len() < 2 => None,
        ("first", false) => Some("the caller"),
        ("first", true) => Some("the first leg"),
        _ => Some("the callee"),
    };
    (facts, whom)
}

fn nothing_came(sound: &Sound, facts: &Facts<'_>, whom: Option<&str>) -> Why {
    let to = whom.map(|whom| format!(" to {whom}")).unwrap_or_default();
    let told = format!("We sent {} packets of sound{to} and received 0", sound.sent);
    let (ours, theirs) = (facts.our_sdp(), facts.their_sdp());
    if sound.undecryptable > 0 {
        let text = format!(
            "{told} that could be decrypted: {} came that do not fit the keys agreed on.",
            sound.undecryptable
        );
        return Why::new(
            "sound_not_decrypted",
            text,
            "Set the trunk's srtp to none, or have the other side's encryption checked.",
        );
    }
    if sound.invalid > 0 {
        let text =
            format!("{told} that make sense: {} came that are none of the codecs agreed on.", sound.invalid);
        return Why::new("sound_of_another_codec", text, "Give the trunk one codec only, such as pcma.");
    }
    if let Some(theirs) =
        theirs.as_ref().filter(|sdp| ["recvonly", "inactive"].contains(&sdp.direction.as_str()))
    {
        let text =
            format!("{told}: the other side had said that it would send none (a={}).", theirs.direction);
        return Why::new("sound_on_hold", text, "It was on hold: ask the other side why.");
    }
    if let Some(ours) = ours.filter(|sdp| sdp.ip().is_some_and(is_private) && facts.is_public()) {
        let text = format!(
            "{told}. We told them to send it to {}:{}, an address inside our own network.",
            ours.address, ours.port
        );
        return Why::new("sound_to_private_address", text, EXTERNAL_IP);
    }
    Why::new("no_sound_came", format!("{told}: theirs did not reach us, or they sent none."), FIREWALL)
}

fn nothing_arrived(sound: &Sound, facts: &Facts<'_>, whom: Option<&str>) -> Why {
    let to = whom.map(|whom| format!(" to {whom}")).unwrap_or_default();
    let told = format!("They report that none of the {} packets of sound we sent{to} arrived", sound.sent);
    if let Some(theirs) =
        facts.their_sdp().filter(|sdp| sdp.ip().is_some_and(is_private) && facts.is_public())
    {
        let text = format!(
            "{told}. They had told us to send it to {}:{}, an address inside their own network.",
            theirs.address, theirs.port
        );
        let fix = "The other side has to name its public address, or send sound from behind its NAT first.";
        return Why::new("sound_to_their_private_address", text, fix);
    }
    let fix = "A firewall on the way or at the other side is likely: let UDP through from this server.";
    Why::new("no_sound_arrived", format!("{told}."), fix)
}

fn broke_off(sound: &Sound, whom: Option<&str>) -> Why {
    let from = whom.map(|whom| format!(" from {whom}")).unwrap_or_default();
    let text = format!(
        "Sound came{from} at first ({} packets), then no more, and the call was ended.",
        sound.received
    );
    Why::new(
        "sound_broke_off",
        text,
        "The other side lost its network, or crashed without hanging up; nothing is wrong here.",
    )
}
