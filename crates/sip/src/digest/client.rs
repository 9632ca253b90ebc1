use super::challenge::Fields;
use super::{Challenge, Credentials, Qop, Request};
use crate::lex;

/// Answers one challenger's challenges, counting nc for each nonce.
#[derive(Clone, Debug)]
pub struct Client {
    credentials: Credentials,
    challenge: Option<Challenge>,
    nc: u32,
    /// The first cnonce used with the nonce, which `-sess` goes on using.
    cnonce: Option<String>,
    tries: u8,
}

impl Client {
    /// A client that has not been challenged yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, challenge: None, nc: 0, cnonce: None, tries: 0 }
    }

    /// Starts another request: its first challenge is worth an answer again.
    pub fn begin(&mut self) {
        self.tries = 0;
    }

    /// Takes in the challenges of a 401 or 407 and says whether to send the request again. It is not, when no
    /// challenge can be answered, or when the last answer was refused for more than its old nonce.
    pub fn challenged<'a>(&mut self, values: impl Iterator<Item = &'a str>) -> bool {
        let realm = self.credentials.realm.as_deref();
        let offered: Vec<Challenge> = values
            .flat_map(Challenge::parse_all)
            .filter(|challenge| realm.is_none_or(|realm| realm == challenge.realm))
            .collect();
        let wanted = self.credentials.algorithm;
        let exactly = offered.iter().find(|challenge| challenge.algorithm == wanted);
        let nearly = || offered.iter().find(|challenge| challenge.algorithm.base() == wanted.base());
        let Some(challenge) = exactly.or_else(nearly).or(offered.first()) else { return false };
        let worth_it = match self.tries {
            0 => true,
            1 => challenge.stale,
            _ => false,
        };
        if worth_it {
            self.tries += 1;
            (self.nc, self.cnonce) = (0, None);
            self.challenge = Some(challenge.clone());
        }
        worth_it
    }

    /// Takes in the value of Authentication-Info or Proxy-Authentication-Info: which nonce to go on with.
    pub fn informed(&mut self, value: &str) {
        let next = Fields::of(lex::values(value)).get("nextnonce").filter(|nonce| !nonce.is_empty());
        if let (Some(challenge), Some(next)) = (&mut self.challenge, next) {
            challenge.nonce = next;
            (self.nc, self.cnonce) = (0, None);
        }
    }

    /// The value of Authorization or Proxy-Authorization for a request; `None` before the first challenge.
    /// `cnonce` should not repeat.
    pub fn authorize(&mut self, method: &str, uri: &str, body: &[u8], cnonce: &str) -> Option<String> {
        let challenge = self.challenge.as_ref()?;
        let Credentials { username, password, .. } = &self.credentials;
        let (algorithm, realm) = (challenge.algorithm, challenge.realm.as_str());
        self.nc += 1;
        let nc = format!("{:08x}", self.nc);
        let cnonce = match algorithm.is_session() {
            true => self.cnonce.get_or_insert_with(|| cnonce.to_owned()).as_str(),
            false => cnonce,
        };
        let qop = challenge.qop.map(|token| Qop { token, nc: &nc });
        let request = Request { method, uri, nonce: &challenge.nonce, qop, cnonce, body };
        let response = request.response(algorithm, algorithm.ha1(username, realm, password).as_bytes());
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}",
            lex::quote(username),
            lex::quote(realm),
            lex::quote(&challenge.nonce),
            lex::quote(uri),
            algorithm.token(),
        );
        if let Some(qop) = challenge.qop {
            value.push_str(&format!(", qop={qop}, nc={nc}"));
        }
        if challenge.qop.is_some() || algorithm.is_session() {
            value.push_str(&format!(", cnonce={}", lex::quote(cnonce)));
        }
        if let Some(opaque) = &challenge.opaque {
            value.push_str(&format!(", opaque={}", lex::quote(opaque)));
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;

    fn mufasa(realm: Option<&str>, algorithm: Algorithm) -> Client {
        Client::new(Credentials {
            username: "Mufasa".into(),
            password: "Circle Of Life".into(),
            realm: realm.map(str::to_owned),
            algorithm,
        })
    }

    const RFC2617: &str = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;

    #[test]
    fn answers_as_rfc2617() {
        let mut client = mufasa(None, Algorithm::Md5);
        assert_eq!(client.authorize("GET", "/dir/index.html", b"", "0a4f113b"), None);
        assert!(client.challenged([RFC2617].into_iter()));
        insta::assert_snapshot!(client.authorize("GET", "/dir/index.html", b"", "0a4f113b").unwrap(), @r#"
        Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", response="6629fae49393a05397450978507c4ef1", algorithm=MD5, qop=auth, nc=00000001, cnonce="0a4f113b", opaque="5ccc069c403ebaf9f0171e9517f40e41"
        "#);
    }

    #[test]
    fn counts_nc_for_each_nonce() {
        let mut client = mufasa(None, Algorithm::Md5);
        assert!(client.challenged([RFC2617].into_iter()));
        for nc in ["00000001", "00000002"] {
            assert!(client.authorize("GET", "/", b"", "c").unwrap().contains(&format!("nc={nc},")));
        }
        assert!(client.challenged([r#"Digest realm="r", nonce="n", qop="auth", stale=TRUE"#].into_iter()));
        assert!(client.authorize("GET", "/", b"", "c").unwrap().contains("nc=00000001,"));
    }

    #[test]
    fn goes_on_with_the_next_nonce() {
        let mut client = mufasa(None, Algorithm::Md5);
        client.informed(r#"nextnonce="early""#);
        assert!(client.challenged([RFC2617].into_iter()));
        assert!(client.authorize("GET", "/", b"", "c").unwrap().contains("nc=00000001,"));
        client.informed(r#"rspauth="x", qop=auth"#);
        assert!(client.authorize("GET", "/", b"", "c").unwrap().contains("nc=00000002,"));
        client.informed(r#"qop=auth, nextnonce="second", nc=00000002"#);
        let value = client.authorize("GET", "/", b"", "c").unwrap();
        assert!(value.contains("nonce=\"second\"") && value.contains("nc=00000001,"), "{value}");
    }

    #[test]
    fn a_session_keeps_its_cnonce() {
        let mut client = mufasa(None, Algorithm::Md5);
        assert!(client.challenged([r#"Digest realm="r", nonce="n", algorithm=md5-SESS"#].into_iter()));
        for cnonce in ["first", "second"] {
            let value = client.authorize("GET", "/", b"", cnonce).unwrap();
            assert!(value.ends_with("algorithm=MD5-sess, cnonce=\"first\""), "{value}");
        }
    }

    #[test]
    fn gives_up_after_a_second_refusal() {
        let fresh = r#"Digest realm="r", nonce="n""#;
        let stale = r#"Digest realm="r", nonce="m", stale=true"#;
        for (challenges, answered) in [
            (vec![fresh], true),
            (vec![fresh, fresh], false),
            (vec![fresh, stale], true),
            (vec![fresh, stale, stale], false),
        ] {
            let mut client = mufasa(None, Algorithm::Md5);
            let last = challenges.iter().map(|c| client.challenged([*c].into_iter())).last();
            assert_eq!(last, Some(answered), "{challenges:?}");
            client.begin();
            assert!(client.challenged([fresh].into_iter()), "another request");
        }
    }

    #[test]
    fn chooses_among_challenges() {
        let both = [
            r#"Basic realm="r""#,
            r#"Digest realm="r", nonce="sha", algorithm=SHA-256, Digest realm="r", nonce="md5", algorithm=MD5"#,
            r#"Digest realm="r", nonce="sess", algorithm=MD5-sess"#,
        ];
        for (algorithm, nonce) in [(Algorithm::Md5, "md5"), (Algorithm::Sha256, "sha")] {
            let mut client = mufasa(None, algorithm);
            assert!(client.challenged(both.into_iter()));
            let value = client.authorize("INVITE", "sip:a", b"", "c").unwrap();
            assert!(value.contains(&format!("nonce=\"{nonce}\"")), "{value}");
        }
        assert!(!mufasa(Some("other"), Algorithm::Md5).challenged(both.into_iter()));
        for bad in [
            r#"Digest realm="r""#,
            r#"Digest nonce="n""#,
            r#"Digest realm="r", nonce="n", qop="auth-conf""#,
            r#"Digest realm="r", nonce="n", algorithm=SHA-1"#,
            "",
        ] {
            assert!(!mufasa(None, Algorithm::Md5).challenged([bad].into_iter()), "{bad}");
        }
    }
}
