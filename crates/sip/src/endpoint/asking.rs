use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::event::Event;
use super::leg::LegId;
use super::reply::{Reply, phrase};
use super::transactions::ServerKey;
use super::uas::RESERVED;
use super::{Endpoint, check_headers};
use crate::Path;
use crate::error::Error;
use crate::message::{Message, View};
use crate::method::Method;
use crate::refusal::Refusal;

/// A request that waits for the driver's word; the endpoint keeps nothing of it. Whoever drops it leaves the request
/// without an answer.
#[derive(Clone)]
pub struct Asking(Box<Asked>);

#[derive(Clone)]
struct Asked {
    reply: Reply,
    key: ServerKey,
    message: Message,
    path: Path,
    /// The leg whose dialog it names.
    leg: Option<LegId>,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.0.message.view();
        f.debug_tuple("Asking").field(&view.method()).field(&view.call_id()).finish()
    }
}

impl Endpoint {
    /// Asks the driver what to do with a request.
    pub(super) fn ask(
        &mut self,
        view: &View<'_>,
        path: Path,
        key: ServerKey,
        reply: Reply,
        leg: Option<LegId>,
    ) {
        let Ok(request) = Message::parse(Bytes::copy_from_slice(view.as_bytes())) else { return };
        let asking = Asking(Box::new(Asked { reply, key, message: request.clone(), path, leg }));
        self.emit(match leg {
            Some(leg) => Event::Stranger { asking, leg, request, path },
            None => Event::Request { asking, request, path },
        });
    }

    /// Lets an INVITE of [`Event::Request`] become a leg: 100 is sent. The request of an [`Event::Stranger`] is
    /// carried out, and the leg goes on where it came from.
    ///
    /// # Errors
    /// There are too many legs or transactions: 503 was sent. The leg is gone: 481 was sent. The same request came
    /// another way (482 was sent) or was admitted before, or it is a REGISTER.
    pub fn admit(&mut self, asking: Asking, now: Instant) -> Result<LegId, Error> {
        self.admit_as(asking, false, now)
    }

    /// As [`Self::admit`], for a caller whose place is the flow the INVITE came over, such as a phone that
    /// registered: see [`Invite::guarded`](crate::Invite::guarded).
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_guarded(&mut self, asking: Asking, now: Instant) -> Result<LegId, Error> {
        self.admit_as(asking, true, now)
    }

    fn admit_as(&mut self, asking: Asking, guarded: bool, now: Instant) -> Result<LegId, Error> {
        let Asked { reply, key, message, path, leg } = *asking.0;
        let view = message.view();
        if self.servers.find(&key).is_some() {
            return Err(Error::WrongState);
        }
        match (leg, view.method()) {
            (Some(leg), Some(method)) => {
                if self.legs.get(leg).is_none() {
                    self.refuse(&view, &reply, Refusal::new(481));
                    return Err(Error::NoSuchLeg);
                }
                self.move_leg(leg, path);
                self.on_leg_request(leg, method, &view, key, reply, now);
                Ok(leg)
            }
            (None, Some(Method::Invite)) if self.servers.is_merged(&view) => {
                self.refuse(&view, &reply, Refusal::new(482));
                Err(Error::WrongState)
            }
            (None, Some(Method::Invite)) => self.begin_incoming(&view, path, key, reply, guarded, now),
            (_, method) => Err(Error::BadMethod(method.map(Method::as_str).unwrap_or_default().to_owned())),
        }
    }

    /// Answers a request for good and keeps nothing: the same request is asked about again. The status is 300 to
    /// 699, for a REGISTER 200 to 699.
    ///
    /// # Errors
    /// The status is another, or a header would break its line or is one the stack writes. Nothing was sent.
    pub fn reply(&mut self, asking: Asking, status: u16, headers: &[(&str, &str)]) -> Result<(), Error> {
        let Asked { reply, message, .. } = *asking.0;
        let view = message.view();
        let lowest = if view.method() == Some(Method::Register) { 200 } else { 300 };
        if !(lowest..=699).contains(&status) {
            return Err(Error::BadStatus(status));
        }
        check_headers(headers.iter().copied(), RESERVED)?;
        let reply = reply.with_tag(&view, &self.stateless_tag(&view));
        let builder = self.response(&reply, status, phrase(status));
        let response =
            headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value)).end();
        self.send(reply.path, response);
        Ok(())
    }
}
