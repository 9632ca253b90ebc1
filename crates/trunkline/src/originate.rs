//! From an order to a placed call: everything is checked, rendered and resolved before anybody is dialled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use call::{AttemptKind, ClipId, Destination, Number, Policy, Strategy, TrunkKind, Verb};
use serde_json::{Value, json};

use crate::app::App;
use crate::config;
use crate::id::Id;
use crate::refused::Refused;
use crate::sim;
use crate::store::{Account, CallEvent, CallRow, Created, Finish, Once, StoreError, TrunkRow, Write};
use crate::switch::{Dial, Place, Target};
use crate::time::now_ms;

/// Steps one flow may have.
const MAX_STEPS: usize = 50;
/// The longest pause, seconds.
const MAX_PAUSE: f32 = 3600.0;
/// The shortest and longest ring time-out, seconds.
const RING: std::ops::RangeInclusive<u64> = 1..=600;
/// The longest call, seconds.
const DURATION: std::ops::RangeInclusive<u64> = 1..=86_400;
/// How long a host name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(5);
/// Shown by calls to the simulated network that name no caller.
const SIMULATED_CALLER: &str = "+12025550100";

/// What somebody asks for, whatever the face.
#[derive(Clone, Debug)]
pub struct Order {
    /// The account that calls.
    pub account: i64,
    /// Which face took the order.
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

/// One step of a flow, as faces say it.
#[derive(Clone, Debug)]
pub enum Step {
    /// Speak a text.
    Say {
        /// The text.
        text: String,
        /// The engine's voice; none: the configured one.
        voice: Option<String>,
        /// BCP 47; none: the configured one.
        language: Option<String>,
    },
    /// Play an uploaded file.
    Play {
        /// Its name, as the upload answered.
        file: String,
    },
    /// Say nothing for a while.
    Pause {
        /// 0 to 3600.
        seconds: f32,
    },
    /// End the call here.
    Hangup,
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
    app.switch.admits(app.config.max_calls)?;
    let destination = Destination::parse(order.to.trim(), |_| false)
        .map_err(|e| Refused::bad("invalid_number_format", e.to_string()))?;
    let from = order.from.as_deref().map(caller_id).transpose()?;
    let trunks = app.store.trunks(order.account);
    let attempts = plan(app, &account, &order, &destination, from.as_deref(), &trunks)?;
    let (verbs, clips, shown) = render(app, &order.flow).await?;

    let id = Id::new().map_err(|e| Refused::new(500, "no_randomness", e.to_string()))?;
    let mut dials = Vec::with_capacity(attempts.len());
    for attempt in &attempts {
        dials.push(dial(app, id, attempt, &trunks).await?);
    }
    let created_at = now_ms();
    let first = dials.first().and_then(|dial| dial.trunk.clone());
    let row = CallRow {
        id,
        account: order.account,
        direction: "outbound".into(),
        face: order.face.into(),
        from: from.or_else(|| attempts.first().and_then(|attempt| attempt.caller_id.clone())),
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
        flow: Value::Array(order.flow.iter().map(Step::to_json).collect()),
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
            attempts,
            ring_timeout: order.ring_timeout.unwrap_or(config.ring_timeout),
            max_duration: order.max_duration.unwrap_or(config.max_duration),
            silence_timeout: Some(config.silence_timeout),
            hold_after_flow: false,
        },
        clips,
        dials,
        recording: order.record.then(|| {
            let name = format!("{id}.wav");
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
        recording: None,
        event: CallEvent { call, account, sequence: 2, at, kind: "finished".into(), detail },
    }
}

fn check_limits(order: &Order) -> Result<(), Refused> {
    if order.flow.is_empty() {
        return Err(Refused::bad("flow_empty", "There is nothing to say or play on the call."));
    }
    if order.flow.len() > MAX_STEPS {
        return Err(Refused::bad("flow_too_long", format!("A flow has {MAX_STEPS} steps at the most.")));
    }
    for step in &order.flow {
        if let Step::Pause { seconds } = step
            && !(0.0..=MAX_PAUSE).contains(seconds)
        {
            return Err(Refused::bad("invalid_pause", format!("A pause lasts 0 to {MAX_PAUSE} seconds.")));
        }
    }
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
    order: &Order,
    destination: &Destination,
    from: Option<&str>,
    trunks: &[TrunkRow],
) -> Result<Vec<call::Attempt>, Refused> {
    let direct = match destination {
        Destination::Sip(uri) => is_loopback_uri(uri) || !app.config.sip_listen.ip().is_loopback(),
        Destination::Pstn(_) | Destination::User(_) => false,
    };
    // An id is accepted in any form; names are left as they are.
    let by_id = order.trunk.as_deref().and_then(Id::parse).map(|id| id.to_string());
    let trunk = by_id.as_deref().or(order.trunk.as_deref());
    let request = call::Request { destination, caller_id: from, trunk, direct };
    let routes: Vec<call::Trunk> = trunks.iter().map(TrunkRow::route).collect();
    call::route::plan(&request, &policy(app, account, trunks), &routes).map_err(|refusal| {
        let status =
            if matches!(refusal.code(), "unknown_trunk" | "no_trunk" | "disabled_trunk") { 400 } else { 403 };
        Refused::new(status, refusal.code(), refusal.to_string())
    })
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

#[derive(Default)]
struct Shown {
    file: Option<String>,
    text: Option<String>,
}

impl Shown {
    /// What is played first, as document 0 names it.
    fn audio_file(&self, created_at: i64) -> Option<String> {
        self.file.clone().or_else(|| self.text.as_ref().map(|_| format!("tts_{created_at}.wav")))
    }
}

/// Renders speech and loads files, so that nothing can fail once the phone rings.
async fn render(app: &App, flow: &[Step]) -> Result<(Vec<Verb>, Vec<media::Clip>, Shown), Refused> {
    let (mut verbs, mut clips, mut shown) = (Vec::new(), Vec::new(), Shown::default());
    for step in flow {
        let clip = ClipId(clips.len() as u32);
        verbs.push(match step {
            Step::Say { text, voice, language } => {
                let spoken = app.speech.say(text, voice.as_deref(), language.as_deref()).await?;
                clips.push(spoken.clip);
                shown.text.get_or_insert_with(|| text.clone());
                Verb::Say { clip, text: text.clone() }
            }
            Step::Play { file } => {
                clips.push(app.uploads.load(file).await?);
                shown.file.get_or_insert_with(|| file.clone());
                Verb::Play { clip, name: file.clone() }
            }
            Step::Pause { seconds } => Verb::Pause(Duration::from_secs_f32(*seconds)),
            Step::Hangup => Verb::Hangup,
        });
    }
    Ok((verbs, clips, shown))
}

async fn dial(app: &App, call: Id, attempt: &call::Attempt, trunks: &[TrunkRow]) -> Result<Dial, Refused> {
    let Strategy::SipInvite = attempt.strategy;
    match attempt.kind {
        AttemptKind::Trunk(_) => {
            let row = attempt
                .trunk
                .as_deref()
                .and_then(Id::parse)
                .and_then(|id| trunks.iter().find(|t| t.id == id));
            let row = row.ok_or_else(|| Refused::bad("unknown_trunk", "The trunk is gone."))?;
            match row.kind {
                TrunkKind::Simulated => simulated(app, call, attempt, row),
                TrunkKind::Sip => over_trunk(app, attempt, row).await,
            }
        }
        AttemptKind::Direct => direct(app, attempt).await,
        AttemptKind::User => Err(Refused::bad("user_not_registered", "No phone of this user is registered.")),
    }
}

fn simulated(app: &App, call: Id, attempt: &call::Attempt, row: &TrunkRow) -> Result<Dial, Refused> {
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
        target: Ok(Target { transport: sip::Transport::Udp, remote: host }),
        request_uri: format!("sip:{user}@{host}"),
        from_uri: from_uri(caller, &host.to_string()),
        to_uri: format!("sip:{user}@{host}"),
        contact_user: Some("trunkline".into()),
        headers: vec![(sim::CALL_HEADER.into(), call.to_string())],
        credentials: Some(network.credentials()),
        trunk: Some((row.id, row.name.clone())),
        simulated: true,
    })
}

async fn over_trunk(app: &App, attempt: &call::Attempt, row: &TrunkRow) -> Result<Dial, Refused> {
    let transport = match row.transport.as_str() {
        "tcp" => sip::Transport::Tcp,
        _ => sip::Transport::Udp,
    };
    let host = match row.port {
        5060 => bracketed(&row.host),
        port => format!("{}:{port}", bracketed(&row.host)),
    };
    let Some(caller) = attempt.caller_id.as_deref().or(row.username.as_deref()) else {
        return Err(Refused::bad(
            "from_required",
            format!("Trunk {} has no caller ID, so the call needs one.", row.name),
        )
        .hint("Name the number to call from, or set the trunk's caller_id."));
    };
    let request_uri = match attempt.destination.starts_with("sip:") {
        true => attempt.destination.clone(),
        false => format!("sip:{}@{host}", attempt.destination),
    };
    let from_uri = from_uri(caller, &bracketed(&row.host));
    Ok(Dial {
        target: resolve(app, &row.host, row.port, transport).await,
        to_uri: request_uri.clone(),
        request_uri: match transport {
            sip::Transport::Tcp => format!("{request_uri};transport=tcp"),
            sip::Transport::Udp => request_uri,
        },
        headers: vec![("P-Asserted-Identity".into(), format!("<{from_uri}>"))],
        from_uri,
        contact_user: Some(row.username.clone().unwrap_or_else(|| "trunkline".into())),
        credentials: row.credentials(),
        trunk: Some((row.id, row.name.clone())),
        simulated: false,
    })
}

async fn direct(app: &App, attempt: &call::Attempt) -> Result<Dial, Refused> {
    let text = attempt.destination.as_str();
    let bad = |why: String| {
        Refused::bad("invalid_number_format", format!("The SIP address cannot be called: {why}"))
    };
    let uri = sip::Uri::parse(text).map_err(|e| bad(e.to_string()))?;
    if uri.headers.is_some() || uri.password.is_some() {
        return Err(bad("a password or ?headers have no place in it.".into()));
    }
    if uri.secure {
        return Err(
            bad("sips needs TLS, which this server does not speak yet.".into()).hint("Use sip: instead.")
        );
    }
    let transport = match uri.params.get("transport") {
        None => sip::Transport::Udp,
        Some(name) if name.eq_ignore_ascii_case("udp") => sip::Transport::Udp,
        Some(name) if name.eq_ignore_ascii_case("tcp") => sip::Transport::Tcp,
        Some(other) => return Err(bad(format!("transport {other} is not spoken; use udp or tcp."))),
    };
    let domain = &app.config.sip_domain;
    let caller = attempt.caller_id.as_deref().unwrap_or("trunkline");
    Ok(Dial {
        target: resolve(app, &host_of(&uri), uri.port.unwrap_or(5060), transport).await,
        request_uri: text.into(),
        from_uri: from_uri(caller, domain),
        to_uri: text.into(),
        contact_user: Some("trunkline".into()),
        headers: Vec::new(),
        credentials: None,
        trunk: None,
        simulated: false,
    })
}

fn from_uri(caller: &str, host: &str) -> String {
    match caller.starts_with("sip:") || caller.starts_with("sips:") {
        true => caller.to_owned(),
        false => format!("sip:{caller}@{host}"),
    }
}

fn bracketed(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    }
}

/// The peer's address, of the family SIP is bound to; the text says why there is none.
async fn resolve(app: &App, host: &str, port: u16, transport: sip::Transport) -> Result<Target, String> {
    let listen = app.switch.address().ip();
    let found: Vec<SocketAddr> = match tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host, port)))
        .await
    {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(format!("{host} cannot be resolved: {error}")),
        Err(_) => {
            return Err(format!("{host} cannot be resolved: the name server did not answer in {RESOLVE:?}"));
        }
    };
    let Some(remote) = found.into_iter().find(|address| address.is_ipv4() == listen.is_ipv4()) else {
        return Err(format!(
            "{host} has no address of the kind SIP is bound to ({listen}; setting sip_listen)"
        ));
    };
    if listen.is_loopback() && !remote.ip().is_loopback() {
        return Err(format!("{host} cannot be reached while SIP is bound to {listen} (setting sip_listen)"));
    }
    Ok(Target { transport, remote })
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

impl Step {
    fn to_json(&self) -> Value {
        match self {
            Step::Say { text, voice, language } => {
                json!({ "say": { "text": text, "voice": voice, "language": language } })
            }
            Step::Play { file } => json!({ "play": { "file": file } }),
            Step::Pause { seconds } => json!({ "pause": { "seconds": seconds } }),
            Step::Hangup => json!({ "hangup": {} }),
        }
    }
}
