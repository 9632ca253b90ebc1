//! What calls look like on `/v1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::calls::time;
use crate::flow::Step;
use crate::store::{CallEvent, CallRow};

/// A call to be placed. Exactly one of `say`, `play` and `flow` says what happens once it is answered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "to": "+12025550123", "from": "+15551234567", "say": "Your table is ready.", "metadata": { "order": "4711" },
}))]
pub(super) struct NewCall {
    /// A number (7 to 15 digits, best as `+` and country code) or a SIP address (`user@domain`, `sip:…`).
    #[schema(max_length = 255)]
    pub(super) to: String,
    /// What the callee is shown; the trunk's caller ID when left out.
    #[schema(max_length = 255)]
    pub(super) from: Option<String>,
    /// Text to be spoken, 1 to 5,000 bytes.
    pub(super) say: Option<String>,
    /// An uploaded file to be played, such as `uploads/audio_1640995200000.mp3`.
    pub(super) play: Option<String>,
    /// Steps, one after another; afterwards trunkline hangs up.
    #[schema(min_items = 1, max_items = 50)]
    pub(super) flow: Option<Vec<Step>>,
    /// A trunk's name or id; the default trunk when left out.
    pub(super) trunk: Option<String>,
    /// Record both sides into one WAV file (left: what the callee said; right: what trunkline said).
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub(super) record: bool,
    /// Seconds to let it ring, 1 to 600; the server's setting when left out.
    #[schema(minimum = 1, maximum = 600)]
    pub(super) ring_timeout_s: Option<u32>,
    /// Seconds after which an answered call is hung up, 1 to 86,400; the server's setting when left out.
    #[schema(minimum = 1, maximum = 86400)]
    pub(super) max_duration_s: Option<u32>,
    /// Anything worth remembering with the call, shown again with it: up to 20 entries, names of 1 to 64 bytes, values
    /// of up to 500.
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

/// A text to be spoken into a call that is up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "text": "One moment, please." }))]
pub(super) struct Say {
    /// 1 to 5,000 bytes.
    pub(super) text: String,
    /// A voice of the speech engine.
    pub(super) voice: Option<String>,
    /// A language tag such as `en-US`.
    pub(super) language: Option<String>,
}

/// A file to be played into a call that is up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "file": "uploads/audio_1640995200000.mp3" }))]
pub(super) struct Play {
    /// Such as `uploads/audio_1640995200000.mp3`.
    pub(super) file: String,
}

/// Keys to be pressed on a call that is up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "send": "1w2#" }))]
pub(super) struct Digits {
    /// `0`-`9`, `*`, `#`, `A`-`D`; `w` waits half a second.
    #[schema(min_length = 1, max_length = 128, pattern = "^[0-9*#A-Da-dWw]+$")]
    pub(super) send: String,
}

/// One side of a call that is to talk with somebody else.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "bob", "leg": "first" }))]
pub(super) struct Transfer {
    /// A user or group of the account, a number, or a SIP address.
    #[schema(max_length = 256)]
    pub(super) to: String,
    /// Which side is sent on; the other one leaves the call once somebody answers. The first one is who called, or whom
    /// the API called.
    #[serde(default)]
    pub(super) leg: Side,
    /// The trunk to call over; null: the account's default.
    #[serde(default)]
    pub(super) trunk: Option<String>,
    /// How long it may ring, seconds; null: the server's setting.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 600)]
    pub(super) ring_timeout_s: Option<u32>,
}

/// One of the two sides that talk.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Side {
    #[default]
    First,
    Second,
}

impl From<Side> for call::Leg {
    fn from(side: Side) -> Self {
        match side {
            Side::First => Self::First,
            Side::Second => Self::Second,
        }
    }
}

/// The state of a call; it only moves forward and each call reaches exactly one final state.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    Queued,
    Ringing,
    InProgress,
    Completed,
    Busy,
    Failed,
    NoAnswer,
    Canceled,
}

impl From<call::State> for Status {
    fn from(state: call::State) -> Self {
        match state {
            call::State::Queued => Self::Queued,
            call::State::Ringing => Self::Ringing,
            call::State::InProgress => Self::InProgress,
            call::State::Completed => Self::Completed,
            call::State::Busy => Self::Busy,
            call::State::Failed => Self::Failed,
            call::State::NoAnswer => Self::NoAnswer,
            call::State::Canceled => Self::Canceled,
        }
    }
}

/// A call.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": "call_65a1f0c2a4b1c2d3e4f50617", "account": 0, "status": "completed", "direction": "outbound",
    "kind": "PSTN", "from": "+15551234567", "to": "+12025550123", "face": "v1",
    "trunk": { "id": "trunk_65a1f0c2a4b1c2d3e4f50600", "name": "sim" },
    "flow": [{ "say": { "text": "Your table is ready." } }],
    "audio_file": "tts_1767225600000.wav", "sip_call_id": "5f8e…@192.0.2.1",
    "cause": { "code": "normal", "text": "The flow was done and trunkline hung up.", "hint": null,
               "sip_status": null, "q850": 16 },
    "hangup_by": "system", "created_at": "2026-01-01T00:00:00.000Z", "ringing_at": "2026-01-01T00:00:00.120Z",
    "answered_at": "2026-01-01T00:00:02.004Z", "ended_at": "2026-01-01T00:00:06.310Z", "duration_ms": 4306,
    "quality": {
        "packets_sent": 215, "packets_received": 214, "packets_lost": 1, "loss_percent": 0.47, "jitter_ms": 0.31,
        "round_trip_ms": 12.5, "mos": 4.38,
    },
    "heard": null, "metadata": { "order": "4711" },
    "recording_url": "/v1/calls/call_65a1f0c2a4b1c2d3e4f50617/recording",
}))]
pub(super) struct Call {
    id: String,
    account: i64,
    status: Status,
    /// `outbound`
    direction: String,
    /// `PSTN` or `SIP`
    kind: String,
    /// What the callee was shown.
    from: Option<String>,
    to: String,
    /// Through which API it was placed: `v1`, `calling`, `cli` or `demo`.
    face: String,
    /// The trunk it went out through.
    trunk: Option<TrunkName>,
    /// The steps as they were asked for.
    #[schema(value_type = Vec<Step>)]
    flow: Value,
    /// The file that is played, or that a text was spoken into.
    audio_file: Option<String>,
    /// The Call-ID of the first leg.
    sip_call_id: Option<String>,
    /// Why it ended; null until then.
    cause: Option<Cause>,
    /// `callee`, `caller`, `carrier` or `system`
    hangup_by: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    ringing_at: Option<String>,
    #[schema(format = DateTime)]
    answered_at: Option<String>,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// From the answer to the end.
    duration_ms: Option<i64>,
    /// How the media went; null until known.
    #[schema(value_type = Option<Quality>)]
    quality: Option<Value>,
    /// What the callee of the simulated network reports to have heard.
    #[schema(value_type = Option<Heard>)]
    heard: Option<Value>,
    /// As it was given.
    metadata: BTreeMap<String, String>,
    /// Where the recording can be fetched, also while it grows.
    recording_url: Option<String>,
}

/// How the media of a call went.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the switch writes")]
struct Quality {
    packets_sent: u64,
    packets_received: u64,
    packets_lost: u64,
    loss_percent: f64,
    /// Interarrival jitter as RFC 3550 has it.
    jitter_ms: f64,
    /// By RTCP; null where the other side reported nothing.
    round_trip_ms: Option<f64>,
    /// Estimated mean opinion score, 1 to 4.5.
    mos: f64,
}

/// What a callee of the simulated network heard.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the simulated network reports")]
struct Heard {
    sound_ms: u64,
    listened_ms: u64,
    /// Mean level of the sound; 0 is full scale.
    level_dbfs: f64,
    /// The frequency, where it was one steady tone.
    #[schema(required = false)]
    tone_hz: Option<f64>,
}

/// A trunk, by id and name.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TrunkName {
    id: Option<String>,
    name: Option<String>,
}

/// Why a call ended.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Cause {
    /// Stable, in snake_case.
    code: String,
    /// What happened, in plain words.
    text: Option<String>,
    /// What to try.
    hint: Option<String>,
    /// The final SIP status, if there was one.
    sip_status: Option<u16>,
    /// The Q.850 cause, if the carrier told one.
    q850: Option<u8>,
}

impl From<CallRow> for Call {
    fn from(row: CallRow) -> Self {
        let id = row.id.with("call");
        let named = row.trunk.is_some() || row.trunk_name.is_some();
        Self {
            duration_ms: row.duration_ms(),
            recording_url: row.recording.as_ref().map(|_| format!("/v1/calls/{id}/recording")),
            id,
            account: row.account,
            status: row.state.into(),
            direction: row.direction,
            kind: row.kind,
            from: row.from,
            to: row.to,
            face: row.face,
            trunk: named
                .then(|| TrunkName { id: row.trunk.map(|id| id.with("trunk")), name: row.trunk_name }),
            flow: if row.flow.is_array() { row.flow } else { json!([]) },
            audio_file: row.audio_file,
            sip_call_id: row.sip_call_id,
            cause: row.cause_code.map(|code| Cause {
                code,
                text: row.cause_text,
                hint: row.cause_hint,
                sip_status: row.sip_status,
                q850: row.q850,
            }),
            hangup_by: row.hangup_by,
            created_at: time(row.created_at),
            ringing_at: row.ringing_at.map(time),
            answered_at: row.answered_at.map(time),
            ended_at: row.ended_at.map(time),
            quality: row.quality,
            heard: row.heard,
            metadata: row.metadata,
        }
    }
}

/// Something that happened on a call.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "call": "call_65a1f0c2a4b1c2d3e4f50617", "sequence": 2, "at": "2026-01-01T00:00:00.120Z", "kind": "state",
    "detail": { "state": "ringing" },
}))]
pub(super) struct Event {
    call: String,
    /// Counts from 1 within the call.
    sequence: i64,
    #[schema(format = DateTime)]
    at: String,
    /// `state`, `attempt`, `attempt-failed`, `incoming`, `forked`, `paced`, `early-media`, `say`, `play`, `pause`, `digits`,
    /// `digit`, `gather`, `gathered`, `record`, `recorded`, `dial`, `dial-ringing`, `dial-answered`, `dialed`,
    /// `transferring`, `transferred`, `transfer-failed`, `stopped`, `held`, `resumed`, `recording`, `recording-paused`,
    /// `recording-resumed`, `flow-done`, `quality`, `heard` or `finished`
    kind: String,
    #[schema(value_type = HashMap<String, Value>)]
    detail: Value,
}

/// An event as a stream sends it.
#[derive(ToSchema)]
#[schema(example = json!({ "event": "state", "id": "2", "data": "{…}" }))]
#[expect(dead_code, reason = "describes what server-sent events are read as")]
pub(super) struct SentEvent {
    /// The event's kind.
    event: String,
    /// What to send back as `Last-Event-ID`.
    #[schema(required = false)]
    id: Option<String>,
    /// An `Event` as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

impl From<CallEvent> for Event {
    fn from(event: CallEvent) -> Self {
        Self {
            call: event.call.with("call"),
            sequence: event.sequence,
            at: time(event.at),
            kind: event.kind,
            detail: event.detail,
        }
    }
}

impl Call {
    /// Where it is found.
    pub(super) fn path(&self) -> String {
        format!("/v1/calls/{}", self.id)
    }
}

impl Event {
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn sequence(&self) -> i64 {
        self.sequence
    }
}
