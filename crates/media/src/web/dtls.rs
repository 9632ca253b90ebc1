//! The handshake that yields the keys of SRTP (RFC 5764). The protocol is the crate `dimpl`'s.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, SrtpProfile};

use super::{Fingerprint, Role};
use crate::srtp::{Crypto, Key, Suite};

/// From a flight to its first repetition; twice as long each time.
const REPEAT: Duration = Duration::from_millis(300);
/// A handshake that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Our certificate and its key, shared by all legs. The key is never printed.
#[derive(Clone)]
pub struct Identity(Arc<Certified>);

struct Certified {
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
    config: Arc<Config>,
}

impl Identity {
    /// A self-signed certificate (DER) and its key on P-256 or P-384 (PKCS #8, DER).
    ///
    /// # Errors
    /// [`HandshakeError::Key`] for a key that cannot be used.
    pub fn new(certificate: Vec<u8>, private_key: Vec<u8>) -> Result<Identity, HandshakeError> {
        // Where a check of ICE has come from answers, which is all that a cookie could prove.
        let config = Config::builder()
            .use_server_cookie(false)
            .flight_start_rto(REPEAT)
            .handshake_timeout(PATIENCE)
            .build()
            .map_err(|error| HandshakeError::Key(error.to_string()))?;
        let keys = config.crypto_provider().key_provider;
        keys.load_private_key(&private_key).map_err(|error| HandshakeError::Key(error.to_string()))?;
        let fingerprint = Fingerprint::of(&certificate);
        let certificate = DtlsCertificate { certificate, private_key };
        Ok(Identity(Arc::new(Certified { certificate, fingerprint, config: Arc::new(config) })))
    }

    /// What `a=fingerprint` says of us.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.fingerprint).finish()
    }
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Our own key cannot be used.
    #[error("the key of our certificate cannot be used: {0}")]
    Key(String),
    /// DTLS itself failed.
    #[error("the DTLS handshake failed: {0}")]
    Dtls(String),
    /// They have another certificate than their SDP says.
    #[error("the other side's certificate is not the one of its SDP (a=fingerprint)")]
    Fingerprint,
    /// They know no SRTP profile of ours.
    #[error("the other side knows no SRTP profile that can be used")]
    Profile,
}

/// What a handshake brings forth.
pub(super) enum Step {
    /// The first bytes of the buffer are to be sent.
    Send(usize),
    Keys(Crypto),
}

/// One handshake.
pub(super) struct Handshake {
    dtls: Dtls,
    role: Role,
    theirs: Fingerprint,
    /// Their certificate is the one of the SDP.
    is_proven: bool,
    wake: Option<Instant>,
}

impl Handshake {
    pub(super) fn new(
        identity: &Identity,
        role: Role,
        theirs: Fingerprint,
        now: Instant,
    ) -> Result<Handshake, HandshakeError> {
        let (config, certificate) = (identity.0.config.clone(), identity.0.certificate.clone());
        let dtls = match role {
            // Takes 1.3, and a ClientHello in pieces.
            Role::Server => Dtls::new_auto(config, certificate, now),
            Role::Client => {
                let mut dtls = Dtls::new_12(config, certificate, now);
                dtls.set_active(true);
                dtls
            }
        };
        let mut handshake = Handshake { dtls, role, theirs, is_proven: false, wake: None };
        handshake.handle_timeout(now)?;
        Ok(handshake)
    }

    /// Takes a datagram; [`Handshake::poll`] is to follow.
    pub(super) fn handle(&mut self, packet: &[u8], now: Instant) -> Result<(), HandshakeError> {
        self.handle_timeout(now)?;
        self.dtls.handle_packet(packet).map_err(failed)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        self.dtls.handle_timeout(now).map_err(failed)
    }

    /// When [`Handshake::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// What is to be done, until there is nothing.
    pub(super) fn poll(&mut self, out: &mut [u8]) -> Result<Option<Step>, HandshakeError> {
        loop {
            match self.dtls.poll_output(out) {
                dimpl::Output::Packet(packet) => return Ok(Some(Step::Send(packet.len()))),
                dimpl::Output::PeerCert(certificate) => {
                    if Fingerprint::of(certificate) != self.theirs {
                        return Err(HandshakeError::Fingerprint);
                    }
                    self.is_proven = true;
                }
                dimpl::Output::KeyingMaterial(material, profile) => {
                    if !self.is_proven {
                        return Err(HandshakeError::Fingerprint);
                    }
                    let crypto = keys(&material, profile, self.role).ok_or(HandshakeError::Profile)?;
                    return Ok(Some(Step::Keys(crypto)));
                }
                dimpl::Output::Timeout(at) => {
                    self.wake = Some(at);
                    return Ok(None);
                }
                dimpl::Output::BufferTooSmall { needed } => {
                    return Err(HandshakeError::Dtls(format!("a message of {needed} bytes")));
                }
                // Nothing but media is spoken of.
                _ => {}
            }
        }
    }
}

fn failed(error: dimpl::Error) -> HandshakeError {
    HandshakeError::Dtls(error.to_string())
}

/// Both sides' keys, then both sides' salts, the client's first (RFC 5764 section 4.2).
fn keys(material: &[u8], profile: SrtpProfile, role: Role) -> Option<Crypto> {
    let suite = match profile {
        SrtpProfile::AEAD_AES_256_GCM => Suite::AeadAes256Gcm,
        SrtpProfile::AEAD_AES_128_GCM => Suite::AeadAes128Gcm,
        SrtpProfile::AES128_CM_SHA1_80 => Suite::AesCm128HmacSha1_80,
        _ => return None,
    };
    let (client_key, rest) = material.split_at_checked(suite.master())?;
    let (server_key, rest) = rest.split_at_checked(suite.master())?;
    let (client_salt, server_salt) = rest.split_at_checked(suite.salt())?;
    let client = Key::of_halves(suite, client_key, client_salt)?;
    let server = Key::of_halves(suite, server_key, server_salt.get(..suite.salt())?)?;
    let (ours, theirs) = match role {
        Role::Client => (client, server),
        Role::Server => (server, client),
    };
    Some(Crypto { suite, ours, theirs })
}
