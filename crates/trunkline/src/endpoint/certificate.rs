//! Our own TLS certificate: read from files, again whenever they change, or made where there are none.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{Accepted, ClientHello};
use rustls::{DigitallySignedStruct, DistinguishedName as RawName, ServerConfig, SignatureScheme};

use super::tls::Trust;

/// The least time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many years a certificate made here is good.
const YEARS: i32 = 10;

/// Two PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and behind it those that lead to its authority.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file of the chain.
    #[error("{0}")]
    Chain(String),
    /// The file of the key, or that it is another certificate's.
    #[error("{0}")]
    Key(String),
}

/// What two files were like when they were read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp([Option<(SystemTime, u64)>; 2]);

impl Stamp {
    fn of(files: &Files) -> Self {
        Self([&files.chain, &files.key].map(|path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        }))
    }
}

/// The certificate of the files, as it is now.
pub struct Certificates {
    files: Files,
    trust: Trust,
    stamp: Stamp,
    looked: Option<Instant>,
    server: Arc<Server>,
}

impl Certificates {
    /// Reads the files. `trust` says whose clients' certificates are believed.
    ///
    /// # Errors
    /// A file cannot be read, holds nothing of use, or the key is another certificate's.
    pub fn load(files: Files, trust: Trust) -> Result<Self, CertificateError> {
        let stamp = Stamp::of(&files);
        let server = Arc::new(Server::load(&files, trust.clone())?);
        Ok(Self { files, trust, stamp, looked: None, server })
    }

    /// What a new connection is served with. Files that changed are read; where they cannot be used, that is logged
    /// once and what was there before goes on serving.
    pub(super) fn current(&mut self, now: Instant) -> Arc<Server> {
        if self.looked.is_none_or(|at| now >= at + LOOK_EVERY) {
            self.looked = Some(now);
            let stamp = Stamp::of(&self.files);
            if stamp != self.stamp {
                self.stamp = stamp;
                match Server::load(&self.files, self.trust.clone()) {
                    Ok(server) => {
                        self.server = Arc::new(server);
                        tracing::info!(file = %self.files.chain.display(), "the TLS certificate was read again");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the new TLS certificate cannot be used; the old one stays")
                    }
                }
            }
        }
        self.server.clone()
    }
}

/// The server's side of TLS with one certificate.
pub(super) struct Server {
    /// For who speaks SIP: a client that has a certificate may show it.
    sip: Arc<ServerConfig>,
    /// For browsers, which give a WebSocket up that asks them for a certificate.
    web: Arc<ServerConfig>,
    trust: Trust,
}

impl Server {
    fn load(files: &Files, trust: Trust) -> Result<Self, CertificateError> {
        let unusable = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let chain = |why: &dyn std::fmt::Display| CertificateError::Chain(unusable(&files.chain, why));
        let key = |why: &dyn std::fmt::Display| CertificateError::Key(unusable(&files.key, why));
        let certificates = CertificateDer::pem_file_iter(&files.chain).map_err(|e| chain(&e))?;
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|e| chain(&e))?;
        if certificates.is_empty() {
            return Err(chain(&"no certificate in PEM form is in it"));
        }
        let private = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => key(&"no private key in PEM form is in it"),
            error => key(&error),
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let signer = provider.key_provider.load_private_key(private).map_err(|e| key(&e))?;
        let certified = rustls::sign::CertifiedKey::new(certificates, signer);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(key(&format_args!("it is not the key of {}", files.chain.display())));
            }
            Err(error) => return Err(chain(&error)),
        }
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let config = || {
            let builder = ServerConfig::builder_with_provider(provider.clone());
            builder.with_safe_default_protocol_versions().map_err(|e| chain(&e))
        };
        let anybody = Arc::new(Anybody { provider: provider.clone() });
        let sip = config()?.with_client_cert_verifier(anybody).with_cert_resolver(resolver.clone());
        let web = config()?.with_no_client_auth().with_cert_resolver(resolver);
        Ok(Self { sip: Arc::new(sip), web: Arc::new(web), trust })
    }

    /// How to go on with a client that said hello.
    pub(super) fn config(&self, accepted: &Accepted) -> Arc<ServerConfig> {
        if is_browser(&accepted.client_hello()) { self.web.clone() } else { self.sip.clone() }
    }

    /// The names in a client's certificate, if one that is believed was made out to it.
    pub(super) fn names(&self, chain: &[CertificateDer<'_>]) -> Option<Vec<String>> {
        self.trust.names(chain, UnixTime::now())
    }
}

/// SIP has no name in ALPN that anybody uses; browsers always ask for HTTP.
fn is_browser(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut names| names.any(|name| name == b"http/1.1" || name == b"h2"))
}

/// Takes every client certificate, for phones show self-signed ones; which of them say who somebody is, is judged
/// afterwards ([`Server::names`]). That the client has the certificate's key is checked.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a list of all authorities would be the longest part of the handshake.
    fn root_hint_subjects(&self) -> &[RawName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // A certificate that cannot be read says nobody's name.
        if webpki::EndEntityCert::try_from(cert).is_err() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if webpki::EndEntityCert::try_from(cert).is_err() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The files of a certificate signed by itself, for `names` (domains or addresses), in `folder`. They are made at
/// the first start and again where the names are others; the key is readable by its owner only.
///
/// # Errors
/// A file cannot be written, or a name is none that a certificate can have.
pub fn self_signed(folder: &Path, names: &[String]) -> Result<Files, String> {
    let files = Files { chain: folder.join("tls-cert.pem"), key: folder.join("tls-key.pem") };
    if is_for(&files.chain, names) && files.key.exists() {
        return Ok(files);
    }
    let mut params = CertificateParams::new(names.to_vec()).map_err(|error| error.to_string())?;
    let year = i32::from(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year());
    (params.not_before, params.not_after) = (date_time_ymd(year, 1, 1), date_time_ymd(year + YEARS, 1, 1));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, names.first().map_or("trunkline", |name| name.as_str()));
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    write(&files.key, &zeroize::Zeroizing::new(key.serialize_pem()))?;
    write(&files.chain, &certificate.pem())?;
    tracing::warn!(
        file = %files.chain.display(), names = names.join(", "),
        "a TLS certificate was made, signed by itself: phones and browsers have to be told to believe it; \
         tls_cert_file and tls_key_file name one of your own"
    );
    Ok(files)
}

/// The names a certificate made here is for: those by which this server is called.
pub fn own_names(domain: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<String> {
    let mut names = vec![domain.to_ascii_lowercase()];
    let addresses = addresses.into_iter().filter(|address| !address.is_unspecified());
    let others = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    for name in others.into_iter().chain(addresses.map(|address| address.to_string())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether the certificate in a file is for all these names.
fn is_for(file: &Path, names: &[String]) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_file(file) else { return false };
    let Ok(certificate) = webpki::EndEntityCert::try_from(&certificate) else { return false };
    names.iter().all(|name| {
        let name = ServerName::try_from(name.as_str());
        name.is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
    })
}

/// Writes a file whole, readable by its owner only.
fn write(file: &Path, text: &str) -> Result<(), String> {
    use std::io::Write as _;
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let folder = file.parent().unwrap_or(Path::new("."));
    // A temporary file is born 0600.
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    draft.write_all(text.as_bytes()).map_err(failed)?;
    draft.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}
