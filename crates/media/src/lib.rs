//! The media plane of a call, without IO: SDP offer/answer, RTP and RTCP, G.711, DTMF, audio files, recording,
//! pacing.
//!
//! Nothing in here owns a socket, a clock or a thread. Packets come and go as slices and the time is always a
//! parameter, so a call of an hour runs in a test in milliseconds. A [`Session`] is one leg's media: the driver
//! hands it what arrived ([`Session::handle_rtp`], [`Session::handle_rtcp`]), calls [`Session::tick`] every 20 ms as
//! the [`Pacer`] says, sends what that wrote, and drains [`Session::poll_event`].
#![forbid(unsafe_code)]

mod clip;
mod codec;
mod dtmf;
pub mod g711;
mod jitter;
mod pacer;
mod record;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
mod session;
mod stats;
#[cfg(test)]
mod testing;
pub mod tone;

pub use clip::{Clip, ClipError};
pub use codec::{Codec, FRAME, FRAME_TIME, SAMPLE_RATE};
pub use dtmf::DtmfError;
pub use pacer::Pacer;
pub use record::{RecordError, Recorder};
pub use session::{Event, Send, Session, Setup};
pub use stats::{Stats, mos};
