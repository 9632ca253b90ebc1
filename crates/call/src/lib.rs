//! The call engine without IO: what a destination is, whether it may be called, over which trunk, what a call
//! does once it is answered, and how it ended in plain words.
//!
//! [`Destination::parse`] reads what the caller typed, [`route::plan`] applies the account's [`Policy`] and lists
//! the attempts, and a [`Call`] carries them out: inputs and the time go in, outputs and the next wake-up come
//! out. There is no socket, clock, task or lock here, so hours of calls run in a test in milliseconds.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests need a first instant and read data"))]

mod call;
pub mod cause;
pub mod emergency;
mod flow;
mod number;
mod numbering;
pub mod pace;
pub mod policy;
mod quota;
pub mod route;
mod state;

pub use call::{
    Call, GatherEnd, HangupReason, Input, Leg, LegEnd, LegInput, NotNow, Outcome, Output, Progress, Spec,
};
pub use cause::{Cause, FailureKind, HangupBy, LegFailure};
pub use flow::{ClipId, Dial, Gather, Record, Round, Route, RouteId, Then, Verb};
pub use number::{Destination, Number, NumberError, NumberForm, unescape};
pub use pace::{Held, Limits, Next, Pace, Turn};
pub use policy::{Policy, Prefix, Refusal};
pub use quota::{Exceeded, Quota, Usage};
pub use route::{Attempt, AttemptKind, Request, Strategy, Trunk, TrunkKind};
pub use state::{State, UnknownState};
