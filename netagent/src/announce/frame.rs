//! The two messages that tell a network where an address lives now, as bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The two ways in which ARP can be told unasked; some devices hear the one, some the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpKind {
    /// An ARP announcement (RFC 5227 section 3).
    Request,
    /// A gratuitous reply (RFC 2002 section 4.6).
    Reply,
}

/// Where every host of a link hears ARP.
pub const BROADCAST: Mac = [0xff; 6];

/// The Ethernet address of ff02::1, the group of all nodes (RFC 2464 section 7).
pub const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];

const ARP_BYTES: usize = 28;
const IPV6_HEADER_BYTES: usize = 40;
const NA_BYTES: usize = 32;
const NEXT_HEADER_ICMPV6: u8 = 58;
/// Neighbours drop the message unless it says 255: proof that no router forwarded it
/// (RFC 4861 section 7.1.2).
const HOP_LIMIT: u8 = 255;

/// The ARP message that says "`address` is at `mac`" (RFC 826).
pub fn arp(kind: ArpKind, mac: Mac, address: Ipv4Addr) -> [u8; ARP_BYTES] {
    let mut frame = [0; ARP_BYTES];
    frame[..6].copy_from_slice(&[0, 1, 0x08, 0, 6, 4]);
    frame[7] = match kind {
        ArpKind::Request => 1,
        ArpKind::Reply => 2,
    };
    frame[8..14].copy_from_slice(&mac);
    frame[14..18].copy_from_slice(&address.octets());
    if kind == ArpKind::Reply {
        // Linux takes a reply for gratuitous only if its two hardware addresses are the same.
        frame[18..24].copy_from_slice(&mac);
    }
    frame[24..].copy_from_slice(&address.octets());
    frame
}

/// The IPv6 packet with an unsolicited neighbour advertisement that overrides what the neighbours
/// remember (RFC 4861 sections 4.4 and 7.2.6).
pub fn neighbour_advertisement(mac: Mac, address: Ipv6Addr) -> [u8; IPV6_HEADER_BYTES + NA_BYTES] {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut packet = [0; IPV6_HEADER_BYTES + NA_BYTES];
    packet[0] = 6 << 4;
    packet[5] = NA_BYTES as u8;
    packet[6] = NEXT_HEADER_ICMPV6;
    packet[7] = HOP_LIMIT;
    packet[8..24].copy_from_slice(&address.octets());
    packet[24..40].copy_from_slice(&all_nodes.octets());
    packet[40] = 136;
    packet[44] = 0x20; // Override; neither a router's nor an answer.
    packet[48..64].copy_from_slice(&address.octets());
    packet[64] = 2; // Option: target link-layer address, in units of 8 bytes.
    packet[65] = 1;
    packet[66..72].copy_from_slice(&mac);
    let sum = checksum(&packet);
    packet[42..44].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The ICMPv6 checksum of a packet whose checksum field is zero (RFC 8200 section 8.1).
fn checksum(packet: &[u8; IPV6_HEADER_BYTES + NA_BYTES]) -> u16 {
    let mut sum = NA_BYTES as u32 + u32::from(NEXT_HEADER_ICMPV6);
    for pair in packet[8..].chunks_exact(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0, 0, 0x01];

    #[test]
    fn an_announcement_has_these_bytes() {
        let frame = arp(ArpKind::Request, MAC, Ipv4Addr::new(10, 0, 0, 5));
        let expected =
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 5, 0, 0, 0, 0, 0, 0, 10, 0, 0, 5];
        assert_eq!(frame, expected);
    }

    #[test]
    fn a_gratuitous_reply_repeats_the_sender() {
        let frame = arp(ArpKind::Reply, MAC, Ipv4Addr::new(10, 0, 0, 5));
        assert_eq!(frame[7], 2);
        assert_eq!(frame[18..24], MAC);
        assert_eq!(frame[14..18], frame[24..28]);
    }

    #[test]
    fn an_advertisement_has_these_bytes() {
        let packet = neighbour_advertisement(MAC, "fd00::5".parse().unwrap());
        let header = [0x60, 0, 0, 0, 0, 32, 58, 255];
        assert_eq!(packet[..8], header);
        assert_eq!(packet[40..48], [136, 0, packet[42], packet[43], 0x20, 0, 0, 0]);
        assert_eq!(packet[64..], [2, 1, 2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn the_checksum_makes_the_whole_sum_to_ones() {
        let packet = neighbour_advertisement([0xfe, 1, 2, 3, 4, 5], "fd00::beef".parse().unwrap());
        // Over a packet that carries its checksum, the complement of the sum is zero.
        assert_eq!(checksum(&packet), 0);
    }
}
