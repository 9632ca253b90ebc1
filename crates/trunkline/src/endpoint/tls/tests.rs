//! An endpoint against TLS servers of all kinds, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use sip::{Event, FailureKind, Message, Method, Outside, Transport};

use super::*;
use crate::endpoint::{Endpoint, Listen};
use crate::switch::Target;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A certificate authority, its PEM file included.
pub(in crate::endpoint) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    pub(in crate::endpoint) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(certificate.pem().as_bytes()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    pub(in crate::endpoint) fn trust(&self) -> Trust {
        Trust::load(Some(self.file.path())).unwrap()
    }

    /// A certificate signed here, and its key.
    pub(in crate::endpoint) fn sign(
        &self,
        names: &[SanType],
        expired: bool,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.to_vec();
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// A server's side for the names in a certificate signed here.
    fn server(&self, names: &[SanType], expired: bool) -> Arc<ServerConfig> {
        let (certificate, key) = self.sign(names, expired);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        Arc::new(config.unwrap())
    }
}

/// What a server does with its connections.
#[derive(Clone)]
enum Manner {
    /// Shakes hands and answers each request with 200; after so many requests it closes the connection.
    Tls(Arc<ServerConfig>, usize),
    /// Speaks no TLS.
    Plain,
    /// Never says anything.
    Silent,
}

/// A server on loopback, and how many connections it took.
fn serve(manner: Manner) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let (accepted, connections) = channel();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve_one(stream, manner.clone(), &accepted);
        }
    });
    (address, connections)
}

fn serve_one(mut stream: TcpStream, manner: Manner, accepted: &Sender<()>) {
    let _ = accepted.send(());
    match manner {
        Manner::Silent => drop(stream.read_to_end(&mut Vec::new())),
        Manner::Plain => drop(stream.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n")),
        Manner::Tls(config, requests) => {
            let mut connection = ServerConnection::new(config).unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            for _ in 0..requests {
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    match tls.read(&mut byte) {
                        Ok(1) => text.push(byte[0]),
                        _ => return,
                    }
                }
                let request = Message::parse(text.into()).unwrap();
                let mut response = String::from("SIP/2.0 200 OK\r\n");
                for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
                    response.push_str(&format!("{name}: {}\r\n", request.header(name).unwrap()));
                }
                response.push_str("Content-Length: 0\r\n\r\n");
                // In pieces, as the network may deliver it.
                for piece in response.as_bytes().chunks(50) {
                    tls.write_all(piece).unwrap();
                    tls.flush().unwrap();
                }
            }
            connection.send_close_notify();
            let _ = connection.write_tls(&mut stream);
        }
    }
}

struct Bench {
    endpoint: Endpoint,
    poll: Poll,
}

impl Bench {
    fn new(trust: Trust) -> Self {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let listen = Listen { address: LOOPBACK, external: None, tcp: false };
        let endpoint = Endpoint::bind(listen, sip::Config::default(), trust, [1; 32], registry, 1).unwrap();
        Self { endpoint, poll }
    }

    fn target(remote: SocketAddr, name: &str) -> Target {
        Target { transport: Transport::Tls, remote, server_name: Some(name.into()) }
    }

    /// Sends OPTIONS and waits for what becomes of it: the status, or what the transport says. `late` is how much later
    /// than now the endpoint is told it is.
    fn ask(&mut self, target: &Target, late: Duration) -> Result<u16, String> {
        let path = self.endpoint.path(target).unwrap();
        let uri = "sip:a.peer.test;transport=tls";
        let request = Outside::new(Method::Options, path, uri, "sip:me@here.test", uri);
        self.endpoint.sip().request(request, Instant::now()).unwrap();
        let mut ready = Events::with_capacity(64);
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some(event) = self.endpoint.poll_event(Instant::now()) {
                match event {
                    Event::Response { result: Ok(message), .. } => {
                        return Ok(message.view().status().unwrap());
                    }
                    Event::Response { result: Err(FailureKind::Transport), trouble, .. } => {
                        return Err(trouble);
                    }
                    other => panic!("{other:?}"),
                }
            }
            self.poll.poll(&mut ready, Some(Duration::from_millis(20))).unwrap();
            for event in &ready {
                self.endpoint.handle_ready(event, Instant::now());
            }
            self.endpoint.handle_timeout(Instant::now() + late);
        }
        panic!("nothing became of the request");
    }
}

pub(in crate::endpoint) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

const NOW: Duration = Duration::ZERO;

#[test]
fn certificates_are_judged() {
    let authority = Authority::new("authority");
    for (names, expired, expected) in [
        (vec![dns("a.peer.test")], false, Ok(200)),
        (vec![dns("other.test"), dns("A.PEER.test")], false, Ok(200)),
        (vec![dns("*.peer.test")], false, Ok(200)),
        (vec![uri("sip:a.peer.test")], false, Ok(200)),
        (vec![uri("sip:alice@a.peer.test")], false, Err("the certificate is for")),
        (vec![uri("https://a.peer.test")], false, Err("the certificate is for")),
        (vec![dns("other.test")], false, Err("the certificate is for other.test, not for a.peer.test")),
        (
            vec![dns("a.peer.test.evil.test")],
            false,
            Err("the certificate is for a.peer.test.evil.test, not for"),
        ),
        (vec![dns("a.peer.test")], true, Err("the certificate has expired")),
        (vec![uri("sip:a.peer.test")], true, Err("the certificate has expired")),
    ] {
        let (remote, _connections) = serve(Manner::Tls(authority.server(&names, expired), 9));
        let outcome = Bench::new(authority.trust()).ask(&Bench::target(remote, "a.peer.test"), NOW);
        match (outcome, expected) {
            (Ok(status), Ok(expected)) => assert_eq!(status, expected, "{names:?}"),
            (Err(why), Err(expected)) => {
                assert!(why.contains(expected) && why.len() <= 100, "{names:?}: {why}")
            }
            (outcome, _) => panic!("{names:?}: {outcome:?}"),
        }
    }
}

#[test]
fn an_issuer_nobody_knows_is_not_believed() {
    let (remote, _connections) =
        serve(Manner::Tls(Authority::new("another").server(&[dns("a.peer.test")], false), 9));
    let outcome =
        Bench::new(Authority::new("authority").trust()).ask(&Bench::target(remote, "a.peer.test"), NOW);
    assert_eq!(outcome, Err("the certificate's issuer is not known; see setting tls_ca_file".into()));
}

#[test]
fn an_address_may_be_the_name() {
    let authority = Authority::new("authority");
    let server = authority.server(&[SanType::IpAddress(LOOPBACK.ip())], false);
    let (remote, _connections) = serve(Manner::Tls(server, 9));
    assert_eq!(Bench::new(authority.trust()).ask(&Bench::target(remote, "127.0.0.1"), NOW), Ok(200));
}

#[test]
fn one_connection_serves_all_requests_to_one_name() {
    let authority = Authority::new("authority");
    let server = authority.server(&[dns("a.peer.test"), dns("second.test")], false);
    let (remote, connections) = serve(Manner::Tls(server, 3));
    let mut bench = Bench::new(authority.trust());
    for _ in 0..3 {
        assert_eq!(bench.ask(&Bench::target(remote, "a.peer.test"), NOW), Ok(200));
    }
    assert_eq!(connections.try_iter().count(), 1);
    // The server closed that one: the next request opens another.
    assert_eq!(bench.ask(&Bench::target(remote, "A.Peer.test"), NOW), Ok(200));
    assert_eq!(connections.try_iter().count(), 1);
}

#[test]
fn a_name_has_its_own_connection() {
    let mut bench = Bench::new(Trust::none());
    let [one, other] =
        ["a.test", "b.test"].map(|name| bench.endpoint.path(&Bench::target(LOOPBACK, name)).unwrap());
    assert_ne!(one, other);
    let again = bench.endpoint.path(&Bench::target(LOOPBACK, "A.test.")).unwrap();
    assert_eq!(one, again);
}

#[test]
fn what_never_becomes_tls_is_given_up() {
    let authority = Authority::new("authority");
    let (plain, _connections) = serve(Manner::Plain);
    let why = Bench::new(authority.trust()).ask(&Bench::target(plain, "a.peer.test"), NOW).unwrap_err();
    assert!(why.starts_with("TLS failed: "), "{why}");

    let (silent, _connections) = serve(Manner::Silent);
    let late = Duration::from_secs(7);
    let why = Bench::new(authority.trust()).ask(&Bench::target(silent, "a.peer.test"), late).unwrap_err();
    assert!(why.contains("did not take the"), "{why}");

    let nobody = TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let why = Bench::new(authority.trust()).ask(&Bench::target(nobody, "a.peer.test"), NOW).unwrap_err();
    assert_eq!(why, "the connection was refused");

    let why = Bench::new(Trust::none()).ask(&Bench::target(nobody, "a.peer.test"), NOW).unwrap_err();
    assert_eq!(why, "TLS is not used here");
}

#[test]
fn a_file_of_authorities_must_hold_some() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Trust::load(Some(file.path())).err().unwrap();
    assert!(error.ends_with("no certificate in PEM form is in it"), "{error}");
    let error = Trust::load(Some(Path::new("/nowhere/ca.pem"))).err().unwrap();
    assert!(error.starts_with("/nowhere/ca.pem: "), "{error}");
}
