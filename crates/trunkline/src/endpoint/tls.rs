use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use sip::PeerName;
use webpki::KeyUsage;

use super::stream::Streams;

/// Server names with a number; beyond, those without a connection are forgotten.
const MAX_NAMES: usize = 4096;
/// Bytes TLS itself may hold for a slow peer.
pub(super) const MAX_BUFFERED: usize = 256 * 1024;

/// Whose certificates are believed.
#[derive(Clone)]
pub struct Trust {
    config: Result<Arc<ClientConfig>, Arc<str>>,
    roots: Arc<RootCertStore>,
}

impl Trust {
    /// The system's authorities, and those in the PEM file `extra`.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate. A system without authorities is no error until TLS is used.
    pub fn load(extra: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(%error, "a certificate authority of the system was skipped");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = extra {
            let unusable = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|e| unusable(&e))?;
            let mut found = 0;
            for certificate in certificates {
                roots.add(certificate.map_err(|e| unusable(&e))?).map_err(|e| unusable(&e))?;
                found += 1;
            }
            if found == 0 {
                return Err(unusable(&"no certificate in PEM form is in it"));
            }
        }
        let roots = Arc::new(roots);
        Ok(Self { config: client_config(roots.clone()).map(Arc::new).map_err(Into::into), roots })
    }

    /// Trusts nobody: for an endpoint that connects to nobody over TLS.
    pub fn none() -> Self {
        Self { config: Err("TLS is not used here".into()), roots: Arc::new(RootCertStore::empty()) }
    }

    /// The client side of a connection to `name`.
    pub fn connect(&self, name: &str) -> io::Result<ClientConnection> {
        let config = self.config.as_ref().map_err(|why| io::Error::other(why.to_string()))?;
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(format!("{name} is no name that a certificate can have")))?;
        let mut connection = ClientConnection::new(config.clone(), server).map_err(io::Error::other)?;
        connection.set_buffer_limit(Some(MAX_BUFFERED));
        Ok(connection)
    }

    /// The DNS names and URIs in the certificate that a client showed, where one of the authorities signed for it. SIP
    /// servers show as clients what they show as servers (RFC 5922 section 7), so either use is good.
    pub(super) fn names(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<Vec<String>> {
        let (end_entity, intermediates) = chain.split_first()?;
        let certificate = webpki::EndEntityCert::try_from(end_entity).ok()?;
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
        let is_good_for = |usage: KeyUsage| {
            let roots = &self.roots.roots;
            certificate.verify_for_usage(algorithms, roots, intermediates, now, usage, None, None).is_ok()
        };
        if ![KeyUsage::server_auth(), KeyUsage::client_auth()].into_iter().any(is_good_for) {
            return None;
        }
        let names = certificate.valid_dns_names().map(str::to_ascii_lowercase);
        Some(names.chain(certificate.valid_uri_names().map(str::to_owned)).collect())
    }
}

fn client_config(roots: Arc<RootCertStore>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
    let verifier = verifier.build().map_err(
        |_| "no certificate authority is installed (package ca-certificates, setting tls_ca_file)",
    )?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(SipVerifier(verifier)))
        .with_no_client_auth())
}

/// Checks a certificate as everywhere, and takes the SIP URI of the domain in place of its DNS name
/// (RFC 5922 section 7.1).
#[derive(Debug)]
struct SipVerifier(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for SipVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // The name is looked at last: issuer and dates were found good.
            Err(error) if is_other_name(&error) && has_sip_uri(end_entity, server_name) => {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn is_other_name(error: &rustls::Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

fn has_sip_uri(end_entity: &CertificateDer<'_>, server_name: &ServerName<'_>) -> bool {
    let ServerName::DnsName(domain) = server_name else { return false };
    let Ok(certificate) = webpki::EndEntityCert::try_from(end_entity) else { return false };
    certificate.valid_uri_names().any(|uri| {
        let host = uri
            .split_once(':')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("sip"))
            .map(|(_, host)| host);
        // A URI with a user is a person's, not the domain's.
        host.is_some_and(|host| host.eq_ignore_ascii_case(domain.as_ref()))
    })
}

/// A TLS error in words.
pub fn explain(error: &rustls::Error) -> String {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(why) = error else { return format!("TLS failed: {error}") };
    match why {
        E::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented.iter().map(|name| bare(name)).collect();
            format!("the certificate is for {}, not for {}", names.join(", "), expected.to_str())
        }
        E::NotValidForName => "the certificate is for another name".into(),
        E::UnknownIssuer => "the certificate's issuer is not known; see setting tls_ca_file".into(),
        E::Expired | E::ExpiredContext { .. } => "the certificate has expired".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => "the certificate is not valid yet".into(),
        other => format!("the certificate is not accepted: {other}"),
    }
}

/// `DnsName("a")` as `a`.
fn bare(name: &str) -> String {
    name.split('"').nth(1).unwrap_or(name).to_owned()
}

/// The server names that paths speak of by number.
#[derive(Default)]
pub struct PeerNames {
    by_name: HashMap<Arc<str>, PeerName>,
    by_number: HashMap<PeerName, Arc<str>>,
    given: u32,
}

impl PeerNames {
    /// The number of a name; what differs in case only is the same.
    pub fn number(&mut self, name: &str, streams: &Streams) -> io::Result<PeerName> {
        let name: Arc<str> = name.trim_end_matches('.').to_ascii_lowercase().into();
        if let Some(number) = self.by_name.get(&name) {
            return Ok(*number);
        }
        if self.by_name.len() >= MAX_NAMES {
            self.by_name.retain(|_, number| streams.is_in_use(*number));
            let kept = &self.by_name;
            self.by_number.retain(|_, name| kept.contains_key(name));
        }
        self.given =
            self.given.checked_add(1).ok_or_else(|| io::Error::other("too many TLS server names"))?;
        let number = PeerName(self.given);
        self.by_name.insert(name.clone(), number);
        self.by_number.insert(number, name);
        Ok(number)
    }

    /// The name behind a number.
    pub fn name(&self, number: PeerName) -> io::Result<&str> {
        let name = self.by_number.get(&number).map(|name| &**name);
        name.ok_or_else(|| io::Error::other("nobody knows any more whom TLS must reach here"))
    }
}

#[cfg(test)]
pub(super) mod tests;
