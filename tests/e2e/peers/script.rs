//! SIPp's scenarios, written step by step: what one side of a call sends, and what it insists on getting.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::mem::take;

/// What a message brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Sdp,
    /// SDP by which the other side is put on hold.
    Hold,
    /// SDP of a place where nobody listens.
    Elsewhere,
    /// SDP without a codec that we speak.
    Alien,
}

/// One side of one call.
#[derive(Clone)]
pub struct Script {
    steps: String,
    is_caller: bool,
    /// Our name and tag, and the other side's, as they stand in From and To.
    local: String,
    remote: String,
    /// Where a request in the dialog goes.
    target: String,
    /// What a caller's INVITE said in the place of both.
    called: Option<(String, String)>,
    /// User and password, for who is asked for them.
    phone: Option<(String, String)>,
    cseq: u32,
    invite_cseq: u32,
    variables: BTreeSet<String>,
    is_compact: bool,
}

impl Script {
    /// Calls `uri` as `from`, both without brackets.
    pub fn caller(from: &str, uri: &str) -> Self {
        Self {
            steps: String::new(),
            is_caller: true,
            local: format!("<{from}>;tag=caller[pid]"),
            remote: format!("<{uri}>"),
            target: uri.to_owned(),
            called: None,
            phone: None,
            cseq: 0,
            invite_cseq: 0,
            variables: BTreeSet::new(),
            is_compact: false,
        }
    }

    /// Waits for a call.
    pub fn callee() -> Self {
        Self {
            is_caller: false,
            local: "[$to];tag=callee[pid]".into(),
            remote: "[$remote]".into(),
            target: "[$target]".into(),
            ..Self::caller("", "")
        }
    }

    /// It says who it is when it is asked.
    pub fn phone(mut self, user: &str, password: &str) -> Self {
        self.phone = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// It has a display name.
    pub fn named(mut self, name: &str) -> Self {
        self.local = format!("\"{name}\" {}", self.local);
        self
    }

    /// From now on it uses the short names of header fields (RFC 3261 section 7.3.3).
    pub fn compact(mut self) -> Self {
        self.is_compact = true;
        self
    }

    /// From now on it answers with another tag, as another phone behind a proxy that forks.
    pub fn tagged(mut self, tag: &str) -> Self {
        self.local = format!("[$to];tag={tag}");
        self
    }

    /// Sends the INVITE; a phone is challenged first.
    pub fn invites(mut self, headers: &str, body: Body) -> Self {
        if let Some((user, password)) = self.phone.clone() {
            self = self.sends("INVITE", headers, body).gets("100?");
            let _ = writeln!(self.steps, "<recv response=\"401\" auth=\"true\"/>");
            let ack = self.request("ACK", self.cseq, self.cseq, "", Body::None);
            self.send(&ack, false);
            let proof = format!("{headers}[authentication username={user} password={password}]\n");
            return self.sends("INVITE", &proof, body);
        }
        self.sends("INVITE", headers, body)
    }

    /// Registers at `registrar` for two minutes, once it has said who it is.
    pub fn registers(mut self, registrar: &str) -> Self {
        registrar.clone_into(&mut self.target);
        let (user, password) = self.phone.clone().unwrap_or_default();
        let expires = "Expires: 120\n";
        self = self.sends("REGISTER", expires, Body::None);
        let _ = writeln!(self.steps, "<recv response=\"401\" auth=\"true\"/>");
        let proof = format!("{expires}[authentication username={user} password={password}]\n");
        self = self.sends("REGISTER", &proof, Body::None);
        let _ = writeln!(self.steps, "<recv response=\"200\"/>");
        self
    }

    /// Sends a request with the next CSeq.
    pub fn sends(mut self, method: &str, headers: &str, body: Body) -> Self {
        self.cseq += 1;
        if method == "INVITE" {
            self.invite_cseq = self.cseq;
        }
        let text = self.request(method, self.cseq, self.cseq, headers, body);
        self.send(&text, true);
        self
    }

    /// Acknowledges a 2xx to its INVITE.
    pub fn acks(self, body: Body) -> Self {
        let cseq = self.invite_cseq;
        self.acks_as(cseq, body)
    }

    /// The same with a CSeq of its own.
    pub fn acks_as(mut self, cseq: u32, body: Body) -> Self {
        let ack = self.request("ACK", cseq, cseq + 1_000, "", body);
        self.send(&ack, false);
        self
    }

    /// Acknowledges a refusal of its INVITE.
    pub fn acks_refusal(mut self) -> Self {
        let ack = self.request("ACK", self.invite_cseq, self.invite_cseq, "", Body::None);
        self.send(&ack, false);
        self
    }

    /// Takes its INVITE back.
    pub fn cancels(mut self) -> Self {
        let cancel = self.request("CANCEL", self.invite_cseq, self.invite_cseq, "", Body::None);
        self.send(&cancel, true);
        self
    }

    /// Answers the INVITE that came last, such as `180 Ringing`; a 2xx again until it is acknowledged.
    pub fn answers(self, status: &str, headers: &str, body: Body) -> Self {
        self.answers_to("INVITE", status, headers, body)
    }

    /// The same for the last request of a method, whatever came since.
    pub fn answers_to(mut self, method: &str, status: &str, headers: &str, body: Body) -> Self {
        let own = format!(
            "Via: [$via_{method}]\nFrom: {}\nTo: {}\nCall-ID: [call_id]\nCSeq: [$cseq_{method}] {method}\n",
            self.remote, self.local
        );
        let text = self.response(status, &own, headers, body);
        self.send(&text, method == "INVITE" && status >= "2");
        self
    }

    /// Answers the request that came last.
    pub fn replies(mut self, status: &str, headers: &str, body: Body) -> Self {
        let own = "[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\n";
        let text = self.response(status, own, headers, body);
        self.send(&text, false);
        self
    }

    /// Insists on a request or a final status; `?` behind it: it may come. Provisional responses may come before a
    /// final one.
    pub fn gets(self, what: &str) -> Self {
        self.gets_with(what, &[])
    }

    /// The same with header fields (`Name:`; empty for the body) in each of which something stands.
    pub fn gets_with(mut self, what: &str, checks: &[(&str, &str)]) -> Self {
        let (what, optional) = match what.strip_suffix('?') {
            Some(what) => (what, " optional=\"true\""),
            None => (what, ""),
        };
        let mut actions = String::new();
        let mut keep = |variables: &mut BTreeSet<String>, name: &str, header: &str, pattern: &str| {
            let place = match header {
                "" => "search_in=\"body\"".to_owned(),
                header => format!("search_in=\"hdr\" header=\"{header}\""),
            };
            let pattern = pattern.replace('<', "&lt;").replace('>', "&gt;");
            let _ = writeln!(
                actions,
                "<ereg regexp=\"{pattern}\" {place} check_it=\"true\" assign_to=\"{name}\"/>"
            );
            variables.insert(name.to_owned());
        };
        let is_status = what.parse::<u16>().is_ok();
        if !is_status && what != "ACK" {
            keep(&mut self.variables, &format!("via_{what}"), "Via:", "SIP/2.*");
            keep(&mut self.variables, &format!("cseq_{what}"), "CSeq:", "[0-9]+");
        }
        // The dialog begins.
        let begins = match self.is_caller {
            true => is_status && what > "100" && what < "300" && self.remote != "[$remote]",
            false => what == "INVITE" && !self.variables.contains("target"),
        };
        if begins {
            let remote = if self.is_caller { "To:" } else { "From:" };
            keep(&mut self.variables, "remote", remote, "<.*");
            keep(&mut self.variables, "target", "Contact:", "sip:[^>]*");
            if self.is_caller {
                let called = (take(&mut self.remote), take(&mut self.target));
                self.called = Some(called);
                (self.remote, self.target) = ("[$remote]".into(), "[$target]".into());
            } else {
                keep(&mut self.variables, "to", "To:", "<.*");
            }
        }
        for (header, pattern) in checks {
            let name = if *header == "RSeq:" { "rseq" } else { "seen" };
            keep(&mut self.variables, name, header, pattern);
        }
        if is_status && what >= "180" && optional.is_empty() {
            for provisional in ["100", "180", "183"].into_iter().filter(|it| *it < what) {
                let _ = writeln!(self.steps, "<recv response=\"{provisional}\" optional=\"true\"/>");
            }
        }
        let kind = if is_status { "response" } else { "request" };
        let _ = writeln!(self.steps, "<recv {kind}=\"{what}\"{optional}>");
        if !actions.is_empty() {
            let _ = writeln!(self.steps, "<action>\n{actions}</action>");
        }
        self.steps.push_str("</recv>\n");
        self
    }

    /// Insists on a reliable 18x and acknowledges it (RFC 3262).
    pub fn gets_reliably(self, status: &str, checks: &[(&str, &str)]) -> Self {
        self.gets_reliably_answering(status, checks, Body::None)
    }

    /// The same with what its PRACK brings.
    pub fn gets_reliably_answering(self, status: &str, checks: &[(&str, &str)], body: Body) -> Self {
        let checks = [&[("Require:", "100rel"), ("RSeq:", "[0-9]+")], checks].concat();
        let rack = format!("RAck: [$rseq] {} INVITE\n", self.invite_cseq);
        self.gets_with(status, &checks).sends("PRACK", &rack, body).gets("200")
    }

    /// Waits, but loses nothing that comes meanwhile.
    pub fn pauses(mut self, ms: u32) -> Self {
        let _ = writeln!(self.steps, "<pause milliseconds=\"{ms}\"/>");
        self
    }

    /// Hangs up and waits for the consent.
    pub fn hangs_up(self) -> Self {
        self.sends("BYE", "", Body::None).gets("200")
    }

    /// Is hung up on.
    pub fn gets_bye(self) -> Self {
        self.gets("BYE").replies("200 OK", "", Body::None)
    }

    /// Is called no more: the INVITE is taken back, with `checks` on how.
    pub fn gets_canceled(self, checks: &[(&str, &str)]) -> Self {
        self.gets_with("CANCEL", checks)
            .replies("200 OK", "", Body::None)
            .answers("487 Request Terminated", "", Body::None)
            .gets("ACK")
    }

    /// The scenario, with the port that sound is expected at.
    pub fn xml(&self, voice: u16) -> String {
        let names: Vec<&str> = self.variables.iter().map(String::as_str).collect();
        let reference = match names.is_empty() {
            true => String::new(),
            false => format!("<Reference variables=\"{}\"/>\n", names.join(",")),
        };
        let steps = self.steps.replace("[voice]", &voice.to_string());
        format!("<?xml version=\"1.0\"?>\n<scenario name=\"script\">\n{steps}{reference}</scenario>\n")
    }

    fn request(&self, method: &str, cseq: u32, branch: u32, headers: &str, body: Body) -> String {
        let side = if self.is_caller { "a" } else { "b" };
        let via = format!("SIP/2.0/[transport] 127.0.0.1:[local_port];branch=z9hG4bK[pid]{side}{branch}");
        let (remote, target) = match (method, &self.called) {
            // It says what the INVITE said.
            ("CANCEL", Some((remote, target))) => (remote, target),
            _ => (&self.remote, &self.target),
        };
        let local = &self.local;
        self.message(
            &format!(
                "{method} {target} SIP/2.0\nVia: {via}\nMax-Forwards: 70\nFrom: {local}\nTo: {remote}\n\
                 Call-ID: [call_id]\nCSeq: {cseq} {method}\n{headers}"
            ),
            body,
        )
    }

    fn response(&self, status: &str, own: &str, headers: &str, body: Body) -> String {
        self.message(&format!("SIP/2.0 {status}\n{own}{headers}"), body)
    }

    fn message(&self, head: &str, body: Body) -> String {
        let sdp = "v=0\no=sipp 2 [sdp_version] IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n\
                   m=audio [voice] RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\n\
                   a=ptime:20\n";
        let (kind, body) = match body {
            Body::None => ("", String::new()),
            Body::Sdp => ("Content-Type: application/sdp\n", format!("{sdp}a=sendrecv\n")),
            Body::Hold => ("Content-Type: application/sdp\n", format!("{sdp}a=sendonly\n")),
            Body::Elsewhere => ("Content-Type: application/sdp\n", sdp.replace("[voice]", "9")),
            Body::Alien => (
                "Content-Type: application/sdp\n",
                sdp.replace("AVP 0 101", "AVP 97")
                    .replace("0 PCMU/8000", "97 iLBC/8000")
                    .replace("101", "98"),
            ),
        };
        let version = self.steps.matches("m=audio").count().to_string();
        let contact = "Contact: <sip:peer@127.0.0.1:[local_port];transport=[transport]>\n";
        let head = format!("{head}{contact}{kind}Content-Length: [len]\n");
        let head = if self.is_compact { compact(&head) } else { head };
        format!("{head}\n{}", body.replace("[sdp_version]", &version))
    }

    fn send(&mut self, text: &str, again: bool) {
        let again = if again { " retrans=\"500\"" } else { "" };
        let _ = write!(self.steps, "<send{again}><![CDATA[\n{text}\n]]></send>\n");
    }
}

/// Shortens the names of header fields.
fn compact(head: &str) -> String {
    let names = [
        ("Via:", "v:"),
        ("From:", "f:"),
        ("To:", "t:"),
        ("Call-ID:", "i:"),
        ("Contact:", "m:"),
        ("Content-Type:", "c:"),
        ("Content-Length:", "l:"),
        ("Supported:", "k:"),
        ("Session-Expires:", "x:"),
    ];
    names.iter().fold(head.to_owned(), |head, (long, short)| {
        head.replace(&format!("\n{long}"), &format!("\n{short}"))
    })
}
