//! The figures behind `/metrics`.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use sip::Stats;
use sip::location::Counts;
use sip::shield::Reason;

use crate::store::TrunkRow;
use crate::switch::{Load, SipStats, Status};
use crate::upkeep::{Known, Reach, RegistrationWord};

/// What the SIP server counts, and what it means.
const COUNTERS: &[(&str, &str)] = &[
    ("trunkline_sip_requests_total", "SIP requests, by direction and method; retransmissions included."),
    ("trunkline_sip_responses_total", "SIP responses, by direction and class."),
    ("trunkline_sip_messages_total", "SIP messages, by direction and transport."),
    ("trunkline_sip_retransmissions_total", "SIP messages that were sent before, by direction."),
    ("trunkline_sip_parse_errors_total", "Datagrams and streams that held no SIP message."),
    ("trunkline_sip_timeouts_total", "Requests without a final response, and refusals without an ACK."),
    ("trunkline_sip_absorbed_total", "SIP messages that led to nothing."),
    ("trunkline_sip_connections_accepted_total", "SIP connections made to us and taken."),
    ("trunkline_sip_connections_refused_total", "SIP connections made to us and closed at once: too many."),
    ("trunkline_sip_tls_handshakes_failed_total", "TLS handshakes that came to nothing."),
    ("trunkline_shield_dropped_total", "SIP packets that nobody listened to, by why."),
    (
        "trunkline_shield_tries_refused_total",
        "Passwords that were not looked at: too many were wrong before.",
    ),
];

/// Says what each figure means, and makes those that count endings visible before the first one.
pub fn describe() {
    describe_counter!(
        "trunkline_calls_created_total",
        "Calls that were accepted, by the face that took them."
    );
    describe_counter!("trunkline_calls_shed_total", "Calls refused since there was too much to do.");
    describe_counter!("trunkline_calls_finished_total", "Calls that have ended, by their final state.");
    describe_counter!(
        "trunkline_insights_dropped_total",
        "Calls whose SIP messages were not kept since the database had enough to do."
    );
    describe_gauge!("trunkline_calls", "Calls that have not ended.");
    describe_gauge!("trunkline_sip_legs", "SIP legs.");
    describe_gauge!("trunkline_sip_transactions", "SIP transactions.");
    describe_gauge!(
        "trunkline_sip_running",
        "1 if registrations and calls are taken, 0 if the SIP server is stopped."
    );
    describe_gauge!("trunkline_sip_registrations", "Registered phones, by transport.");
    describe_gauge!("trunkline_sip_registrations_lost", "Registered phones that cannot be reached for now.");
    describe_gauge!("trunkline_sip_connections", "Open SIP connections, by transport.");
    describe_gauge!("trunkline_shield_sources", "Addresses that the shield counts one by one.");
    for (name, what) in COUNTERS {
        describe_counter!(*name, *what);
    }
    describe_gauge!(
        "trunkline_trunk_up",
        "1 if the carrier answers OPTIONS, 0 if not; only trunks that ask (ping_s)."
    );
    describe_gauge!("trunkline_trunk_round_trip_ms", "How long the carrier took to answer the last OPTIONS.");
    describe_gauge!(
        "trunkline_trunk_registered",
        "1 if the trunk is registered, 0 if not; only trunks that register."
    );
    describe_gauge!(
        "trunkline_trunk_calls",
        "Calls on a trunk, by whether they are up or waiting their turn."
    );
    for state in call::State::ALL.into_iter().filter(|state| state.is_final()) {
        counter!("trunkline_calls_finished_total", "state" => state.as_str()).increment(0);
    }
}

/// Brings the gauges up to date; called when somebody looks.
pub fn refresh(status: &Status) {
    gauge!("trunkline_calls").set(status.calls as f64);
    gauge!("trunkline_sip_legs").set(status.legs as f64);
    gauge!("trunkline_sip_transactions").set(status.transactions as f64);
}

/// Brings the figures of the SIP server up to date.
pub fn refresh_sip(running: bool, stats: &SipStats, phones: &Counts) {
    let SipStats { sip, connections, shield } = stats;
    if let Some(shield) = shield {
        gauge!("trunkline_shield_sources").set(shield.sources as f64);
        counter!("trunkline_shield_tries_refused_total").absolute(shield.tries_refused);
        for reason in Reason::ALL {
            counter!("trunkline_shield_dropped_total", "reason" => reason.as_str())
                .absolute(shield.dropped(reason));
        }
    }
    gauge!("trunkline_sip_running").set(if running { 1.0 } else { 0.0 });
    gauge!("trunkline_sip_registrations_lost").set(phones.lost as f64);
    for (transport, count) in Stats::TRANSPORTS.iter().zip(phones.transports) {
        gauge!("trunkline_sip_registrations", "transport" => transport.param()).set(count as f64);
    }
    for (transport, count) in connections.open_by_transport() {
        gauge!("trunkline_sip_connections", "transport" => transport).set(count as f64);
    }
    for (direction, methods, classes, messages, again) in [
        ("in", sip.methods_in, sip.responses_in, sip.messages_in, sip.retransmissions_in),
        ("out", sip.methods_out, sip.responses_out, sip.messages_out, sip.retransmissions_out),
    ] {
        for (method, count) in Stats::METHODS.into_iter().zip(methods) {
            counter!("trunkline_sip_requests_total", "direction" => direction, "method" => method)
                .absolute(count);
        }
        for (class, count) in Stats::CLASSES.into_iter().zip(classes) {
            counter!("trunkline_sip_responses_total", "direction" => direction, "class" => class)
                .absolute(count);
        }
        for (transport, count) in Stats::TRANSPORTS.iter().map(|transport| transport.param()).zip(messages) {
            counter!("trunkline_sip_messages_total", "direction" => direction, "transport" => transport)
                .absolute(count);
        }
        counter!("trunkline_sip_retransmissions_total", "direction" => direction).absolute(again);
    }
    counter!("trunkline_sip_parse_errors_total").absolute(sip.parse_errors);
    counter!("trunkline_sip_timeouts_total").absolute(sip.timeouts);
    counter!("trunkline_sip_absorbed_total").absolute(sip.absorbed);
    counter!("trunkline_sip_connections_accepted_total").absolute(connections.accepted);
    counter!("trunkline_sip_connections_refused_total").absolute(connections.refused);
    counter!("trunkline_sip_tls_handshakes_failed_total").absolute(connections.handshakes_failed);
}

/// Brings a trunk's gauges up to date.
pub fn refresh_trunk(trunk: &TrunkRow, known: &Known, load: Load) {
    let labels = [("trunk", trunk.id.to_string()), ("name", trunk.name.clone())];
    match known.health.reach {
        Reach::Unknown => {}
        reach => gauge!("trunkline_trunk_up", &labels).set(if reach == Reach::Up { 1.0 } else { 0.0 }),
    }
    if let Some(ms) = known.health.round_trip_ms {
        gauge!("trunkline_trunk_round_trip_ms", &labels).set(f64::from(ms));
    }
    match known.registration.state {
        RegistrationWord::None => {}
        state => gauge!("trunkline_trunk_registered", &labels)
            .set(if state == RegistrationWord::Registered { 1.0 } else { 0.0 }),
    }
    for (state, calls) in [("up", f64::from(load.up)), ("waiting", load.waiting as f64)] {
        let [id, name] = labels.clone();
        gauge!("trunkline_trunk_calls", &[id, name, ("state", state.to_owned())]).set(calls);
    }
}
