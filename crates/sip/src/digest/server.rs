use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::answer::{Answer, text};
use super::{Algorithm, Hex, Qop, Request};
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
        /// Who it is, as the answer writes it.
        username: String,
    },
    /// The very answer that was accepted last with its nonce: a retransmission, or somebody who overheard it. It may
    /// be answered as before, but nothing may be done for it; for anything new challenge again with `stale`.
    Again {
        /// Who it was.
        username: String,
    },
    /// The user knows the password, but the nonce is old, used up, or made for another source or realm: challenge
    /// again with `stale`.
    Stale,
    /// Wrong in any other way.
    Refused,
}

/// What is known of a user.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    /// The algorithm the user is challenged with. No other is accepted.
    pub algorithm: Algorithm,
    /// [`Algorithm::ha1`] of the user name as the answer writes it, `user@domain` perhaps, and the realm.
    pub ha1: &'k str,
}

/// Makes challenges and checks answers, for any number of realms.
///
/// Nothing is stored for a challenge: a nonce carries its own serial number and time under a keyed MAC that also
/// covers realm and source. Only nonces that were used well leave a trace, so that no answer works twice.
pub struct Server {
    /// HMAC-SHA-256 (RFC 2104) after the padded key: inner and outer hash.
    keyed: (Sha256, Sha256),
    /// Times are counted from the first call.
    epoch: OnceCell<Instant>,
    issued: Cell<u64>,
    /// By serial number of a nonce.
    used: BTreeMap<u64, Used>,
    /// Nonces up to this serial number may have been used and forgotten.
    forgotten: Option<u64>,
    max_used: usize,
}

/// The last answer with a nonce.
struct Used {
    /// The highest nc.
    nc: u32,
    /// The front of its response, which tells it from another with the same nc.
    response: u64,
}

/// A nonce of ours, as it reads: serial number, seconds since the epoch, MAC.
struct Nonce {
    serial: u64,
    issued_s: u64,
}

/// What a right answer says.
struct Right<'a> {
    username: String,
    realm: std::borrow::Cow<'a, str>,
    nonce: std::borrow::Cow<'a, str>,
    /// None without qop: then nothing is counted, and the answer is good once.
    nc: Option<u32>,
    response: u64,
}

impl Server {
    /// A server. `key` must be secret and should not outlive the process.
    pub fn new(key: [u8; 32]) -> Self {
        let padded = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
            Sha256::new().chain_update(block)
        };
        Self {
            keyed: (padded(0x36), padded(0x5c)),
            epoch: OnceCell::new(),
            issued: Cell::new(0),
            used: BTreeMap::new(),
            forgotten: None,
            max_used: MAX_USED,
        }
    }

    /// A value for WWW-Authenticate or Proxy-Authenticate, for requests from `source` alone.
    pub fn challenge(
        &self,
        realm: &str,
        algorithm: Algorithm,
        source: IpAddr,
        now: Instant,
        stale: bool,
    ) -> String {
        let serial = self.issued.replace(self.issued.get() + 1);
        let nonce = Nonce { serial, issued_s: self.elapsed(now).as_secs() };
        let mac = self.mac(&nonce, realm, source);
        let Nonce { serial, issued_s } = nonce;
        let stale = if stale { ", stale=true" } else { "" };
        format!(
            "Digest realm={}, nonce=\"{serial:x}.{issued_s:x}.{mac}\", algorithm={}, qop=\"auth\"{stale}",
            lex::quote(realm),
            algorithm.token()
        )
    }

    /// Checks the value of Authorization or Proxy-Authorization. `lookup` finds a user by realm and user name. How
    /// long it takes does not tell whether there is such a user.
    pub fn verify<'k>(
        &mut self,
        header: &str,
        method: &str,
        body: &[u8],
        source: IpAddr,
        now: Instant,
        lookup: impl FnOnce(&str, &str) -> Option<Known<'k>>,
    ) -> Verdict {
        let Some(right) = authenticate(header, method, body, lookup) else { return Verdict::Refused };
        // Only who knows the password learns whether the nonce was good.
        let nonce = self.read_nonce(&right.nonce, &right.realm, source);
        match nonce.filter(|nonce| self.is_fresh(nonce, now)) {
            Some(nonce) => self.use_up(nonce.serial, right),
            None => Verdict::Stale,
        }
    }

    /// Whether an answer names a nonce that was made for this source: then whoever sent it can be reached there, be the
    /// answer right or wrong.
    pub fn is_for(&self, header: &str, source: IpAddr) -> bool {
        let Some(answer) = Answer::parse(header) else { return false };
        self.read_nonce(&text(answer.nonce), &text(answer.realm), source).is_some()
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.epoch.get_or_init(|| now))
    }

    fn is_fresh(&self, nonce: &Nonce, now: Instant) -> bool {
        self.elapsed(now).as_secs().saturating_sub(nonce.issued_s) < LIFETIME.as_secs()
    }

    /// Remembers an answer with a nonce. That nc, or a later one, must not have been seen before.
    fn use_up(&mut self, serial: u64, right: Right<'_>) -> Verdict {
        let Right { username, nc, response, .. } = right;
        let news = Used { nc: nc.unwrap_or(1), response };
        match self.used.get_mut(&serial) {
            Some(used) if nc.is_some() && news.nc > used.nc => *used = news,
            Some(used) if nc == Some(used.nc) && response == used.response => {
                return Verdict::Again { username };
            }
            Some(_) => return Verdict::Stale,
            None if self.forgotten.is_some_and(|forgotten| serial <= forgotten) => return Verdict::Stale,
            None => drop(self.used.insert(serial, news)),
        }
        if self.used.len() > self.max_used {
            self.forgotten = self.used.pop_first().map(|(serial, _)| serial);
        }
        Verdict::Accepted { username }
    }

    /// Reads a nonce back, if this server made it for `realm` and `source`.
    fn read_nonce(&self, text: &str, realm: &str, source: IpAddr) -> Option<Nonce> {
        let mut parts = text.splitn(3, '.');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let nonce = Nonce { serial: number()?, issued_s: number()? };
        let given = parts.next()?.as_bytes();
        bool::from(self.mac(&nonce, realm, source).ct_eq(given)).then_some(nonce)
    }

    /// The MAC of a nonce, cut to 128 bits.
    fn mac(&self, nonce: &Nonce, realm: &str, source: IpAddr) -> Hex {
        let source = match source {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let (inner, outer) = self.keyed.clone();
        let inner = inner
            .chain_update(nonce.serial.to_be_bytes())
            .chain_update(nonce.issued_s.to_be_bytes())
            .chain_update(source.octets())
            .chain_update(realm)
            .finalize();
        let mac = outer.chain_update(inner).finalize();
        Hex::of(mac.get(..16).unwrap_or_default())
    }
}

/// What an answer says, if its response is right for the nonce it names.
fn authenticate<'a, 'k>(
    header: &'a str,
    method: &str,
    body: &[u8],
    lookup: impl FnOnce(&str, &str) -> Option<Known<'k>>,
) -> Option<Right<'a>> {
    let answer = Answer::parse(header)?;
    let (username, realm, nonce) = (text(answer.username), text(answer.realm), text(answer.nonce));
    let (uri, algorithm) = (text(answer.uri), answer.algorithm()?);
    let (token, nc) = (answer.qop.map(text), answer.nc.map(text));
    let qop = match token.as_deref() {
        Some(token @ ("auth" | "auth-int")) => Some(Qop { token, nc: nc.as_deref()? }),
        Some(_) => return None,
        None => None,
    };
    let count = match qop {
        Some(qop) => Some(u32::from_str_radix(qop.nc, 16).ok()?),
        None => None,
    };
    let needs_cnonce = qop.is_some() || algorithm.is_session();
    let cnonce = if needs_cnonce { text(answer.cnonce?) } else { "".into() };
    let request = Request { method, uri: &uri, nonce: &nonce, qop, cnonce: &cnonce, body };
    // For a user that is not there the same is computed.
    let known = lookup(&realm, &username).filter(|known| known.algorithm == algorithm);
    let unknown = algorithm.hash(&[]);
    let expected = request.response(algorithm, known.map_or(&*unknown, |known| known.ha1.as_bytes()));
    let mut given = [0; 64];
    let response = text(answer.response);
    given.iter_mut().zip(response.bytes()).for_each(|(to, byte)| *to = byte.to_ascii_lowercase());
    let given = given.get(..response.len())?;
    let is_right = expected.ct_eq(given) & Choice::from(u8::from(known.is_some()));
    let front = |hex: &Hex| u64::from_str_radix(std::str::from_utf8(hex.get(..16)?).ok()?, 16).ok();
    bool::from(is_right).then(|| Right {
        username: username.clone().into_owned(),
        realm,
        nonce: nonce.clone(),
        nc: count,
        response: front(&expected).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Client, Credentials};
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn server() -> Server {
        Server::new([7; 32])
    }

    const REALM: &str = "sip.example.com";

    fn challenge(server: &Server, now: Instant, stale: bool) -> String {
        server.challenge(REALM, Algorithm::Sha256, HERE, now, stale)
    }

    fn client(server: &Server, password: &str, now: Instant) -> Client {
        let mut client = Client::new(Credentials {
            username: "alice".into(),
            password: password.into(),
            realm: None,
            algorithm: Algorithm::Sha256,
        });
        assert!(client.challenged([challenge(server, now, false).as_str()].into_iter()));
        client
    }

    /// alice, whose password is `secret`.
    fn ha1(realm: &str, user: &str) -> Option<Known<'static>> {
        let ha1 = "03d98b60177c9b919ba6998a126e370face2c50fb9e27767af8294541954d6ef";
        let known = Known { algorithm: Algorithm::Sha256, ha1 };
        (realm == REALM && user == "alice").then_some(known)
    }

    fn again() -> Verdict {
        Verdict::Again { username: "alice".into() }
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
            (&first, "INVITE", HERE, now, again()),
            (&third, "INVITE", HERE, now, accepted()),
            (&second, "INVITE", HERE, now, Verdict::Stale),
            (&third, "INVITE", HERE, now, again()),
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
        assert_eq!(server.verify(&header, "INVITE", b"", HERE, now, |_, _| None), Verdict::Refused);
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
        // What was forgotten is stale, what was not is the same again.
        let verdicts = [Verdict::Stale, Verdict::Stale, again(), again()];
        for (answer, verdict) in answers.iter().zip(verdicts) {
            assert_eq!(server.verify(answer, "INVITE", b"", HERE, now, ha1), verdict);
        }
        assert!(server.used.len() <= 2);
    }

    #[test]
    fn a_nonce_of_another_key_is_stale() {
        let now = Instant::now();
        let header = client(&server(), "secret", now).authorize("INVITE", "sip:a", b"", "c").unwrap();
        let mut other = Server::new([8; 32]);
        assert_eq!(other.verify(&header, "INVITE", b"", HERE, now, ha1), Verdict::Stale);
    }

    /// Clients that never count up, or forget that they did.
    #[test]
    fn another_answer_with_the_same_nc_is_stale() {
        let (mut server, now) = (server(), Instant::now());
        let one = client(&server, "secret", now);
        let answers = ["c", "d"].map(|cnonce| one.clone().authorize("INVITE", "sip:a", b"", cnonce).unwrap());
        for (answer, verdict) in [(0, accepted()), (1, Verdict::Stale), (0, again()), (1, Verdict::Stale)]
            .map(|(n, v)| (&answers[n], v))
        {
            assert_eq!(server.verify(answer, "INVITE", b"", HERE, now, ha1), verdict, "{answer}");
        }
    }

    #[test]
    fn a_nonce_of_another_realm_is_stale() {
        let (mut server, now) = (server(), Instant::now());
        let header = client(&server, "secret", now).authorize("INVITE", "sip:a", b"", "c").unwrap();
        let other = server.challenge("other.example.com", Algorithm::Sha256, HERE, now, false);
        let nonce = |text: &str| text.split_once("nonce=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
        let mut credentials = client(&server, "secret", now);
        let challenge = challenge(&server, now, true).replace("nonce=\"2.", "nonce=\"x.");
        let mixed = challenge.replace(&nonce(&challenge), &nonce(&other));
        assert!(credentials.challenged([mixed.as_str()].into_iter()), "it is said to be stale");
        let answer = credentials.authorize("INVITE", "sip:a", b"", "c").unwrap();
        assert_eq!(server.verify(&answer, "INVITE", b"", HERE, now, ha1), Verdict::Stale);
        assert_eq!(server.verify(&header, "INVITE", b"", HERE, now, ha1), accepted());
        let elsewhere = header.replace("sip.example.com", "other.example.com");
        assert_eq!(server.verify(&elsewhere, "INVITE", b"", HERE, now, ha1), Verdict::Refused);
    }

    /// Names are taken as the answer writes them, without quotes and escapes.
    #[test]
    fn names_as_they_are_written() {
        let now = Instant::now();
        for (username, realm) in
            [("alice@example.com", "example.com"), ("o\"brien", "a \\ b"), ("ü", ""), ("a,b=c", "<d>;e")]
        {
            let mut server = server();
            let ha1 = Algorithm::Md5.ha1(username, realm, "secret");
            let mut client = Client::new(Credentials {
                username: username.into(),
                password: "secret".into(),
                realm: None,
                algorithm: Algorithm::Md5,
            });
            let challenge = server.challenge(realm, Algorithm::Md5, HERE, now, false);
            assert!(client.challenged([challenge.as_str()].into_iter()));
            let answer = client.authorize("REGISTER", "sip:a", b"", "c").unwrap();
            let verdict = server.verify(&answer, "REGISTER", b"", HERE, now, |asked, user| {
                assert_eq!((asked, user), (realm, username));
                Some(Known { algorithm: Algorithm::Md5, ha1: &ha1 })
            });
            assert_eq!(verdict, Verdict::Accepted { username: username.into() });
            // Nobody is spoken to with another algorithm than is theirs.
            let weak = |_: &str, _: &str| Some(Known { algorithm: Algorithm::Sha256, ha1: &ha1 });
            assert_eq!(server.verify(&answer, "REGISTER", b"", HERE, now, weak), Verdict::Refused);
        }
    }

    #[test]
    fn challenge_says_how() {
        let value = challenge(&server(), Instant::now(), true);
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
            let mut server = Server::new([7; 32]);
            let credentials = Credentials { username: username.clone(), password, realm: None, algorithm };
            let ha1 = algorithm.ha1(&username, &realm, &credentials.password);
            let known = Known { algorithm, ha1: &ha1 };
            let lookup = |r: &str, user: &str| (r == realm && user == username).then_some(known);
            let mut client = Client::new(credentials);
            let qop_text = [r#"qop="auth""#, r#"qop="auth-int""#, r#"x="none""#][qop];
            let challenge = server.challenge(&realm, algorithm, HERE, now, false).replace(r#"qop="auth""#, qop_text);
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
                // Without qop the next request may look the same.
                let again = Verdict::Again { username: username.clone() };
                let again = if qop == 2 { Verdict::Stale } else { again };
                proptest::prop_assert_eq!(verify("MESSAGE", &body), again);
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
