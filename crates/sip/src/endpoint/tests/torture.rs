//! The 49 messages of RFC 4475 section 3.

use super::super::{Config, Event, Input};
use super::{Bench, path};
use crate::message::View;
use crate::method::Method;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fate {
    /// It is no message: nothing can be answered.
    Unreadable,
    /// It is read but nobody waits for it.
    Absorbed,
    /// It is answered at once.
    Answered(u16),
    /// It is a call.
    Call,
}

use Fate::{Absorbed, Answered, Call, Unreadable};

macro_rules! messages {
    ($($name:literal $fate:expr, $why:literal;)*) => {
        &[$(($name, $fate, $why, include_bytes!(concat!("../../../tests/corpora/rfc4475/", $name, ".dat")))),*]
    };
}

pub const MESSAGES: &[(&str, Fate, &str, &[u8])] = messages! {
    // 3.1.1 valid messages
    "wsinv" Answered(481), "white space in every odd place; its To has a tag we never gave";
    "intmeth" Answered(501), "odd characters, unknown method";
    "esc01" Call, "escapes are characters of the user";
    "escnull" Answered(405), "escaped NULs are harmless; we register nobody";
    "esc02" Answered(501), "escapes in a method are not decoded";
    "lwsdisp" Answered(200), "no space before the angle bracket";
    "longreq" Call, "long values";
    "dblreq" Answered(405), "what follows the body is not read";
    "semiuri" Answered(200), "semicolons in a user";
    "transports" Answered(200), "unknown transports in Via";
    "mpart01" Answered(405), "MESSAGE with a multipart body";
    "unreason" Absorbed, "a response in Cyrillic";
    "noreason" Absorbed, "a response without a phrase";
    // 3.1.2 invalid messages
    "badinv01" Answered(400), "empty parameters";
    "clerr" Answered(400), "Content-Length beyond the datagram";
    "ncl" Answered(400), "negative Content-Length";
    "scalar02" Answered(400), "numbers too large";
    "scalarlg" Absorbed, "numbers too large, in a response";
    "quotbal" Answered(400), "unclosed quote";
    "ltgtruri" Answered(400), "angle brackets around the Request-URI";
    "lwsruri" Answered(400), "white space in the Request-URI";
    "lwsstart" Answered(400), "two spaces in the request line";
    "trws" Answered(200), "white space after the request line is let pass";
    "escruri" Answered(400), "header fields in the Request-URI";
    "baddate" Call, "a bad Date is nobody's business here";
    "regbadct" Answered(400), "a Contact that needs brackets";
    "badaspec" Answered(200), "spaces within brackets are let pass";
    "baddn" Answered(200), "an unquoted display name with a comma is let pass";
    "badvers" Answered(505), "SIP/7.0";
    "mismatch01" Answered(400), "CSeq of another method";
    "mismatch02" Answered(400), "CSeq of another method, unknown method";
    "bigcode" Unreadable, "status 4294967301";
    // 3.2 transaction layer
    "badbranch" Answered(200), "nothing after the cookie: matched as RFC 2543 does";
    // 3.3 application layer
    "insuf" Answered(400), "no From, To, Call-ID";
    "unkscm" Answered(416), "unknown scheme";
    "novelsc" Answered(416), "unusual scheme";
    "unksm2" Answered(405), "unknown schemes in From and To";
    "bext01" Answered(420), "unknown option required";
    "invut" Answered(415), "unknown body";
    "regaut01" Answered(405), "unknown authorization scheme";
    "multi01" Answered(400), "single values given twice";
    "mcl01" Answered(400), "two lengths";
    "bcast" Absorbed, "a response to a broadcast address";
    "zeromf" Answered(483), "Max-Forwards 0";
    "cparam01" Answered(405), "an unknown Contact parameter";
    "cparam02" Answered(405), "an unknown parameter in a Contact's URI";
    "regescrt" Answered(405), "an escaped Route in a Contact's URI";
    "sdp01" Call, "several media types accepted";
    "inv2543" Call, "no branch, no tag, no Contact";
};

#[test]
fn each_message_meets_its_fate() {
    assert_eq!(MESSAGES.len(), 49);
    for (name, fate, why, bytes) in MESSAGES {
        let mut bench = Bench::new();
        bench.endpoint.handle_input(Input::Datagram { path: path(), bytes }, bench.now);
        let outputs = bench.outputs();
        let got = match (outputs.statuses().as_slice(), outputs.events.as_slice()) {
            ([100], [Event::Incoming { .. }]) => Call,
            ([status], []) => Answered(*status),
            ([], []) if View::parse(bytes).is_err() => Unreadable,
            ([], []) => Absorbed,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(got, *fate, "{name}: {why}: {:?}", outputs.sent);
    }
}

#[test]
fn details_come_out_as_meant() {
    let bytes = |wanted: &str| MESSAGES.iter().find(|(name, ..)| *name == wanted).unwrap().3;
    let view = View::parse(bytes("wsinv")).unwrap();
    assert_eq!(view.from().unwrap().display_name().unwrap(), "J Rosenberg \\\"");
    assert_eq!(view.cseq().unwrap().number, 9);
    assert_eq!(view.vias().count(), 3);
    assert_eq!(view.content_type(), Some("application/sdp"));
    let view = View::parse(bytes("dblreq")).unwrap();
    assert!(view.body().is_empty());
    let view = View::parse(bytes("noreason")).unwrap();
    assert_eq!((view.status(), view.reason()), (Some(100), ""));
    let view = View::parse(bytes("unreason")).unwrap();
    assert!(view.reason().starts_with("= 2**3 * 5**2"));
    let view = View::parse(bytes("semiuri")).unwrap();
    let uri = crate::Uri::parse(view.request_uri().unwrap()).unwrap();
    assert_eq!(uri.user, Some("user;par=u%40example.net"));
}

/// Where the driver is asked, it is asked about every call and every REGISTER that would have been refused as such.
#[test]
fn each_message_meets_its_fate_where_the_driver_decides() {
    for (name, fate, why, bytes) in MESSAGES {
        let mut bench = Bench::with(Config { asks: true, ..Config::default() });
        bench.endpoint.handle_input(Input::Datagram { path: path(), bytes }, bench.now);
        let outputs = bench.outputs();
        let is_register = View::parse(bytes).is_ok_and(|view| view.method() == Some(Method::Register));
        let is_asked = *fate == Call || (*fate == Answered(405) && is_register);
        match (outputs.statuses().as_slice(), outputs.events.as_slice()) {
            ([], [Event::Request { .. }]) => assert!(is_asked, "{name}: {why}"),
            ([status], []) => assert_eq!((Answered(*status), is_asked), (*fate, false), "{name}: {why}"),
            ([], []) => assert!(matches!(fate, Absorbed | Unreadable), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(bench.endpoint.stats().transactions, 0, "{name}");
    }
}
