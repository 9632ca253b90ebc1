//! The media plane of a call, without IO: SDP offer/answer, RTP and RTCP, G.711, DTMF, audio files, recording,
//! pacing.
//!
//! Nothing in here owns a socket, a clock or a thread. Packets come and go as slices and the time is always a
//! parameter, so a call of an hour runs in a test in milliseconds. A [`Session`] is one leg's media: the driver
//! hands it what arrived ([`Session::handle_rtp`], [`Session::handle_rtcp`]), calls [`Session::tick`] every 20 ms as
//! the [`Pacer`] says, sends what that wrote, and drains [`Session::poll_event`].
//!
//! ```
//! use std::time::Instant;
//!
//! use media::sdp::{self, Local};
//! use media::{Clip, Codec, Event, Session, Setup};
//!
//! let us = Local::new([192, 0, 2, 1].into(), 16384, vec![Codec::Pcmu, Codec::Pcma], 1);
//! let offer = sdp::offer(&Local { addr: [198, 51, 100, 2].into(), port: 4000, ..us.clone() });
//! let (answer, negotiated) = sdp::answer(offer.as_bytes(), &us)?;
//! assert!(answer.contains("m=audio 16384 RTP/AVP 0 8 101"));
//!
//! let now = Instant::now();
//! let mut session = Session::new(
//!     Setup {
//!         negotiated,
//!         ssrc: 1,
//!         sequence: 1,
//!         timestamp: 1,
//!         cname: "leg@example.com".to_owned(),
//!         record: true,
//!         silence_after: None,
//!     },
//!     now,
//! );
//! session.play(7, Clip::tone(440.0, 20, 0.5), now);
//! let mut packet = [0; 1500];
//! let send = session.tick(now, &mut packet).expect("a packet of 20 ms");
//! assert_eq!((send.len, send.to), (12 + 160, "198.51.100.2:4000".parse()?));
//! assert_eq!(session.poll_event(), Some(Event::Played { id: 7, whole: true }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests need a first instant and read data"))]

mod activity;
mod clip;
mod codec;
mod conceal;
pub mod dtmf;
pub mod g711;
mod g722;
mod jitter;
mod pacer;
mod record;
mod resample;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
mod session;
pub mod srtp;
mod stats;
#[cfg(test)]
mod testing;
pub mod tone;
pub mod web;

pub use clip::{Clip, ClipError};
pub use codec::{Codec, FRAME, FRAME_TIME, SAMPLE_RATE};
pub use pacer::Pacer;
pub use record::{RecordError, Recorder};
pub use session::{Event, Relayed, Rules, Send, Session, Setup, Why};
pub use stats::{OneWay, Stats, mos};
pub use tone::{Tone, tones};
