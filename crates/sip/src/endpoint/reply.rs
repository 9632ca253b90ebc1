use std::net::SocketAddr;

use crate::builder::Builder;
use crate::header::Name;
use crate::message::View;
use crate::uri::Host;
use crate::via::Via;
use crate::{Path, Transport};

/// What every response to one request has in common (RFC 3261 section 8.2.6), kept instead of the request.
#[derive(Clone)]
pub struct Reply {
    /// Where responses go.
    pub path: Path,
    /// Via and From lines.
    before_to: Vec<u8>,
    to: String,
    /// Call-ID and CSeq lines.
    after_to: Vec<u8>,
    record_route: Vec<String>,
}

impl Reply {
    /// `None` when the top Via does not say where to answer.
    pub fn new(request: &View<'_>, path: Path) -> Option<Self> {
        let via = request.top_via()?;
        let mut vias = request.values(Name::Via);
        vias.next();
        let before_to = Builder::only_lines()
            .header("Via", &stamped(&via, &path))
            .headers("Via", vias)
            .headers("From", request.header(Name::From));
        let after_to = Builder::only_lines()
            .headers("Call-ID", request.call_id())
            .headers("CSeq", request.header(Name::CSeq));
        Some(Self {
            path: response_path(&via, path),
            before_to: before_to.into_lines(),
            to: request.header(Name::To).unwrap_or_default().to_owned(),
            after_to: after_to.into_lines(),
            record_route: request.values(Name::RecordRoute).map(str::to_owned).collect(),
        })
    }

    /// Sets the tag of To, unless the request had one or its To cannot take one.
    pub fn with_tag(mut self, request: &View<'_>, tag: &str) -> Self {
        if request.to().is_some_and(|to| to.tag().is_none()) {
            self.to = format!("{};tag={tag}", self.to);
        }
        self
    }

    /// Starts a response. The first that makes a dialog, and all later ones, copy Record-Route.
    pub fn response(&self, status: u16, phrase: &str) -> Builder {
        let to = Some(&self.to).filter(|to| !to.is_empty());
        let builder =
            Builder::response(status, phrase).lines(&self.before_to).headers("To", to).lines(&self.after_to);
        match status {
            101..=299 => builder.headers("Record-Route", &self.record_route),
            _ => builder,
        }
    }
}

/// The top Via with what we know of its sender: `received` where it differs, `rport` where it was asked for
/// (RFC 3261 section 18.2.1, RFC 3581 section 4).
fn stamped(via: &Via<'_>, path: &Path) -> String {
    let mut value = format!("SIP/2.0/{} {}", via.transport, via.sent_by);
    let wants_port = via.params.get("rport").is_some();
    for (name, param) in via.params.iter() {
        let ours = name.eq_ignore_ascii_case("rport") || name.eq_ignore_ascii_case("received");
        match param {
            _ if ours => {}
            Some(param) => value.push_str(&format!(";{name}={param}")),
            None => value.push_str(&format!(";{name}")),
        }
    }
    if wants_port || via.host != Host::Ip(path.remote.ip()) {
        value.push_str(&format!(";received={}", path.remote.ip()));
    }
    if wants_port {
        value.push_str(&format!(";rport={}", path.remote.port()));
    }
    value
}

/// Where a response goes: back along a stream; over UDP to the source address, at the source port if the sender
/// asked for that and at the port of sent-by if not (RFC 3261 section 18.2.2, RFC 3581 section 4). `maddr` is
/// left alone: it would let anybody aim our answers at a third party.
fn response_path(via: &Via<'_>, path: Path) -> Path {
    if path.transport != Transport::Udp || via.params.get("rport").is_some() {
        return path;
    }
    Path { remote: SocketAddr::new(path.remote.ip(), via.port.unwrap_or(5060)), ..path }
}

/// The reason phrase a status is written with.
pub fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        202 => "Accepted",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => match status / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Global Failure",
        },
    }
}
