//! The call loop: runs every [`call::Call`], carries out its commands, reports what happens.
//!
//! One thread owns the SIP sockets, the calls and their timers; it decides nothing, it obeys `Call`. The
//! rest of the process talks to it through one bounded queue.

mod entry;
mod legs;
mod run;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use mio::{Token, Waker};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::endpoint::{Endpoint, Listen};
use crate::id::Id;
use crate::refused::Refused;
use crate::rtp::{self, Heard, Media};
use crate::store::{SavedLeg, Store};

/// Commands waiting for the loop; beyond, new calls are refused.
const COMMANDS: usize = 4096;
const WAKER: Token = Token(0);
const SIP: usize = 1;

/// A call to place: everything is looked up, rendered and resolved.
pub struct Place {
    /// The call's id, already in the store with its first event.
    pub id: Id,
    /// The account it belongs to.
    pub account: i64,
    /// Flow, attempts and limits.
    pub spec: call::Spec,
    /// The clips the flow names, by index.
    pub clips: Vec<media::Clip>,
    /// How to reach each attempt of `spec`, in the same order.
    pub dials: Vec<Dial>,
    /// Where to record to, and the file's name as the store keeps it.
    pub recording: Option<(PathBuf, String)>,
}

/// One attempt in SIP's terms.
pub struct Dial {
    /// Where to send the INVITE; the text says why there is nowhere.
    pub target: Result<Target, String>,
    /// The Request-URI.
    pub request_uri: String,
    /// The From URI.
    pub from_uri: String,
    /// The To URI.
    pub to_uri: String,
    /// The user part of our Contact.
    pub contact_user: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Answers to a challenge.
    pub credentials: Option<sip::digest::Credentials>,
    /// The trunk, for the record: id and name.
    pub trunk: Option<(Id, String)>,
    /// Whether the callee is simulated and will report what it heard.
    pub simulated: bool,
}

/// A resolved peer.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// UDP or TCP.
    pub transport: sip::Transport,
    /// Address and port.
    pub remote: SocketAddr,
}

/// A call that was taken.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The SIP Call-ID of the first leg; empty when not even an INVITE could be sent.
    pub sip_call_id: String,
}

/// The loop's figures.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Status {
    /// Calls that have not ended.
    pub calls: usize,
    /// SIP legs.
    pub legs: usize,
    /// SIP transactions.
    pub transactions: usize,
}

pub(crate) enum Command {
    Place(Box<Place>, oneshot::Sender<Result<Placed, Refused>>),
    HangUp(Id, oneshot::Sender<bool>),
    Heard(Id, Heard),
    HangUpAll,
    Exit,
}

/// The way to the call loop.
#[derive(Clone)]
pub struct Switch {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Default)]
pub(crate) struct Shared {
    calls: AtomicUsize,
    legs: AtomicUsize,
    transactions: AtomicUsize,
    draining: AtomicBool,
}

/// What the loop needs besides its sockets.
pub struct Setup {
    /// SIP sockets.
    pub listen: Listen,
    /// Media loops.
    pub media: Media,
    /// Where final states and events go.
    pub store: Store,
    /// Calls at once.
    pub max_calls: usize,
    /// Legs that a crash left open on the other side: to be ended.
    pub saved: Vec<SavedLeg>,
}

impl Switch {
    /// Binds the SIP sockets and starts the loop.
    pub fn start(setup: Setup) -> io::Result<(Self, JoinHandle<()>)> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let config = sip::Config {
            user_agent: concat!("trunkline/", env!("CARGO_PKG_VERSION")).into(),
            max_legs: setup.max_calls.saturating_mul(2).max(64),
            ..sip::Config::default()
        };
        let endpoint = Endpoint::bind(setup.listen, config, seed, poll.registry().try_clone()?, SIP)?;
        let address = endpoint.address();
        let (commands, receiver) = bounded(COMMANDS);
        let (sink, media_events) = rtp::Sink::new(waker.clone());
        let shared = Arc::new(Shared::default());
        let looped = run::Loop::new(run::Parts {
            poll,
            endpoint,
            commands: receiver,
            media: setup.media,
            sink,
            media_events,
            store: setup.store,
            shared: shared.clone(),
            max_calls: setup.max_calls,
        });
        let thread = std::thread::Builder::new().name("switch".into()).spawn(move || looped.run())?;
        Ok((Self { commands, waker, shared, address }, thread))
    }

    /// Where SIP listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts a call; answers once the first INVITE is on its way or the call was refused.
    pub async fn place(&self, place: Place) -> Result<Placed, Refused> {
        let (reply, placed) = oneshot::channel();
        self.send(Command::Place(Box::new(place), reply))?;
        placed.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Why a new call would be refused right now, if it would.
    pub fn admits(&self, max_calls: usize) -> Result<(), Refused> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(stopping());
        }
        match self.live() < max_calls {
            true => Ok(()),
            false => Err(full(max_calls)),
        }
    }

    /// Ends a call in whatever state it is; false when it is not live.
    pub async fn hang_up(&self, call: Id) -> bool {
        let (reply, done) = oneshot::channel();
        self.send(Command::HangUp(call, reply)).is_ok() && done.await.unwrap_or(false)
    }

    /// Takes what a simulated callee heard; it becomes part of the call's record.
    pub fn heard(&self, call: Id, heard: Heard) {
        let _ = self.send(Command::Heard(call, heard));
    }

    /// Calls that have not ended.
    pub fn live(&self) -> usize {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// The loop's figures, at most a second old.
    pub fn status(&self) -> Status {
        Status {
            calls: self.live(),
            legs: self.shared.legs.load(Ordering::Relaxed),
            transactions: self.shared.transactions.load(Ordering::Relaxed),
        }
    }

    /// Refuses new calls, waits up to `grace` for the live ones to end, then hangs up the rest.
    pub async fn drain(&self, grace: Duration) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.wait_idle(grace).await;
        if self.live() > 0 {
            let _ = self.send(Command::HangUpAll);
            self.wait_idle(Duration::from_secs(8)).await;
        }
        let _ = self.send(Command::Exit);
    }

    async fn wait_idle(&self, longest: Duration) {
        let idle = async {
            while self.live() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = tokio::time::timeout(longest, idle).await;
    }

    fn send(&self, command: Command) -> Result<(), Refused> {
        self.commands.try_send(command).map_err(|_| {
            Refused::new(503, "overloaded", "Too many requests are waiting for the call engine.")
                .retry_after(1)
        })?;
        self.waker.wake().map_err(|_| stopping())
    }
}

pub(crate) fn full(max_calls: usize) -> Refused {
    Refused::new(503, "too_many_calls", format!("{max_calls} calls are up already, which is the limit."))
        .hint("Try again when one has ended, or raise max_calls.")
        .retry_after(5)
}

fn stopping() -> Refused {
    Refused::new(503, "stopping", "The server is stopping and takes no new calls.").retry_after(30)
}
