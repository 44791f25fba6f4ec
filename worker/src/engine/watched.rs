//! An engine whose turns say how its provider is.

use std::sync::Arc;

use hermes_config::Task;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Choice, Chore, Closing, Engine, EngineError, EngineFuture, EventSink, Journal, ModelId, Prompt};
use crate::provider::Fault;
use crate::provider::health::Health;

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

    fn model_of(&self, choice: Option<&Choice>) -> ModelId {
        self.engine.model_of(choice)
    }

    fn takes_options(&self) -> bool {
        self.engine.takes_options()
    }

    fn has_tools(&self) -> bool {
        self.engine.has_tools()
    }

    fn does(&self, task: Task) -> bool {
        self.engine.does(task)
    }

    /// What a job comes to says nothing about turns: somebody else may do it.
    fn assist(&self, chore: Chore) -> EngineFuture<'_> {
        self.engine.assist(chore)
    }

    fn is_steered(&self) -> bool {
        self.engine.is_steered()
    }

    fn close(&self) -> Closing<'_> {
        self.engine.close()
    }

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        journal: &'a dyn Journal,
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
            let result = self.engine.run(prompt, journal, events, cancel).await;
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
    use crate::engine::{Outcome, Unrecorded};

    /// Answers as told; `None` hangs.
    struct Script(Mutex<Vec<Option<Result<Outcome, EngineError>>>>);

    impl Engine for Script {
        fn name(&self) -> &'static str {
            "script"
        }

        fn model(&self) -> ModelId {
            ModelId { model: "m".to_owned(), provider: "p".to_owned() }
        }

        fn run<'a>(
            &'a self,
            _: &'a Prompt,
            _: &'a dyn Journal,
            _: EventSink,
            _: CancellationToken,
        ) -> EngineFuture<'a> {
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
            let call = watched.run(&prompt, &Unrecorded, events.into(), CancellationToken::new());
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
