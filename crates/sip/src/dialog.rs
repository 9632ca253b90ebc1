use crate::builder::Builder;
use crate::header::Name;
use crate::lex;
use crate::message::View;
use crate::name_addr::NameAddr;
use crate::uri::Uri;
use crate::{Path, Transport};

/// What two user agents know of each other while a call lasts (RFC 3261 section 12).
#[derive(Clone, Debug)]
pub struct Dialog {
    pub call_id: String,
    /// Whether the INVITE that made it was ours, and so the Call-ID.
    pub is_ours: bool,
    /// Our From value, tag included.
    pub local: String,
    /// Their To value, tag included.
    pub remote: String,
    pub remote_tag: Option<String>,
    /// The CSeq number of our last request.
    pub local_cseq: u32,
    pub remote_cseq: Option<u32>,
    /// Route values, next hop first.
    pub route_set: Vec<String>,
    pub remote_target: String,
    /// Our Contact value.
    pub contact: String,
    /// The path the dialog was made on, or moved to.
    pub path: Path,
    /// Whether requests go there whatever the other side's Contact says.
    pub pinned: bool,
}

impl Dialog {
    /// The dialog an answer to our INVITE makes: an early one by 101 to 199, a confirmed one by 2xx. `request` is
    /// that INVITE.
    pub fn from_answer(request: &View<'_>, answer: &View<'_>, path: Path) -> Option<Self> {
        Some(Self {
            call_id: request.call_id()?.to_owned(),
            is_ours: true,
            local: request.header(Name::From)?.to_owned(),
            remote: answer.header(Name::To)?.to_owned(),
            remote_tag: answer.to()?.tag().map(str::to_owned),
            local_cseq: request.cseq()?.number,
            remote_cseq: None,
            route_set: route_set_of(answer),
            remote_target: target(answer).or(request.request_uri())?.to_owned(),
            contact: request.header(Name::Contact)?.to_owned(),
            path,
            pinned: false,
        })
    }

    /// The dialog an INVITE to us makes once it is answered with `tag`. A caller of RFC 2543 may send no Contact:
    /// then its From is where it is.
    pub fn from_invite(invite: &View<'_>, tag: &str, contact: String, path: Path) -> Option<Self> {
        let from = invite.from()?;
        Some(Self {
            call_id: invite.call_id()?.to_owned(),
            is_ours: false,
            local: format!("{};tag={tag}", invite.header(Name::To)?),
            remote: invite.header(Name::From)?.to_owned(),
            remote_tag: from.tag().map(str::to_owned),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq()?.number),
            route_set: invite.values(Name::RecordRoute).map(str::to_owned).collect(),
            remote_target: target(invite).unwrap_or(from.uri).to_owned(),
            contact,
            path,
            pinned: false,
        })
    }

    /// Turns an early dialog into a confirmed one: the route set is learnt anew (RFC 3261 section 13.2.2.4).
    pub fn confirm(&mut self, answer: &View<'_>) {
        self.route_set = route_set_of(answer);
        if let Some(target) = target(answer) {
            target.clone_into(&mut self.remote_target);
        }
    }

    /// Whether a request from the other side belongs to this dialog; our own tag was compared before.
    pub fn matches(&self, request: &View<'_>) -> bool {
        let tag = request.from().and_then(|from| from.tag());
        request.call_id() == Some(&self.call_id) && tag == self.remote_tag.as_deref()
    }

    /// Takes a request's CSeq in. Gaps are no error, going back is (RFC 3261 section 12.2.2): false.
    pub fn advance(&mut self, request: &View<'_>) -> bool {
        let Some(cseq) = request.cseq() else { return false };
        if self.remote_cseq.is_some_and(|last| cseq.number < last) {
            return false;
        }
        self.remote_cseq = Some(cseq.number);
        true
    }

    /// Takes in where a re-INVITE or UPDATE moved the other side to.
    pub fn set_target(&mut self, target: String) {
        self.remote_target = target;
    }

    /// Goes on along another path, where our Contact is another too.
    pub fn move_to(&mut self, path: Path) {
        let user = NameAddr::parse(&self.contact).ok().and_then(|own| own.sip_uri().ok()?.user);
        self.contact = contact(user, &path);
        self.path = path;
    }

    /// The URI the next request is sent to, which digest covers too.
    pub fn request_uri(&self) -> &str {
        match self.strict_router() {
            Some(uri) => uri,
            None => &self.remote_target,
        }
    }

    /// The first hop, if it does not know loose routing (RFC 3261 section 12.2.1.1).
    fn strict_router(&self) -> Option<&str> {
        let first = NameAddr::parse(self.route_set.first()?).ok()?;
        let uri = first.sip_uri().ok()?;
        uri.params.get("lr").is_none().then_some(first.uri)
    }

    /// Counts a new request. ACK takes the number of its INVITE instead.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// Starts a request with all a dialog knows. `via` is the whole Via value.
    pub fn request(&self, method: &str, via: &str, cseq: u32) -> Builder {
        let strict_target = format!("<{}>", self.remote_target);
        let (skipped, last) = match self.strict_router() {
            Some(_) => (1, Some(strict_target.as_str())),
            None => (0, None),
        };
        let routes = self.route_set.iter().skip(skipped).map(String::as_str).chain(last);
        Builder::request(method, self.request_uri())
            .header("Via", via)
            .header("Max-Forwards", "70")
            .headers("Route", routes)
            .header("From", &self.local)
            .header("To", &self.remote)
            .header("Call-ID", &self.call_id)
            .header("CSeq", &format!("{cseq} {method}"))
    }

    /// Where the next request goes: to the first Route or the remote target if its host is a literal address,
    /// otherwise where the dialog was made, as always where that is `pinned`. An open connection to that host is used again, since the port in a
    /// Contact is seldom the one the other side connected from.
    pub fn next_hop(&self, is_open: impl Fn(&Path) -> bool) -> Path {
        if self.pinned {
            return self.path;
        }
        let first = self.route_set.first().and_then(|route| NameAddr::parse(route).ok());
        let hop = first.map_or(self.remote_target.as_str(), |route| route.uri);
        let Some((uri, remote)) = Uri::parse(hop).ok().and_then(|uri| Some((uri, uri.socket_addr()?))) else {
            return self.path;
        };
        let transport = match uri.params.get("transport").map(Transport::of_param) {
            None => self.path.transport,
            Some(Some(transport)) => transport,
            Some(None) => return self.path,
        };
        // What began under TLS stays with whom its certificate named: an address in a Contact names nobody. Nor can
        // anybody connect to a browser.
        let stays = |transport: Transport| transport.is_secure() || transport.is_web();
        if stays(self.path.transport) || stays(transport) {
            return self.path;
        }
        let same_connection = transport == Transport::Tcp
            && self.path.transport == Transport::Tcp
            && remote.ip() == self.path.remote.ip()
            && is_open(&self.path);
        if same_connection || uri.secure {
            return self.path;
        }
        Path::new(transport, self.path.local, remote)
    }
}

/// The route set of a caller: the Record-Route of an answer backwards.
fn route_set_of(answer: &View<'_>) -> Vec<String> {
    let mut route_set: Vec<String> = answer.values(Name::RecordRoute).map(str::to_owned).collect();
    route_set.reverse();
    route_set
}

/// The URI of a message's Contact, if it is a SIP URI.
pub fn target<'a>(view: &View<'a>) -> Option<&'a str> {
    let contact = view.contact()?;
    contact.sip_uri().is_ok().then_some(contact.uri)
}

/// Our From value, but for its tag.
pub fn caller(display: Option<&str>, uri: &str) -> String {
    let display = display.map(|name| lex::quote(name) + " ").unwrap_or_default();
    format!("{display}<{uri}>")
}

/// Our Contact value on `path`.
pub fn contact(user: Option<&str>, path: &Path) -> String {
    let (user, at) = user.map_or(("", ""), |user| (user, "@"));
    let transport = match path.transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
        // A WebSocket is `ws` with and without TLS (RFC 7118 section 5.2).
        Transport::Ws | Transport::Wss => ";transport=ws",
    };
    format!("<sip:{user}{at}{}{transport}>", path.local)
}

/// Our Via value on `path`.
pub fn via(path: &Path, branch: &str) -> String {
    format!("SIP/2.0/{} {};branch={branch};rport", path.transport.token(), path.local)
}

/// The user part of an INVITE's Request-URI, which the callee's Contact repeats.
pub fn called_user<'a>(invite: &View<'a>) -> Option<&'a str> {
    Uri::parse(lex::trim(invite.request_uri()?)).ok()?.user
}
