//! Writing a session description.

use std::fmt::Write;

use super::{Direction, Format, Local};
use crate::SAMPLE_RATE;

/// What differs from one m-line of ours to another.
pub(super) struct Line<'a> {
    pub(super) proto: &'a str,
    pub(super) formats: &'a [(u8, Format)],
    /// The values of `a=crypto`.
    pub(super) crypto: &'a [String],
    pub(super) direction: Direction,
    pub(super) rtcp_mux: bool,
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
                let channels = if codec.channels() == 1 { "" } else { "/2" };
                line(sdp, format_args!("a=rtpmap:{type_} {}/{}{channels}", codec.name(), codec.clock()));
                if let Some(fmtp) = codec.fmtp() {
                    line(sdp, format_args!("a=fmtp:{type_} {fmtp}"));
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

/// An attribute.
pub(super) fn attribute(sdp: &mut String, attribute: impl std::fmt::Display) {
    line(sdp, format_args!("a={attribute}"));
}

fn line(sdp: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = write!(sdp, "{line}\r\n");
}
