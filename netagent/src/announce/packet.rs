//! A packet socket that only sends: the one place of this crate with `unsafe`.

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};

use super::frame::Mac;

/// ARP, as an Ethernet type.
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
/// IPv6, as an Ethernet type.
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;

/// An open `AF_PACKET` socket. The kernel writes the Ethernet header (`SOCK_DGRAM`), and since the
/// socket is bound to no protocol, nothing is ever delivered to it.
#[derive(Debug)]
pub(crate) struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens it in the network namespace of the calling thread; needs `CAP_NET_RAW`.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends a payload out of a link to an Ethernet address.
    pub(crate) fn send(
        &self,
        link: u32,
        ethertype: u16,
        to: Mac,
        payload: &[u8],
    ) -> io::Result<()> {
        self.0.send_to(payload, &destination(link, ethertype, to)?).map(drop)
    }
}

#[allow(unsafe_code)]
fn destination(link: u32, ethertype: u16, to: Mac) -> io::Result<SockAddr> {
    let index = i32::try_from(link).map_err(io::Error::other)?;
    // SAFETY: `try_init` hands out zeroed storage, aligned and large enough for every socket
    // address, so a `sockaddr_ll` may be written there; all its bytes, including the two of
    // `sll_addr` left over, are initialised, and `length` is set to its size.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let mut sll_addr = [0; 8];
            sll_addr[..to.len()].copy_from_slice(&to);
            storage.cast::<libc::sockaddr_ll>().write(libc::sockaddr_ll {
                sll_family: libc::AF_PACKET as u16,
                sll_protocol: ethertype.to_be(),
                sll_ifindex: index,
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: to.len() as u8,
                sll_addr,
            });
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    Ok(address)
}
