//! The figures behind `/metrics`.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::store::TrunkRow;
use crate::switch::{Load, Status};
use crate::upkeep::{Known, Reach, RegistrationWord};

/// Says what each figure means, and makes those that count endings visible before the first one.
pub fn describe() {
    describe_counter!(
        "trunkline_calls_created_total",
        "Calls that were accepted, by the face that took them."
    );
    describe_counter!("trunkline_calls_finished_total", "Calls that have ended, by their final state.");
    describe_counter!(
        "trunkline_insights_dropped_total",
        "Calls whose SIP messages were not kept since the database had enough to do."
    );
    describe_gauge!("trunkline_calls", "Calls that have not ended.");
    describe_gauge!("trunkline_sip_legs", "SIP legs.");
    describe_gauge!("trunkline_sip_transactions", "SIP transactions.");
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
