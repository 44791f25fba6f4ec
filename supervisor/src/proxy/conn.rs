//! One client connection.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::listener::Gate;
use super::thread::{Counted, Local};

/// Serves the connection until it ends.
pub(super) async fn serve(local: Rc<Local>, _stream: TcpStream, gate: Arc<Gate>, _peer: IpAddr, _counted: Counted) {
    let _in_flight = local.enter();
    local.with_table(|_| gate.families());
}

/// Answers "too many connections" without waiting for a request.
pub(super) fn refuse(stream: &TcpStream, _peer: IpAddr) {
    let _ = stream.try_write(b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n");
}
