use std::time::Duration;

use super::bucket::Rate;
use super::evidence::Why;

/// How much is let through, what counts against a source, and for how long.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Requests outside dialogs of a source nothing is known of: 10 a second, 20 at once.
    pub stranger: Rate,
    /// Responses, requests in dialogs, ACKs, CANCELs and keep-alives of such a source: 50 a second, 100 at once.
    pub stranger_within: Rate,
    /// Requests outside dialogs from an address where phones are registered, but not from their flows: 20 a second,
    /// 100 at once. All phones behind one address may lose their ports at once.
    pub shared: Rate,
    /// Requests outside dialogs of one known flow: 50 a second, 100 at once.
    pub flow: Rate,
    /// All else of one known flow: 200 a second, 400 at once.
    pub flow_within: Rate,
    /// Requests outside dialogs of one prefix of a trunk: 2,000 a second, 4,000 at once.
    pub trunk: Rate,
    /// All else of one prefix of a trunk: 10,000 a second, 20,000 at once.
    pub trunk_within: Rate,
    /// Requests of a slowed source, so that who mistyped still gets an answer: 1 a second, 2 at once.
    pub slowed: Rate,
    /// Requests from an ignored source's other ports, where somebody else may be behind the same address: 1 in 5 s.
    pub trickle: Rate,
    /// All strangers together: 2,000 a second, 2,000 at once; six times that, for datagrams and streams, and REGISTERs,
    /// other requests outside dialogs, and the rest, do not take one another's place.
    pub crowd: Rate,
    /// Tries for a user who is being guessed, from where that user never registered: 1 in 10 s, 2 at once.
    pub guessed: Rate,
    /// Points for each piece of evidence.
    pub weights: Weights,
    /// In what time a score halves: 60 s.
    pub half_life: Duration,
    /// Above how many points a source is slowed: 20.
    pub slowed_at: f32,
    /// From how many points on a source is ignored: 60.
    pub ignored_at: f32,
    /// How many points a right password takes off, once in a half-life: 12.
    pub forgiven: f32,
    /// How long a source is ignored the first time: 30 s. Each further time it is twice as long.
    pub shortest: Duration,
    /// How long a source is ignored at the most, and how long it must behave to begin anew: 1 h.
    pub longest: Duration,
    /// Above how many wrong passwords for one user, with a half-life of `guess_half_life`, it is a guessed one: 20.
    /// Those from where the user is at home do not count.
    pub guesses: f32,
    /// In what time the count of `guesses` halves: 5 min.
    pub guess_half_life: Duration,
    /// How long it is remembered after a registration that a user, or anybody, gave a right password at a source: 7 days.
    pub remember: Duration,
    /// What the User-Agent of scanners begins with, in any case. Only names that no phone has: a scanner can take any
    /// name, so this shortens what would be found out anyway.
    pub agents: Vec<String>,
    /// Methods that are not accepted from strangers outside dialogs.
    pub methods: Vec<String>,
    /// The most sources counted one by one: 65,536. Beyond, those share the count of their IPv4 /24 or IPv6 /48.
    pub sources: usize,
    /// The most of those prefixes: 16,384. Beyond, sources share what `crowd` leaves.
    pub blocks: usize,
    /// The most users wrong passwords are counted for, and the most homes of users remembered: 65,536 each.
    pub users: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stranger: Rate::per_second(10, 20),
            stranger_within: Rate::per_second(50, 100),
            shared: Rate::per_second(20, 100),
            flow: Rate::per_second(50, 100),
            flow_within: Rate::per_second(200, 400),
            trunk: Rate::per_second(2_000, 4_000),
            trunk_within: Rate::per_second(10_000, 20_000),
            slowed: Rate::per_second(1, 2),
            trickle: Rate::every(Duration::from_secs(5), 1),
            crowd: Rate::per_second(2_000, 2_000),
            guessed: Rate::every(Duration::from_secs(10), 2),
            weights: Weights::default(),
            half_life: Duration::from_secs(60),
            slowed_at: 20.0,
            ignored_at: 60.0,
            forgiven: 12.0,
            shortest: Duration::from_secs(30),
            longest: Duration::from_secs(3_600),
            guesses: 20.0,
            guess_half_life: Duration::from_secs(300),
            remember: Duration::from_secs(7 * 24 * 3_600),
            agents: AGENTS.map(str::to_owned).to_vec(),
            methods: METHODS.map(str::to_owned).to_vec(),
            sources: 65_536,
            blocks: 16_384,
            users: 65_536,
        }
    }
}

/// SIPVicious and what descends from it, SIPPTS, SipCLI and the SDK that dialling fraud is run with. sipsak and SIPp are
/// not among them: people test with them; nor are names of phones that scanners borrow.
const AGENTS: [&str; 17] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "svmap",
    "svwar",
    "svcrack",
    "sundayddr",
    "sip-scan",
    "sipscan",
    "sipcli",
    "sippts",
    "pplsip",
    "siparmyknife",
    "sivus",
    "iWar",
    "VaxSIPUserAgent",
    "VaxIPUserAgent",
];

/// Methods that only make sense in a dialog, or from somebody we subscribed to.
const METHODS: [&str; 6] = ["INFO", "NOTIFY", "PRACK", "PUBLISH", "REFER", "UPDATE"];

/// Points a source gets for each [`Why`]. They halve within a half-life, so that a phone with a wrong password that
/// tries once a minute stays at 8.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Weights {
    /// 4: the sixth within moments slows, the fifteenth is ignored.
    pub wrong_password: f32,
    /// 5.
    pub unknown_user: f32,
    /// 5.
    pub anonymous: f32,
    /// 5.
    pub unknown_destination: f32,
    /// 4.
    pub garbage: f32,
    /// 60: ignored at once.
    pub scanner: f32,
    /// 4.
    pub method: f32,
    /// 1/64, since dropping is enough against it: only who goes on with thousands is ignored.
    pub too_many: f32,
    /// 2.
    pub half_open: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            wrong_password: 4.0,
            unknown_user: 5.0,
            anonymous: 5.0,
            unknown_destination: 5.0,
            garbage: 4.0,
            scanner: 60.0,
            method: 4.0,
            too_many: 1.0 / 64.0,
            half_open: 2.0,
        }
    }
}

impl Weights {
    pub(super) fn of(&self, why: Why) -> f32 {
        match why {
            Why::WrongPassword => self.wrong_password,
            Why::UnknownUser => self.unknown_user,
            Why::Anonymous => self.anonymous,
            Why::UnknownDestination => self.unknown_destination,
            Why::Garbage => self.garbage,
            Why::Scanner => self.scanner,
            Why::Method => self.method,
            Why::TooMany => self.too_many,
            Why::HalfOpen => self.half_open,
        }
    }
}
