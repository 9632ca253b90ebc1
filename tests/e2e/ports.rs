//! Ports of this machine, handed out so that tests that run side by side never meet.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Mutex;

/// Below the range from which Linux takes the ports of outgoing sockets (32768 and up).
const POOL: RangeInclusive<u16> = 10_000..=32_000;

static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// `count` ports in a row, the first one even, each free for UDP and TCP on loopback right now.
pub fn take(count: u16) -> u16 {
    let mut next = NEXT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Another run of these tests on the same machine begins elsewhere.
    let mut first = next.unwrap_or_else(|| 10_000 + (std::process::id() % 200) as u16 * 50);
    for _ in 0..10_000 {
        if *POOL.end() - count < first {
            first = *POOL.start();
        }
        let range = first..first + count;
        match range.clone().rev().find(|port| !is_free(*port)) {
            None => {
                *next = Some(range.end.next_multiple_of(2));
                return first;
            }
            Some(taken) => first = (taken + 1).next_multiple_of(2),
        }
    }
    panic!("no {count} free ports in a row in {POOL:?}");
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
