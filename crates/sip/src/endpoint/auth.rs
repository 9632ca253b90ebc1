use crate::digest::{Client, Credentials};
use crate::header::Name;
use crate::message::View;

/// A leg's answers to challenges: of the callee (401) and of a proxy on the way (407).
#[derive(Clone, Default)]
pub struct Auth {
    credentials: Option<Credentials>,
    www: Option<Client>,
    proxy: Option<Client>,
}

impl Auth {
    pub fn new(credentials: Option<Credentials>) -> Self {
        Self { credentials, www: None, proxy: None }
    }

    /// Starts another request.
    pub fn begin(&mut self) {
        self.www.iter_mut().chain(self.proxy.iter_mut()).for_each(Client::begin);
    }

    /// Takes a 401 or 407 in and says whether to send the request again.
    pub fn challenged(&mut self, response: &View<'_>) -> bool {
        let (client, name) = match response.status() {
            Some(401) => (&mut self.www, Name::WwwAuthenticate),
            Some(407) => (&mut self.proxy, Name::ProxyAuthenticate),
            _ => return false,
        };
        let Some(credentials) = &self.credentials else { return false };
        let client = client.get_or_insert_with(|| Client::new(credentials.clone()));
        client.challenged(response.headers(name))
    }

    /// Whether it answers with these credentials.
    pub fn is_of(&self, credentials: Option<&Credentials>) -> bool {
        self.credentials.as_ref() == credentials
    }

    /// Takes in a final response that may name the nonce to use next (RFC 7616 section 3.5).
    pub fn settled(&mut self, response: &View<'_>) {
        for (client, name) in
            [(&mut self.www, "Authentication-Info"), (&mut self.proxy, "Proxy-Authentication-Info")]
        {
            if let (Some(client), Some(info)) = (client, response.header(name)) {
                client.informed(info);
            }
        }
    }

    /// Header fields that answer what was asked so far. `body` is the request's.
    pub fn headers(
        &mut self,
        method: &str,
        uri: &str,
        body: &[u8],
        cnonce: &str,
    ) -> Vec<(&'static str, String)> {
        [("Authorization", &mut self.www), ("Proxy-Authorization", &mut self.proxy)]
            .into_iter()
            .filter_map(|(name, client)| Some((name, client.as_mut()?.authorize(method, uri, body, cnonce)?)))
            .collect()
    }
}

/// Whether a response asks for credentials.
pub fn is_challenge(status: u16) -> bool {
    matches!(status, 401 | 407)
}
