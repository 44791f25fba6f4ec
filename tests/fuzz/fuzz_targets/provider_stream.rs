//! 18: what a provider streams on any wire: any bytes, in any pieces, give an answer or a failure; the pieces do not matter, what was heard is
//! what is kept, and a key is shown to nobody.
#![no_main]
#![expect(dead_code, reason = "modules of another crate, of which a part is called")]

use libfuzzer_sys::fuzz_target;

// The modules alone: the rest of their crate takes many minutes to build with the sanitizer.
#[path = "../../../worker/src/engine/native/answer.rs"]
mod answer;
#[path = "../../../worker/src/engine/call.rs"]
mod call;
#[path = "../../../worker/src/engine/native/calls.rs"]
mod calls;
#[path = "../../../worker/src/engine/native/chat.rs"]
mod chat;
#[path = "../../../worker/src/provider/fault.rs"]
mod fault;
#[path = "../../../worker/src/engine/native/finish.rs"]
mod finish;
#[path = "../../../worker/src/engine/native/lenient.rs"]
mod lenient;
#[path = "../../../worker/src/engine/native/messages/read.rs"]
mod messages_read;
#[path = "../../../worker/src/engine/native/numbers.rs"]
mod numbers;
#[path = "../../../worker/src/engine/native/reader.rs"]
mod reader;
#[path = "../../../worker/src/engine/native/responses/read.rs"]
mod responses_read;
#[path = "../../../worker/src/engine/native/retry.rs"]
mod retry;
#[path = "../../../worker/src/provider/said.rs"]
mod said;
#[path = "../../../worker/src/engine/native/shape.rs"]
mod shape;
#[path = "../../../worker/src/engine/native/sse.rs"]
mod sse;
#[path = "../../../worker/src/engine/native/think.rs"]
mod think;

use fault::Fault;
use hermes_wire::providers::Wire;

mod messages {
    pub(crate) use crate::messages_read::Reader;
}

mod responses {
    pub(crate) use crate::responses_read::Reader;
}

mod client {
    pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
        error.to_string()
    }
}

mod provider {
    pub(crate) use crate::fault::Fault;
    pub(crate) use crate::{fault, said};

    /// What is used of an endpoint, for requests.
    pub(crate) struct Endpoint {
        pub(crate) provider: String,
        pub(crate) model: String,
        pub(crate) max_tokens: Option<u64>,
        pub(crate) extra_body: serde_json::Map<String, serde_json::Value>,
        pub(crate) wire: hermes_wire::providers::Wire,
        pub(crate) caches_an_hour: bool,
    }

    impl Endpoint {
        pub(crate) fn is_openai(&self) -> bool {
            false
        }

        pub(crate) fn takes_marks(&self) -> bool {
            true
        }
    }
}

/// What came of a body that arrives in these pieces: the text or the failure.
async fn read(wire: Wire, pieces: Vec<bytes::Bytes>) -> Result<String, String> {
    let (sink, mut events) = tokio::sync::mpsc::channel(1);
    let mut answer = answer::Answer::new(wire, true);
    let stream = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>));
    let reading = async {
        let mut audience = chat::Audience::new(engine::EventSink(sink));
        answer.read(stream, &mut audience).await
    };
    let listening = async {
        let (mut heard, mut thought) = (String::new(), String::new());
        while let Some(event) = events.recv().await {
            match event {
                engine::Event::Delta(text) => heard.push_str(&text),
                engine::Event::Thought(text) => thought.push_str(&text),
                engine::Event::Retrying { .. } => {}
            }
        }
        (heard, thought)
    };
    let (result, (heard, thought)) = tokio::join!(reading, listening);
    assert_eq!(
        (heard.as_str(), thought.as_str()),
        (answer.text.as_str(), answer.reasoning.as_str()),
        "what was heard is what is kept"
    );
    result.map(|()| answer.text).map_err(|failure| failure.message)
}

mod engine {
    pub(crate) use crate::call::call_kind;

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Message {
        pub(crate) role: Role,
        pub(crate) content: serde_json::Value,
        pub(crate) tool_calls: Vec<serde_json::Value>,
        pub(crate) tool_call_id: Option<String>,
        pub(crate) name: Option<String>,
        pub(crate) reasoning: Option<String>,
    }

    pub(crate) type Options = serde_json::Map<String, serde_json::Value>;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Role {
        User,
        Assistant,
        Tool,
    }

    pub(crate) mod steps {
        use super::{Message, Options};

        pub(crate) struct Ask<'a> {
            pub(crate) system: &'a str,
            pub(crate) messages: &'a [Message],
            pub(crate) options: &'a Options,
            pub(crate) tools: &'a [serde_json::Value],
        }
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) enum Event {
        Delta(String),
        Thought(String),
        Retrying { attempt: u32, reason: String },
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(crate) struct Usage {
        pub(crate) input_tokens: u64,
        pub(crate) output_tokens: u64,
        pub(crate) cache_read_tokens: u64,
        pub(crate) cache_write_tokens: u64,
        pub(crate) reasoning_tokens: u64,
    }

    /// Somebody listens.
    pub(crate) struct EventSink(pub(crate) tokio::sync::mpsc::Sender<Event>);

    impl EventSink {
        pub(crate) async fn send(
            &self,
            event: Event,
        ) -> Result<(), tokio::sync::mpsc::error::SendError<Event>> {
            self.0.send(event).await
        }

        pub(crate) fn is_heard(&self) -> bool {
            true
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, data)) = data.split_first() else { return };
    let wire = [Wire::Chat, Wire::Messages, Wire::Responses][usize::from(size) % 3];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let whole = vec![bytes::Bytes::copy_from_slice(data)];
    let pieces = data.chunks(usize::from(size).max(1)).map(bytes::Bytes::copy_from_slice).collect();
    let whole = runtime.block_on(read(wire, whole));
    let pieces = runtime.block_on(read(wire, pieces));
    assert_eq!(whole, pieces, "the pieces do not matter");
    if let Err(message) = whole {
        assert!(!message.is_empty());
    }
    let header = String::from_utf8_lossy(data);
    let key = "own-key-8d1f2a3b4c5d";
    assert!(!hermes_config::redact::prose(&format!("{header} {key} {header}"), &[key]).contains(key));
    if let Ok(value) = http::HeaderValue::from_bytes(data) {
        let names = ["retry-after", "retry-after-ms", "x-should-retry"].map(http::HeaderName::from_static);
        let headers = names.into_iter().map(|name| (name, value.clone())).collect();
        let now = "2026-11-21T10:00:00Z".parse().expect("a time");
        let asked = retry::asked(&headers, now);
        assert!(!retry::when(asked.wait.unwrap_or_default(), now).is_empty());
    }
});
