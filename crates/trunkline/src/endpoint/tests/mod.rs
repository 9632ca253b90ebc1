//! An endpoint that is connected to: real sockets on loopback, and a clock that can be set forward.

mod reach;
mod secure;
mod time;
mod web;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An endpoint with every door open, in this thread; clients are in others.
struct Bench {
    endpoint: Endpoint,
    poll: Poll,
    began: Instant,
    /// How much later than that the endpoint is told it is: its clock goes on when a test says so, however slow the machine.
    late: Duration,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default(), Trust::none())
    }

    fn with(limits: Limits, trust: Trust) -> Self {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let listen = Listen { address: LOOPBACK, external: None, tcp: true };
        let folder = tempfile::tempdir().unwrap();
        let files = self_signed(folder.path(), &own_names("here.test", [])).unwrap();
        let certificates = Certificates::load(files, trust.clone()).unwrap();
        let tls = Some((TcpListener::bind(LOOPBACK).unwrap(), certificates));
        let doors = Doors { tls, origins: Vec::new(), limits };
        let config = sip::Config::default();
        let endpoint = Endpoint::bind_with(listen, doors, config, trust, [1; 32], registry, 1).unwrap();
        Self { endpoint, poll, began: Instant::now(), late: Duration::ZERO, folder }
    }

    fn now(&self) -> Instant {
        self.began + self.late
    }

    /// One round of the loop.
    fn turn(&mut self) {
        let mut ready = Events::with_capacity(64);
        let wait = if self.endpoint.has_backlog() { Duration::ZERO } else { Duration::from_millis(5) };
        self.poll.poll(&mut ready, Some(wait)).unwrap();
        let now = self.now();
        for event in &ready {
            self.endpoint.handle_ready(event, now);
        }
        if self.endpoint.has_backlog() {
            self.endpoint.read_on(now);
        }
        self.endpoint.handle_timeout(now);
        while self.endpoint.poll_event(now).is_some() {}
    }

    /// Serves until `client` is done.
    fn serve<T: Send + 'static>(&mut self, client: impl FnOnce() -> T + Send + 'static) -> T {
        let client = std::thread::spawn(client);
        while !client.is_finished() {
            self.turn();
        }
        // What it did last has yet to be seen.
        self.turn();
        client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Serves until `true`.
    #[track_caller]
    fn until(&mut self, done: impl Fn(&Endpoint) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(&self.endpoint) {
            assert!(Instant::now() < end, "never came: {:?}", self.endpoint.stats());
            self.turn();
        }
    }

    fn tcp(&self) -> SocketAddr {
        self.endpoint.address()
    }

    fn tls(&self) -> SocketAddr {
        self.endpoint.tls_address().unwrap()
    }

    /// The certificate that is shown.
    fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls-cert.pem")
    }

    /// Who believes that certificate.
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate()).unwrap()).unwrap();
        roots
    }
}

/// A request, and the beginning of its answer.
fn options(transport: &str, number: usize) -> String {
    format!(
        "OPTIONS sip:here.test SIP/2.0\r\nVia: SIP/2.0/{transport} df7jal23ls0d.invalid;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@here.test>;tag=1\r\nTo: <sip:here.test>\r\nCall-ID: {number}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

const OK: &str = "SIP/2.0 200 ";

/// Reads a message without a body.
fn read_message(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            end => panic!("{end:?} after {}", text.escape_ascii()),
        }
    }
    String::from_utf8(text).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whether the other side has closed the connection; reads until it has.
fn is_closed(stream: &mut impl Read) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The config of a client without a certificate.
fn client(roots: RootCertStore) -> ClientConfig {
    builder().with_root_certificates(roots).with_no_client_auth()
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}

fn connect_tls(address: SocketAddr, config: ClientConfig) -> TlsStream {
    let name = "here.test".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(address))
}

/// Asks and is answered.
fn ask(stream: &mut (impl Read + Write), transport: &str, number: usize) -> String {
    stream.write_all(options(transport, number).as_bytes()).unwrap();
    stream.flush().unwrap();
    read_message(stream)
}
