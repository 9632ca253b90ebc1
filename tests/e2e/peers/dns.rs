//! A name server on loopback that knows one zone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// The running server; ends when dropped.
pub struct Zone {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Zone {
    /// Serves `text`: lines of name, type and data, such as `a.test A 127.0.0.1`,
    /// `_sip._udp.test SRV 10 5 5060 a.test` and `test NAPTR 10 5 SIP+D2U _sip._udp.test`. Records live a minute.
    /// Questions for names under `silent.test` are not answered, those under `broken.test` with SERVFAIL.
    pub fn start(text: &str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the name server");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        let address = socket.local_addr().expect("its address");
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let records: Vec<(String, RData)> = text.lines().filter_map(record).collect();
        let thread = {
            let (asked, stop) = (asked.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                    if let Some(response) = answer(&buffer[..length], &records, &asked) {
                        let _ = socket.send_to(&response, from);
                    }
                }
            })
        };
        Self { address, asked, stop, thread: Some(thread) }
    }

    /// Every question so far: type and name.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked").clone()
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).expect("a domain name")
}

fn record(line: &str) -> Option<(String, RData)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| fields[at].parse::<u16>().expect("a number");
    let data = match *fields.get(1)? {
        "A" | "AAAA" => match fields[2].parse().expect("an address") {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        },
        "SRV" => RData::SRV(SRV::new(number(2), number(3), number(4), name(fields[5]))),
        "NAPTR" => {
            let text = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
            let (flags, services) = (text("s"), text(fields[4]));
            RData::NAPTR(NAPTR::new(number(2), number(3), flags, services, text(""), name(fields[5])))
        }
        other => panic!("no record of type {other}"),
    };
    Some((fields[0].to_owned(), data))
}

fn answer(request: &[u8], records: &[(String, RData)], asked: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).ok()?;
    let query = request.queries.first()?.clone();
    let wanted = query.name().to_ascii().to_ascii_lowercase();
    let wanted = wanted.trim_end_matches('.');
    asked.lock().expect("nobody panicked").push(format!("{} {wanted}", query.query_type()));
    if wanted.ends_with("silent.test") {
        return None;
    }
    let of_name = || records.iter().filter(|(name, _)| name == wanted);
    let mut response = Message::response(request.metadata.id, OpCode::Query);
    response.metadata.recursion_available = true;
    response.add_query(query.clone());
    for (_, data) in of_name().filter(|(_, data)| data.record_type() == query.query_type()) {
        response.add_answer(Record::from_rdata(query.name().clone(), 60, data.clone()));
    }
    if wanted.ends_with("broken.test") {
        response.metadata.response_code = ResponseCode::ServFail;
    } else if response.answers.is_empty() {
        if of_name().next().is_none() {
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        let soa = SOA::new(name("ns.test"), name("admin.test"), 1, 3600, 600, 86_400, 60);
        response.add_authority(Record::from_rdata(name("test"), 60, RData::SOA(soa)));
    }

    response.to_vec().ok()
}
