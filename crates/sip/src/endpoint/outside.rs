use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::auth::Auth;
use super::event::{Event, FailureKind};
use super::leg::tag_text;
use super::transactions::{Client, ClientKey, Purpose};
use super::{Endpoint, check_headers, check_text};
use crate::builder::Builder;
use crate::digest::Credentials;
use crate::error::Error;
use crate::header::Name;
use crate::lex;
use crate::message::{Message, View};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::transaction::Kind;
use crate::uri::Uri;
use crate::{Path, dialog};

/// Call-IDs whose CSeq and nonces are remembered; the one not used for longest is forgotten first.
const MAX_SERIES: usize = 10_000;

/// Header fields of a request outside dialogs that only the stack writes.
const RESERVED: &[Name] = &[
    Name::Authorization,
    Name::CSeq,
    Name::CallId,
    Name::Contact,
    Name::ContentLength,
    Name::ContentType,
    Name::From,
    Name::MaxForwards,
    Name::ProxyAuthorization,
    Name::RecordRoute,
    Name::Route,
    Name::To,
    Name::Via,
];

/// Names a request outside dialogs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(u64);

/// A request outside dialogs: REGISTER, OPTIONS, MESSAGE and the like.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Any but INVITE, ACK, BYE, CANCEL, PRACK and UPDATE.
    pub method: Method<'static>,
    /// Where it goes.
    pub path: Path,
    /// The Request-URI.
    pub request_uri: String,
    /// The URI of From.
    pub from_uri: String,
    /// The URI of To.
    pub to_uri: String,
    /// The whole Contact value, or none.
    pub contact: Option<String>,
    /// The Call-ID. Requests that share one count CSeq up, keep their From tag and use the last challenge again;
    /// `None` makes a new one for this request alone.
    pub call_id: Option<String>,
    /// Route values. They set the header only; `path` says where it goes.
    pub route: Vec<String>,
    /// Further header fields. Those the stack writes itself are refused.
    pub headers: Vec<(String, String)>,
    /// The media type of the body.
    pub content_type: String,
    /// The body, mostly empty.
    pub body: Vec<u8>,
    /// Answers a 401 or 407.
    pub credentials: Option<Credentials>,
}

impl Outside {
    /// A request without Contact, Route, body, credentials or further headers.
    pub fn new(
        method: Method<'static>,
        path: Path,
        request_uri: impl Into<String>,
        from_uri: impl Into<String>,
        to_uri: impl Into<String>,
    ) -> Self {
        Self {
            method,
            path,
            request_uri: request_uri.into(),
            from_uri: from_uri.into(),
            to_uri: to_uri.into(),
            contact: None,
            call_id: None,
            route: Vec::new(),
            headers: Vec::new(),
            content_type: String::new(),
            body: Vec::new(),
            credentials: None,
        }
    }
}

/// A request on its way.
pub struct Asked {
    id: RequestId,
    call_id: String,
    request: Outside,
}

/// What requests with the same Call-ID have in common.
struct Common {
    tag: u64,
    cseq: u32,
    auth: Auth,
    /// Whether more requests may follow.
    kept: bool,
    /// When it was last used, counted in requests.
    used: u64,
}

/// The Call-IDs in use.
#[derive(Default)]
pub struct Series {
    all: BTreeMap<String, Common>,
    issued: u64,
    /// The highest CSeq of a series that was forgotten: a new one starts above it, since it may be the same again.
    floor: u32,
}

impl Series {
    /// The series of a Call-ID, with the credentials its next request has.
    fn open(&mut self, call_id: &str, kept: bool, credentials: Option<&Credentials>, tag: u64) {
        self.issued += 1;
        if !self.all.contains_key(call_id) && self.all.len() >= MAX_SERIES {
            self.forget_oldest();
        }
        let (used, cseq) = (self.issued, self.floor);
        let common = self.all.entry(call_id.to_owned()).or_insert_with(|| Common {
            tag,
            cseq,
            auth: Auth::new(credentials.cloned()),
            kept,
            used,
        });
        if !common.auth.is_of(credentials) {
            common.auth = Auth::new(credentials.cloned());
        }
        common.used = used;
        common.auth.begin();
    }

    fn forget_oldest(&mut self) {
        let oldest =
            self.all.iter().min_by_key(|(_, common)| common.used).map(|(call_id, _)| call_id.clone());
        if let Some(common) = oldest.and_then(|call_id| self.all.remove(&call_id)) {
            self.floor = self.floor.max(common.cseq);
        }
    }
}

impl Endpoint {
    /// Sends a request outside dialogs. [`Event::Response`] follows, once; challenges are answered before it.
    ///
    /// # Errors
    /// A method that belongs to a dialog, a field with CR, LF or NUL, a bad URI or header, too many transactions.
    /// Nothing was sent.
    pub fn request(&mut self, request: Outside, now: Instant) -> Result<RequestId, Error> {
        check(&request)?;
        if self.is_full() {
            return Err(Error::TooManyTransactions);
        }
        let call_id = match &request.call_id {
            Some(call_id) => call_id.clone(),
            None => self.random_hex() + &self.random_hex(),
        };
        let tag = self.rng.next_u64();
        self.outside.open(&call_id, request.call_id.is_some(), request.credentials.as_ref(), tag);
        let id = RequestId(self.outside.issued);
        self.send_outside(Asked { id, call_id, request }, now);
        Ok(id)
    }

    fn send_outside(&mut self, asked: Asked, now: Instant) {
        let key = ClientKey { branch: self.rng.next_u64(), cancel: false };
        let cnonce = self.random_hex();
        let Some(common) = self.outside.all.get_mut(&asked.call_id) else { return };
        common.cseq += 1;
        let message = write(&asked, common, key, &cnonce, &self.config.user_agent);
        let path = asked.request.path;
        self.start_client(key, Kind::NonInvite, path, message, Purpose::Outside(Box::new(asked)), now);
    }

    /// Takes in a final response: sends the request again with credentials if that is what it asks for.
    pub(super) fn on_outside_response(&mut self, key: ClientKey, view: &View<'_>, now: Instant) {
        let Some(Client { purpose, .. }) = self.clients.get_mut(&key) else { return };
        let Purpose::Outside(asked) = std::mem::replace(purpose, Purpose::Settled) else { return };
        let again = self.outside.all.get_mut(&asked.call_id).is_some_and(|common| {
            common.auth.settled(view);
            common.auth.challenged(view)
        });
        if again {
            return self.send_outside(*asked, now);
        }
        let message = Message::parse(Bytes::copy_from_slice(view.as_bytes()));
        self.finish_outside(*asked, message.map_err(|_| FailureKind::Transport), "");
    }

    pub(super) fn finish_outside(
        &mut self,
        asked: Asked,
        result: Result<Message, FailureKind>,
        trouble: &str,
    ) {
        if self.outside.all.get(&asked.call_id).is_some_and(|common| !common.kept) {
            self.outside.all.remove(&asked.call_id);
        }
        self.emit(Event::Response { id: asked.id, result, trouble: trouble.to_owned() });
    }
}

fn check(request: &Outside) -> Result<(), Error> {
    let Outside { method, request_uri, from_uri, to_uri, contact, call_id, route, headers, .. } = request;
    if matches!(
        method,
        Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Prack | Method::Update
    ) || !lex::is_token(method.as_str())
    {
        return Err(Error::BadMethod(method.as_str().to_owned()));
    }
    for (field, uri) in [("request_uri", request_uri), ("from_uri", from_uri), ("to_uri", to_uri)] {
        check_text(field, [uri.as_str()])?;
        Uri::parse(uri).map_err(|_| Error::BadUri { field })?;
    }
    check_text("call_id", call_id.as_deref())?;
    check_text("content_type", [request.content_type.as_str()])?;
    for (field, value) in
        route.iter().map(|value| ("route", value)).chain(contact.iter().map(|c| ("contact", c)))
    {
        check_text(field, [value.as_str()])?;
        if !NameAddr::parse(value).is_ok_and(|value| value.sip_uri().is_ok()) || !value.contains('<') {
            return Err(Error::BadUri { field });
        }
    }
    if let Some(credentials) = &request.credentials {
        check_text("credentials", [credentials.username.as_str()])?;
    }
    check_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())), RESERVED)
}

fn write(asked: &Asked, common: &mut Common, key: ClientKey, cnonce: &str, user_agent: &str) -> Bytes {
    let request = &asked.request;
    let method = request.method.as_str();
    let mut builder = Builder::request(method, &request.request_uri)
        .header("Via", &dialog::via(&request.path, &key.branch()))
        .header("Max-Forwards", "70")
        .headers("Route", &request.route)
        .header("From", &format!("<{}>;tag={}", request.from_uri, tag_text(common.tag)))
        .header("To", &format!("<{}>", request.to_uri))
        .header("Call-ID", &asked.call_id)
        .header("CSeq", &format!("{} {method}", common.cseq))
        .headers("Contact", &request.contact);
    for (name, value) in common.auth.headers(method, &request.request_uri, &request.body, cnonce) {
        builder = builder.header(name, &value);
    }
    builder = builder.header("User-Agent", user_agent);
    builder = request.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value));
    builder.body(&request.content_type, &request.body)
}
