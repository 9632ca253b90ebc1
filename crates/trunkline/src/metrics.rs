//! The figures behind `/metrics`.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::switch::Status;

/// Says what each figure means, and makes those that count endings visible before the first one.
pub fn describe() {
    describe_counter!(
        "trunkline_calls_created_total",
        "Calls that were accepted, by the face that took them."
    );
    describe_counter!("trunkline_calls_finished_total", "Calls that have ended, by their final state.");
    describe_gauge!("trunkline_calls", "Calls that have not ended.");
    describe_gauge!("trunkline_sip_legs", "SIP legs.");
    describe_gauge!("trunkline_sip_transactions", "SIP transactions.");
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
