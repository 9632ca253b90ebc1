//! Calls from end to end: the real binary, real SIP clients and servers, sound that is listened to.
//!
//! Each test starts what it needs on free ports of loopback and ends it. A tool that is not installed is a loud
//! `SKIP:` line; with `CI=true` it is a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod http;
mod peers;
mod phones;
mod ports;
mod receiver;
mod server;
mod shield;
mod sound;
mod tool;

mod access;
mod backup;
mod baresip;
mod bridge;
mod cli;
mod crash;
mod doc0;
mod doc2;
mod failover;
mod flows;
mod garbage;
mod kamailio;
mod many;
mod odd;
mod order;
mod refusals;
mod restart;
mod settings;
mod simulated;
mod sipp;
mod soak;
mod speech;
mod trunks;
mod web;
mod why;
mod wrong_input;
