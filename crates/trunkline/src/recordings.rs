//! The folder of recordings: what its files are called.

use crate::id::Id;
use crate::store::OWN;

/// The number of the recording that a step of a flow makes; `item` is what the call engine calls it, from 0 on.
pub fn number_of_step(item: u32) -> i64 {
    OWN + 1 + i64::from(item)
}

/// The file of a call's recording with this number.
pub fn file_name(call: Id, number: i64) -> String {
    match number - number_of_step(0) {
        ..0 => format!("{call}.wav"),
        item => format!("{call}-{item}.wav"),
    }
}
