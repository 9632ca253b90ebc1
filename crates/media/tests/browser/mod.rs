//! A browser: str0m's ICE, DTLS, SRTP and SDP, with a plain [`Session`] for its sound.
#![allow(dead_code, reason = "not every test needs all of it")]

mod crypto;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use media::sdp::{Direction, Dtmf, Format, Negotiated};
use media::{Codec, FRAME, Session, Setup, rtp};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsVersion;
use str0m::format::{self, FormatParams};
use str0m::media::{Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// The source it hears. Browsers tell it by the payload type, str0m wants to know before.
pub const SSRC: u32 = 0xCAFE;

/// What a browser calls Opus, and its keys at either rate.
const OPUS: u8 = 111;
const KEYS: u8 = 126;
const KEYS_48: u8 = 110;

/// A self-signed certificate and its key.
pub fn certificate() -> (Vec<u8>, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().to_vec(), key.serialize_der())
}

pub struct Browser {
    rtc: Rtc,
    /// Where it is at home.
    pub address: SocketAddr,
    /// What it says and hears; once something is agreed on.
    pub session: Option<Session>,
    pub heard: Vec<i16>,
    pub is_connected: bool,
    pending: Option<SdpPendingOffer>,
    mid: Option<Mid>,
    sent: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Browser {
    pub fn new(address: SocketAddr, version: DtlsVersion, now: Instant) -> Browser {
        let mut config = RtcConfig::new()
            .set_crypto_provider(crypto::provider())
            .set_dtls_version(version)
            .clear_codecs()
            .clear_extension_map()
            .set_rtp_mode(true)
            .enable_opus(true, false)
            .enable_pcmu(true, false)
            .enable_pcma(true, false);
        for (type_, rate) in [(KEYS, Frequency::EIGHT_KHZ), (KEYS_48, Frequency::FORTY_EIGHT_KHZ)] {
            let params = FormatParams::parse_line("0-16");
            config.codec_config().add_config(type_.into(), None, format::Codec::Tele, rate, None, params);
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Browser {
            rtc,
            address,
            session: None,
            heard: Vec::new(),
            is_connected: false,
            pending: None,
            mid: None,
            sent: VecDeque::new(),
        }
    }

    /// An offer of audio, and of video that nobody here wants.
    pub fn offer(&mut self) -> String {
        let mut change = self.rtc.sdp_api();
        self.mid =
            Some(change.add_media(MediaKind::Audio, str0m::media::Direction::SendRecv, None, None, None));
        let (offer, pending) = change.apply().unwrap();
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// An offer with another direction.
    pub fn direct(&mut self, direction: str0m::media::Direction) -> String {
        let mut change = self.rtc.sdp_api();
        change.set_direction(self.mid.unwrap(), direction);
        let (offer, pending) = change.apply().unwrap();
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// Another network: an offer that restarts ICE, from another address.
    pub fn move_to(&mut self, address: SocketAddr) -> String {
        let mut change = self.rtc.sdp_api();
        change.ice_restart(false);
        let (offer, pending) = change.apply().unwrap();
        self.pending = Some(pending);
        self.address = address;
        offer.to_sdp_string()
    }

    pub fn accept(&mut self, answer: &str, now: Instant) {
        let answer_read = SdpAnswer::from_sdp_string(answer).unwrap();
        let pending = self.pending.take().unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer_read).unwrap();
        // After a restart; before, it is known already.
        self.rtc.add_local_candidate(Candidate::host(self.address, "udp").unwrap());
        self.agreed(answer, now);
    }

    pub fn answer(&mut self, offer: &str, now: Instant) -> String {
        let offer_read = SdpOffer::from_sdp_string(offer).unwrap();
        let answer = self.rtc.sdp_api().accept_offer(offer_read).unwrap().to_sdp_string();
        self.drain(now);
        self.agreed(&answer, now);
        answer
    }

    /// Speaks what the answer lists first.
    fn agreed(&mut self, answer: &str, now: Instant) {
        let line = answer.lines().find(|line| line.starts_with("m=audio")).unwrap();
        let first: u8 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
        let codec = if first == OPUS { Codec::Opus } else { Codec::from_payload_type(first).unwrap() };
        let keys = if codec == Codec::Opus { KEYS_48 } else { KEYS };
        let negotiated = Negotiated {
            codec,
            payload_type: first,
            clock: codec.clock(),
            fmtp: String::new(),
            dtmf: Dtmf::Rfc4733(keys),
            event_clock: codec.clock(),
            formats: vec![
                (OPUS, Format::Audio(Codec::Opus)),
                (KEYS, Format::Event(8000)),
                (KEYS_48, Format::Event(48_000)),
            ],
            remote: self.address,
            remote_rtcp: self.address,
            rtcp_mux: true,
            ptime_ms: 20,
            direction: Direction::SendRecv,
            crypto: None,
            web: None,
            places: vec![None],
        };
        match &mut self.session {
            Some(session) => session.update(negotiated, now),
            None => {
                let mid = Mid::from(answer.lines().find_map(|line| line.strip_prefix("a=mid:")).unwrap());
                self.mid = Some(mid);
                self.rtc.direct_api().expect_stream_rx(SSRC.into(), None, mid, None);
                let setup = Setup {
                    negotiated,
                    ssrc: 1,
                    sequence: 1,
                    timestamp: 1,
                    cname: "browser".to_owned(),
                    record: false,
                    silence_after: None,
                };
                self.session = Some(Session::new(setup, now));
            }
        }
    }

    pub fn receive(&mut self, bytes: &[u8], from: SocketAddr, now: Instant) {
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.address, bytes) else { return };
        let _ = self.rtc.handle_input(Input::Receive(now, receive));
        self.drain(now);
    }

    /// The next datagram: from, to.
    pub fn poll(&mut self) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        self.sent.pop_front()
    }

    pub fn wake(&mut self, now: Instant) {
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain(now);
    }

    /// 20 ms of sound.
    pub fn tick(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        let mut out = [0; 1500];
        let mut packet = session.tick(now, &mut out);
        self.heard.extend_from_slice(session.heard());
        assert_eq!(session.heard().len(), FRAME);
        while let Some(send) = packet {
            let rtp::Packet { header, payload } = rtp::Packet::parse(&out[..send.len]).unwrap();
            let mid = self.mid.filter(|_| self.is_connected);
            if let Some(mid) = mid {
                let sequence = u64::from(header.sequence).into();
                let write = RtpWrite::new(
                    Pt::from(header.payload_type),
                    sequence,
                    header.timestamp,
                    now,
                    payload.to_vec(),
                )
                .marker(header.marker);
                let mut api = self.rtc.direct_api();
                if let Some(stream) = api.stream_tx_by_mid(mid, None) {
                    stream.write_rtp(write);
                }
            }
            self.drain(now);
            packet = self.session.as_mut().unwrap().more(&mut out);
        }
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                // After an error there is nothing any more.
                Err(_) | Ok(Output::Timeout(_)) => return,
                Ok(output) => self.happened(output, now),
            }
        }
    }

    fn happened(&mut self, output: Output, now: Instant) {
        match output {
            Output::Timeout(_) => {}
            Output::Transmit(send) => {
                self.sent.push_back((send.source, send.destination, send.contents.to_vec()));
            }
            Output::Event(Event::Connected) => self.is_connected = true,
            Output::Event(Event::RtpPacket(packet)) => {
                let header = rtp::Header {
                    marker: packet.header.marker,
                    payload_type: *packet.header.payload_type,
                    sequence: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    ssrc: *packet.header.ssrc,
                };
                let mut bytes = [0; 1500];
                let len = header.write(&packet.payload, &mut bytes).unwrap();
                if let Some(session) = &mut self.session {
                    session.handle_rtp(&bytes[..len], self.address, now);
                }
            }
            Output::Event(_) => {}
        }
    }
}
