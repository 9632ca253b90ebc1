//! A callee behind TLS, with an authority of its own: it answers every call, and notes what it is asked.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tool::wait_for;

const SDP: &str = "v=0\r\no=tls 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

/// Who signs certificates.
pub struct Authority {
    /// Its own certificate.
    pub file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one of this name; its certificate goes to `folder`.
    pub fn new(folder: &std::path::Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let file = folder.join("authority.pem");
        std::fs::write(&file, params.self_signed(&key).expect("a certificate").pem()).expect("its file");
        Self { file, issuer: Issuer::new(params, key) }
    }

    /// A callee that listens with a certificate for `name`, good in these years.
    pub fn callee(&self, name: &str, years: RangeInclusive<i32>) -> Callee {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(*years.start(), 1, 1);
        params.not_after = rcgen::date_time_ymd(*years.end(), 12, 31);
        let config = server_config(&self.issuer, &params);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let methods = Arc::<Mutex<Vec<String>>>::default();
        let noted = methods.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (config, noted) = (config.clone(), noted.clone());
                std::thread::spawn(move || serve(stream, config, port, &noted));
            }
        });
        Callee { port, authority: self.file.clone(), methods }
    }
}

/// The listening callee.
pub struct Callee {
    pub port: u16,
    /// Its authority's certificate.
    pub authority: PathBuf,
    methods: Arc<Mutex<Vec<String>>>,
}

impl Callee {
    /// Listens with a certificate for `name`; the authority's file goes to `folder`.
    pub fn start(folder: &std::path::Path, name: &str) -> Self {
        Authority::new(folder, "authority of the test").callee(name, 2000..=2999)
    }

    /// Waits until it was asked for `method`.
    #[track_caller]
    pub fn was_asked(&self, method: &str) {
        wait_for(method, Duration::from_secs(10), || {
            self.methods.lock().expect("nobody panicked").iter().any(|seen| seen == method).then_some(())
        });
    }
}

fn server_config(issuer: &Issuer<'_, KeyPair>, params: &CertificateParams) -> Arc<ServerConfig> {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("TLS versions").with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate.der().clone()], private).expect("TLS settings"))
}

/// Answers one connection's requests until it ends.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, port: u16, noted: &Mutex<Vec<String>>) {
    let connection = ServerConnection::new(config).expect("a connection");
    let mut tls = BufReader::new(StreamOwned::new(connection, stream));
    while let Some(head) = read_head(&mut tls) {
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        let mut body = vec![0; field("Content-Length").parse().unwrap_or(0)];
        if tls.read_exact(&mut body).is_err() {
            return;
        }
        let method = head.split(' ').next().unwrap_or_default().to_owned();
        noted.lock().expect("nobody panicked").push(method.clone());
        let content = match method.as_str() {
            "ACK" => continue,
            "INVITE" => {
                format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len())
            }
            _ => "Content-Length: 0\r\n\r\n".to_owned(),
        };
        let tag = if field("To").contains(";tag=") { "" } else { ";tag=callee" };
        let answer = format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:callee@127.0.0.1:{port};transport=tls>\r\n{content}",
            field("Via"),
            field("From"),
            field("To"),
            field("Call-ID"),
            field("CSeq"),
        );
        if tls.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_head(tls: &mut impl std::io::BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        match tls.read_line(&mut head) {
            Ok(n) if n > 0 && head.ends_with("\r\n\r\n") => return Some(head),
            Ok(n) if n > 0 => {}
            _ => return None,
        }
    }
}
