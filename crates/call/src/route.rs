//! Over what a call is attempted, in which order.

use crate::cause::{FailureKind, LegFailure};
use crate::number::{Destination, Number, NumberForm};
use crate::policy::{self, Policy, Refusal};

/// What stands behind a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrunkKind {
    /// A SIP provider: real telephones ring and calls cost money.
    Sip,
    /// The built-in simulated phone network.
    Simulated,
}

/// A way out, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Unique and stable.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Real or simulated.
    pub kind: TrunkKind,
    /// How it wants numbers written.
    pub form: NumberForm,
    /// Put before every number once it is in `form`, such as a carrier's tech prefix.
    pub prefix: Option<String>,
    /// The number shown to the callee when the call names none, as the carrier wants it written.
    pub caller_id: Option<String>,
    /// Lower is tried first, as in RFC 2782.
    pub priority: i32,
    /// Whether it may be used.
    pub enabled: bool,
    /// Whether it is tried before all others.
    pub is_default: bool,
}

/// How the first leg comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// We send an INVITE.
    SipInvite,
}

/// Where an attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptKind {
    /// Over a trunk of this kind.
    Trunk(TrunkKind),
    /// Straight to the host of a SIP URI.
    Direct,
    /// To the phones a user of ours has registered.
    User,
}

/// One try at reaching the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The trunk's id; `None` when no trunk is involved.
    pub trunk: Option<String>,
    /// Where it goes.
    pub kind: AttemptKind,
    /// The number in the trunk's form, or the SIP URI, or the user's name.
    pub destination: String,
    /// The number shown to the callee, in the trunk's form.
    pub caller_id: Option<String>,
    /// How it is placed.
    pub strategy: Strategy,
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whom to call.
    pub destination: &'a Destination,
    /// The number to show; the trunk's own when `None`.
    pub caller_id: Option<&'a str>,
    /// The id or name of the one trunk to use; `None` leaves the choice to [`plan`].
    pub trunk: Option<&'a str>,
    /// Whether a SIP URI may go straight to its host. Otherwise it goes to the default trunk, if that is simulated.
    pub direct: bool,
}

/// The attempts to make, in order; never empty.
///
/// The default trunk comes first, then the other enabled ones by priority, all of one kind: the simulated network
/// never stands in for a real trunk, nor a real trunk for it, not even when the default trunk is disabled. `policy`
/// governs whatever leaves the house; the simulated network takes every number.
pub fn plan(request: &Request<'_>, policy: &Policy, trunks: &[Trunk]) -> Result<Vec<Attempt>, Refusal> {
    match request.destination {
        Destination::Pstn(number) => {
            let trunks = candidates(request, trunks)?.into_iter();
            trunks.map(|trunk| number_over(trunk, number, request, policy)).collect()
        }
        // Whatever it would go over: the same number without `sip:` is refused before there is a route.
        Destination::Sip(uri) if policy::is_emergency_uri(policy, uri) => Err(Refusal::Emergency),
        Destination::Sip(uri) if request.direct && request.trunk.is_none() => {
            policy::check_uri(policy, uri)?;
            Ok(vec![without_trunk(AttemptKind::Direct, uri, request)])
        }
        Destination::Sip(uri) => Ok(vec![address_over(candidates(request, trunks)?, uri, request, policy)?]),
        Destination::User(name) => Ok(vec![without_trunk(AttemptKind::User, name, request)]),
    }
}

/// The trunk that was asked for, or the enabled trunks of the kind that leads, in the order to try them.
fn candidates<'a>(request: &Request<'_>, trunks: &'a [Trunk]) -> Result<Vec<&'a Trunk>, Refusal> {
    if let Some(wanted) = request.trunk {
        return Ok(vec![named(wanted, trunks)?]);
    }
    let mut enabled: Vec<&Trunk> = trunks.iter().filter(|trunk| trunk.enabled).collect();
    enabled.sort_by_key(|trunk| (!trunk.is_default, trunk.priority));
    // The simulated network leads only where somebody made it the default.
    let real = enabled.iter().find(|trunk| trunk.kind == TrunkKind::Sip).copied();
    let leader = trunks.iter().find(|trunk| trunk.is_default).or(real);
    let kind = leader.map(|trunk| trunk.kind);
    enabled.retain(|trunk| Some(trunk.kind) == kind);
    if enabled.is_empty() { Err(Refusal::NoTrunk) } else { Ok(enabled) }
}

/// By id first: a name may look like another trunk's id.
fn named<'a>(wanted: &str, trunks: &'a [Trunk]) -> Result<&'a Trunk, Refusal> {
    let trunk = trunks
        .iter()
        .find(|trunk| trunk.id == wanted)
        .or_else(|| trunks.iter().find(|trunk| trunk.name == wanted))
        .ok_or_else(|| Refusal::UnknownTrunk(wanted.to_owned()))?;
    if trunk.enabled { Ok(trunk) } else { Err(Refusal::DisabledTrunk(trunk.name.clone())) }
}

fn number_over(
    trunk: &Trunk,
    number: &Number,
    request: &Request<'_>,
    policy: &Policy,
) -> Result<Attempt, Refusal> {
    if trunk.kind == TrunkKind::Sip {
        policy::check(policy, number)?;
    }
    let written = trunk.form.write(number, policy.default_region.as_deref());
    let prefix = trunk.prefix.as_deref().unwrap_or_default();
    Ok(over(trunk, format!("{prefix}{written}"), request, policy))
}

/// An address goes over a real trunk only where that trunk was asked for.
fn address_over(
    trunks: Vec<&Trunk>,
    uri: &str,
    request: &Request<'_>,
    policy: &Policy,
) -> Result<Attempt, Refusal> {
    let trunk = trunks.first().copied().ok_or(Refusal::NoTrunk)?;
    if trunk.kind == TrunkKind::Sip {
        if request.trunk.is_none() {
            return Err(Refusal::NotDirect);
        }
        policy::check_uri(policy, uri)?;
    }
    Ok(over(trunk, uri.to_owned(), request, policy))
}

fn over(trunk: &Trunk, destination: String, request: &Request<'_>, policy: &Policy) -> Attempt {
    let caller_id = request.caller_id.map(|shown| match Number::parse(shown) {
        Ok(number) => trunk.form.write(&number, policy.default_region.as_deref()),
        Err(_) => shown.to_owned(),
    });
    Attempt {
        trunk: Some(trunk.id.clone()),
        kind: AttemptKind::Trunk(trunk.kind),
        destination,
        caller_id: caller_id.or_else(|| trunk.caller_id.clone()),
        strategy: Strategy::SipInvite,
    }
}

fn without_trunk(kind: AttemptKind, destination: &str, request: &Request<'_>) -> Attempt {
    Attempt {
        trunk: None,
        kind,
        destination: destination.to_owned(),
        caller_id: request.caller_id.map(str::to_owned),
        strategy: Strategy::SipInvite,
    }
}

/// Whether the next attempt may follow this failure: only where nobody can have been rung, so that no one is
/// called or billed twice. That is a name that did not resolve, a request that was never sent, or a refusal
/// (408, 500, 502, 503, 504) received before any provisional response. Silence over UDP proves nothing.
pub fn may_try_next(failure: &LegFailure) -> bool {
    match failure.kind {
        FailureKind::Dns(_) | FailureKind::Transport | FailureKind::Tls(_) => {
            !failure.sent && !failure.provisional
        }
        FailureKind::PacedOut | FailureKind::NoChannel => true,
        FailureKind::Status => {
            !failure.provisional && matches!(failure.status, Some(408 | 500 | 502 | 503 | 504))
        }
        FailureKind::Timeout | FailureKind::Canceled | FailureKind::Media(_) => false,
    }
}

#[cfg(test)]
mod tests;
