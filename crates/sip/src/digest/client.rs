use super::{Challenge, Credentials, Qop, Request};
use crate::lex;

/// Answers one challenger's challenges, counting nc for each nonce.
#[derive(Clone, Debug)]
pub struct Client {
    credentials: Credentials,
    challenge: Option<Challenge>,
    nc: u32,
    tries: u8,
}

impl Client {
    /// A client that has not been challenged yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, challenge: None, nc: 0, tries: 0 }
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
        let wanted = |challenge: &&Challenge| challenge.algorithm == self.credentials.algorithm;
        let Some(challenge) = offered.iter().find(wanted).or(offered.first()) else { return false };
        let worth_it = match self.tries {
            0 => true,
            1 => challenge.stale,
            _ => false,
        };
        if worth_it {
            self.tries += 1;
            self.nc = 0;
            self.challenge = Some(challenge.clone());
        }
        worth_it
    }

    /// The value of Authorization or Proxy-Authorization for a request; `None` before the first challenge.
    /// `cnonce` should not repeat.
    pub fn authorize(&mut self, method: &str, uri: &str, cnonce: &str) -> Option<String> {
        let challenge = self.challenge.as_ref()?;
        let Credentials { username, password, .. } = &self.credentials;
        let (algorithm, realm) = (challenge.algorithm, challenge.realm.as_str());
        self.nc += 1;
        let nc = format!("{:08x}", self.nc);
        let qop = challenge.qop_auth.then_some(Qop { token: "auth", nc: &nc, cnonce });
        let request = Request { method, uri, nonce: &challenge.nonce, qop, body: b"" };
        let response = request.response(algorithm, &algorithm.ha1(username, realm, password));
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}",
            lex::quote(username),
            lex::quote(realm),
            lex::quote(&challenge.nonce),
            lex::quote(uri),
            algorithm.token(),
        );
        if challenge.qop_auth {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce={}", lex::quote(cnonce)));
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
        assert_eq!(client.authorize("GET", "/dir/index.html", "0a4f113b"), None);
        assert!(client.challenged([RFC2617].into_iter()));
        insta::assert_snapshot!(client.authorize("GET", "/dir/index.html", "0a4f113b").unwrap(), @r#"
        Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", response="6629fae49393a05397450978507c4ef1", algorithm=MD5, qop=auth, nc=00000001, cnonce="0a4f113b", opaque="5ccc069c403ebaf9f0171e9517f40e41"
        "#);
    }

    #[test]
    fn counts_nc_for_each_nonce() {
        let mut client = mufasa(None, Algorithm::Md5);
        assert!(client.challenged([RFC2617].into_iter()));
        for nc in ["00000001", "00000002"] {
            assert!(client.authorize("GET", "/", "c").unwrap().contains(&format!("nc={nc},")));
        }
        assert!(client.challenged([r#"Digest realm="r", nonce="n", qop="auth", stale=TRUE"#].into_iter()));
        assert!(client.authorize("GET", "/", "c").unwrap().contains("nc=00000001,"));
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
            let value = client.authorize("INVITE", "sip:a", "c").unwrap();
            assert!(value.contains(&format!("nonce=\"{nonce}\"")), "{value}");
        }
        assert!(!mufasa(Some("other"), Algorithm::Md5).challenged(both.into_iter()));
        for bad in [
            r#"Digest realm="r""#,
            r#"Digest nonce="n""#,
            r#"Digest realm="r", nonce="n", qop="auth-int""#,
            "",
        ] {
            assert!(!mufasa(None, Algorithm::Md5).challenged([bad].into_iter()), "{bad}");
        }
    }
}
