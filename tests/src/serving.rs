//! What stand-ins of services have in common: a thread for each connection, and a state that they share.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A state, also where a thread failed that had it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has every connection served by a thread of its own, until `is_over` says so when somebody connects. The thread that accepts.
pub(crate) fn listen<S: Send + Sync + 'static, R>(
    listener: TcpListener,
    shared: &Arc<S>,
    is_over: fn(&S) -> bool,
    serve: impl Fn(TcpStream, &Arc<S>) -> R + Clone + Send + 'static,
) -> JoinHandle<()> {
    let accepting = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if is_over(&accepting) {
                return;
            }
            let (shared, serve) = (Arc::clone(&accepting), serve.clone());
            if let Ok(stream) = stream {
                // Who is cut off leaves an error.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        }
    })
}
