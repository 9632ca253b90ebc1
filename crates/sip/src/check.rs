use crate::header::Name;
use crate::lex;
use crate::message::{CSeq, View};
use crate::name_addr::NameAddr;
use crate::uri::Uri;
use crate::via::Via;

/// What is wrong with a request, and the status that says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// 400 to 513.
    pub status: u16,
    /// A reason phrase that names the fault.
    pub phrase: &'static str,
}

const fn bad(phrase: &'static str) -> Fault {
    Fault { status: 400, phrase }
}

impl View<'_> {
    /// Whether a request is one a user agent can process, whatever its method (RFC 4475 section 3 shows what can
    /// be wrong). What can be read in spite of a blemish passes: a bad Date, white space around an addr-spec, an
    /// unquoted display name.
    ///
    /// # Errors
    /// How to answer it. Always `Ok` for responses.
    pub fn check(&self) -> Result<(), Fault> {
        if !self.is_request() {
            return Ok(());
        }
        if self.version() != "SIP/2.0" {
            return Err(Fault { status: 505, phrase: "Version Not Supported" });
        }
        if self.is_crowded() {
            return Err(Fault { status: 513, phrase: "Message Too Large" });
        }
        if self.has_junk() {
            return Err(bad("Malformed Header Line"));
        }
        self.check_counts()?;
        self.check_addresses()?;
        self.check_numbers()?;
        self.check_request_uri()
    }

    /// Fields that must be there, and those that may be there only once.
    fn check_counts(&self) -> Result<(), Fault> {
        for (name, missing, repeated) in [
            (Name::From, "Missing From", "Multiple From"),
            (Name::To, "Missing To", "Multiple To"),
            (Name::CallId, "Missing Call-ID", "Multiple Call-ID"),
            (Name::CSeq, "Missing CSeq", "Multiple CSeq"),
        ] {
            match self.headers(name).count() {
                0 => return Err(bad(missing)),
                1 => {}
                _ => return Err(bad(repeated)),
            }
        }
        for (name, repeated) in
            [(Name::MaxForwards, "Multiple Max-Forwards"), (Name::ContentType, "Multiple Content-Type")]
        {
            if self.headers(name).nth(1).is_some() {
                return Err(bad(repeated));
            }
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), Fault> {
        let vias = self.headers(Name::Via).flat_map(|field| lex::separated(field, b','));
        for via in vias.map(Via::parse) {
            if !via.is_ok_and(|via| via.params.is_well_formed()) {
                return Err(bad("Malformed Via"));
            }
        }
        if self.from().is_none() {
            return Err(bad("Malformed From"));
        }
        if self.to().is_none() {
            return Err(bad("Malformed To"));
        }
        for contact in self.values(Name::Contact).filter(|contact| *contact != "*").map(NameAddr::parse) {
            if !contact.is_ok_and(|contact| contact.params.is_well_formed()) {
                return Err(bad("Malformed Contact"));
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), Fault> {
        match self.cseq() {
            Some(CSeq { method, .. }) if Some(method) == self.method() => {}
            Some(_) => return Err(bad("CSeq Method Mismatch")),
            None => return Err(bad("Malformed CSeq")),
        }
        if self.header(Name::MaxForwards).is_some_and(|hops| hops.parse::<u8>().is_err()) {
            return Err(bad("Malformed Max-Forwards"));
        }
        match self.content_length() {
            Some(Ok(length)) if length > self.rest().len() => Err(bad("Content-Length Too Large")),
            Some(Err(_)) => Err(bad("Malformed Content-Length")),
            _ => Ok(()),
        }
    }

    fn check_request_uri(&self) -> Result<(), Fault> {
        let uri = self.request_uri().unwrap_or_default();
        match Uri::parse(uri) {
            Ok(uri) if uri.headers.is_some() => Err(bad("Header Fields In Request-URI")),
            Ok(_) => Ok(()),
            Err(_) => match uri.split_once(':').map(|(scheme, _)| scheme) {
                Some(scheme) if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => {
                    Err(bad("Malformed Request-URI"))
                }
                Some(scheme) if lex::is_token(scheme) => {
                    Err(Fault { status: 416, phrase: "Unsupported URI Scheme" })
                }
                _ => Err(bad("Malformed Request-URI")),
            },
        }
    }
}
