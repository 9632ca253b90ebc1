//! SIP over WebSocket (RFC 7118), the server's side: the upgrade, and messages cut from frames (RFC 6455). No IO.

use std::io::Cursor;

use tungstenite::handshake::machine::TryParse as _;
use tungstenite::handshake::server::{self, Request, Response};
use tungstenite::http::{HeaderMap, HeaderValue, header};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::refused::Refused;

/// The longest message, in bytes; as long as one over TCP.
const MAX_MESSAGE: usize = 64 * 1024;
/// The longest upgrade request, in bytes.
const MAX_REQUEST: usize = 8 * 1024;
/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// What the upgrade asks for in Sec-WebSocket-Protocol (RFC 7118 section 4).
const SUBPROTOCOL: HeaderValue = HeaderValue::from_static("sip");

/// Why a WebSocket is closed (RFC 6455 section 7.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Nothing more is to be said.
    Normal = 1000,
    /// We go, or keep only those who use their connection.
    Away = 1001,
    /// What came is no WebSocket.
    Protocol = 1002,
    /// Text that is not UTF-8.
    Text = 1007,
    /// A message over the limit.
    TooBig = 1009,
}

/// The upgrade request at the beginning of `bytes` and its length, once it is there.
///
/// # Errors
/// It is none, or too long.
pub fn read_request(bytes: &[u8]) -> Result<Option<(usize, HeaderMap)>, Refused> {
    if !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        return match bytes.len() > MAX_REQUEST {
            true => Err(Refused::new(431, "request_too_large", "The request is too long for an upgrade.")),
            false => Ok(None),
        };
    }
    match Request::try_parse(bytes) {
        Ok(Some((length, request))) => Ok(Some((length, request.into_parts().0.headers))),
        Ok(None) | Err(_) => Err(Refused::bad("bad_request", "This is no HTTP request.")),
    }
}

/// The answer that makes a WebSocket of the connection. `origins` are the pages that may connect; empty: all.
///
/// # Errors
/// The request asks for no WebSocket, for one without SIP, or comes from another page.
pub fn accept(headers: &HeaderMap, origins: &[String]) -> Result<Response, Refused> {
    let mut request = Request::new(());
    *request.headers_mut() = headers.clone();
    let mut response = server::create_response(&request).map_err(|error| {
        Refused::bad(
            "no_websocket",
            format!("SIP is spoken over WebSocket here, and this asks for none: {error}."),
        )
    })?;
    let asked =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if !asked.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("sip")) {
        let message = "The header Sec-WebSocket-Protocol must name sip (RFC 7118).";
        return Err(Refused::bad("no_sip_subprotocol", message));
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && !origins.is_empty()
        && !origins.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
    {
        let message = "Pages of this origin may not connect; the server's setting is web_origins.";
        return Err(Refused::new(403, "origin_not_allowed", message));
    }
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    Ok(response)
}

/// Appends an accepted upgrade to what is to be sent.
pub fn write_response(response: &Response, out: &mut Vec<u8>) {
    // Into memory, and every header was made here.
    let _ = server::write_response(out, response);
}

/// Appends a refusal, after which the connection is closed.
pub fn write_refusal(refused: &Refused, out: &mut Vec<u8>) {
    let status = tungstenite::http::StatusCode::from_u16(refused.status).unwrap_or_default();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{}\n",
        refused.message.len() + 1,
        refused.message
    );
    out.extend_from_slice(text.as_bytes());
}

/// Cuts what a client sends into messages and answers its pings. The buffers hold what came, never what was only
/// announced.
#[derive(Debug, Default)]
pub struct Web {
    received: Vec<u8>,
    /// The frames so far of a message in pieces, and of what kind it is.
    pieces: Option<(Data, Vec<u8>)>,
}

impl Web {
    /// Takes in the next bytes, however cut.
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Whether a message has begun that is not whole.
    pub fn has_begun(&self) -> bool {
        !self.received.is_empty() || self.pieces.is_some()
    }

    /// The next message; `None` until more bytes arrive. Answers to control frames are appended to `out`.
    ///
    /// # Errors
    /// The WebSocket is over: the frame that says why is in `out`.
    pub fn next_message(&mut self, out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Close> {
        let next = self.read_frames(out);
        if let Err(close) = next {
            write_close(close, out);
        }
        next
    }

    fn read_frames(&mut self, out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Close> {
        while let Some((header, payload)) = self.next_frame()? {
            let (data, mut message) = match (header.opcode, self.pieces.take()) {
                (OpCode::Control(control), pieces) => {
                    self.pieces = pieces;
                    match control {
                        Control::Ping => write_frame(OpCode::Control(Control::Pong), &payload, out),
                        Control::Pong => {}
                        Control::Close | Control::Reserved(_) => return Err(Close::Normal),
                    }
                    continue;
                }
                (OpCode::Data(Data::Continue), Some(pieces)) => pieces,
                (OpCode::Data(data @ (Data::Text | Data::Binary)), None) => (data, Vec::new()),
                (OpCode::Data(_), _) => return Err(Close::Protocol),
            };
            match message.is_empty() {
                true => message = payload,
                false => message.extend_from_slice(&payload),
            }
            match header.is_final {
                true if data == Data::Text && std::str::from_utf8(&message).is_err() => {
                    return Err(Close::Text);
                }
                true => return Ok(Some(message)),
                false => self.pieces = Some((data, message)),
            }
        }
        Ok(None)
    }

    /// Takes the next frame, unmasked.
    fn next_frame(&mut self) -> Result<Option<(FrameHeader, Vec<u8>)>, Close> {
        let mut cursor = Cursor::new(&self.received);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Close::Protocol)?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let is_control = matches!(header.opcode, OpCode::Control(_));
        // A client masks each frame (RFC 6455 section 5.1), and no extension was agreed on.
        let Some(mask) = header.mask.filter(|_| !(header.rsv1 || header.rsv2 || header.rsv3)) else {
            return Err(Close::Protocol);
        };
        if is_control && (length > MAX_CONTROL || !header.is_final) {
            return Err(Close::Protocol);
        }
        let before = self.pieces.as_ref().filter(|_| !is_control).map_or(0, |(_, pieces)| pieces.len());
        if length.saturating_add(before) > MAX_MESSAGE {
            return Err(Close::TooBig);
        }
        let Some(payload) = self.received.get(start..start + length) else { return Ok(None) };
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        self.received.drain(..start + length);
        if self.received.is_empty() {
            // Most connections say something once a minute: nothing is kept for the time between.
            self.received = Vec::new();
        }
        Ok(Some((header, payload)))
    }
}

/// Appends a message.
pub fn write_message(message: &[u8], out: &mut Vec<u8>) {
    let data = if std::str::from_utf8(message).is_ok() { Data::Text } else { Data::Binary };
    write_frame(OpCode::Data(data), message, out);
}

/// Appends a ping.
pub fn write_ping(out: &mut Vec<u8>) {
    write_frame(OpCode::Control(Control::Ping), b"", out);
}

/// Appends the frame that closes the WebSocket.
pub fn write_close(close: Close, out: &mut Vec<u8>) {
    write_frame(OpCode::Control(Control::Close), &(close as u16).to_be_bytes(), out);
}

fn write_frame(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // Into memory: this cannot fail.
    let _ = header.format(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests;
