//! `/v1/calls/{id}/…`: what is done to a call while it lasts. Each is queued behind what is under way; `stop` alone
//! interrupts.

use axum::Json as Reply;
use axum::extract::State;

use super::schema::{Call, Digits, Play, Say, Transfer};
use crate::api::auth::Caller;
use crate::api::body::{Json, Segment};
use crate::api::{Api, calls};
use crate::flow::{self, Step};
use crate::receive;
use crate::refused::Refused;
use crate::switch::Live;

type Answer = Result<Reply<Call>, Refused>;

async fn act(api: &Api, caller: &Caller, id: &str, live: Live) -> Answer {
    let row = calls::find(api, caller, id).await?;
    api.app.switch.act(row.id, live).await?;
    calls::find(api, caller, id).await.map(|row| Reply(row.into()))
}

/// Speak into a call
///
/// Spoken once what is under way is over, before the flow goes on. 409 where nobody has answered yet or the call is
/// ending.
#[utoipa::path(post, path = "/v1/calls/{id}/say", tag = "calls", params(("id" = String, Path,)), request_body = Say,
    responses((status = OK, description = "Queued; the call as it stands.", body = Call)))]
pub(super) async fn say(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Json(asked): Json<Say>,
) -> Answer {
    // The call is looked for first: nothing is rendered for one that is not there.
    calls::find(&api, &caller, &id).await?;
    let Say { text, voice, language } = asked;
    let spoken = api.app.speech.say(&text, voice.as_deref(), language.as_deref()).await?;
    act(&api, &caller, &id, Live::Say { clip: spoken.clip, text }).await
}

/// Play a file into a call
///
/// Played once what is under way is over, before the flow goes on.
#[utoipa::path(post, path = "/v1/calls/{id}/play", tag = "calls", params(("id" = String, Path,)), request_body = Play,
    responses((status = OK, description = "Queued; the call as it stands.", body = Call)))]
pub(super) async fn play(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Json(asked): Json<Play>,
) -> Answer {
    calls::find(&api, &caller, &id).await?;
    calls::plain("file", &asked.file)?;
    let clip = api.app.uploads.load(&asked.file).await?;
    act(&api, &caller, &id, Live::Play { clip, name: asked.file }).await
}

/// Press keys on a call
///
/// Sent once what is under way is over, the way the trunk wants them (RFC 4733, INFO or tones).
#[utoipa::path(post, path = "/v1/calls/{id}/digits", tag = "calls", params(("id" = String, Path,)),
    request_body = Digits,
    responses((status = OK, description = "Queued; the call as it stands.", body = Call)))]
pub(super) async fn digits(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Json(asked): Json<Digits>,
) -> Answer {
    flow::check_digits(&asked.send)?;
    act(&api, &caller, &id, Live::Digits(asked.send)).await
}

/// Stop what a call is doing
///
/// Drops the sound, the wait for digits, the recording or the second leg that is under way; the flow goes on with its
/// next step.
#[utoipa::path(post, path = "/v1/calls/{id}/stop", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "Stopped; the call as it stands.", body = Call)))]
pub(super) async fn stop(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Answer {
    act(&api, &caller, &id, Live::Stop).await
}

/// Send one side of a call on to somebody else
///
/// Both sides stop hearing one another, and whoever is sent on hears ringing; once somebody answers, they are joined and
/// the other side is hung up. If nobody does, both talk on. It goes by the checks of a flow's `dial`. The events
/// `transferring`, `transferred` and `transfer-failed` tell how it goes. 409 where nobody is joined.
#[utoipa::path(post, path = "/v1/calls/{id}/transfer", tag = "calls", params(("id" = String, Path,)),
    request_body = Transfer,
    responses((status = OK, description = "Being called; the call as it stands.", body = Call)))]
pub(super) async fn transfer(
    State(api): State<Api>,
    caller: Caller,
    Segment(id): Segment,
    Json(asked): Json<Transfer>,
) -> Answer {
    let row = calls::find(&api, &caller, &id).await?;
    let Transfer { to, leg, trunk, ring_timeout_s } = asked;
    let dial = flow::Dial { trunk, ring_timeout_s, ..flow::Dial::to(to) };
    flow::check(&[Step::Dial(dial.clone())]).map_err(|refused| {
        // There is no flow here that a field could stand in.
        let message = refused.message.replace("flow[0].dial.", "");
        Refused { message, ..refused }
    })?;
    let leg = call::Leg::from(leg);
    let party = api.app.switch.party(row.id, leg).await?;
    let to = receive::by_account(&api.app, row.account, &dial, &party).await?;
    act(&api, &caller, &id, Live::Transfer { leg, to: Box::new(to) }).await
}

/// Pause a call's recording
///
/// Silence is recorded in the place of both sides, so that times stay true: for what must not be on record. Paused
/// already, it stays so.
#[utoipa::path(post, path = "/v1/calls/{id}/recording/pause", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "Paused; the call as it stands.", body = Call)))]
pub(super) async fn pause_recording(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Answer {
    act(&api, &caller, &id, Live::PauseRecording).await
}

/// Resume a call's recording
///
/// Sound is recorded again. Where it is already, nothing changes.
#[utoipa::path(post, path = "/v1/calls/{id}/recording/resume", tag = "calls", params(("id" = String, Path,)),
    responses((status = OK, description = "Resumed; the call as it stands.", body = Call)))]
pub(super) async fn resume_recording(State(api): State<Api>, caller: Caller, Segment(id): Segment) -> Answer {
    act(&api, &caller, &id, Live::ResumeRecording).await
}
