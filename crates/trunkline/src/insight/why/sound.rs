//! Sound that went one way only, or none.

use super::facts::Facts;
use super::{A_SECOND, EXTERNAL_IP, Evidence, Why};
use crate::insight::Sound;
use crate::insight::sdp::is_private;

const FIREWALL: &str = "A firewall or NAT between the two is likely: let UDP through to rtp_ports of this server, and set external_ip if it \
                        stands behind NAT.";

/// What was wrong with the sound of any leg.
pub(super) fn why(evidence: &Evidence<'_>) -> Option<Why> {
    let is_silenced = evidence.outcome.is_some_and(|outcome| outcome.code == "rtp_silence");
    evidence.sound.iter().find_map(|sound| {
        let legs = evidence.legs.iter().rev().filter(|leg| leg.role == sound.leg);
        let facts = legs.map(Facts::read).find(Facts::is_answered).unwrap_or_default();
        match sound {
            _ if sound.sent >= A_SECOND && sound.received == 0 => Some(nothing_came(sound, &facts)),
            _ if sound.sent >= A_SECOND && sound.unheard => Some(nothing_arrived(sound, &facts)),
            _ if is_silenced && sound.received > 0 => Some(broke_off(sound)),
            _ => None,
        }
    })
}

fn nothing_came(sound: &Sound, facts: &Facts<'_>) -> Why {
    let told = format!("We sent {} packets of sound and received 0", sound.sent);
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
    if sound.foreign > 0 {
        let text = format!(
            "{told} from where it was agreed: {} came from another address and were left out.",
            sound.foreign
        );
        return Why::new(
            "sound_from_elsewhere",
            text,
            "The other side must send its sound from the address that it names in its SDP.",
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

fn nothing_arrived(sound: &Sound, facts: &Facts<'_>) -> Why {
    let told = format!("They report that none of the {} packets of sound we sent arrived", sound.sent);
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

fn broke_off(sound: &Sound) -> Why {
    let text =
        format!("Sound came at first ({} packets), then no more, and the call was ended.", sound.received);
    Why::new(
        "sound_broke_off",
        text,
        "The other side lost its network, or crashed without hanging up; nothing is wrong here.",
    )
}
