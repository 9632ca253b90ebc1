//! Writing a session description.

use std::fmt::Write;

use super::{Direction, Format, Local};
use crate::{Codec, SAMPLE_RATE};

/// What differs from one m-line of ours to another.
pub(super) struct Line<'a> {
    pub(super) proto: &'a str,
    pub(super) formats: &'a [(u8, Format)],
    /// The values of `a=crypto`.
    pub(super) crypto: &'a [String],
    pub(super) direction: Direction,
    pub(super) rtcp_mux: bool,
}

/// The rate of a codec's RTP timestamps, in Hz: Opus counts in 48,000 whatever it carries (RFC 7587 4.1), and G.722 in
/// 8,000 although it samples at 16,000 (RFC 3551 4.5.2).
pub(super) fn clock(codec: Codec) -> u32 {
    if codec.name() == "opus" { 48_000 } else { SAMPLE_RATE }
}

/// The session part of a description of ours.
pub(super) fn session(local: &Local, timing: &str) -> String {
    let Local { addr, session_id, version, .. } = local;
    let family = if addr.is_ipv4() { "IP4" } else { "IP6" };
    let mut sdp = String::with_capacity(700);
    line(&mut sdp, format_args!("v=0"));
    line(&mut sdp, format_args!("o=- {session_id} {version} IN {family} {addr}"));
    line(&mut sdp, format_args!("s=-"));
    line(&mut sdp, format_args!("c=IN {family} {addr}"));
    line(&mut sdp, format_args!("t={timing}"));
    sdp
}

/// An m-line that is refused: its fields, the port being 0.
pub(super) fn refused(sdp: &mut String, fields: &str) {
    line(sdp, format_args!("m={fields}"));
}

/// Our m-line.
pub(super) fn audio(sdp: &mut String, local: &Local, ours: &Line<'_>) {
    let formats: String = ours.formats.iter().map(|(format, _)| format!(" {format}")).collect();
    line(sdp, format_args!("m=audio {} {}{formats}", local.port, ours.proto));
    for (type_, format) in ours.formats {
        match format {
            Format::Audio(codec) => {
                let (name, clock) = (codec.name(), clock(*codec));
                // Opus is always declared with two channels (RFC 7587 section 7).
                let channels = if name == "opus" { "/2" } else { "" };
                line(sdp, format_args!("a=rtpmap:{type_} {name}/{clock}{channels}"));
                if name == "opus" {
                    line(sdp, format_args!("a=fmtp:{type_} useinbandfec=1"));
                }
            }
            Format::Event(clock) => {
                line(sdp, format_args!("a=rtpmap:{type_} telephone-event/{clock}"));
                line(sdp, format_args!("a=fmtp:{type_} 0-15"));
            }
            Format::ComfortNoise => line(sdp, format_args!("a=rtpmap:{type_} CN/{SAMPLE_RATE}")),
        }
    }
    line(sdp, format_args!("a=ptime:{}", local.ptime_ms));
    for crypto in ours.crypto {
        line(sdp, format_args!("a=crypto:{crypto}"));
    }
    if ours.rtcp_mux {
        line(sdp, format_args!("a=rtcp-mux"));
        line(sdp, format_args!("a=rtcp:{}", local.port));
    } else {
        line(sdp, format_args!("a=rtcp:{}", local.port.saturating_add(1)));
    }
    line(sdp, format_args!("a={}", ours.direction.name()));
}

fn line(sdp: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = write!(sdp, "{line}\r\n");
}
