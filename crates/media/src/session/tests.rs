use super::*;
use crate::sdp::Format;
use crate::{Codec, FRAME_TIME, rtp, tone};

mod codecs;
mod digits;
mod hostile;
mod joined;
mod latching;
mod playing;
mod reports;
mod secret;
mod segments;

const HERE: &str = "192.0.2.1:16384";
const THERE: &str = "198.51.100.2:4000";

const HERE_RTCP: &str = "192.0.2.1:16385";
const THERE_RTCP: &str = "198.51.100.2:4001";

/// From one end to the other.
const RTCP_DELAY: Duration = Duration::from_millis(40);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn negotiated(remote: &str) -> Negotiated {
    let remote = address(remote);
    Negotiated {
        codec: Codec::Pcmu,
        payload_type: 0,
        clock: 8000,
        fmtp: String::new(),
        dtmf: Dtmf::Rfc4733(101),
        event_clock: 8000,
        formats: vec![(0, Format::Audio(Codec::Pcmu)), (101, Format::Event(8000))],
        remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        rtcp_mux: false,
        ptime_ms: 20,
        direction: Direction::SendRecv,
        crypto: None,
        web: None,
        places: vec![None],
    }
}

fn setup(remote: &str, ssrc: u32) -> Setup {
    Setup {
        negotiated: negotiated(remote),
        ssrc,
        sequence: 65_530,
        timestamp: u32::MAX - 1000,
        cname: "leg@example.com".to_owned(),
        record: true,
        silence_after: None,
    }
}

fn session(remote: &str, now: Instant) -> Session {
    Session::new(setup(remote, 1), now)
}

/// An audio packet of 20 ms from there.
fn packet(n: u16) -> Vec<u8> {
    let header = rtp::Header {
        marker: n == 0,
        payload_type: 0,
        sequence: n,
        timestamp: u32::from(n) * 160,
        ssrc: 0xCAFE,
    };
    [&header.to_bytes()[..], &[0x80; 160]].concat()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// Two sessions and the network between them, in virtual time.
struct Call {
    start: Instant,
    now: Instant,
    here: Session,
    there: Session,
    /// What was recorded at each end.
    here_recorded: Vec<i16>,
    there_recorded: Vec<i16>,
    here_events: Vec<Event>,
    there_events: Vec<Event>,
    /// Packets sent so far in either direction.
    sent: u64,
    random: u32,
    /// RTCP packets: when they arrive, from where.
    in_flight: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
}

impl Call {
    fn new() -> Self {
        Self::with(setup(THERE, 1), setup(HERE, 2))
    }

    fn with(here: Setup, there: Setup) -> Self {
        let now = Instant::now();
        Self {
            start: now,
            now,
            here: Session::new(here, now),
            there: Session::new(there, now),
            here_recorded: vec![],
            there_recorded: vec![],
            here_events: vec![],
            there_events: vec![],
            sent: 0,
            random: 1,
            in_flight: VecDeque::new(),
        }
    }

    /// So many frames over a network that loses one of `lose` packets at random (0: none).
    fn run(&mut self, frames: u32, lose: u32) {
        for _ in 0..frames {
            self.now += FRAME_TIME;
            let mut out = [0; 1500];
            let mut next = self.here.tick(self.now, &mut out);
            while let Some(send) = next {
                assert_eq!(send.to, address(THERE));
                if self.arrives(lose) {
                    self.there.handle_rtp(&out[..send.len], address(HERE), self.now);
                }
                next = self.here.more(&mut out);
            }
            let mut next = self.there.tick(self.now, &mut out);
            while let Some(send) = next {
                assert_eq!(send.to, address(HERE));
                if self.arrives(lose) {
                    self.here.handle_rtp(&out[..send.len], address(THERE), self.now);
                }
                next = self.there.more(&mut out);
            }
            self.report();
            for (session, recorded, happened) in [
                (&mut self.here, &mut self.here_recorded, &mut self.here_events),
                (&mut self.there, &mut self.there_recorded, &mut self.there_events),
            ] {
                recorded.extend_from_slice(session.recorded());
                session.clear_recorded();
                happened.extend(events(session));
            }
        }
    }

    /// RTCP, 40 ms each way.
    fn report(&mut self) {
        let mut out = [0; 1500];
        let ntp = ((self.now - self.start).as_secs_f64() * 4_294_967_296.0) as u64 + (1 << 40);
        let arrival = self.now + RTCP_DELAY;
        if let Some(send) = self.here.poll_rtcp(self.now, ntp, &mut out) {
            self.in_flight.push_back((arrival, address(HERE_RTCP), out[..send.len].to_vec()));
        }
        if let Some(send) = self.there.poll_rtcp(self.now, ntp, &mut out) {
            self.in_flight.push_back((arrival, address(THERE_RTCP), out[..send.len].to_vec()));
        }
        while self.in_flight.front().is_some_and(|(arrival, ..)| *arrival <= self.now) {
            let (_, from, packet) = self.in_flight.pop_front().unwrap();
            let to = if from == address(HERE_RTCP) { &mut self.there } else { &mut self.here };
            to.handle_rtcp(&packet, from, self.now);
        }
    }

    fn arrives(&mut self, lose: u32) -> bool {
        self.sent += 1;
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        lose == 0 || !(self.random >> 16).is_multiple_of(lose)
    }
}

/// One channel of a recording: 0 what was heard, 1 what was sent.
fn channel(recorded: &[i16], channel: usize) -> Vec<i16> {
    recorded.iter().skip(channel).step_by(2).copied().collect()
}
