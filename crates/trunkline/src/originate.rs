//! From an order to a placed call: everything is checked, rendered and resolved before anybody is dialled.

mod phones;
mod render;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use call::{
    AttemptKind, Destination, Number, NumberError, Policy, Quota, Round, Route, RouteId, Strategy, Then,
    TrunkKind,
};
use serde_json::json;

pub(crate) use self::render::{Hears, Renderer};
use crate::app::App;
use crate::config::{self, Config};
use crate::flow::{self, Step};
use crate::id::Id;
use crate::recordings::file_name;
use crate::refused::Refused;
use crate::sim;
use crate::store::{
    Account, CallEvent, CallRow, Created, Directory, Finish, OWN, Once, StoreError, TrunkRow, Write,
};
use crate::switch::{Dial, Place, Target};
use crate::time::now_ms;
use crate::trunk::{self, TrunkSettings};

/// Everything that takes orders.
pub const FACES: &[&str] = &["v1", "calling", "cli", "demo", "sip", "opensips"];
/// The shortest and longest ring time-out, seconds.
const RING: std::ops::RangeInclusive<u64> = 1..=600;
/// The longest call, seconds.
const DURATION: std::ops::RangeInclusive<u64> = 1..=86_400;
/// Addresses of one trunk that a call tries.
const MOST_TARGETS: usize = 4;
/// Shown by calls to the simulated network that name no caller.
const SIMULATED_CALLER: &str = "+12025550100";

/// What somebody asks for, whatever the face.
#[derive(Clone, Debug)]
pub struct Order {
    /// The account that calls.
    pub account: i64,
    /// Which of [`FACES`] took the order.
    pub face: &'static str,
    /// The caller ID; none: the trunk's.
    pub from: Option<String>,
    /// A number, or a SIP address.
    pub to: String,
    /// What happens once somebody answers.
    pub flow: Vec<Step>,
    /// A trunk by name or id; none: the account's default.
    pub trunk: Option<String>,
    /// Whether both sides are recorded.
    pub record: bool,
    /// How long it may ring; 1 s to 600 s.
    pub ring_timeout: Option<Duration>,
    /// How long it may last; 1 s to 24 h.
    pub max_duration: Option<Duration>,
    /// What is written on it, for whoever placed it.
    pub metadata: BTreeMap<String, String>,
    /// Where the same order may come again and shall be carried out once.
    pub once: Option<Once>,
}

/// What came of an order.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// The call.
    pub call: CallRow,
    /// The same had been ordered before: this is the call that came of it then.
    pub replayed: bool,
}

/// Places the call an order asks for. A refusal means that nobody was dialled.
pub async fn originate(app: &Arc<App>, order: Order) -> Result<Ordered, Refused> {
    let Some(account) = app.store.account(order.account) else {
        return Err(Refused::missing("account_not_found", "This account does not exist."));
    };
    if let Some(once) = &order.once
        && let Some(call) = app.store.replayed(order.account, once).await?
    {
        return replay(app, order.account, call).await;
    }
    check_limits(&order)?;
    let destination = destination(app.store.directory(), account.id, &order.to)?;
    let from = order.from.as_deref().map(caller_id).transpose()?;
    let trunks = app.store.trunks(order.account);
    let attempts = plan(app, &account, order.trunk.as_deref(), &destination, from.as_deref(), &trunks)?;
    let quota = Quota { calls: account.max_calls, per_second: account.calls_per_second };
    let slot = app.switch.admit(account.id, &quota)?;
    let caller = Shows { number: from.clone(), ..Shows::default() };
    let mut renderer =
        Renderer::new(app, &account, &trunks, caller, order.trunk.as_deref(), Hears::Of(&order.to));
    let verbs = renderer.steps(&order.flow).await?;
    let Renderer { clips, routes, shown, .. } = renderer;

    let id = Id::new().map_err(|e| Refused::new(500, "no_randomness", e.to_string()))?;
    let ring_timeout = order.ring_timeout.unwrap_or(app.config.ring_timeout);
    let caller = Shows { number: from.clone(), ..Shows::default() };
    let Ways { rounds, dials } =
        ways(app, Some(id), &account, &caller, attempts, &trunks, ring_timeout).await?;
    let created_at = now_ms();
    let first = dials.first().and_then(|dial| dial.trunk.clone());
    let row = CallRow {
        id,
        account: order.account,
        direction: "outbound".into(),
        face: order.face.into(),
        from: from.or_else(|| rounds.first()?.attempts.first()?.caller_id.clone()),
        to: order.to.trim().into(),
        kind: match destination {
            Destination::Pstn(_) => "PSTN".into(),
            Destination::Sip(_) | Destination::User(_) => "SIP".into(),
        },
        trunk: first.as_ref().map(|(id, _)| *id),
        trunk_name: first.map(|(_, name)| name),
        state: call::State::Queued,
        cause_code: None,
        cause_text: None,
        cause_hint: None,
        sip_status: None,
        q850: None,
        hangup_by: None,
        sip_call_id: None,
        audio_file: shown.audio_file(created_at),
        text: shown.text,
        flow: json!(order.flow),
        recording: None,
        created_at,
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        quality: None,
        heard: None,
        metadata: order.metadata.clone(),
    };
    let queued = CallEvent {
        call: id,
        account: order.account,
        sequence: 1,
        at: created_at,
        kind: "state".into(),
        detail: json!({ "state": "queued" }),
    };
    let stored = app.store.create_call(&row, &queued, order.once.as_ref()).await;
    if let Ok(Created::Replayed(call)) = stored {
        return replay(app, order.account, call).await;
    }
    if let Err(error) = stored {
        if let StoreError::Refused(refused) = error {
            return Err(refused);
        }
        tracing::error!(%error, "a call could not be stored");
        let message = "The call could not be stored, so it was not placed.";
        let refused = Refused::new(503, "store_unavailable", message).retry_after(5);
        // The commit may have come just too late: then the row must not stay queued for ever.
        close(app, id, order.account, &refused);
        return Err(refused);
    }
    let config = &app.config;
    let place = Place {
        id,
        account: order.account,
        spec: call::Spec {
            flow: verbs,
            route: Route { id: RouteId(0), rounds },
            max_duration: longest(order.max_duration, config, &account),
            silence_timeout: Some(config.silence_timeout),
            hold_after_flow: false,
        },
        clips,
        routes: std::iter::once(dials).chain(routes).collect(),
        slot,
        recording: order.record.then(|| {
            let name = file_name(id, OWN);
            (app.recordings_dir().join(&name), name)
        }),
    };
    metrics::counter!("trunkline_calls_created_total", "face" => order.face).increment(1);
    match app.switch.place(place).await {
        Ok(placed) => {
            let call = CallRow { sip_call_id: Some(placed.sip_call_id), ..row };
            Ok(Ordered { call, replayed: false })
        }
        Err(refused) => {
            close(app, id, order.account, &refused);
            Err(refused)
        }
    }
}

/// The call that came of the same order before.
async fn replay(app: &App, account: i64, call: Id) -> Result<Ordered, Refused> {
    let call = app.store.call(Some(account), call).await?;
    let call = call.ok_or_else(|| {
        Refused::new(409, "call_removed", "The call that this Idempotency-Key placed has been removed.")
            .hint("Use a new key to place another call.")
    })?;
    Ok(Ordered { call, replayed: true })
}

/// Ends a call that is in the store but was not placed; it may be ordered again.
fn close(app: &App, call: Id, account: i64, refused: &Refused) {
    let end = refusal(call, account, refused);
    let written = app
        .store
        .record(Write::Finish(Box::new(end)))
        .and_then(|()| app.store.record(Write::Forget { call }));
    if written.is_err() {
        tracing::error!(%call, "a refused call could not be written as failed");
    }
}

fn refusal(call: Id, account: i64, refused: &Refused) -> Finish {
    let at = now_ms();
    let cause = json!({ "code": refused.code, "text": refused.message, "hint": refused.hint });
    let detail = json!({ "state": "failed", "cause": cause });
    Finish {
        call,
        state: call::State::Failed,
        cause_code: Some(refused.code.into()),
        cause_text: Some(refused.message.clone()),
        cause_hint: refused.hint.clone(),
        sip_status: None,
        q850: None,
        hangup_by: Some("system".into()),
        ringing_at: None,
        answered_at: None,
        ended_at: at,
        quality: None,
        heard: None,
        recorded_ms: None,
        event: CallEvent { call, account, sequence: 2, at, kind: "finished".into(), detail },
    }
}

fn check_limits(order: &Order) -> Result<(), Refused> {
    flow::check(&order.flow)?;
    let within = |name: &str, value: Option<Duration>, range: std::ops::RangeInclusive<u64>| match value {
        Some(value) if !range.contains(&value.as_secs()) => Err(Refused::bad(
            "out_of_range",
            format!("{name} must be {} to {} seconds.", range.start(), range.end()),
        )),
        _ => Ok(()),
    };
    within("ring_timeout_s", order.ring_timeout, RING)?;
    within("max_duration_s", order.max_duration, DURATION)
}

/// A caller ID: a number.
fn caller_id(text: &str) -> Result<String, Refused> {
    let refused = |why: String| {
        Refused::bad("invalid_from_number", format!("The number to call from is not usable: {why}"))
            .hint("Give it in international form, such as +12025550100.")
    };
    match Destination::parse(text.trim(), |_| false) {
        Ok(Destination::Pstn(number)) => Ok(number.as_str().to_owned()),
        // Whoever is called shall not be shown an identity of another domain.
        Ok(Destination::Sip(_)) => Err(refused("a SIP address cannot be shown as the caller.".into())),
        Ok(Destination::User(name)) => Err(refused(format!("no user is called {name}."))),
        Err(error) => Err(refused(error.to_string())),
    }
}

fn plan(
    app: &App,
    account: &Account,
    trunk: Option<&str>,
    destination: &Destination,
    from: Option<&str>,
    trunks: &[TrunkRow],
) -> Result<Vec<call::Attempt>, Refused> {
    let direct = match destination {
        Destination::Sip(uri) => is_loopback_uri(uri) || !app.config.sip_listen.ip().is_loopback(),
        Destination::Pstn(_) | Destination::User(_) => false,
    };
    // An id is accepted in any form; names are left as they are.
    let by_id = trunk.and_then(Id::parse).map(|id| id.to_string());
    let trunk = by_id.as_deref().or(trunk);
    let request = call::Request { destination, caller_id: from, trunk, direct };
    let routes: Vec<call::Trunk> = trunks.iter().map(TrunkRow::route).collect();
    let mut attempts =
        call::route::plan(&request, &policy(app, account, trunks), &routes).map_err(|refusal| {
            let is_ours = matches!(refusal.code(), "unknown_trunk" | "no_trunk" | "disabled_trunk");
            Refused::new(if is_ours { 400 } else { 403 }, refusal.code(), refusal.to_string())
        })?;
    // A trunk that is down is tried all the same, but last: it may be back, or be the only one.
    attempts.sort_by_key(|attempt| trunk_of(attempt, trunks).is_some_and(|row| app.upkeep.is_down(row.id)));
    Ok(attempts)
}

/// Whom the account may call: what it or the server is set to, else the country its own trunk is from.
fn policy(app: &App, account: &Account, trunks: &[TrunkRow]) -> Policy {
    let own = || {
        let trunk =
            trunks.iter().filter(|t| t.enabled && t.kind == TrunkKind::Sip).max_by_key(|t| t.is_default)?;
        Number::parse(trunk.caller_id.as_deref()?).ok()?.region(None)
    };
    let region = account.region.clone().or_else(|| app.config.region.clone());
    let read = |prefixes: &[String]| -> Vec<call::Prefix> {
        prefixes.iter().filter_map(|text| call::Prefix::parse(text)).collect()
    };
    let allows = |countries: &[String], prefixes: &[call::Prefix]| {
        !countries.is_empty() || prefixes.iter().any(|prefix| prefix.allows)
    };
    let (mut prefixes, set) = (read(&account.prefixes), read(&app.config.prefixes));
    let countries = if allows(&account.countries, &prefixes) {
        // What the operator refuses to everybody no account can allow itself.
        prefixes.extend(set.into_iter().filter(|prefix| !prefix.allows));
        account.countries.clone()
    } else {
        prefixes.extend(set);
        match allows(&app.config.countries, &prefixes) {
            true => app.config.countries.clone(),
            false => region.clone().or_else(own).into_iter().collect(),
        }
    };
    Policy { countries, prefixes, default_region: region }
}

/// How long the call may last: what was asked for, within what the account may.
pub(crate) fn longest(asked: Option<Duration>, config: &Config, account: &Account) -> Duration {
    let asked = asked.unwrap_or(config.max_duration);
    account.max_duration_s.map_or(asked, |most| asked.min(Duration::from_secs(most.into())))
}

/// What somebody wants to call. `directory` knows the account's users and groups.
fn destination(directory: &Directory, account: i64, to: &str) -> Result<Destination, Refused> {
    let is_user = |name: &str| {
        directory.user(account, name).is_some() || directory.group_named(account, name).is_some()
    };
    Destination::parse(to.trim(), is_user).map_err(|error| match error {
        // As where the policy refuses one.
        NumberError::Emergency => Refused::new(403, error.code(), error.to_string()),
        _ => Refused::bad(error.code(), error.to_string()),
    })
}

/// Who is shown as the caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shows {
    /// A number; none: a trunk's own.
    pub(crate) number: Option<String>,
    /// What phones of ours are shown in its place: a user's name.
    pub(crate) name: Option<String>,
    /// The name beside it, for phones of ours.
    pub(crate) display: Option<String>,
    /// Whether the caller withholds both.
    pub(crate) withheld: bool,
}

/// The ways to somebody, and how to go each.
pub(crate) struct Ways {
    pub(crate) rounds: Vec<Round>,
    pub(crate) dials: Vec<Dial>,
}

/// One round for each address of a trunk: a trunk that is only to step in is left out if it cannot take the call. The
/// phones of a user ring at once.
async fn ways(
    app: &App,
    call: Option<Id>,
    account: &Account,
    caller: &Shows,
    attempts: Vec<call::Attempt>,
    trunks: &[TrunkRow],
    ring_timeout: Duration,
) -> Result<Ways, Refused> {
    let mut ways = Ways { rounds: Vec::new(), dials: Vec::new() };
    for attempt in attempts {
        if attempt.kind == AttemptKind::User {
            let found = phones::named(app, account, caller, &attempt.destination);
            if found.is_empty() {
                let message = format!("No phone of {} is registered.", attempt.destination);
                return Err(Refused::new(409, "user_not_registered", message)
                    .hint("Register one, or see /v1/registrations."));
            }
            for (dials, timeout) in found {
                let attempts = vec![attempt.clone(); dials.len()];
                let ring_timeout = timeout.unwrap_or(ring_timeout);
                ways.rounds.push(Round { attempts, ring_timeout, then: Then::Always });
                ways.dials.extend(dials);
            }
            continue;
        }
        let found = match dial(app, call, &attempt, trunks).await {
            Ok(found) => found,
            Err(refused) if ways.dials.is_empty() => return Err(refused),
            Err(refused) => {
                tracing::info!(trunk = attempt.trunk, reason = refused.message, "a trunk cannot step in");
                continue;
            }
        };
        for dial in found {
            let attempts = vec![attempt.clone()];
            ways.rounds.push(Round { attempts, ring_timeout, then: Then::IfUnrung });
            ways.dials.push(dial);
        }
    }
    Ok(ways)
}

/// `call` is whom a simulated callee tells what it heard.
async fn dial(
    app: &App,
    call: Option<Id>,
    attempt: &call::Attempt,
    trunks: &[TrunkRow],
) -> Result<Vec<Dial>, Refused> {
    let Strategy::SipInvite = attempt.strategy;
    match attempt.kind {
        AttemptKind::Trunk(_) => {
            let row = trunk_of(attempt, trunks)
                .ok_or_else(|| Refused::bad("unknown_trunk", "The trunk is gone."))?;
            match row.kind {
                TrunkKind::Simulated => Ok(vec![simulated(app, call, attempt, row)?]),
                TrunkKind::Sip => over_trunk(app, attempt, row).await,
            }
        }
        AttemptKind::Direct => direct(app, attempt).await,
        // Whoever asks for phones asks `phones`.
        AttemptKind::User => Ok(Vec::new()),
    }
}

fn trunk_of<'a>(attempt: &call::Attempt, trunks: &'a [TrunkRow]) -> Option<&'a TrunkRow> {
    let id = Id::parse(attempt.trunk.as_deref()?)?;
    trunks.iter().find(|trunk| trunk.id == id)
}

fn simulated(app: &App, call: Option<Id>, attempt: &call::Attempt, row: &TrunkRow) -> Result<Dial, Refused> {
    let Some(network) = &app.sim else {
        return Err(Refused::bad(
            "no_simulated_network",
            "The simulated network is not running (setting demo).",
        ));
    };
    let host = network.address();
    let user = attempt.destination.strip_prefix("sip:").or(attempt.destination.strip_prefix("sips:"));
    let user =
        user.map_or(attempt.destination.as_str(), |uri| uri.split(['@', ';', '?']).next().unwrap_or(uri));
    let caller = attempt.caller_id.as_deref().unwrap_or(SIMULATED_CALLER);
    Ok(Dial {
        target: Ok(Target::udp(host)),
        request_uri: format!("sip:{user}@{host}"),
        from_display: None,
        from_uri: from_uri(caller, &host.to_string()),
        to_uri: format!("sip:{user}@{host}"),
        contact_user: Some("trunkline".into()),
        route: Vec::new(),
        headers: call.map(|call| (sim::CALL_HEADER.into(), call.to_string())).into_iter().collect(),
        credentials: Some(network.credentials()),
        trunk: Some((row.id, row.name.clone())),
        settings: row.settings.clone(),
        simulated: call.is_some(),
        phone: None,
    })
}

/// One attempt for each of the trunk's targets, in the order DNS gives them.
async fn over_trunk(app: &App, attempt: &call::Attempt, row: &TrunkRow) -> Result<Vec<Dial>, Refused> {
    let Some(caller) = attempt.caller_id.as_deref().or(row.username.as_deref()) else {
        return Err(Refused::bad(
            "from_required",
            format!("Trunk {} has no caller ID, so the call needs one.", row.name),
        )
        .hint("Name the number to call from, or set the trunk's caller_id."));
    };
    let registered = app.upkeep.known(row.id).registration;
    let lines = trunk::lines(row, &attempt.destination, caller, &registered.service_route);
    let targets = match trunk::targets(row, &lines.route, &app.resolver).await {
        Ok(targets) => targets.into_iter().take(MOST_TARGETS).map(Ok).collect(),
        Err(why) => vec![Err(why)],
    };
    let dial = |target| Dial {
        target,
        request_uri: lines.request_uri.clone(),
        from_display: lines.from_display.clone(),
        from_uri: lines.from_uri.clone(),
        to_uri: lines.to_uri.clone(),
        contact_user: Some(row.username.clone().unwrap_or_else(|| "trunkline".into())),
        route: lines.route.clone(),
        headers: lines.headers.clone(),
        credentials: row.credentials(),
        trunk: Some((row.id, row.name.clone())),
        settings: row.settings.clone(),
        simulated: false,
        phone: None,
    };
    Ok(targets.into_iter().map(dial).collect())
}

/// One attempt for each place that a SIP address leads to.
async fn direct(app: &App, attempt: &call::Attempt) -> Result<Vec<Dial>, Refused> {
    let text = attempt.destination.as_str();
    let bad = |why: String| {
        Refused::bad("invalid_number_format", format!("The SIP address cannot be called: {why}"))
    };
    let uri = sip::Uri::parse(text).map_err(|e| bad(e.to_string()))?;
    if uri.headers.is_some() || uri.password.is_some() {
        return Err(bad("a password or ?headers have no place in it.".into()));
    }
    let Some(destination) = sip::locate::Destination::of(&uri) else {
        return Err(bad("its transport is not spoken; use udp, tcp or tls.".into()));
    };
    let targets = match app.resolver.find(destination).await {
        Ok(targets) => targets.into_iter().take(MOST_TARGETS).map(Ok).collect(),
        Err(why) => vec![Err(why)],
    };
    let domain = &app.config.sip_domain;
    let caller = attempt.caller_id.as_deref().unwrap_or("trunkline");
    let dial = |target| Dial {
        target,
        request_uri: text.into(),
        from_display: None,
        from_uri: from_uri(caller, domain),
        to_uri: text.into(),
        contact_user: Some("trunkline".into()),
        route: Vec::new(),
        headers: Vec::new(),
        credentials: None,
        trunk: None,
        settings: TrunkSettings::default(),
        simulated: false,
        phone: None,
    };
    Ok(targets.into_iter().map(dial).collect())
}

fn from_uri(caller: &str, host: &str) -> String {
    match caller.starts_with("sip:") || caller.starts_with("sips:") {
        true => caller.to_owned(),
        false => format!("sip:{caller}@{host}"),
    }
}

fn is_loopback_uri(uri: &str) -> bool {
    let Ok(uri) = sip::Uri::parse(uri) else { return false };
    config::is_loopback(&host_of(&uri))
}

fn host_of(uri: &sip::Uri<'_>) -> String {
    match uri.host {
        sip::Host::Ip(ip) => ip.to_string(),
        sip::Host::Domain(name) => name.to_owned(),
    }
}
