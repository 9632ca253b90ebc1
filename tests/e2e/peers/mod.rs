//! Other people's SIP software, as the far end of calls.

pub mod baresip;
pub mod dns;
pub mod kamailio;
pub mod script;
pub mod sipp;
pub mod tls;
pub mod voice;
pub mod wire;
