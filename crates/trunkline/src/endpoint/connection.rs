//! One connection: TCP, TLS or WebSocket, as far as bytes come and go without waiting.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use rustls::server::Acceptor;
use rustls::{ClientConnection, ServerConnection};
use sip::{Path, Progress, Transport};

use super::certificate::Server;
use super::tls::MAX_BUFFERED;
use super::web::{self, Close, Web};

/// Bytes waiting for a slow peer; beyond, a message is refused.
const MAX_UNSENT: usize = 256 * 1024;
/// How often is read in one turn, so that a fast sender does not starve the others.
const READS: usize = 32;
/// How long a connection of ours may take to come about, the TLS handshake included.
const CONNECT: Duration = Duration::from_secs(6);
/// How long a TLS handshake with who connected to us may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long who connected to us may take to say something whole.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);
/// How long a message, or an upgrade, may take from its first byte.
const WHOLE_MESSAGE: Duration = Duration::from_secs(10);
/// How long nothing may be said on a connection.
const IDLE: Duration = Duration::from_secs(3600);
/// The silence after which a WebSocket is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Pings without any answer after which it is not.
const MAX_PINGS: u32 = 2;

/// What arrived.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Some bytes of a stream, however cut.
    Stream(&'a [u8]),
    /// One message of a WebSocket.
    Message(&'a [u8]),
}

/// Where what arrived goes; for a stream it tells how far that has come.
pub type Received<'a> = dyn FnMut(Path, Piece<'_>) -> Option<Progress> + 'a;

/// What reading goes with.
pub struct Reading<'a, 'b> {
    /// Pages that may open a WebSocket; empty: all.
    pub origins: &'a [String],
    /// Where it goes.
    pub received: &'a mut Received<'b>,
    /// The time.
    pub now: Instant,
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Nothing more can be done until the socket is ready again.
    Done,
    /// There is more to read.
    More,
    /// The other side closed the connection.
    Ended,
}

pub struct Connection {
    pub stream: TcpStream,
    pub path: Path,
    /// Whether the other side connected to us.
    pub accepted: bool,
    /// The names in the certificate it showed, where that is believed.
    pub names: Option<Vec<String>>,
    tls: Tls,
    speech: Speech,
    /// What waits to be sent: for the connection, the handshake, or the peer.
    unsent: Vec<u8>,
    /// Whether TCP is through.
    connected: bool,
    opened: Instant,
    used: Instant,
    /// When what is only in part there began; watched on accepted connections.
    began: Option<Instant>,
    /// Whole messages of the stream so far.
    whole: u64,
    /// Whether something whole came.
    spoke: bool,
    /// Pings since something was heard.
    pings: u32,
}

enum Tls {
    Plain,
    /// The client has not said its hello yet.
    Hello(Box<Acceptor>, Arc<Server>),
    Up(Box<rustls::Connection>, Option<Arc<Server>>),
}

/// What is spoken. Only who connected to us may open a WebSocket.
enum Speech {
    /// The first bytes will tell.
    Unknown(Vec<u8>),
    Sip,
    Upgrade(Vec<u8>),
    Web(Web),
}

enum Got {
    Bytes(usize),
    /// Something for TLS itself.
    Nothing,
    End,
}

impl Connection {
    /// A connection of ours that is to come about; with `tls`, a handshake comes before anything is sent.
    pub fn ours(stream: TcpStream, path: Path, tls: Option<ClientConnection>, now: Instant) -> Self {
        let tls = tls.map_or(Tls::Plain, |tls| Tls::Up(Box::new(tls.into()), None));
        Self::new(stream, path, tls, Speech::Sip, now)
    }

    /// A connection that somebody made to us; with `server`, a TLS handshake comes first.
    pub fn theirs(stream: TcpStream, path: Path, server: Option<Arc<Server>>, now: Instant) -> Self {
        let tls = server.map_or(Tls::Plain, |server| Tls::Hello(Box::default(), server));
        let speech = Speech::Unknown(Vec::new());
        Self { accepted: true, connected: true, ..Self::new(stream, path, tls, speech, now) }
    }

    /// A WebSocket that was opened elsewhere; to be given what was read there after the upgrade.
    pub fn web(stream: TcpStream, path: Path, now: Instant) -> Self {
        let speech = Speech::Web(Web::default());
        let new = Self::new(stream, path, Tls::Plain, speech, now);
        Self { accepted: true, connected: true, spoke: true, ..new }
    }

    fn new(stream: TcpStream, path: Path, tls: Tls, speech: Speech, now: Instant) -> Self {
        Self {
            stream,
            path,
            accepted: false,
            names: None,
            tls,
            speech,
            unsent: Vec::new(),
            connected: false,
            opened: now,
            used: now,
            began: None,
            whole: 0,
            spoke: false,
            pings: 0,
        }
    }

    /// Whether messages can be sent.
    pub fn is_up(&self) -> bool {
        self.connected
            && match &self.tls {
                Tls::Plain => true,
                Tls::Hello(..) => false,
                Tls::Up(tls, _) => !tls.is_handshaking(),
            }
    }

    /// What is not done yet, for people.
    pub fn stage(&self) -> &'static str {
        if self.connected { "TLS" } else { self.path.transport.param() }
    }

    /// Whether something whole came from the other side.
    pub fn spoke(&self) -> bool {
        self.spoke
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Instant {
        if !self.is_up() {
            return self.opened + if self.accepted { HANDSHAKE } else { CONNECT };
        }
        let silent = match self.speech {
            Speech::Web(_) => self.used + PING_EVERY * (self.pings + 1),
            Speech::Unknown(_) | Speech::Sip | Speech::Upgrade(_) => self.used + IDLE,
        };
        let first = (self.accepted && !self.spoke).then(|| self.opened + FIRST_MESSAGE);
        let whole = self.began.map(|began| began + WHOLE_MESSAGE);
        [first, whole].into_iter().flatten().fold(silent, Instant::min)
    }

    /// Asks a silent WebSocket whether it is there; false where the connection is to be closed.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let whole_in_time = self.began.is_none_or(|began| now < began + WHOLE_MESSAGE);
        if !matches!(self.speech, Speech::Web(_)) || !whole_in_time || self.pings >= MAX_PINGS {
            return false;
        }
        self.pings += 1;
        web::write_ping(&mut self.unsent);
        self.unsent.len() <= MAX_UNSENT && self.flush().is_ok()
    }

    /// Sends a message, or keeps it until the connection is up.
    pub fn send(&mut self, message: &[u8], now: Instant) -> io::Result<()> {
        if self.unsent.len() + message.len() > MAX_UNSENT {
            return Err(io::Error::other("the other side reads too slowly"));
        }
        match self.speech {
            Speech::Web(_) => web::write_message(message, &mut self.unsent),
            Speech::Unknown(_) | Speech::Sip | Speech::Upgrade(_) => {
                self.unsent.extend_from_slice(message);
                self.used = now;
            }
        }
        if self.is_up() { self.flush() } else { Ok(()) }
    }

    /// Goes on as far as possible: connects, shakes hands, sends, and with `readable` reads, `buffer` at once.
    pub fn go_on(
        &mut self,
        writable: bool,
        readable: bool,
        buffer: &mut [u8],
        reading: &mut Reading<'_, '_>,
    ) -> io::Result<Turn> {
        if !self.connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            self.connected = writable && self.stream.peer_addr().is_ok();
            if !self.connected {
                return Ok(Turn::Done);
            }
            self.used = reading.now;
        }
        self.flush()?;
        if !readable {
            return Ok(Turn::Done);
        }
        let turn = self.read(buffer, reading);
        // What was read may have finished the handshake, or ask for an answer. Where it was an error, the answer says so.
        let flushed = self.flush();
        let turn = turn?;
        flushed?;
        Ok(turn)
    }

    /// Takes in what was read before the connection came here.
    pub fn take_early(&mut self, bytes: &[u8], reading: &mut Reading<'_, '_>) -> io::Result<()> {
        let taken = self.take_web(bytes, reading);
        self.flush()?;
        taken
    }

    /// Says goodbye as well as can be done without waiting.
    pub fn close(&mut self) {
        if let Speech::Web(_) = self.speech {
            web::write_close(Close::Away, &mut self.unsent);
            let _ = self.flush();
        }
        if let Tls::Up(tls, _) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.stream);
        }
    }

    fn read(&mut self, buffer: &mut [u8], reading: &mut Reading<'_, '_>) -> io::Result<Turn> {
        for _ in 0..READS {
            match self.read_some(buffer) {
                Ok(Got::Bytes(n)) => self.take(buffer.get(..n).unwrap_or_default(), reading)?,
                Ok(Got::Nothing) => {}
                Ok(Got::End) => return Ok(Turn::Ended),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(Turn::Done),
                    io::ErrorKind::Interrupted => {}
                    // Without TLS's own farewell.
                    io::ErrorKind::UnexpectedEof => return Ok(Turn::Ended),
                    _ => return Err(error),
                },
            }
        }
        Ok(Turn::More)
    }

    /// Reads once.
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        let some = |n| if n == 0 { Got::End } else { Got::Bytes(n) };
        match &mut self.tls {
            Tls::Plain => self.stream.read(buffer).map(some),
            Tls::Hello(acceptor, server) => {
                if acceptor.read_tls(&mut self.stream)? == 0 {
                    return Ok(Got::End);
                }
                let accepted = acceptor.accept().map_err(|(error, mut alert)| {
                    let _ = alert.write(&mut self.stream);
                    io::Error::other(error)
                })?;
                let Some(accepted) = accepted else { return Ok(Got::Nothing) };
                let config = server.config(&accepted);
                let mut tls: ServerConnection =
                    accepted.into_connection(config).map_err(|(error, mut alert)| {
                        let _ = alert.write(&mut self.stream);
                        io::Error::other(error)
                    })?;
                tls.set_buffer_limit(Some(MAX_BUFFERED));
                self.tls = Tls::Up(Box::new(tls.into()), Some(server.clone()));
                self.flush()?;
                Ok(Got::Nothing)
            }
            Tls::Up(tls, server) => {
                match tls.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read.map(some),
                }
                tls.read_tls(&mut self.stream)?;
                if let Err(error) = tls.process_new_packets() {
                    // The other side is to hear why: an alert is waiting.
                    let _ = tls.write_tls(&mut self.stream);
                    return Err(io::Error::other(error));
                }
                if !tls.is_handshaking()
                    && let Some(server) = server.take()
                {
                    self.names = tls.peer_certificates().and_then(|chain| server.names(chain));
                }
                Ok(Got::Nothing)
            }
        }
    }

    fn take(&mut self, bytes: &[u8], reading: &mut Reading<'_, '_>) -> io::Result<()> {
        (self.used, self.pings) = (reading.now, 0);
        match &mut self.speech {
            Speech::Sip => self.take_sip(bytes, reading),
            Speech::Web(_) => return self.take_web(bytes, reading),
            Speech::Unknown(first) => {
                first.extend_from_slice(bytes);
                let first = std::mem::take(first);
                return self.take_first(first, reading);
            }
            Speech::Upgrade(request) => {
                request.extend_from_slice(bytes);
                let request = std::mem::take(request);
                return self.take_upgrade(request, reading);
            }
        }
        Ok(())
    }

    fn take_sip(&mut self, bytes: &[u8], reading: &mut Reading<'_, '_>) {
        let progress = (reading.received)(self.path, Piece::Stream(bytes)).unwrap_or_default();
        self.came(progress.whole != self.whole, progress.begun, reading.now);
        self.whole = progress.whole;
    }

    /// Finds out by the first bytes what is spoken: no method of SIP is GET.
    fn take_first(&mut self, first: Vec<u8>, reading: &mut Reading<'_, '_>) -> io::Result<()> {
        self.came(false, true, reading.now);
        if first.starts_with(b"GET ") {
            return self.take_upgrade(first, reading);
        }
        if b"GET ".starts_with(&first) {
            self.speech = Speech::Unknown(first);
            return Ok(());
        }
        self.speech = Speech::Sip;
        self.take_sip(&first, reading);
        Ok(())
    }

    fn take_upgrade(&mut self, request: Vec<u8>, reading: &mut Reading<'_, '_>) -> io::Result<()> {
        let accepted = match web::read_request(&request) {
            Ok(None) => {
                self.speech = Speech::Upgrade(request);
                return Ok(());
            }
            Ok(Some((length, headers))) => {
                web::accept(&headers, reading.origins).map(|answer| (length, answer))
            }
            Err(refused) => Err(refused),
        };
        let (length, answer) = accepted.map_err(|refused| {
            web::write_refusal(&refused, &mut self.unsent);
            io::Error::other(refused)
        })?;
        web::write_response(&answer, &mut self.unsent);
        self.speech = Speech::Web(Web::default());
        self.path.transport = match self.path.transport.is_secure() {
            true => Transport::Wss,
            false => Transport::Ws,
        };
        self.came(true, false, reading.now);
        self.take_web(request.get(length..).unwrap_or_default(), reading)
    }

    fn take_web(&mut self, bytes: &[u8], reading: &mut Reading<'_, '_>) -> io::Result<()> {
        let Speech::Web(web) = &mut self.speech else { return Ok(()) };
        web.push(bytes);
        let mut came = false;
        let over = loop {
            match web.next_message(&mut self.unsent) {
                Ok(Some(message)) if message == b"\r\n\r\n" => web::write_message(b"\r\n", &mut self.unsent),
                Ok(Some(message)) => {
                    (reading.received)(self.path, Piece::Message(&message));
                }
                Ok(None) => break None,
                Err(close) => break Some(close),
            }
            came = true;
            if self.unsent.len() > MAX_UNSENT {
                return Err(io::Error::other("the other side reads too slowly"));
            }
        };
        let begun = web.has_begun();
        self.came(came, begun, reading.now);
        match over {
            None if self.unsent.len() > MAX_UNSENT => {
                Err(io::Error::other("the other side reads too slowly"))
            }
            None => Ok(()),
            Some(close) => {
                // The frame that says so is waiting; no second one follows it.
                self.speech = Speech::Sip;
                match close {
                    Close::Normal => Err(io::ErrorKind::UnexpectedEof.into()),
                    close => Err(io::Error::other(format!("the WebSocket was closed: {close:?}"))),
                }
            }
        }
    }

    /// Notes that something whole came, and whether something further has begun.
    fn came(&mut self, whole: bool, begun: bool, now: Instant) {
        if whole {
            self.spoke = true;
            self.began = None;
        }
        self.began = (begun && self.accepted).then(|| self.began.unwrap_or(now));
    }

    fn flush(&mut self) -> io::Result<()> {
        let tls = match &mut self.tls {
            Tls::Plain => return write_out(&mut self.stream, &mut self.unsent),
            Tls::Hello(..) => return Ok(()),
            Tls::Up(tls, _) => tls,
        };
        if !tls.is_handshaking() && !self.unsent.is_empty() {
            tls.writer().write_all(&self.unsent)?;
            self.unsent = Vec::new();
        }
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn write_out(stream: &mut TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match stream.write(unsent) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => drop(unsent.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    // Memory goes back to who writes next.
    *unsent = Vec::new();
    Ok(())
}
