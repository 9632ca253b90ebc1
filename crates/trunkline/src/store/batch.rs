//! One group of writes, stored with as few statements as there are kinds of them.

use std::collections::{HashMap, HashSet};

use call::State;
use sqlx::{AnyConnection, Row};

use super::deliveries::{Claim, Outcome, Verdict};
use super::insights::{self, Insight};
use super::once::{self, Known, Once};
use super::recordings::{self, OWN};
use super::rows::{self, Cell};
use super::snapshot::Snapshot;
use super::writer::{Finish, Job, Write};
use super::{CallEvent, CallRow, deliveries, id_of};
use crate::id::Id;

/// The rank that all final states share.
const FINAL: i64 = 3;

/// What a batch says about one call that goes on.
#[derive(Default)]
struct Change {
    state: Option<State>,
    ringing_at: Option<i64>,
    answered_at: Option<i64>,
    sip_call_id: Option<String>,
    trunk: Option<(Id, String)>,
}

/// A batch, sorted by what is to be done.
#[derive(Default)]
pub(super) struct Group<'a> {
    new: Vec<(&'a CallRow, &'a CallEvent, Option<&'a Once>)>,
    events: Vec<&'a CallEvent>,
    changes: HashMap<Id, Change>,
    ends: HashMap<Id, &'a Finish>,
    /// Recordings that were begun, and those that are whole.
    begun: Vec<Vec<Cell>>,
    whole: Vec<Vec<Cell>>,
    /// By Call-ID; `None`: it has ended.
    legs: HashMap<String, (Id, Option<String>)>,
    keeps_legs: bool,
    forgotten: Vec<Id>,
    /// Calls whose orders may be given again.
    released: Vec<Id>,
    keys: HashMap<Id, i64>,
    alive: Option<i64>,
    claims: Vec<&'a Claim>,
    outcomes: Vec<&'a Outcome>,
    insights: Vec<&'a Insight>,
}

impl<'a> Group<'a> {
    pub(super) fn of(jobs: &'a [Job]) -> Self {
        let mut group = Self::default();
        jobs.iter().for_each(|job| group.take(job));
        group
    }

    /// The ends of calls whose legs are still to be ended.
    pub(super) fn of_orphans(ends: &'a [Finish]) -> Self {
        let ends = ends.iter().map(|end| (end.call, end)).collect();
        Self { ends, keeps_legs: true, ..Self::default() }
    }

    fn take(&mut self, job: &'a Job) {
        match job {
            // Whoever ordered it has been refused in the meantime: nobody would place it.
            Job::Create { done: Some(done), .. } if done.is_closed() => {}
            Job::Create { row, first, once, .. } => self.new.push((row, first, once.as_ref())),
            Job::Write(write) => self.take_write(write),
            Job::KeyUsed { key, at } => {
                self.keys.insert(*key, *at);
            }
            Job::Alive(at) => self.alive = self.alive.max(Some(*at)),
            Job::Forget(call) => self.forgotten.push(*call),
            Job::Claim { claim, .. } => self.claims.push(claim),
            Job::Outcome { outcome, .. } => self.outcomes.push(outcome),
            Job::Insight(insight) => self.insights.push(insight),
            Job::Flush(_) => {}
        }
    }

    fn take_write(&mut self, write: &'a Write) {
        match write {
            Write::Event(event) => self.events.push(event),
            Write::Forget { call } => self.released.push(*call),
            Write::Finish(end) => {
                // The first end counts.
                self.ends.entry(end.call).or_insert(end);
                let own = end.recorded_ms.and_then(|ms| i64::try_from(ms).ok());
                self.whole.extend(own.map(|ms| vec![end.call.into(), OWN.into(), ms.into()]));
                self.legs.retain(|_, (call, _)| *call != end.call);
            }
            Write::State { state, event } => {
                self.events.push(event);
                // The end says how it ended; nothing after it moves the call.
                if self.ends.contains_key(&event.call) {
                    return;
                }
                let change = self.changes.entry(event.call).or_default();
                match state {
                    State::Ringing => change.ringing_at = change.ringing_at.or(Some(event.at)),
                    State::InProgress => change.answered_at = change.answered_at.or(Some(event.at)),
                    _ => {}
                }
                if !state.is_final() && change.state.is_none_or(|known| known.rank() < state.rank()) {
                    change.state = Some(*state);
                }
            }
            Write::Attempt { call, sip_call_id, trunk } => {
                let change = self.changes.entry(*call).or_default();
                change.sip_call_id = Some(sip_call_id.clone());
                change.trunk = trunk.clone().or(change.trunk.take());
            }
            Write::Recording { call, number, file, at } => {
                self.begun.push(vec![(*call).into(), (*number).into(), file.as_str().into(), (*at).into()]);
            }
            Write::Recorded { call, number, ms } => {
                self.whole.push(vec![(*call).into(), (*number).into(), i64::try_from(*ms).ok().into()]);
            }
            Write::Leg { call, saved } => match saved.get("call_id").and_then(|id| id.as_str()) {
                Some(id) => {
                    self.legs.insert(id.to_owned(), (*call, Some(saved.to_string())));
                }
                None => tracing::error!(%call, "a leg without a Call-ID cannot be kept for a restart"),
            },
            Write::LegEnded { call, sip_call_id } => {
                self.legs.insert(sip_call_id.clone(), (*call, None));
            }
        }
    }

    /// Stores everything; answers the webhook endpoints that something is now waiting for, and the calls that were
    /// asked for before.
    pub(super) async fn store(
        mut self,
        connection: &mut AnyConnection,
        memory: &Snapshot,
    ) -> Result<(HashSet<Id>, Known), sqlx::Error> {
        if !self.forgotten.is_empty() {
            self.forget(connection).await?;
        }
        let known = self.claim_orders(connection).await?;
        // Of each call the first event comes first.
        let first: Vec<_> = self.new.iter().map(|(_, first, _)| *first).collect();
        self.events.splice(..0, first);
        self.insert_calls(connection).await?;
        self.change(connection).await?;
        recordings::insert(connection, &self.begun).await?;
        recordings::measure(connection, &self.whole).await?;
        self.end(connection).await?;
        self.insert_events(connection).await?;
        let touched = deliveries::insert(connection, &self.events, memory).await?;
        self.keep_legs(connection).await?;
        let keys: Vec<_> = self.keys.iter().map(|(key, at)| vec![(*key).into(), (*at).into()]).collect();
        let after = ") UPDATE keys SET last_used_at = v.at FROM v WHERE keys.id = v.of_key";
        rows::run_repeatable(connection, "WITH v (of_key, at) AS (VALUES", keys, after).await?;
        self.settle_deliveries(connection).await?;
        insights::insert(connection, &self.insights).await?;
        let alive: Vec<_> =
            self.alive.iter().map(|at| vec![Cell::from("alive"), at.to_string().into()]).collect();
        let after = "ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        rows::run(connection, "INSERT INTO facts (name, value) VALUES", &alive, after).await?;
        let released: Vec<_> = self.released.iter().map(|call| vec![Cell::from(*call)]).collect();
        let before = "DELETE FROM idempotency WHERE call_id IN (VALUES";
        rows::run_repeatable(connection, before, released, ")").await?;
        Ok((touched, known))
    }

    /// Takes back calls that were stored although whoever ordered them has been told that they were not.
    async fn forget(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let calls: Vec<_> = self.forgotten.iter().map(|call| vec![Cell::from(*call)]).collect();
        for before in [
            "DELETE FROM deliveries WHERE call_id IN (VALUES",
            "DELETE FROM events WHERE call_id IN (VALUES",
            "DELETE FROM idempotency WHERE call_id IN (VALUES",
            "DELETE FROM calls WHERE id IN (VALUES",
        ] {
            rows::run_repeatable(connection, before, calls.clone(), ")").await?;
        }
        Ok(())
    }

    /// Leaves out the new calls that were asked for before, and answers what is known of them.
    async fn claim_orders(&mut self, connection: &mut AnyConnection) -> Result<Known, sqlx::Error> {
        let mut known = Known::new();
        for (row, _, once) in &self.new {
            if let Some(once) = once
                && let Some(before) = once::claim(connection, row, once).await?
            {
                known.insert(row.id, before);
            }
        }
        self.new.retain(|(row, ..)| !known.contains_key(&row.id));
        Ok(known)
    }

    async fn insert_calls(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO calls (id, account, direction, face, from_number, to_number, kind, trunk, trunk_name, \
                      state, rank, cause_code, cause_text, cause_hint, sip_status, q850, hangup_by, sip_call_id, \
                      audio_file, spoken, flow, created_at, ringing_at, answered_at, ended_at, quality, \
                      heard, metadata) VALUES";
        let rows: Vec<_> = self.new.iter().map(|(row, ..)| cells_of_call(row)).collect();
        rows::run(connection, insert, &rows, "").await?;
        Ok(())
    }

    async fn change(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let row = |(call, change): (&Id, &Change)| {
            let (trunk, name) = change.trunk.clone().unzip();
            vec![
                Cell::from(*call),
                change.state.map(|state| state.as_str().to_owned()).into(),
                change.state.map(rank).into(),
                change.ringing_at.into(),
                change.answered_at.into(),
                change.sip_call_id.clone().into(),
                trunk.map(|id| id.to_string()).into(),
                name.into(),
            ]
        };
        let rows: Vec<_> = self.changes.iter().map(row).collect();
        let before = "WITH v (of_call, state, rank, ringing, answered, leg, trunk, trunk_name) AS (VALUES";
        let after = ") UPDATE calls SET state = CASE WHEN calls.rank < v.rank THEN v.state ELSE calls.state END, \
                     rank = CASE WHEN calls.rank < v.rank THEN v.rank ELSE calls.rank END, \
                     ringing_at = COALESCE(calls.ringing_at, v.ringing), \
                     answered_at = COALESCE(calls.answered_at, v.answered), \
                     sip_call_id = COALESCE(v.leg, calls.sip_call_id), trunk = COALESCE(v.trunk, calls.trunk), \
                     trunk_name = COALESCE(v.trunk_name, calls.trunk_name) \
                     FROM v WHERE calls.id = v.of_call AND calls.rank < 3";
        rows::run_repeatable(connection, before, rows, after).await?;
        Ok(())
    }

    /// Ends calls; those that had not ended before get their last event.
    async fn end(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let row = |end: &&Finish| {
            vec![
                Cell::from(end.call),
                end.state.as_str().into(),
                FINAL.into(),
                end.cause_code.clone().into(),
                end.cause_text.clone().into(),
                end.cause_hint.clone().into(),
                end.sip_status.map(i64::from).into(),
                end.q850.map(i64::from).into(),
                end.hangup_by.clone().into(),
                end.ringing_at.into(),
                end.answered_at.into(),
                end.ended_at.into(),
                end.quality.as_ref().map(ToString::to_string).into(),
                end.heard.as_ref().map(ToString::to_string).into(),
            ]
        };
        let rows: Vec<_> = self.ends.values().map(row).collect();
        let before = "WITH v (of_call, state, rank, code, words, hint, sip, q850, by_whom, ringing, answered, ended, \
                      quality, heard) AS (VALUES";
        let after = ") UPDATE calls SET state = v.state, rank = v.rank, cause_code = v.code, cause_text = v.words, \
                     cause_hint = v.hint, sip_status = v.sip, q850 = v.q850, hangup_by = v.by_whom, \
                     ringing_at = COALESCE(v.ringing, calls.ringing_at), \
                     answered_at = COALESCE(v.answered, calls.answered_at), ended_at = v.ended, \
                     quality = COALESCE(v.quality, calls.quality), \
                     heard = COALESCE(v.heard, calls.heard) \
                     FROM v WHERE calls.id = v.of_call AND calls.rank < v.rank RETURNING id";
        for row in rows::run_repeatable(connection, before, rows, after).await? {
            let ended = id_of(&row, "id").map_err(|error| sqlx::Error::Decode(error.into()))?;
            self.events.extend(self.ends.get(&ended).map(|end| &end.event));
        }
        Ok(())
    }

    async fn insert_events(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        if self.events.is_empty() {
            return Ok(());
        }
        let newest = sqlx::query("SELECT COALESCE(MAX(ordinal), 0) AS newest FROM events");
        let newest: i64 = newest.fetch_one(&mut *connection).await?.try_get("newest")?;
        // One connection writes, so the order of the ordinals is that of the commits.
        let row = |(event, ordinal): (&&CallEvent, i64)| {
            vec![
                Cell::from(event.call),
                event.sequence.into(),
                event.account.into(),
                event.at.into(),
                event.kind.as_str().into(),
                event.detail.to_string().into(),
                ordinal.into(),
            ]
        };
        let rows: Vec<_> = self.events.iter().zip(newest + 1..).map(row).collect();
        let before = "INSERT INTO events (call_id, sequence, account, at, kind, detail, ordinal) VALUES";
        rows::run_repeatable(connection, before, rows, "ON CONFLICT (call_id, sequence) DO NOTHING").await?;
        Ok(())
    }

    async fn keep_legs(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (id, (call, saved)) in &self.legs {
            match saved {
                Some(saved) => kept.push(vec![id.as_str().into(), (*call).into(), saved.as_str().into()]),
                None => gone.push(vec![Cell::from(id.as_str())]),
            }
        }
        let before = "INSERT INTO legs (sip_call_id, call_id, saved) VALUES";
        let after = "ON CONFLICT (sip_call_id) DO UPDATE SET saved = excluded.saved";
        rows::run(connection, before, &kept, after).await?;
        let before = "DELETE FROM legs WHERE sip_call_id IN (VALUES";
        rows::run_repeatable(connection, before, gone, ")").await?;
        if !self.keeps_legs {
            let ended: Vec<_> = self.ends.keys().map(|call| vec![Cell::from(*call)]).collect();
            let before = "DELETE FROM legs WHERE call_id IN (VALUES";
            rows::run_repeatable(connection, before, ended, ")").await?;
        }
        Ok(())
    }

    async fn settle_deliveries(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let row = |claim: &&Claim| vec![claim.delivery.into(), claim.number.into(), claim.at.into()];
        let claims: Vec<_> = self.claims.iter().map(row).collect();
        let again = "ON CONFLICT (delivery, number) DO NOTHING";
        rows::run(connection, "INSERT INTO attempts (delivery, number, at) VALUES", &claims, again).await?;
        let before = "WITH v (of_delivery, number, at) AS (VALUES";
        let after = ") UPDATE deliveries SET attempts = v.number FROM v WHERE deliveries.id = v.of_delivery";
        rows::run(connection, before, &claims, after).await?;

        let row = |outcome: &&Outcome| {
            vec![
                Cell::from(outcome.delivery),
                outcome.number.into(),
                outcome.ms.into(),
                outcome.status.map(i64::from).into(),
                outcome.error.clone().into(),
            ]
        };
        let ends: Vec<_> = self.outcomes.iter().map(row).collect();
        let before = "WITH v (of_delivery, number, ms, status, error) AS (VALUES";
        let after = ") UPDATE attempts SET ms = v.ms, status = v.status, error = v.error FROM v \
                     WHERE attempts.delivery = v.of_delivery AND attempts.number = v.number";
        rows::run(connection, before, &ends, after).await?;
        let row = |outcome: &&Outcome| {
            let (state, due_at, ended_at) = match outcome.verdict {
                Verdict::Delivered => ("delivered", None, Some(outcome.at)),
                Verdict::Dead => ("dead", None, Some(outcome.at)),
                Verdict::Retry { due_at } => ("pending", Some(due_at), None),
            };
            vec![Cell::from(outcome.delivery), state.into(), due_at.into(), ended_at.into()]
        };
        let verdicts: Vec<_> = self.outcomes.iter().map(row).collect();
        let before = "WITH v (of_delivery, state, due, ended) AS (VALUES";
        let after = ") UPDATE deliveries SET state = v.state, due_at = COALESCE(v.due, deliveries.due_at), \
                     ended_at = v.ended, tries = deliveries.tries + 1 \
                     FROM v WHERE deliveries.id = v.of_delivery AND deliveries.state = 'pending'";
        rows::run(connection, before, &verdicts, after).await?;
        // What waits for this one need not be looked at before it.
        let row = |outcome: &&Outcome| {
            let Verdict::Retry { due_at } = outcome.verdict else { return None };
            let (call, sequence) = outcome.of?;
            Some(vec![Cell::from(outcome.webhook), call.into(), sequence.into(), due_at.into()])
        };
        let waits: Vec<_> = self.outcomes.iter().filter_map(row).collect();
        let before = "WITH v (of_webhook, of_call, sequence, due) AS (VALUES";
        let after = ") UPDATE deliveries SET due_at = v.due FROM v WHERE deliveries.webhook = v.of_webhook \
                     AND deliveries.call_id = v.of_call AND deliveries.sequence > v.sequence \
                     AND deliveries.state = 'pending' AND deliveries.due_at < v.due";
        rows::run(connection, before, &waits, after).await?;
        Ok(())
    }
}

fn rank(state: State) -> i64 {
    i64::from(state.rank())
}

fn cells_of_call(row: &CallRow) -> Vec<Cell> {
    vec![
        row.id.into(),
        row.account.into(),
        row.direction.as_str().into(),
        row.face.as_str().into(),
        row.from.clone().into(),
        row.to.as_str().into(),
        row.kind.as_str().into(),
        row.trunk.map(|id| id.to_string()).into(),
        row.trunk_name.clone().into(),
        row.state.as_str().into(),
        rank(row.state).into(),
        row.cause_code.clone().into(),
        row.cause_text.clone().into(),
        row.cause_hint.clone().into(),
        row.sip_status.map(i64::from).into(),
        row.q850.map(i64::from).into(),
        row.hangup_by.clone().into(),
        row.sip_call_id.clone().into(),
        row.audio_file.clone().into(),
        row.text.clone().into(),
        row.flow.to_string().into(),
        row.created_at.into(),
        row.ringing_at.into(),
        row.answered_at.into(),
        row.ended_at.into(),
        row.quality.as_ref().map(ToString::to_string).into(),
        row.heard.as_ref().map(ToString::to_string).into(),
        serde_json::json!(row.metadata).to_string().into(),
    ]
}
