//! The part of trunkline that acts: everything with IO, one module per noun.
//!
//! `api` translates requests, [`originate`] turns an order into a placed call, the switch obeys
//! `call::Call`, the store remembers. Nothing calls `api`; only `store` writes SQL.
#![forbid(unsafe_code)]

pub mod config;
pub mod id;
pub mod refused;
pub mod secret;
pub mod speech;
pub mod store;
pub mod upload;
