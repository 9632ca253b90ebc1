//! One trunk's upkeep: a REGISTER when one is due, an OPTIONS now and then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sip::digest::Credentials;
use sip::{Method, Outside, Path, Registrar, Registration, RegistrationState};
use tokio::sync::watch;

use super::{Means, RegistrationStatus, RegistrationWord, Slot};
use crate::store::TrunkRow;
use crate::switch::Target;
use crate::time::now_ms;
use crate::trunk;

/// How long a carrier may take to answer OPTIONS.
pub(super) const ANSWER: Duration = Duration::from_secs(4);
/// The pause before an OPTIONS is repeated that was lost.
const DOUBT: Duration = Duration::from_secs(5);
/// The pause before a name is looked up again that did not resolve.
const UNRESOLVED: Duration = Duration::from_secs(30);

/// Keeps a trunk until `stopped` says so; then its registration is taken back.
pub(super) async fn keep(row: TrunkRow, means: Means, slot: Slot, stopped: watch::Receiver<bool>) {
    slot.write(|known| *known = Default::default());
    let (register, ping) = (row.settings.register, row.settings.ping_s);
    tokio::join!(
        async {
            if register {
                keep_registered(&row, &means, &slot, stopped.clone()).await;
            }
        },
        async {
            if let Some(seconds) = ping {
                keep_asking(&row, &means, &slot, Duration::from_secs(seconds.into()), stopped.clone()).await;
            }
        },
    );
}

/// The trunk's next hop, resolved: at least one target.
pub(super) async fn targets(row: &TrunkRow, means: &Means) -> Result<Vec<Target>, String> {
    let route = trunk::route(&row.settings, &row.transport, &[]);
    trunk::targets(row, &route, &means.resolver).await
}

/// An OPTIONS as this trunk's settings want it.
pub(super) fn options(row: &TrunkRow, path: Path) -> Outside {
    Outside {
        route: trunk::route(&row.settings, &row.transport, &[]),
        credentials: row.credentials(),
        ..Outside::new(Method::Options, path, trunk::peer_uri(row), trunk::own_uri(row), trunk::peer_uri(row))
    }
}

/// The registrar as this trunk's settings name it; our Contact's user is the trunk's id, so that calls to it are known
/// to be this trunk's, whoever else has the same user name.
pub(super) fn registrar(
    row: &TrunkRow,
    path: Path,
    call_id: &str,
    credentials: Option<Credentials>,
) -> Registrar {
    Registrar {
        path,
        uri: trunk::peer_uri(row),
        address_of_record: trunk::own_uri(row),
        contact: format!("sip:{}@{}{}", row.id, path.local, transport_parameter(path.transport)),
        call_id: call_id.into(),
        expires_s: row.settings.register_expires_s,
        route: trunk::route(&row.settings, &row.transport, &[]),
        credentials,
    }
}

fn transport_parameter(transport: sip::Transport) -> String {
    match transport {
        sip::Transport::Udp => String::new(),
        other => format!(";transport={}", other.param()),
    }
}

async fn keep_registered(row: &TrunkRow, means: &Means, slot: &Slot, mut stopped: watch::Receiver<bool>) {
    slot.write(|known| known.registration.state = RegistrationWord::Registering);
    let mut ways = Ways::default();
    let first = loop {
        match ways.next(row, means).await {
            Ok(path) => break path,
            Err(why) => {
                slot.write(|known| {
                    known.registration = RegistrationStatus {
                        state: RegistrationWord::Failing,
                        text: Some(why),
                        ..Default::default()
                    };
                });
                if pause(UNRESOLVED, &mut stopped).await {
                    return;
                }
            }
        }
    };
    let mut random = [0; 16];
    // Without randomness two runs may share a Call-ID, which registrars bear.
    let _ = getrandom::fill(&mut random);
    let seed = u64::from_be_bytes(random.first_chunk().copied().unwrap_or_default());
    let registrar = registrar(row, first, &hex::encode(random), row.credentials());
    let mut registration = Registration::new(registrar, seed, Instant::now());
    loop {
        registration.handle_timeout(Instant::now());
        if let Some(request) = registration.poll_output(Instant::now()) {
            let answer = means.switch.ask(request).await;
            registration.handle_response(&answer.result, Instant::now());
            if answer.result.is_err() {
                ways.failed(means);
            }
            if answer.result.is_err()
                && let Ok(path) = ways.next(row, means).await
            {
                registration.set_path(path);
            }
        }
        let status = status(&registration, Instant::now());
        let closed = *registration.state() == RegistrationState::Closed;
        let is_up = matches!(registration.state(), RegistrationState::Registered { .. });
        let at = ways.last.as_ref().filter(|_| is_up).map(|target| target.remote.ip());
        means.registrars.set(row.id, at);
        slot.write(|known| known.registration = status);
        if closed {
            return;
        }
        let due =
            registration.poll_timeout().map_or(DOUBT, |at| at.saturating_duration_since(Instant::now()));
        if !due.is_zero() && pause(due, &mut stopped).await {
            registration.close(Instant::now());
        }
    }
}

/// The addresses of a registrar, one after the other.
#[derive(Default)]
struct Ways {
    left: VecDeque<Target>,
    last: Option<Target>,
}

impl Ways {
    fn failed(&self, means: &Means) {
        if let Some(target) = &self.last {
            means.resolver.failed(target);
        }
    }

    async fn next(&mut self, row: &TrunkRow, means: &Means) -> Result<Path, String> {
        if self.left.is_empty() {
            self.left = targets(row, means).await?.into();
        }
        let target = self.left.pop_front().ok_or("the host has no address")?;
        self.last = Some(target.clone());
        means.switch.path(target).await
    }
}

fn status(registration: &Registration, now: Instant) -> RegistrationStatus {
    let trouble = registration.last_trouble();
    let (state, until) = match registration.state() {
        RegistrationState::Registering => (RegistrationWord::Registering, None),
        RegistrationState::Registered { until } => (RegistrationWord::Registered, Some(*until)),
        RegistrationState::Failing { .. } => (RegistrationWord::Failing, None),
        RegistrationState::Refused { .. } => (RegistrationWord::Refused, None),
        RegistrationState::Closed => (RegistrationWord::None, None),
    };
    let in_ms =
        |at: Instant| i64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(i64::MAX);
    RegistrationStatus {
        state,
        expires_at: until.map(|until| now_ms().saturating_add(in_ms(until))),
        last_status: trouble.and_then(|trouble| trouble.status),
        text: trouble.map(|trouble| trouble.text.clone()),
        service_route: registration.service_route().to_vec(),
    }
}

async fn keep_asking(
    row: &TrunkRow,
    means: &Means,
    slot: &Slot,
    every: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let answer = ask(row, means).await;
        let mut doubtful = false;
        slot.write(|known| {
            let before = known.health.reach;
            match answer {
                Ok((status, phrase, ms)) => known.health.answered(status, &phrase, ms, now_ms()),
                Err(why) => known.health.lost(why, now_ms()),
            }
            doubtful = known.health.is_doubtful();
            if known.health.reach != before {
                let text = known.health.text.as_deref().unwrap_or_default();
                tracing::info!(trunk = %row.id, was = ?before, is = ?known.health.reach, text, "a trunk's health");
            }
        });
        if pause(if doubtful { every.min(DOUBT) } else { every }, &mut stopped).await {
            return;
        }
    }
}

/// One OPTIONS: status, phrase and how many ms it took.
async fn ask(row: &TrunkRow, means: &Means) -> Result<(u16, String, u32), String> {
    let target = targets(row, means).await?.into_iter().next().ok_or("the host has no address")?;
    let path = means.switch.path(target).await?;
    let start = Instant::now();
    let answer = tokio::time::timeout(ANSWER, means.switch.ask(options(row, path))).await;
    let ms = u32::try_from(start.elapsed().as_millis()).unwrap_or(u32::MAX);
    match answer {
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
        Ok(answer) => match &answer.result {
            Ok(message) => {
                Ok((message.view().status().unwrap_or(500), message.view().reason().to_owned(), ms))
            }
            Err(_) => Err(answer.why()),
        },
    }
}

/// Waits; true when it is time to stop.
async fn pause(length: Duration, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => true,
        () = tokio::time::sleep(length) => false,
    }
}
