//! Whether the provider answers: what the last calls came to, for everybody who looks.
//!
//! A failure that is the provider's is kept until a call succeeds, with its class, its time and how many there were in a row. The log
//! gets one line when the kind changes and one when it is over, however many calls fail. A turn's own failure (a request that was
//! refused for what it says) tells nothing about the provider and changes nothing.

use std::sync::Arc;

use hermes_wire::latest::LastError;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Fault;
use crate::engine::{Engine, EngineError, EngineFuture, EventSink, ModelId, Prompt};
use crate::status;

/// What is known of the provider. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<watch::Sender<Option<LastError>>>);

impl Health {
    /// Nothing failed yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// The last failure, unless a call succeeded since, and every change of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<LastError>> {
        self.0.subscribe()
    }

    /// A call failed. `message` holds no secret.
    pub(crate) fn failed(&self, provider: &str, fault: Fault, code: Option<u16>, message: &str) {
        let at = status::now();
        let mut is_new = false;
        let mut count = 0;
        self.0.send_modify(|last| {
            let before = last.take();
            is_new = before.as_ref().is_none_or(|b| (b.class.as_str(), b.code) != (fault.code(), code));
            count = before.as_ref().map_or(0, |before| before.count).saturating_add(1);
            *last = Some(LastError {
                provider: provider.to_owned(),
                class: fault.code().to_owned(),
                code,
                message: message.to_owned(),
                since: before.map_or_else(|| at.clone(), |before| before.since),
                at,
                count,
            });
        });
        if is_new {
            warn!(provider, class = fault.code(), code, count, "the provider gives no answer: {message}");
        }
    }

    /// A call succeeded.
    fn answered(&self) {
        let mut over = None;
        self.0.send_if_modified(|last| {
            over = last.take();
            over.is_some()
        });
        if let Some(LastError { provider, count, since, .. }) = over {
            info!(provider, failures = count, since, "the provider answers again");
        }
    }
}

/// An engine whose calls are watched.
pub(crate) struct Watched {
    engine: Arc<dyn Engine>,
    health: Health,
}

impl Watched {
    pub(crate) fn new(engine: Arc<dyn Engine>, health: Health) -> Self {
        Self { engine, health }
    }
}

impl Engine for Watched {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn model(&self) -> ModelId {
        self.engine.model()
    }

    fn takes_options(&self) -> bool {
        self.engine.takes_options()
    }

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a> {
        Box::pin(async move {
            let provider = self.engine.model().provider;
            let mut call = Call {
                health: &self.health,
                provider: &provider,
                cancel: cancel.clone(),
                begun: Instant::now(),
                open: true,
            };
            let result = self.engine.run(prompt, events, cancel).await;
            call.open = false;
            match &result {
                Ok(_) => self.health.answered(),
                Err(EngineError::Provider { fault, status, message, .. }) if fault.is_providers() => {
                    self.health.failed(&provider, *fault, *status, message);
                }
                // What the files say is a problem of the report already.
                Err(_) => {}
            }
            result
        })
    }
}

/// A call that was given up for its silence has no result: its future is dropped.
struct Call<'a> {
    health: &'a Health,
    provider: &'a str,
    cancel: CancellationToken,
    begun: Instant,
    open: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.open && !self.cancel.is_cancelled() && !std::thread::panicking() {
            let message =
                format!("it said nothing and was given up after {} s", self.begun.elapsed().as_secs());
            self.health.failed(self.provider, Fault::Unreachable, None, &message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::mpsc;

    use super::*;
    use crate::engine::Outcome;

    /// Answers as told; `None` hangs.
    struct Script(Mutex<Vec<Option<Result<Outcome, EngineError>>>>);

    impl Engine for Script {
        fn name(&self) -> &'static str {
            "script"
        }

        fn model(&self) -> ModelId {
            ModelId { model: "m".to_owned(), provider: "p".to_owned() }
        }

        fn run<'a>(&'a self, _: &'a Prompt, _: EventSink, _: CancellationToken) -> EngineFuture<'a> {
            let next = self.0.lock().unwrap().remove(0);
            Box::pin(async move {
                match next {
                    Some(result) => result,
                    None => std::future::pending().await,
                }
            })
        }
    }

    fn failure(fault: Fault, status: Option<u16>) -> Result<Outcome, EngineError> {
        let message = format!("{fault:?}");
        Err(EngineError::Provider { fault, status, retry_after: None, is_final: false, message, calls: 1 })
    }

    /// 1: failures in a row are counted under the latest, a turn's own are none, and one success ends it.
    #[tokio::test(start_paused = true)]
    async fn c1_failures_add_up_until_a_call_succeeds() {
        let script = vec![
            Some(failure(Fault::Request, Some(400))),
            Some(failure(Fault::Unreachable, None)),
            Some(failure(Fault::Unreachable, None)),
            Some(failure(Fault::Request, Some(400))),
            Some(failure(Fault::Key, Some(401))),
            Some(Err(EngineError::Interrupted)),
            None,
            Some(Ok(Outcome::default())),
        ];
        let health = Health::new();
        let watched = Watched::new(Arc::new(Script(Mutex::new(script))), health.clone());
        let prompt = Prompt::default();
        let call = async || {
            let (events, _pieces) = mpsc::channel(1);
            let call = watched.run(&prompt, events.into(), CancellationToken::new());
            let _ = tokio::time::timeout(std::time::Duration::from_secs(5), call).await;
            health.subscribe().borrow().clone().map(|last| (last.class, last.code, last.count))
        };
        let is = |class: &str, code, count| Some((class.to_owned(), code, count));
        assert_eq!(call().await, None);
        assert_eq!(call().await, is("unreachable", None, 1));
        assert_eq!(call().await, is("unreachable", None, 2));
        assert_eq!(call().await, is("unreachable", None, 2));
        assert_eq!(call().await, is("unauthorized", Some(401), 3));
        assert_eq!(call().await, is("unauthorized", Some(401), 3));
        assert_eq!(call().await, is("unreachable", None, 4), "given up for its silence");
        assert_eq!(call().await, None);
    }
}
