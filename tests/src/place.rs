//! An address on loopback that stays one's own while nobody listens there: a service that is away, and comes back to where it was.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A place for one service. Who connects while nobody [listens](Self::listen) is refused.
pub struct Place {
    /// Holds the port; nobody else's is given it.
    kept: Socket,
}

impl Place {
    /// A free one.
    #[expect(clippy::new_without_default, reason = "it takes something of the machine")]
    pub fn new() -> Self {
        Self { kept: bound((Ipv4Addr::LOCALHOST, 0).into()) }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.kept.local_addr().unwrap().as_socket().unwrap()
    }

    /// Somebody serves here, until the listener is dropped.
    pub fn listen(&self) -> TcpListener {
        let socket = bound(self.address());
        socket.listen(128).unwrap();
        socket.into()
    }
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Both of one place; connections of the one that was there before do not count.
    socket.set_reuse_port(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_place_refuses_while_nobody_listens_and_stays_where_it_is() {
        let place = Place::new();
        for _ in 0..2 {
            assert!(TcpStream::connect(place.address()).is_err());
            let listener = place.listen();
            assert_eq!(listener.local_addr().unwrap(), place.address());
            TcpStream::connect(place.address()).unwrap();
            listener.accept().unwrap();
        }
    }
}
