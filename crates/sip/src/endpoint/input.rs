use std::time::Instant;

use super::reply::Reply;
use super::transactions::{ClientKey, Purpose};
use super::{Endpoint, Output, count_class};
use crate::Path;
use crate::framer::{Frame, Framer};
use crate::message::{View, as_utf8};
use crate::method::Method;
use crate::sabotage::{Part, broken};
use crate::transaction::{Kind, Received};

impl Endpoint {
    pub(super) fn on_datagram(&mut self, path: Path, bytes: &[u8], now: Instant) {
        // CRLF keep-alives (RFC 5626 section 4.4.1), and STUN, whose first byte no SIP message has (RFC 7983
        // section 7).
        let text = bytes.trim_ascii_start();
        if text.is_empty() || bytes.first().is_some_and(|first| *first < 4) {
            return;
        }
        self.on_message(path, text, now);
    }

    pub(super) fn on_stream(&mut self, path: Path, bytes: &[u8], now: Instant) {
        if !self.streams.contains_key(&path) && self.streams.len() >= self.config.max_streams {
            self.outputs.push_back(Output::Close { path });
            return;
        }
        let limit = self.config.max_message;
        self.streams.entry(path).or_insert_with(|| Framer::new(limit)).push(bytes);
        while let Some(framer) = self.streams.get_mut(&path) {
            match framer.next_frame() {
                Ok(Some(Frame::Message(message))) => self.on_message(path, &message, now),
                Ok(Some(Frame::Ping)) => {
                    self.outputs.push_back(Output::Send { path, bytes: bytes::Bytes::from_static(b"\r\n") });
                }
                Ok(None) => return,
                Err(_) => {
                    self.stats.parse_errors += 1;
                    self.streams.remove(&path);
                    self.outputs.push_back(Output::Close { path });
                }
            }
        }
    }

    fn on_message(&mut self, path: Path, bytes: &[u8], now: Instant) {
        let bytes = as_utf8(bytes);
        // A request with too many header fields is refused; of a response they might be missed.
        let view = View::read(&bytes).ok().filter(|view| view.is_request() || !view.is_crowded());
        let Some(view) = view else {
            self.stats.parse_errors += 1;
            return;
        };
        self.stats.count_in(view.method(), path.transport);
        match view.status() {
            Some(status) => self.on_response(&view, status, now),
            None => match Reply::new(&view, path) {
                Some(reply) => self.on_request(&view, path, reply, now),
                None => self.stats.absorbed += 1,
            },
        }
    }

    fn on_response(&mut self, view: &View<'_>, status: u16, now: Instant) {
        count_class(&mut self.stats.responses_in, status / 100);
        let is_invite = view.cseq().is_some_and(|cseq| cseq.method == Method::Invite);
        let kind = if is_invite { Kind::Invite } else { Kind::NonInvite };
        let client = ClientKey::of(view).and_then(|key| Some((key, self.clients.get_mut(&key)?)));
        let Some((key, client)) = client.filter(|(_, client)| client.transaction.kind() == kind) else {
            self.stats.absorbed += 1;
            return;
        };
        match client.transaction.on_response(status, &self.timing, now) {
            Received::Stray => self.stats.absorbed += 1,
            Received::Again => {
                self.stats.retransmissions_in += 1;
                let path = client.transaction.path();
                if let Some(ack) =
                    client.transaction.ack().filter(|_| !broken(Part::AckRefusalAgain)).cloned()
                {
                    self.send_again(path, ack);
                }
            }
            Received::New => match client.purpose {
                Purpose::Invite { leg, .. } => match status {
                    ..200 => self.on_provisional(leg, key, view, status, now),
                    200..300 => self.on_answer(leg, key, view, now),
                    300.. => self.on_refusal(leg, key, view, status, now),
                },
                Purpose::Reinvite { .. } if status < 200 => {}
                Purpose::Reinvite { .. } if status < 300 => self.on_reinvite_answer(key, view, now),
                Purpose::Reinvite { .. } => self.on_reinvite_refusal(key, view, status, now),
                Purpose::Within { .. } if status < 200 => {}
                Purpose::Within { .. } => self.on_within_response(key, view, status, now),
                Purpose::Settled => {}
                Purpose::Bye(_) => self.on_bye_response(key, view, status, now),
                Purpose::Outside(_) if status >= 200 => self.on_outside_response(key, view, now),
                Purpose::Outside(_) => {}
            },
        }
        self.arm_client(key);
    }
}
