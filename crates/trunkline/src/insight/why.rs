//! Why a call failed, in plain words, and what to do: from what its legs said and what its sound was like.

mod facts;
mod sound;
#[cfg(test)]
mod tests;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Leg, Sound};
use facts::{Facts, amount, seconds};

/// RTP packets of 20 ms in a second: less says nothing about the way.
pub(super) const A_SECOND: u64 = 50;

const COMPARE: &str = "Compare the trunk's codecs and srtp with what the other side allows; G.711 without encryption suits most.";

const EXTERNAL_IP: &str =
    "Set external_ip to this server's public address, and forward the SIP port and rtp_ports to it.";

/// What is known of a call.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// How it ended; none while it goes on.
    pub outcome: Option<&'a Outcome>,
    /// What its legs said.
    pub legs: &'a [Leg],
    /// What they sounded like.
    pub sound: &'a [Sound],
}

/// How a call ended, as its record tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The final state, such as `failed`.
    pub status: String,
    /// The cause's code, such as `carrier_auth`.
    pub code: String,
    /// Its text.
    pub text: String,
    /// Its hint.
    pub hint: Option<String>,
    /// The final SIP status.
    pub sip: Option<u16>,
}

/// Why, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "code": "nothing_came_back", "text": "We sent INVITE 7 times within 32 s to 203.0.113.9:5060 over UDP, and nothing came back.",
    "fix": "Check the host and port, and that a firewall lets SIP through in both directions.",
}))]
pub struct Why {
    /// Stable, in snake_case; finer than the call's `cause`.
    pub code: String,
    /// What happened.
    pub text: String,
    /// The likely remedy; null where there is none.
    pub fix: Option<String>,
}

impl Why {
    fn new(code: &str, text: impl Into<String>, fix: &str) -> Self {
        Self { code: code.into(), text: text.into(), fix: (!fix.is_empty()).then(|| fix.into()) }
    }

    /// What the record says, where the evidence says no more.
    fn told(outcome: &Outcome) -> Self {
        Self { code: outcome.code.clone(), text: outcome.text.clone(), fix: outcome.hint.clone() }
    }
}

/// Why a call came to its end, or what was wrong with it. `None` for one that went as it should, or still goes on.
pub fn why(evidence: &Evidence<'_>) -> Option<Why> {
    let outcome = evidence.outcome?;
    let facts = Facts::of(evidence.legs, outcome);
    let has_talked = outcome.status == "completed" || outcome.code == "media_failed";
    // Who never had our answer does not send either.
    let legs = evidence.legs.iter().filter(|_| has_talked);
    let found = legs.map(Facts::read).find_map(|facts| unconfirmed(&facts));
    let found = found.or_else(|| has_talked.then(|| sound::why(evidence)).flatten());
    found.or_else(|| unsent(&facts, outcome)).or_else(|| by_cause(&facts, outcome)).or_else(|| {
        let is_fine = ["normal", "hangup", "flow_done", "transferred"].contains(&outcome.code.as_str());
        (!is_fine).then(|| Why::told(outcome))
    })
}

/// Nobody could be reached: of that the other leg, if there is one, says nothing.
fn unsent(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    match outcome.code.as_str() {
        "carrier_unresolved" => Some(name(outcome)),
        // What never became a connection is no matter of TLS.
        "carrier_tls" if !said(outcome).contains("the connection was") => Some(tls(outcome)),
        "carrier_tls" => Some(connection(facts, outcome)),
        "carrier_unreachable" => Some(connection(facts, outcome)),
        _ => None,
    }
}

fn by_cause(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    match outcome.code.as_str() {
        "carrier_auth" => credentials(facts, outcome),
        "carrier_forbidden" | "stir_shaken" | "blocked_by_network" => forbidden(facts, outcome),
        "unallocated_number" | "invalid_number" => number(facts),
        "media_incompatible" | "media_failed" => codecs(facts, outcome),
        "no_response" | "carrier_timeout" => silence(facts),
        "no_ack" => unconfirmed(facts),
        "carrier_congestion" | "unavailable" | "carrier_error" => later(facts, outcome),
        "session_expired" => expired(facts, outcome),
        "canceled" => canceled(facts),
        "no_answer" => unanswered(facts, outcome),
        "rejected" => rejected(facts, outcome),
        "redirected" => redirected(facts, outcome),
        "busy" | "declined" | "unwanted" | "ambiguous" => callee(facts, outcome),
        _ => None,
    }
}

/// What a cause's text has in parentheses at its end.
fn inner(outcome: &Outcome) -> Option<&str> {
    let inner = outcome.text.trim_end_matches('.').strip_suffix(')').and_then(|text| text.split_once(" ("));
    inner.map(|(_, said)| said)
}

/// The same, or all of the text where it has none.
fn said(outcome: &Outcome) -> &str {
    inner(outcome).unwrap_or(outcome.text.trim_end_matches('.'))
}

fn name(outcome: &Outcome) -> Why {
    let said = said(outcome);
    if said.contains("no address of the kind") {
        let fix = "Give sip_listen an address of that kind, or the trunk a host that has one of ours.";
        return Why::new("name_of_another_kind", format!("{said}."), fix);
    }
    if said.contains("cannot be reached while") {
        let fix =
            "Set sip_listen to an address of this machine that the carrier can reach, such as 0.0.0.0:5060.";
        return Why::new("bound_to_loopback", format!("{said}."), fix);
    }
    let (name, why) = said.split_once(" cannot be resolved: ").unwrap_or(("The carrier's host", said));
    let host = if name.starts_with("The ") { name.to_owned() } else { format!("The name {name}") };
    if why.contains("no such name") {
        return Why::new(
            "name_unknown",
            format!("{host} is not known to DNS."),
            "Check its spelling in the trunk's host.",
        );
    }
    if why.contains("no address") {
        let text = format!("{host} is known to DNS, but has no address.");
        return Why::new(
            "name_without_address",
            text,
            "Check the trunk's host: the carrier may mean another name.",
        );
    }
    let fix = "Check this machine's name servers, or name others in dns_servers.";
    let code = if why.contains("did not answer") { "name_server_silent" } else { "name_server_failed" };
    Why::new(code, format!("{host} could not be looked up: {why}."), fix)
}

fn tls(outcome: &Outcome) -> Why {
    let said = said(outcome);
    let (code, fix) = if said.contains("has expired") {
        ("certificate_expired", "The carrier has to renew its certificate; check this machine's clock too.")
    } else if said.contains("not valid yet") {
        ("certificate_not_yet_valid", "Check this machine's clock.")
    } else if said.contains("is for") {
        ("certificate_of_another_name", "Set the trunk's host to the name that the certificate is for.")
    } else if said.contains("issuer is not known") {
        (
            "certificate_issuer_unknown",
            "If the carrier signs its certificates itself, name its authority's file in tls_ca_file.",
        )
    } else {
        ("tls_failed", "Check the trunk's host and its port for TLS (mostly 5061).")
    };
    Why::new(code, format!("No encrypted connection could be made: {said}."), fix)
}

fn connection(facts: &Facts<'_>, outcome: &Outcome) -> Why {
    let to = facts.callee();
    let why = inner(outcome).map(|said| format!(": {said}")).unwrap_or_default();
    if let (Some(last), Some(to)) = (facts.provisional(), &to) {
        let text = format!("{to} took the call ({last}), and then the connection was lost{why}.");
        let fix =
            "The carrier's server ended it, or something on the way: call again, or add a second trunk.";
        return Why::new("connection_lost", text, fix);
    }
    let to = to.map(|to| format!(" to {to}")).unwrap_or_default();
    if why.contains("closed") || why.contains("reset") {
        let text = format!("The connection{to} was made, and then closed without a word.");
        let fix = "Something else may listen there, or the carrier does not expect this server: check the trunk's \
                   host, port and transport.";
        return Why::new("connection_closed", text, fix);
    }
    let text = format!("No connection{to} could be made{why}.");
    if why.contains("refused") {
        let fix = "Nothing listens there: check the trunk's host, port and transport.";
        return Why::new("connection_refused", text, fix);
    }
    let fix = "Check the trunk's host, port and transport, and that a firewall lets the connection through.";
    Why::new("no_connection", text, fix)
}

fn credentials(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    let refusal = facts.refusal()?;
    let realm = refusal.realm().map(|realm| format!(" for {realm:?}")).unwrap_or_default();
    let answer = refusal.words();
    Some(match facts.user() {
        Some(user) => {
            let text = format!(
                "They refused the user {user:?}{realm}, or its password ({answer}). {}",
                facts.shown_as()
            );
            let fix = "Check the trunk's username and password with the carrier; some want a from_domain or realm of their own.";
            Why::new("credentials_refused", text, fix)
        }
        // The trunk has some, and they were not for this.
        None if !outcome.text.contains("has none") => {
            let text = format!(
                "They ask for a user and password{realm} ({answer}), and those of the trunk are for another realm. {}",
                facts.shown_as()
            );
            let fix = "Set the trunk's realm to the one that they name, or to null.";
            Why::new("credentials_for_another_realm", text, fix)
        }
        None => {
            let text = format!(
                "They ask for a user and password{realm} ({answer}), and we gave none. {}",
                facts.shown_as()
            );
            Why::new("credentials_missing", text, "Set the trunk's username and password.")
        }
    })
}

fn forbidden(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    let refusal = facts.refusal()?;
    let text = format!("{} {}", said_by(&outcome.text, &refusal.words()), facts.shown_as());
    Some(Why {
        code: outcome.code.replace("carrier_forbidden", "forbidden"),
        text,
        fix: outcome.hint.clone(),
    })
}

fn number(facts: &Facts<'_>) -> Option<Why> {
    let (refusal, asked) = (facts.refusal()?, facts.asked_for()?);
    let text = format!("They do not know {asked:?}, as we wrote it ({}).", refusal.words());
    let fix = "Check the number. If it is right, the carrier wants it written otherwise: with or without +, country code or prefix.";
    Some(Why::new("number_unknown", text, fix))
}

fn codecs(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    if facts.own_refusal().is_some() {
        return no_part_of_theirs(facts, outcome);
    }
    let offer = facts.our_sdp()?;
    let have = format!("We offered {}{}", offer.codecs.join(", "), encrypted(&offer));
    let fix = COMPARE;
    if let Some(refusal) = facts.refusal() {
        let theirs =
            refusal.sdp().map(|sdp| format!(" They have {}{}.", sdp.codecs.join(", "), encrypted(&sdp)));
        let text = format!("{have}, which they refused ({}).{}", refusal.words(), theirs.unwrap_or_default());
        return Some(Why::new("no_common_codec", text, fix));
    }
    let theirs = facts.their_sdp()?;
    let is_common =
        theirs.codecs.iter().any(|codec| offer.codecs.iter().any(|ours| ours.eq_ignore_ascii_case(codec)));
    if is_common && theirs.encryption == offer.encryption {
        let is_of_keys = inner(outcome).is_some_and(|said| said.contains("encrypt"));
        let told = Why::told(outcome);
        return Some(if is_of_keys { Why { fix: Some(fix.into()), ..told } } else { told });
    }
    let text = format!("{have}, and they answered with {}{}.", theirs.codecs.join(", "), encrypted(&theirs));
    Some(Why::new("no_common_codec", text, fix))
}

/// We refused what they offered.
fn no_part_of_theirs(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    let said = inner(outcome).filter(|said| said.contains("codec") || said.contains("encrypt"))?;
    let (refusal, offer, from) = (facts.own_refusal()?, facts.their_sdp()?, facts.address()?);
    let offered = format!("{}{}", offer.codecs.join(", "), encrypted(&offer));
    let text =
        format!("{from} offered {offered}, of which we may use nothing ({}): {said}.", refusal.words());
    Some(Why::new("no_common_codec", text, COMPARE))
}

fn encrypted(sdp: &super::sdp::Sdp) -> &'static str {
    match sdp.encryption.as_deref() {
        Some("dtls") => " encrypted by DTLS",
        Some(_) => " encrypted by SDES",
        None => "",
    }
}

fn silence(facts: &Facts<'_>) -> Option<Why> {
    if let Some(refusal) = facts.refusal() {
        let text = format!("They waited in vain for the network behind them ({}).", refusal.words());
        return Some(Why::new("network_behind_silent", text, "Call again later, or add a second trunk."));
    }
    let (sent, remote) = (facts.invites()?, facts.remote()?);
    let times = match sent.count {
        1 => "INVITE once".to_owned(),
        n => format!("INVITE {n} times within {}", seconds(sent.within)),
    };
    let text = format!("We sent {times} to {remote}, and nothing came back.");
    let fix = match facts.hides() {
        true => EXTERNAL_IP,
        false => "Check the host and port, and that a firewall lets SIP through in both directions.",
    };
    Some(Why::new("nothing_came_back", text, fix))
}

fn unconfirmed(facts: &Facts<'_>) -> Option<Why> {
    let answer = facts.unconfirmed_answer()?;
    let remote = facts.remote()?;
    let text = format!(
        "We answered {} within {} to {remote}, and it was never confirmed (no ACK came).",
        amount(answer.count, "time"),
        seconds(answer.within)
    );
    let Some(contact) = facts.contact().filter(|_| facts.hides()) else {
        let fix = "Check that the advertised SIP address can be reached from the other side.";
        return Some(Why::new("no_ack", text, fix));
    };
    let text = format!("{text} We told them to reach us at {contact}, an address inside our own network.");
    Some(Why::new("no_ack", text, EXTERNAL_IP))
}

fn later(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    let refusal = facts.refusal()?;
    let text = said_by(&outcome.text, &refusal.words());
    Some(match refusal.retry_after() {
        Some(wait) => {
            let fix = format!("Call again after {wait} s, as they ask, or add a second trunk.");
            Why::new(&outcome.code, text, &fix)
        }
        None => Why { text, ..Why::told(outcome) },
    })
}

fn expired(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    if let Some((method, words)) = facts.forgotten() {
        let text = format!("They no longer know of the call ({words}, to our {method}).");
        let fix = "The other side lost the call, or was started anew; nothing is wrong here.";
        return Some(Why::new("call_forgotten", text, fix));
    }
    let asked = facts.unanswered_refresh()?;
    let text = format!(
        "We asked {} whether the call is still up ({}, session timer), and nothing came back.",
        amount(asked.count, "time"),
        asked.method
    );
    Some(Why::new("session_expired", text, outcome.hint.as_deref().unwrap_or_default()))
}

fn canceled(facts: &Facts<'_>) -> Option<Why> {
    let cancel = facts.cancel()?;
    let after = seconds(cancel.within);
    Some(match cancel.ours {
        true => Why::new(
            "canceled",
            format!("The call was ended on our side after {after}, before it was answered."),
            "",
        ),
        false => Why::new(
            "caller_gave_up",
            format!("The caller gave up after {after}, before it was answered (CANCEL)."),
            "",
        ),
    })
}

fn unanswered(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    let Some(rang) = facts.rang() else {
        let text = format!(
            "{} took the call ({}) and then said nothing more.",
            facts.callee()?,
            facts.provisional()?
        );
        return Some(Why::new("went_silent", text, outcome.hint.as_deref().unwrap_or_default()));
    };
    let text = format!("It rang for {}, and nobody answered.", seconds(rang));
    Some(Why { text, ..Why::told(outcome) })
}

fn redirected(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    let refusal = facts.refusal()?;
    let contacts = refusal.contacts();
    if contacts.is_empty() {
        return None;
    }
    let text = format!(
        "They send the call on to {} ({}), which is not followed.",
        contacts.join(", "),
        refusal.words()
    );
    Some(Why { text, ..Why::told(outcome) })
}

fn callee(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    let refusal = facts.refusal()?;
    Some(Why { text: said_by(&outcome.text, &refusal.words()), ..Why::told(outcome) })
}

/// We refused a call that came in, of our own accord.
fn rejected(facts: &Facts<'_>, outcome: &Outcome) -> Option<Why> {
    let (refusal, from, asked) = (facts.own_refusal()?, facts.address()?, facts.asked_for()?);
    let text = format!("We refused the call of {from} to {asked:?} ({}). {}", refusal.words(), outcome.text);
    let fix = "If it shall not be refused, change the route of the number.";
    Some(Why::new("refused_by_us", text, fix))
}

/// A cause's text with what they said, once.
fn said_by(text: &str, words: &str) -> String {
    match text.contains(words) || text.ends_with(").") {
        true => text.to_owned(),
        false => format!("{} ({words}).", text.trim_end_matches('.')),
    }
}
