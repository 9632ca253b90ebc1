//! What the fuzz targets share: reading a random input as a script of steps.
#![forbid(unsafe_code)]

use std::time::Duration;

/// An input read from its front; what is missing reads as zero, so every input is a whole script.
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// The script that `input` is.
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Two bytes as a number.
    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Bytes of the length that the next two bytes give, or what is left.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.number()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    /// 0 to 65 s, mostly short.
    pub fn time(&mut self) -> Duration {
        let millis = u64::from(self.number());
        Duration::from_millis(millis * millis / 65_536)
    }
}

/// Our side of an offer and answer.
pub fn local() -> media::sdp::Local {
    let keys = media::srtp::Keys::new([7; media::srtp::Keys::RANDOM]);
    media::sdp::Local {
        srtp: media::sdp::Srtp::Optional(keys),
        ..media::sdp::Local::new([192, 0, 2, 9].into(), 16_384, media::Codec::ALL.to_vec(), 1)
    }
}

/// What we say to a browser beside that.
pub fn web() -> media::web::Local {
    media::web::Local {
        credentials: media::web::Credentials::new([1; media::web::Credentials::RANDOM]),
        fingerprint: media::web::Fingerprint::of(b"a certificate"),
        addresses: Vec::new(),
    }
}

/// A session as an offer makes it, of which `choice` picks one.
pub fn setup(choice: u8) -> media::Setup {
    let formats = ["0 101", "8 101", "0 13"][usize::from(choice % 3)];
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP {formats}\r\n\
         a=rtpmap:101 telephone-event/8000\r\n"
    );
    let (_, negotiated) = media::sdp::answer(offer.as_bytes(), &local()).expect("a good offer");
    media::Setup {
        negotiated,
        ssrc: 1,
        sequence: 1,
        timestamp: 1,
        cname: "leg".into(),
        record: choice & 1 == 0,
        silence_after: Some(Duration::from_secs(5)),
    }
}

/// A call to be placed by the endpoint.
pub fn invite(path: sip::Path) -> sip::Invite {
    sip::Invite {
        body: b"v=0\r\n".to_vec(),
        reliable: sip::Reliable::Supported,
        session_timer: Some(sip::SessionTimer::default()),
        credentials: Some(sip::digest::Credentials {
            username: "u".into(),
            password: "p".into(),
            realm: None,
            algorithm: sip::digest::Algorithm::Md5,
        }),
        ..sip::Invite::new(path, "sip:them@192.0.2.2", "sip:us@192.0.2.1", "sip:them@192.0.2.2")
    }
}

/// A call with a flow and a route.
pub fn spec(script: &mut Script<'_>) -> call::Spec {
    let flow = flow(script, 0);
    let route = route(script);
    call::Spec { hold_after_flow: script.byte() % 2 == 0, ..call::Spec::new(flow, route) }
}

/// Up to three rounds of up to three attempts; nobody is called again once somebody was rung.
fn route(script: &mut Script<'_>) -> call::Route {
    let rounds = (0..script.byte() % 4).map(|_| call::Round {
        attempts: vec![attempt(); usize::from(script.byte() % 4)],
        ring_timeout: script.time(),
        then: call::Then::IfUnrung,
    });
    call::Route { id: call::RouteId(0), rounds: rounds.collect() }
}

/// A call to somebody.
pub fn dial(script: &mut Script<'_>) -> call::Dial {
    call::Dial {
        to: "them".into(),
        route: route(script),
        max_duration: script.time(),
        ringback: Some(call::ClipId(0)),
        is_final: false,
    }
}

fn attempt() -> call::Attempt {
    call::Attempt {
        trunk: Some("t".into()),
        kind: call::AttemptKind::Trunk(call::TrunkKind::Sip),
        destination: "+12025550123".into(),
        caller_id: None,
        strategy: call::Strategy::SipInvite,
    }
}

fn flow(script: &mut Script<'_>, depth: u8) -> Vec<call::Verb> {
    (0..script.byte() % 4).map(|_| verb(script, depth)).collect()
}

fn verb(script: &mut Script<'_>, depth: u8) -> call::Verb {
    let say = || call::Verb::Say { clip: call::ClipId(0), text: "a".into() };
    match script.byte() % 10 {
        0 => say(),
        1 => call::Verb::Play { clip: call::ClipId(0), name: "b".into() },
        2 => call::Verb::Pause(script.time()),
        3 => call::Verb::Digits("1w#".into()),
        4 if depth < 3 => call::Verb::Gather(Box::new(call::Gather {
            prompts: vec![say()],
            digits: 1..=usize::from(script.byte() % 4 + 1),
            finish: Some('#'),
            timeout: script.time(),
            between: script.time(),
            tries: u32::from(script.byte() % 3),
            branches: vec![("1".into(), flow(script, depth + 1)), ("2".into(), flow(script, depth + 1))],
            otherwise: flow(script, depth + 1),
        })),
        5 => call::Verb::Record(call::Record {
            beep: script.byte() % 2 == 0,
            max: script.time(),
            end_silence: None,
            finish_keys: "#".into(),
        }),
        6 => call::Verb::Dial(Box::new(dial(script))),
        8 => call::Verb::Answer,
        9 => call::Verb::Reject(480),
        _ => call::Verb::Hangup,
    }
}

/// Something that happens to a call.
pub fn input(script: &mut Script<'_>) -> call::Input {
    use call::Input;
    match script.byte() % 8 {
        0 => Input::Recorded { id: u32::from(script.byte() % 8) },
        1 => Input::Played { id: u32::from(script.byte() % 8), whole: script.byte() % 2 == 0 },
        _ => Input::Leg { n: u32::from(script.byte() % 8), what: leg(script) },
    }
}

fn leg(script: &mut Script<'_>) -> call::LegInput {
    use call::LegInput;
    match script.byte() % 9 {
        0 => LegInput::Trying,
        1 => LegInput::Ringing { early_media: script.byte() % 2 == 0 },
        2 => LegInput::Answered,
        3 => LegInput::Failed(failure(script)),
        4 => LegInput::Ended {
            by: [call::LegEnd::Remote, call::LegEnd::NoAck, call::LegEnd::Transport, call::LegEnd::Canceled]
                [usize::from(script.byte() % 4)],
            q850: Some(script.byte()),
        },
        5 => LegInput::MediaReady,
        6 => LegInput::MediaFailed("broken".into()),
        7 => LegInput::Silent { after: script.time() },
        _ => LegInput::Digit(char::from(b"0123456789*#ABCD"[usize::from(script.byte() % 16)])),
    }
}

fn failure(script: &mut Script<'_>) -> call::LegFailure {
    call::LegFailure {
        kind: match script.byte() % 6 {
            0 => call::FailureKind::Dns("no such name".into()),
            1 => call::FailureKind::Transport,
            2 => call::FailureKind::Timeout,
            3 => call::FailureKind::Canceled,
            4 => call::FailureKind::Media("no port".into()),
            _ => call::FailureKind::Status,
        },
        status: Some(300 + script.number() % 400),
        phrase: String::new(),
        q850: Some(script.byte()),
        provisional: script.byte() % 2 == 0,
        sent: script.byte() % 2 == 0,
        challenged: script.byte() % 2 == 0,
        had_credentials: script.byte() % 2 == 0,
    }
}

/// The last thing that happens to every call here.
pub fn hang_up() -> call::Input {
    call::Input::Hangup { by: call::HangupBy::System, cause: call::HangupReason::Shutdown }
}
