//! Work that blocks, on threads that exist from the start.
//!
//! Later there may be no thread to be had, when the machine or a limit is exhausted; whoever asks then would get a panic or no
//! answer. So the pool of the runtime, which name resolution and files of libraries use as well, is filled once, by [`build`]:
//! its threads never end and no others are made. What waits for them is bounded, and [`run`] gives an answer or says that there
//! is none.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

/// Work that may wait or run at the same time; more is refused. Where a file system hangs, it would pile up for ever.
const PLACES: usize = 256;
/// Deep enough for parsing and name resolution; pages that are never touched cost nothing.
const STACK: usize = 512 * 1024;
/// Time the threads have to come up.
const PATIENCE: Duration = Duration::from_secs(10);
/// For ever, in a number that timers can add.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

static FREE: Semaphore = Semaphore::const_new(PLACES);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Too much waits already.
    #[error("too much work waits for the file system")]
    Busy,
    /// It panicked, or the process is ending.
    #[error("the work was given up")]
    Failed,
}

/// Builds a runtime of one thread with everything enabled and `threads` more for work that blocks, all running.
pub fn build(threads: usize) -> io::Result<Runtime> {
    // The runtime panics where it cannot make its first one; this asks beforehand.
    let probe = std::thread::Builder::new().stack_size(STACK).spawn(|| {})?;
    let _ = probe.join();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(threads)
        .thread_stack_size(STACK)
        .thread_keep_alive(FOR_EVER)
        .thread_name("blocking")
        .build()?;
    // Each waits until all are there, so no two pieces of work share a thread.
    let here = Arc::new((Mutex::new(0_usize), Condvar::new()));
    for _ in 0..threads {
        let here = Arc::clone(&here);
        #[expect(clippy::disallowed_methods, reason = "fills the pool that `run` uses")]
        runtime.spawn_blocking(move || {
            *here.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            here.1.notify_all();
            wait(&here, threads)
        });
    }
    if wait(&here, threads) {
        return Ok(runtime);
    }
    runtime.shutdown_background();
    Err(io::Error::new(io::ErrorKind::WouldBlock, "the threads for work that blocks cannot be made"))
}

/// Waits until that many have come.
fn wait(here: &(Mutex<usize>, Condvar), threads: usize) -> bool {
    let count = here.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = here.1.wait_timeout_while(count, PATIENCE, |count| *count < threads);
    let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
    *count >= threads
}

/// Does `work` on one of the threads and returns its result. Cancelling the caller does not cancel the work, which keeps its
/// place until it is done.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that does; the pool is full and its queue bounded"
)]
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    let place = FREE.try_acquire().map_err(|_| Lost::Busy)?;
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.map_err(|_| Lost::Failed)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// 27: the answer comes, a panic is an error and costs no thread, and beyond the bound there is a refusal instead of a queue.
    #[test]
    fn every_piece_of_work_is_answered_or_refused() {
        let runtime = build(2).unwrap();
        runtime.block_on(async {
            for _ in 0..8 {
                let lost = run(|| panic!("as meant by this test")).await;
                assert!(matches!(lost, Err::<(), _>(Lost::Failed)));
            }
            assert_eq!(run(|| 7).await.unwrap(), 7);
            let (release, held) = mpsc::channel::<()>();
            let held = Arc::new(Mutex::new(held));
            let work = || {
                let held = Arc::clone(&held);
                Box::pin(run(move || held.lock().unwrap().recv().is_err()))
            };
            let mut waiting: Vec<_> = (0..PLACES).map(|_| work()).collect();
            for one in &mut waiting {
                let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx))).await;
                assert!(polled.is_pending());
            }
            assert!(matches!(work().await, Err(Lost::Busy)));
            drop(release);
            for one in waiting {
                assert!(one.await.unwrap());
            }
            assert!(work().await.unwrap(), "the places are free again");
        });
    }
}
