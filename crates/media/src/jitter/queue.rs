//! Packets that wait for their time.

use std::collections::VecDeque;

use crate::Codec;

/// The most packets that wait: 640 ms of the shortest.
const MAX_PACKETS: usize = 64;

/// Buffers of packets long gone that are kept for the next.
const SPARE: usize = 8;

/// An audio packet.
pub(crate) struct Packet {
    pub(super) codec: Codec,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) payload: Vec<u8>,
    /// What it decodes to.
    pub(super) samples: usize,
}

/// Packets by timestamp. Their buffers are used again, so that a steady stream allocates nothing.
#[derive(Default)]
pub(super) struct Queue {
    packets: VecDeque<Packet>,
    spare: Vec<Vec<u8>>,
}

impl Queue {
    /// Puts a packet in its place; one whose timestamp is there already, or that finds no room, is left out.
    pub(super) fn insert(
        &mut self,
        codec: Codec,
        sequence: u16,
        timestamp: u32,
        samples: usize,
        payload: &[u8],
    ) {
        let place = self
            .packets
            .iter()
            .rposition(|packet| timestamp.wrapping_sub(packet.timestamp) as i32 >= 0)
            .map_or(0, |before| before + 1);
        let before = place.checked_sub(1).and_then(|before| self.packets.get(before));
        if before.is_some_and(|packet| packet.timestamp == timestamp) || self.packets.len() == MAX_PACKETS {
            return;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(payload);
        self.packets.insert(place, Packet { codec, sequence, timestamp, payload: buffer, samples });
    }

    pub(super) fn first(&self) -> Option<&Packet> {
        self.packets.front()
    }

    pub(super) fn pop(&mut self) -> Option<Packet> {
        self.packets.pop_front()
    }

    /// Takes a packet's buffer back.
    pub(super) fn put_back(&mut self, packet: Packet) {
        if self.spare.len() < SPARE {
            let mut buffer = packet.payload;
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    pub(super) fn clear(&mut self) {
        while let Some(packet) = self.pop() {
            self.put_back(packet);
        }
    }
}
