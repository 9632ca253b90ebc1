//! The part of trunkline that acts: everything with IO, one module per noun.
//!
//! `api` translates requests, [`originate`] turns an order into a placed call, the [`switch`] obeys
//! `call::Call`, the [`store`] remembers. Nothing calls `api`; only `store` writes SQL; only
//! [`endpoint`] and [`rtp`] open signalling and media sockets.

// The examples of the API's description are long JSON documents.
#![recursion_limit = "256"]
#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod callers;
pub mod cli;
pub mod config;
pub mod dns;
pub mod endpoint;
pub mod flow;
pub mod http;
pub mod id;
pub mod insight;
pub mod lab;
pub mod logs;
pub mod metrics;
pub mod originate;
pub mod outward;
pub mod progress;
pub mod receive;
pub mod recordings;
pub mod refused;
pub mod registrar;
pub mod rtp;
pub mod secret;
pub mod sim;
pub mod speech;
pub mod store;
pub mod switch;
mod threads;
pub mod time;
pub mod timers;
pub mod trunk;
pub mod turn;
pub mod upkeep;
pub mod upload;
pub mod webhook;
