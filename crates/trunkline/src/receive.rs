//! From a call that came in to what happens to it: its targets are looked up, rendered and resolved before anybody is
//! rung. Where nothing has to be waited for, as from phone to phone, that is done at once, in the call loop.

mod transfer;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use call::{Number, Quota, Verb};
use serde::Deserialize;
use serde_json::json;
use sip::{LegId, Name, NameAddr, View};
use tokio::runtime::Handle;

pub use self::transfer::{by_account, refer};
use crate::app::App;
use crate::callers::{self, Caller, own_number};
use crate::flow::{self, Step};
use crate::id::Id;
use crate::originate::{Hears, Renderer, Shows, longest};
use crate::refused::Refused;
use crate::store::{Account, CallEvent, CallRow, MayCall, Target, TrunkRow, UserRow};
use crate::switch::Place;
use crate::time::now_ms;

/// What is said where a mailbox has no greeting of its own.
const GREETING: &str = "Nobody can take your call at the moment. Please leave a message after the tone.";
/// The longest message, seconds.
const MESSAGE_S: u32 = 180;
/// Silence that ends a message, seconds.
const MESSAGE_SILENCE_S: u16 = 8;
/// How long a webhook may think about what to do with a call.
const WEBHOOK: Duration = Duration::from_secs(5);
/// The most bytes it may answer with.
const MOST_TOLD: usize = 256 * 1024;

/// A call that came in.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its id.
    pub id: Id,
    /// The caller's leg.
    pub leg: LegId,
    /// Who calls.
    pub caller: Caller,
    /// The number or name the caller shows.
    pub from: Option<String>,
    /// The name beside it.
    pub display: Option<String>,
    /// Whether the caller withholds both (RFC 3323).
    pub withheld: bool,
    /// What was dialled: the user part of the Request-URI, or all of it where its host is not ours.
    pub to: String,
    /// The Call-ID of the caller's leg.
    pub sip_call_id: String,
}

impl Arrival {
    /// What an INVITE says. Whom a trunk asserts is believed, for it was identified; a user is who it proved to be.
    pub fn of(id: Id, leg: LegId, caller: Caller, invite: &View<'_>, is_own: impl Fn(&str) -> bool) -> Self {
        let asserted = match &caller {
            Caller::Trunk(..) => invite.values("P-Asserted-Identity").next(),
            Caller::User(_) => None,
        };
        let from = asserted.or_else(|| invite.header(Name::From));
        let display = from.and_then(|from| NameAddr::parse(from).ok()?.display_name());
        let privacy = invite.header("Privacy").unwrap_or_default();
        let from_user = from.and_then(callers::user_part);
        let is_anonymous = from_user.as_deref().is_some_and(|user| user.eq_ignore_ascii_case("anonymous"));
        Self {
            id,
            leg,
            from: match &caller {
                Caller::User(user) => Some(user.username.to_string()),
                Caller::Trunk(..) => from_user,
            },
            caller,
            display,
            withheld: is_anonymous
                || privacy.split(';').any(|it| matches!(it.trim(), "id" | "user" | "full")),
            to: dialled(invite.request_uri().unwrap_or_default(), is_own),
            sip_call_id: invite.call_id().unwrap_or_default().to_owned(),
        }
    }
}

/// What a URI dials: its user part, or all of it where its host is not ours.
pub fn dialled(uri: &str, is_own: impl Fn(&str) -> bool) -> String {
    let host = sip::Uri::parse(uri).ok().map(|uri| callers::host_text(uri.host));
    match (callers::user_part(&format!("<{uri}>")), host) {
        (Some(user), Some(host)) if is_own(&host) => user,
        (Some(user), None) => user,
        _ => uri.to_owned(),
    }
}

/// Finds out what happens to a call: at once, if nothing has to be waited for; otherwise the switch is told later.
pub fn begin(app: &Arc<App>, tokio: &Handle, arrival: Arrival) -> Option<Result<Place, Refused>> {
    let leg = arrival.leg;
    let place = {
        let app = app.clone();
        async move { receive(&app, &arrival).await }
    };
    let app = app.clone();
    at_once(tokio, place, move |place| app.switch.received(leg, place))
}

/// What comes of `work`, if nothing has to be waited for; otherwise `later` is told.
fn at_once<T: Send>(
    tokio: &Handle,
    work: impl Future<Output = T> + Send + 'static,
    later: impl FnOnce(T) + Send + 'static,
) -> Option<T> {
    let mut work = Box::pin(work);
    let _within = tokio.enter();
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => {
            tokio.spawn(async move { later(work.await) });
            None
        }
    }
}

/// Says what happens to a call, and writes it down. A refusal means that nobody was rung.
async fn receive(app: &App, arrival: &Arrival) -> Result<Place, Refused> {
    let Some(account) = app.store.account(arrival.caller.account()) else {
        return Err(Refused::missing("account_not_found", "This account does not exist."));
    };
    let quota = Quota { calls: account.max_calls, per_second: account.calls_per_second };
    let slot = app.switch.slot(account.id, &quota)?;
    let targets = match &arrival.caller {
        Caller::Trunk(_, number) => number.route.clone(),
        Caller::User(user) => called(app, &account, user, &arrival.to)?,
    };
    if targets.is_empty() {
        return Err(Refused::missing("number_not_routed", "This number leads nowhere: it has no route."));
    }
    let trunks = app.store.trunks(account.id);
    let hears = match &arrival.caller {
        Caller::Trunk(_, number) => number.country().map_or(Hears::Of(&arrival.to), Hears::In),
        Caller::User(_) => Hears::Of(&arrival.to),
    };
    let mut renderer = Renderer::new(app, &account, &trunks, shows(arrival), None, hears);
    let mut verbs = Vec::new();
    for target in &targets {
        let found = verbs_of(app, &account, arrival, &mut renderer, target).await?;
        // What a webhook says is all that happens; where it says nothing, the next target has its turn.
        let is_said = matches!(target, Target::Webhook(_)) && !found.is_empty();
        verbs.extend(found);
        if is_said {
            break;
        }
    }
    let row = row(arrival, &account, &targets);
    let queued = CallEvent {
        call: arrival.id,
        account: account.id,
        sequence: 1,
        at: row.created_at,
        kind: "state".into(),
        detail: json!({ "state": "queued" }),
    };
    app.store.record_call(row, queued)?;
    metrics::counter!("trunkline_calls_created_total", "face" => "sip").increment(1);
    let Renderer { clips, routes, .. } = renderer;
    Ok(Place {
        id: arrival.id,
        account: account.id,
        spec: call::Spec {
            max_duration: longest(None, &app.config, &account),
            silence_timeout: Some(app.config.silence_timeout),
            ..call::Spec::new(verbs, call::Route::default())
        },
        clips,
        routes: std::iter::once(Vec::new()).chain(routes).collect(),
        recording: None,
        slot,
    })
}

/// Whether a user may call somebody, by its phone or by whoever presses the button for it.
pub fn check_may_call(app: &App, user: &UserRow, to: &str) -> Result<(), Refused> {
    match app.store.account(user.account) {
        Some(account) => called(app, &account, user, to).map(drop),
        None => Err(Refused::missing("account_not_found", "This account does not exist.")),
    }
}

/// What a user's call leads to: somebody of the account, a number of the account's own, or the world outside.
fn called(app: &App, account: &Account, user: &UserRow, to: &str) -> Result<Vec<Target>, Refused> {
    let may_not = |whom: &str| {
        let message = format!("The user {} may {whom}.", user.username);
        Refused::new(403, "may_not_call", message).hint("See `may_call` of the user.")
    };
    if user.may_call == MayCall::None {
        return Err(may_not("not call"));
    }
    let directory = app.store.directory();
    if let Some(callee) = directory.user(account.id, to) {
        let mut targets = vec![Target::User { user: callee.id, timeout_s: None }];
        if callee.voicemail {
            targets.push(Target::Voicemail { greeting: None, user: Some(callee.id) });
        }
        return Ok(targets);
    }
    if let Some(group) = directory.group_named(account.id, to) {
        return Ok(vec![Target::Group { group: group.id, timeout_s: None }]);
    }
    if let Some(number) = own_number(directory, account.id, to, account.region.as_deref()) {
        return Ok(number.route.clone());
    }
    match user.may_call {
        MayCall::Account if is_name(to) => {
            let message = format!("No user and no group of the account is called {to}.");
            Err(Refused::missing("user_not_found", message))
        }
        MayCall::Account => Ok(vec![Target::Dial { number: to.to_owned(), timeout_s: None }]),
        MayCall::Internal | MayCall::None => Err(may_not("call users and groups of the account only")),
    }
}

/// Whether this can only be somebody's name: neither a number nor an address.
fn is_name(to: &str) -> bool {
    !to.contains(':') && to.chars().any(char::is_alphabetic)
}

/// What those who are rung are shown.
fn shows(arrival: &Arrival) -> Shows {
    let is_number = |text: &String| Number::parse(text).is_ok();
    match &arrival.caller {
        Caller::User(user) => Shows {
            // A number that is not the user's own is not shown, whatever the phone says.
            number: user.caller_ids.first().cloned(),
            name: Some(user.username.to_string()),
            display: user.display_name.clone().or_else(|| arrival.display.clone()),
            withheld: arrival.withheld,
        },
        // Who forwards shows its own number: carriers refuse those that are not.
        Caller::Trunk(_, number) => Shows {
            number: Some(number.number.to_string()),
            name: arrival.from.clone().filter(|from| is_number(from) || !from.is_empty()),
            display: arrival.display.clone(),
            withheld: arrival.withheld,
        },
    }
}

/// Whom a target rings; nobody where it is something else, or gone.
fn dial_of(app: &App, account: &Account, target: &Target) -> Option<flow::Dial> {
    let directory = app.store.directory();
    let (to, timeout_s) = match target {
        Target::User { user, timeout_s } => {
            (directory.user_by_id(account.id, *user)?.username.to_string(), *timeout_s)
        }
        Target::Group { group, timeout_s } => {
            (directory.group(account.id, *group)?.name.to_string(), *timeout_s)
        }
        Target::Dial { number, timeout_s } => (number.clone(), *timeout_s),
        Target::Webhook(_) | Target::Flow(_) | Target::Voicemail { .. } | Target::Reject { .. } => {
            return None;
        }
    };
    Some(flow::Dial { ring_timeout_s: timeout_s, ..flow::Dial::to(to) })
}

async fn verbs_of(
    app: &App,
    account: &Account,
    arrival: &Arrival,
    renderer: &mut Renderer<'_>,
    target: &Target,
) -> Result<Vec<Verb>, Refused> {
    match target {
        Target::User { .. } | Target::Group { .. } | Target::Dial { .. } => {}
        Target::Webhook(url) => return asked(app, arrival, renderer, url).await,
        Target::Flow(steps) => return renderer.steps(steps).await,
        Target::Voicemail { greeting, .. } => {
            let text = greeting.clone().unwrap_or_else(|| GREETING.to_owned());
            let record = flow::Record {
                max_s: MESSAGE_S,
                end_silence_s: Some(MESSAGE_SILENCE_S.into()),
                ..flow::Record::default()
            };
            let steps =
                [Step::Say { text, voice: None, language: None }, Step::Record(record), Step::Hangup {}];
            return renderer.steps(&steps).await;
        }
        Target::Reject { status } => return Ok(vec![Verb::Reject(*status)]),
    }
    let Some(dial) = dial_of(app, account, target) else { return Ok(Vec::new()) };
    match renderer.dial(&dial).await {
        // What comes behind it is for when nobody answers.
        Ok(dial) => Ok(vec![Verb::Dial(Box::new(call::Dial { is_final: true, ..dial }))]),
        // Whoever has no phone is passed by.
        Err(refused) if refused.code == "user_not_registered" => Ok(Vec::new()),
        Err(refused) => Err(refused),
    }
}

/// What a webhook says is to happen: the steps in its answer. One that does not answer properly says nothing, so that
/// the next target has its turn.
async fn asked(
    app: &App,
    arrival: &Arrival,
    renderer: &mut Renderer<'_>,
    url: &str,
) -> Result<Vec<Verb>, Refused> {
    match fetch(app, arrival, url).await {
        Ok(steps) => renderer.steps(&steps).await,
        Err(why) => {
            tracing::warn!(call = %arrival.id, reason = why, "a webhook did not say what to do with a call");
            Ok(Vec::new())
        }
    }
}

/// The answer of a webhook: `{"flow": […]}`, the steps as `POST /v1/calls` takes them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    flow: Vec<Step>,
}

async fn fetch(app: &App, arrival: &Arrival, url: &str) -> Result<Vec<Step>, String> {
    let outward = app.outward();
    let url = outward.check_reachable(url).await.map_err(|refused| refused.message)?;
    let client = outward.client(WEBHOOK).map_err(|error| error.to_string())?;
    let asked = json!({ "type": "call.incoming", "data": { "call": {
        "id": arrival.id.with("call"), "account": arrival.caller.account(), "from": arrival.from,
        "to": arrival.to, "sip_call_id": arrival.sip_call_id,
    } } });
    let sent = client.post(url).json(&asked).send().await;
    let mut answer = sent.map_err(|error| error.without_url().to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
        if body.len() + piece.len() > MOST_TOLD {
            return Err(format!("it answered with more than {MOST_TOLD} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    let told: Told =
        serde_json::from_slice(&body).map_err(|error| format!("its answer is no flow: {error}"))?;
    flow::check(&told.flow).map_err(|refused| refused.message)?;
    Ok(told.flow)
}

/// The record of the call.
fn row(arrival: &Arrival, account: &Account, targets: &[Target]) -> CallRow {
    let (direction, trunk): (_, Option<&TrunkRow>) = match &arrival.caller {
        Caller::Trunk(trunk, _) => ("inbound", Some(trunk)),
        Caller::User(_) => ("outbound", None),
    };
    CallRow {
        id: arrival.id,
        account: account.id,
        direction: direction.into(),
        face: "sip".into(),
        from: arrival.from.clone().filter(|_| !arrival.withheld),
        to: arrival.to.clone(),
        kind: if trunk.is_some() { "PSTN" } else { "SIP" }.into(),
        trunk: trunk.map(|trunk| trunk.id),
        trunk_name: trunk.map(|trunk| trunk.name.clone()),
        state: call::State::Queued,
        cause_code: None,
        cause_text: None,
        cause_hint: None,
        sip_status: None,
        q850: None,
        hangup_by: None,
        sip_call_id: Some(arrival.sip_call_id.clone()),
        audio_file: None,
        text: None,
        flow: json!(targets),
        recording: None,
        created_at: now_ms(),
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        quality: None,
        heard: None,
        metadata: Default::default(),
    }
}
