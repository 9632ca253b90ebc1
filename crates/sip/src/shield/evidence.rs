/// What was seen of a source. `proven`: the source's address is its own, because it answered a nonce that was made for
/// that address; over a stream everything is proven. Anybody can write anybody's address on a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence<'a> {
    /// Credentials were wrong. A nonce that was only too old is no evidence.
    WrongPassword {
        /// For whom, as it is registered: `alice@example.com`.
        user: &'a str,
        /// Whether the nonce was made for this address.
        proven: bool,
    },
    /// Credentials were for a user who is not there.
    UnknownUser {
        /// Whether the nonce was made for this address.
        proven: bool,
    },
    /// A call without credentials that nobody waits for.
    Anonymous,
    /// A call to what leads nowhere.
    UnknownDestination,
    /// What is no SIP.
    Garbage,
    /// A User-Agent of the list.
    Scanner,
    /// A method that strangers may not use.
    Method,
    /// More than the rate lets through.
    TooMany,
    /// A challenge nobody answered, an INVITE whose refusal nobody acknowledged, a connection nothing came on.
    HalfOpen,
}

impl Evidence<'_> {
    pub(super) fn is_proven(self) -> bool {
        matches!(self, Self::WrongPassword { proven: true, .. } | Self::UnknownUser { proven: true })
    }

    /// Its kind.
    pub fn why(self) -> Why {
        match self {
            Self::WrongPassword { .. } => Why::WrongPassword,
            Self::UnknownUser { .. } => Why::UnknownUser,
            Self::Anonymous => Why::Anonymous,
            Self::UnknownDestination => Why::UnknownDestination,
            Self::Garbage => Why::Garbage,
            Self::Scanner => Why::Scanner,
            Self::Method => Why::Method,
            Self::TooMany => Why::TooMany,
            Self::HalfOpen => Why::HalfOpen,
        }
    }
}

/// A kind of [`Evidence`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of Evidence")]
pub enum Why {
    WrongPassword,
    UnknownUser,
    Anonymous,
    UnknownDestination,
    Garbage,
    Scanner,
    Method,
    TooMany,
    HalfOpen,
}

impl Why {
    /// Each once.
    pub const ALL: [Self; 9] = [
        Self::WrongPassword,
        Self::UnknownUser,
        Self::Anonymous,
        Self::UnknownDestination,
        Self::Garbage,
        Self::Scanner,
        Self::Method,
        Self::TooMany,
        Self::HalfOpen,
    ];

    /// Its name in lists and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong_password",
            Self::UnknownUser => "unknown_user",
            Self::Anonymous => "anonymous",
            Self::UnknownDestination => "unknown_destination",
            Self::Garbage => "garbage",
            Self::Scanner => "scanner",
            Self::Method => "method",
            Self::TooMany => "too_many",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How often each [`Why`] was seen.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts([u32; Why::ALL.len()]);

impl Counts {
    /// How often.
    pub fn of(&self, why: Why) -> u32 {
        self.0.get(why as usize).copied().unwrap_or(0)
    }

    /// Those that were seen.
    pub fn seen(&self) -> impl Iterator<Item = (Why, u32)> {
        Why::ALL.into_iter().map(|why| (why, self.of(why))).filter(|(_, count)| *count > 0)
    }

    pub(super) fn add(&mut self, why: Why) {
        if let Some(count) = self.0.get_mut(why as usize) {
            *count = count.saturating_add(1);
        }
    }
}

/// Why something was not let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It is no SIP.
    Garbage,
    /// Its User-Agent is a scanner's.
    Scanner,
    /// Strangers may not use its method.
    Method,
    /// Its source sends more than a stranger may.
    TooMany,
    /// Its source is slowed.
    Slowed,
    /// Its source is ignored.
    Ignored,
    /// A known flow or a trunk sends more than it may.
    Known,
    /// There are more strangers than are let in together.
    Crowd,
    /// The driver is behind, and strangers wait.
    Pressure,
}

impl Reason {
    /// Each once.
    pub const ALL: [Self; 9] = [
        Self::Garbage,
        Self::Scanner,
        Self::Method,
        Self::TooMany,
        Self::Slowed,
        Self::Ignored,
        Self::Known,
        Self::Crowd,
        Self::Pressure,
    ];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Scanner => "scanner",
            Self::Method => "method",
            Self::TooMany => "too_many",
            Self::Slowed => "slowed",
            Self::Ignored => "ignored",
            Self::Known => "known",
            Self::Crowd => "crowd",
            Self::Pressure => "pressure",
        }
    }

    /// What it says of a stranger. What others did is nothing against who is dropped for it.
    pub(super) fn evidence(self) -> Option<Why> {
        match self {
            Self::Garbage => Some(Why::Garbage),
            Self::Scanner => Some(Why::Scanner),
            Self::Method => Some(Why::Method),
            Self::TooMany | Self::Slowed => Some(Why::TooMany),
            Self::Ignored | Self::Known | Self::Crowd | Self::Pressure => None,
        }
    }
}
