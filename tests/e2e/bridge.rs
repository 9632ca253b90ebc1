//! Odd peers on both sides of a bridge: a carrier calls a phone, a phone calls over a carrier. Each call ends once and
//! rightly on either side, and where both speak both are heard.

use std::time::Duration;

use serde_json::{Value, json};

use crate::peers::script::{Body, Script};
use crate::peers::sipp::Sipp;
use crate::peers::voice::Voice;
use crate::ports;
use crate::server::{FINAL, Server};
use crate::tool::wait_for;

mod early;
mod ends;
mod offers;
mod timers;
mod wire;

const PASSWORD: &str = "phone-password-4711";
const DOMAIN: &str = "office.test";
/// Our number, which leads to bob's phone.
const OURS: &str = "+12025550100";
/// A number in the world.
const THEIRS: &str = "+12025550123";

/// The longest a call here takes: 64 T1 until it is given up, and then some.
const LIMIT: Duration = Duration::from_secs(50);

/// Who calls whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// The carrier calls bob, whose phone is registered.
    In,
    /// Alice's phone calls a number behind the carrier.
    Out,
}

const WAYS: [Way; 2] = [Way::In, Way::Out];

impl Way {
    /// Begins the caller's side.
    fn caller(self) -> Script {
        match self {
            Self::In => Script::caller(
                "sip:+12025550199@127.0.0.1:[local_port]",
                &format!("sip:{OURS}@127.0.0.1:[remote_port]"),
            ),
            Self::Out => Script::caller(&format!("sip:alice@{DOMAIN}"), &format!("sip:{THEIRS}@{DOMAIN}"))
                .phone("alice", PASSWORD),
        }
    }
}

/// Plays both ways side by side.
fn each_way(plays: impl Fn(Way) + Sync) {
    std::thread::scope(|scope| {
        for way in WAYS {
            let plays = &plays;
            scope.spawn(move || plays(way));
        }
    });
}

/// Is called and rings.
fn rings() -> Script {
    Script::callee().gets("INVITE").answers("180 Ringing", "", Body::None)
}

/// Is called and answers.
fn answers() -> Script {
    rings().answers("200 OK", "", Body::Sdp).gets("ACK")
}

/// Calls and is answered.
fn calls(way: Way) -> Script {
    way.caller().invites("", Body::Sdp).gets("200").acks(Body::None)
}

/// A server between two SIPps, and the voices of both.
struct Bridged {
    server: Server,
    callee: Sipp,
    caller: Sipp,
    /// The caller's voice, then the callee's.
    voices: [Voice; 2],
}

/// A call as it is to be over.
struct Over {
    server: Server,
    call: Value,
}

impl Bridged {
    /// Starts both sides; `None` where SIPp is not installed.
    #[track_caller]
    fn start(way: Way, caller: Script, callee: Script) -> Option<Self> {
        Self::with(way, json!({}), caller, callee)
    }

    /// The same with settings of the trunk.
    #[track_caller]
    fn with(way: Way, settings: Value, caller: Script, callee: Script) -> Option<Self> {
        let (server, port) = office(way, "udp", settings)?;
        let voices = [Voice::start(440.0), Voice::start(650.0)];
        let callee = Sipp::play(server.folder(), "callee", &callee.xml(voices[1].port), "udp", port, None)?;
        let xml = caller.xml(voices[0].port);
        let caller = Sipp::play(server.folder(), "caller", &xml, "udp", ports::take(1), Some(server.sip()))?;
        Some(Self { server, callee, caller, voices })
    }

    /// Waits until both sides are through; the call is to end in `status` for `cause`.
    #[track_caller]
    fn ends(self, status: &str, cause: &str) -> Over {
        let Self { server, caller, callee, .. } = self;
        caller.finishes_content_in(LIMIT);
        callee.finishes_content_in(LIMIT);
        Over::of(server, status, cause)
    }

    /// The same for a call in which both sides are to have heard each other.
    #[track_caller]
    fn ends_heard(self, status: &str, cause: &str) -> Over {
        let Self { server, callee, caller, voices } = self;
        caller.finishes_content_in(LIMIT);
        callee.finishes_content_in(LIMIT);
        hear_each_other(&voices);
        Over::of(server, status, cause)
    }
}

impl Over {
    #[track_caller]
    fn of(server: Server, status: &str, cause: &str) -> Self {
        let mut last = Value::Null;
        let is_over = || {
            let calls = server.get("/v1/calls").expect(200).json();
            // It is written a moment after it came.
            assert!(calls["data"].as_array().is_some_and(|data| data.len() < 2), "one call: {calls:#}");
            last = calls["data"][0].clone();
            FINAL.contains(&last["status"].as_str()?).then_some(())
        };
        wait_for("the call's end", Duration::from_secs(10), is_over);
        let id = last["id"].as_str().expect("an id").to_owned();
        let call = server.get(&format!("/v1/calls/{id}")).expect(200).json();
        assert_eq!((&call["status"], &call["cause"]["code"]), (&json!(status), &json!(cause)), "{call:#}");
        let ends = server.events(&id).iter().filter(|(kind, _)| kind == "finished").count();
        assert_eq!(ends, 1, "a call ends once");
        wait_for("the end of all legs", Duration::from_secs(10), || {
            let metrics = server.get("/metrics").expect(200).text();
            let is_gone = |line: &str| metrics.lines().any(|own| own == line);
            (is_gone("trunkline_calls 0") && is_gone("trunkline_sip_legs 0")).then_some(())
        });
        let log = server.log();
        assert!(!log.contains("ERROR"), "{log}");
        Self { server, call }
    }
}

/// What one side said was heard on the other one, and nothing else.
#[track_caller]
fn hear_each_other([one, other]: &[Voice; 2]) {
    for (listener, speaker) in [(one, other), (other, one)] {
        let heard = listener.heard().active();
        let (share, seconds) = (heard.share_of(speaker.hz), heard.seconds());
        let hz = speaker.hz;
        assert!(share > 0.8 && seconds > 0.5, "of {hz} Hz there is a share of {share} in {seconds} s");
    }
}

/// A server with what a call in that direction needs, and the port that the callee is to wait at.
fn office(way: Way, transport: &str, settings: Value) -> Option<(Server, u16)> {
    let setup = Server::setup().env("TRUNKLINE_SIP_DOMAIN", DOMAIN).env("TRUNKLINE_COUNTRIES", "US");
    let mut server = setup.start();
    server.secret(PASSWORD);
    let port = ports::take(1);
    let user = if way == Way::In { "bob" } else { "alice" };
    let body = json!({ "username": user, "password": PASSWORD, "caller_ids": [] });
    server.post("/v1/users", body).expect(201);
    let mut settings = settings;
    match way {
        Way::In => {
            settings["inbound"] = json!({ "sources": ["127.0.0.1"] });
            server.trunk(9, json!({ "settings": settings }));
            let number = json!({ "number": OURS, "route": [{ "user": user }] });
            server.post("/v1/numbers", number).expect(201);
            register(&server, user, port)?;
        }
        Way::Out => {
            server.trunk(port, json!({ "transport": transport, "settings": settings }));
        }
    }
    Some((server, port))
}

/// Registers a phone at `port`.
#[track_caller]
fn register(server: &Server, user: &str, port: u16) -> Option<()> {
    let address = format!("sip:{user}@{DOMAIN}");
    let script = Script::caller(&address, &address).phone(user, PASSWORD).registers(&format!("sip:{DOMAIN}"));
    let name = format!("register-{user}");
    let phone = Sipp::play(server.folder(), &name, &script.xml(0), "udp", port, Some(server.sip()))?;
    phone.finishes_content();
    Some(())
}
