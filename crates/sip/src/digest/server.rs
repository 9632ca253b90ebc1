use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::challenge::Fields;
use super::{Algorithm, Qop, Request, hex};
use crate::lex;

/// How long a nonce is good for.
const LIFETIME: Duration = Duration::from_secs(300);

/// How many nonces in use are remembered.
const MAX_USED: usize = 65_536;

/// What became of an answer to a challenge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The user knows the password.
    Accepted {
        /// Who it is.
        username: String,
    },
    /// The user knows the password, but the nonce is old, used up, or made for another source: challenge again
    /// with `stale`.
    Stale,
    /// Wrong in any other way.
    Refused,
}

/// Makes challenges and checks answers.
///
/// Nothing is stored for a challenge: a nonce carries its own serial number and time under a keyed MAC that also
/// covers realm and source. Only nonces that were used well leave a trace, so that no answer works twice.
pub struct Server {
    key: [u8; 32],
    realm: String,
    algorithm: Algorithm,
    /// Times are counted from the first call.
    epoch: OnceCell<Instant>,
    issued: Cell<u64>,
    /// Serial number of a nonce to the highest nc seen with it.
    used: BTreeMap<u64, u32>,
    /// Nonces up to this serial number may have been used and forgotten.
    forgotten: Option<u64>,
    max_used: usize,
}

/// A nonce of ours, as it reads: serial number, seconds since the epoch, MAC.
struct Nonce {
    serial: u64,
    issued_s: u64,
}

impl Server {
    /// A server for one realm. `key` must be secret and should not outlive the process.
    pub fn new(key: [u8; 32], realm: impl Into<String>, algorithm: Algorithm) -> Self {
        Self {
            key,
            realm: realm.into(),
            algorithm,
            epoch: OnceCell::new(),
            issued: Cell::new(0),
            used: BTreeMap::new(),
            forgotten: None,
            max_used: MAX_USED,
        }
    }

    /// A value for WWW-Authenticate or Proxy-Authenticate, for requests from `source` alone.
    pub fn challenge(&self, source: IpAddr, now: Instant, stale: bool) -> String {
        let serial = self.issued.replace(self.issued.get() + 1);
        let nonce = self.nonce(&Nonce { serial, issued_s: self.elapsed(now).as_secs() }, source);
        let realm = lex::quote(&self.realm);
        let stale = if stale { ", stale=true" } else { "" };
        format!(
            "Digest realm={realm}, nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
            self.algorithm.token()
        )
    }

    /// Checks the value of Authorization or Proxy-Authorization. `ha1` looks up a user's
    /// [`Algorithm::ha1`] for this realm.
    pub fn verify(
        &mut self,
        header: &str,
        method: &str,
        body: &[u8],
        source: IpAddr,
        now: Instant,
        ha1: impl FnOnce(&str) -> Option<String>,
    ) -> Verdict {
        let Some((username, nonce, nc)) = self.authenticate(header, method, body, ha1) else {
            return Verdict::Refused;
        };
        // Only who knows the password learns whether the nonce was good.
        match self.read_nonce(&nonce, source) {
            Some(nonce) if self.is_fresh(&nonce, now) && self.use_up(nonce.serial, nc) => {
                Verdict::Accepted { username }
            }
            _ => Verdict::Stale,
        }
    }

    /// Whether the response is right for the nonce it names: username, nonce and nc.
    fn authenticate(
        &self,
        header: &str,
        method: &str,
        body: &[u8],
        ha1: impl FnOnce(&str) -> Option<String>,
    ) -> Option<(String, String, u32)> {
        let items: Vec<&str> = lex::values(header).collect();
        let fields = Fields::parse(&items)?;
        let (username, nonce, uri) = (fields.get("username")?, fields.get("nonce")?, fields.get("uri")?);
        let algorithm =
            fields.get("algorithm").map_or(Some(Algorithm::Md5), |token| Algorithm::of(&token))?;
        if fields.get("realm")? != self.realm || algorithm != self.algorithm {
            return None;
        }
        let (token, nc, cnonce) = (fields.get("qop"), fields.get("nc"), fields.get("cnonce"));
        let qop = match &token {
            Some(token) if ["auth", "auth-int"].contains(&token.as_str()) => {
                Some(Qop { token, nc: nc.as_deref()? })
            }
            Some(_) => return None,
            None => None,
        };
        let needs_cnonce = qop.is_some() || algorithm.is_session();
        let cnonce = if needs_cnonce { cnonce.as_deref()? } else { "" };
        // An answer without qop counts nothing: it is good once.
        let count = qop.map_or(Some(1), |qop| u32::from_str_radix(qop.nc, 16).ok())?;
        let request = Request { method, uri: &uri, nonce: &nonce, qop, cnonce, body };
        let expected = request.response(algorithm, &ha1(&username)?);
        let given = fields.get("response")?.to_ascii_lowercase();
        bool::from(expected.as_bytes().ct_eq(given.as_bytes())).then_some((username, nonce, count))
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.epoch.get_or_init(|| now))
    }

    fn is_fresh(&self, nonce: &Nonce, now: Instant) -> bool {
        self.elapsed(now).as_secs().saturating_sub(nonce.issued_s) < LIFETIME.as_secs()
    }

    /// Remembers that `nc` was seen with a nonce; false if that, or a later one, was seen before.
    fn use_up(&mut self, serial: u64, nc: u32) -> bool {
        match self.used.get_mut(&serial) {
            Some(highest) if nc > *highest => *highest = nc,
            Some(_) => return false,
            None if self.forgotten.is_some_and(|forgotten| serial <= forgotten) => return false,
            None => {
                self.used.insert(serial, nc);
            }
        }
        if self.used.len() > self.max_used {
            self.forgotten = self.used.pop_first().map(|(serial, _)| serial);
        }
        true
    }

    fn nonce(&self, nonce: &Nonce, source: IpAddr) -> String {
        let mac = self.mac(nonce, source);
        format!("{:x}.{:x}.{}", nonce.serial, nonce.issued_s, hex(&mac))
    }

    /// Reads a nonce back, if this server made it for `source`.
    fn read_nonce(&self, text: &str, source: IpAddr) -> Option<Nonce> {
        let mut parts = text.split('.').map(|part| u64::from_str_radix(part, 16).ok());
        let nonce = Nonce { serial: parts.next()??, issued_s: parts.next()?? };
        bool::from(self.nonce(&nonce, source).as_bytes().ct_eq(text.as_bytes())).then_some(nonce)
    }

    /// HMAC-SHA-256 (RFC 2104), cut to 128 bits.
    fn mac(&self, nonce: &Nonce, source: IpAddr) -> [u8; 16] {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(self.key).for_each(|(pad, key)| *pad ^= key);
            block
        };
        let source = match source {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let inner = Sha256::new()
            .chain_update(pad(0x36))
            .chain_update(nonce.serial.to_be_bytes())
            .chain_update(nonce.issued_s.to_be_bytes())
            .chain_update(source.octets())
            .chain_update(&self.realm)
            .finalize();
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
        let mut mac = [0; 16];
        mac.iter_mut().zip(outer).for_each(|(mac, byte)| *mac = byte);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Client, Credentials};
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn server() -> Server {
        Server::new([7; 32], "sip.example.com", Algorithm::Sha256)
    }

    fn client(server: &Server, password: &str, now: Instant) -> Client {
        let mut client = Client::new(Credentials {
            username: "alice".into(),
            password: password.into(),
            realm: None,
            algorithm: Algorithm::Sha256,
        });
        assert!(client.challenged([server.challenge(HERE, now, false).as_str()].into_iter()));
        client
    }

    fn ha1(user: &str) -> Option<String> {
        (user == "alice").then(|| Algorithm::Sha256.ha1("alice", "sip.example.com", "secret"))
    }

    fn accepted() -> Verdict {
        Verdict::Accepted { username: "alice".into() }
    }

    #[test]
    fn an_answer_is_good_once_here_and_now() {
        let (mut server, now) = (server(), Instant::now());
        let mut client = client(&server, "secret", now);
        let first = client.authorize("INVITE", "sip:a", b"", "c").unwrap();
        let second = client.authorize("INVITE", "sip:a", b"", "c").unwrap();
        let third = client.authorize("INVITE", "sip:a", b"", "c").unwrap();
        let later = now + LIFETIME;
        for (header, method, source, at, verdict) in [
            (&first, "INVITE", THERE, now, Verdict::Stale),
            (&first, "BYE", HERE, now, Verdict::Refused),
            (&first, "INVITE", HERE, now, accepted()),
            (&first, "INVITE", HERE, now, Verdict::Stale),
            (&third, "INVITE", HERE, now, accepted()),
            (&second, "INVITE", HERE, now, Verdict::Stale),
            (&third, "INVITE", HERE, later, Verdict::Stale),
        ] {
            assert_eq!(server.verify(header, method, b"", source, at, ha1), verdict, "{header} {method}");
        }
    }

    #[test]
    fn the_wrong_password_is_refused_even_with_an_old_nonce() {
        let (mut server, now) = (server(), Instant::now());
        let header = client(&server, "wrong", now).authorize("INVITE", "sip:a", b"", "c").unwrap();
        for at in [now, now + LIFETIME] {
            assert_eq!(server.verify(&header, "INVITE", b"", HERE, at, ha1), Verdict::Refused);
        }
        assert_eq!(server.verify(&header, "INVITE", b"", HERE, now, |_| None), Verdict::Refused);
    }

    #[test]
    fn garbage_is_refused() {
        let mut server = server();
        for header in ["", "Digest", "Basic YTpi", "Digest username=\"alice\"", "Digest ,,,=,"] {
            assert_eq!(server.verify(header, "INVITE", b"", HERE, Instant::now(), ha1), Verdict::Refused);
        }
    }

    #[test]
    fn forgotten_nonces_are_stale() {
        let (mut server, now) = (server(), Instant::now());
        server.max_used = 2;
        let answers: Vec<String> = (0..4)
            .map(|_| client(&server, "secret", now).authorize("INVITE", "sip:a", b"", "c").unwrap())
            .collect();
        for answer in &answers {
            assert_eq!(server.verify(answer, "INVITE", b"", HERE, now, ha1), accepted());
        }
        for answer in &answers {
            assert_eq!(server.verify(answer, "INVITE", b"", HERE, now, ha1), Verdict::Stale);
        }
        assert!(server.used.len() <= 2);
    }

    #[test]
    fn a_nonce_of_another_key_is_stale() {
        let now = Instant::now();
        let header = client(&server(), "secret", now).authorize("INVITE", "sip:a", b"", "c").unwrap();
        let mut other = Server::new([8; 32], "sip.example.com", Algorithm::Sha256);
        assert_eq!(other.verify(&header, "INVITE", b"", HERE, now, ha1), Verdict::Stale);
    }

    #[test]
    fn challenge_says_how() {
        let value = server().challenge(HERE, Instant::now(), true);
        assert!(value.starts_with("Digest realm=\"sip.example.com\", nonce=\"0.0."), "{value}");
        assert!(value.ends_with("\", algorithm=SHA-256, qop=\"auth\", stale=true"), "{value}");
    }

    const ALGORITHMS: [Algorithm; 6] = [
        Algorithm::Md5,
        Algorithm::Sha256,
        Algorithm::Sha512_256,
        Algorithm::Md5Sess,
        Algorithm::Sha256Sess,
        Algorithm::Sha512_256Sess,
    ];

    proptest::proptest! {
        /// Whatever the names and the body, an answer of the client's is accepted, and only for what it was made.
        #[test]
        fn client_and_server_agree(
            algorithm in 0..6_usize,
            qop in 0..3_usize,
            username in "\\PC{1,12}",
            password in "\\PC{0,12}",
            realm in "\\PC{0,12}",
            body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
            requests in 1..4_usize,
        ) {
            let (algorithm, now) = (ALGORITHMS[algorithm], Instant::now());
            let mut server = Server::new([7; 32], realm.clone(), algorithm);
            let credentials = Credentials { username: username.clone(), password, realm: None, algorithm };
            let ha1 = algorithm.ha1(&username, &realm, &credentials.password);
            let lookup = |user: &str| (user == username).then(|| ha1.clone());
            let mut client = Client::new(credentials);
            let qop_text = [r#"qop="auth""#, r#"qop="auth-int""#, r#"x="none""#][qop];
            let challenge = server.challenge(HERE, now, false).replace(r#"qop="auth""#, qop_text);
            proptest::prop_assert!(client.challenged([challenge.as_str()].into_iter()));
            // Without qop nothing is counted: the answer is good once.
            for _ in 0..if qop == 2 { 1 } else { requests } {
                let header = client.authorize("MESSAGE", "sip:a", &body, "c").unwrap();
                let mut verify = |method: &str, body: &[u8]| {
                    server.verify(&header, method, body, HERE, now, lookup)
                };
                proptest::prop_assert_eq!(verify("INVITE", &body), Verdict::Refused);
                if qop == 1 {
                    proptest::prop_assert_eq!(verify("MESSAGE", &[&body[..], b"x"].concat()), Verdict::Refused);
                }
                let accepted = Verdict::Accepted { username: username.clone() };
                proptest::prop_assert_eq!(verify("MESSAGE", &body), accepted);
                proptest::prop_assert_eq!(verify("MESSAGE", &body), Verdict::Stale);
            }
        }

        /// An answer in which a letter or digit was changed is not accepted.
        #[test]
        fn a_changed_answer_is_not_accepted(at in 0..400_usize, letter in "[0-9a-z]") {
            let (mut server, now) = (server(), Instant::now());
            let header = client(&server, "secret", now).authorize("INVITE", "sip:a", b"", "c").unwrap();
            let mut changed = header.clone().into_bytes();
            let at = at % changed.len();
            proptest::prop_assume!(changed[at].is_ascii_alphanumeric());
            changed[at] = letter.as_bytes()[0];
            let changed = String::from_utf8(changed).unwrap();
            let verdict = server.verify(&changed, "INVITE", b"", HERE, now, ha1);
            // Names are read without case, and the hash too.
            if !changed.eq_ignore_ascii_case(&header) {
                proptest::prop_assert_ne!(verdict, accepted());
            }
        }
    }
}
