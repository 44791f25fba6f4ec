//! A provider that speaks the chat-completions wire: SSE, calls of tools, errors, rate limits, cuts and silence; by script, or by what
//! it is asked.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::place::Place;
use crate::serving::{listen, lock};

/// What the provider does with one call.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Streams these pieces, then usage and `[DONE]`.
    Text(Vec<String>),
    /// Streams a thought, and then a text in the same way.
    Thinks(String, String),
    /// Answers with a status, extra header lines and a body.
    Status(u16, Vec<(String, String)>, String),
    /// Streams these pieces, then closes without an end.
    Cut(Vec<String>),
    /// Says nothing until the caller leaves.
    Hang,
    /// Streams calls of tools, each an id, a name and arguments, cut as OpenAI cuts them.
    Calls(Vec<(String, String, String)>),
    /// Begins to stream calls of tools, and says nothing more until the caller leaves.
    Begun(Vec<(String, String, String)>),
    /// Streams these pieces, and says nothing more until the caller leaves.
    Stalled(Vec<String>),
    /// Streams a piece after the other until the caller leaves.
    Endless,
}

/// Decides by the body of a call.
type Answers = Box<dyn Fn(&serde_json::Value) -> Reply + Send>;

impl Reply {
    /// A whole answer in one piece.
    pub fn text(text: &str) -> Self {
        Self::Text(vec![text.to_owned()])
    }

    /// An error as OpenAI phrases them.
    pub fn error(status: u16, message: &str) -> Self {
        Self::Status(
            status,
            Vec::new(),
            serde_json::json!({"error": {"message": message, "type": "x"}}).to_string(),
        )
    }
}

/// One call as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    /// Request head, raw.
    pub head: String,
    /// Request body.
    pub body: serde_json::Value,
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Reply>>,
    calls: Mutex<Vec<Call>>,
    open: AtomicUsize,
    /// Calls whose body holds this are never answered.
    deaf_to: Mutex<Option<String>>,
    /// Answers what no script answers.
    answers: Mutex<Option<Answers>>,
    stop: AtomicBool,
}

/// A running provider on loopback.
pub struct Provider {
    shared: Arc<Shared>,
    address: String,
    accepting: Option<JoinHandle<()>>,
}

impl Provider {
    /// Starts one. Without a script it answers `pong` to everything.
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Starts one that was away.
    pub fn start_at(place: &Place) -> Self {
        Self::on(place.listen())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let is_over: fn(&Shared) -> bool = |shared| shared.stop.load(Ordering::SeqCst);
        let accepting = listen(listener, &shared, is_over, |stream, shared| {
            shared.open.fetch_add(1, Ordering::SeqCst);
            let _ = serve(stream, shared);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
        Self { shared, address, accepting: Some(accepting) }
    }

    /// `model.base_url` for it.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `config.yaml` lines of a profile that uses it for turns and nothing else, with the key taken from `.env`'s `CUSTOM_API_KEY`.
    pub fn model_config(&self) -> String {
        format!("{}auxiliary: {{title_generation: {{enabled: false}}}}\n", self.whole_config())
    }

    /// The same, where it is asked for titles too.
    pub fn whole_config(&self) -> String {
        format!(
            "model: {{default: m, provider: custom, base_url: '{}', api_key: '${{CUSTOM_API_KEY}}'}}\n",
            self.base_url()
        )
    }

    /// Adds replies; one is used a call.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.shared.script).extend(replies);
    }

    /// From now on calls whose body holds `text` get no answer, and cost no reply.
    pub fn never_answer(&self, text: &str) {
        *lock(&self.shared.deaf_to) = Some(text.to_owned());
    }

    /// From now on calls that no script answers are answered by `answers`.
    pub fn answer_with(&self, answers: impl Fn(&serde_json::Value) -> Reply + Send + 'static) {
        *lock(&self.shared.answers) = Some(Box::new(answers));
    }

    /// Drops replies that were not used.
    pub fn script_clear(&self) {
        lock(&self.shared.script).clear();
    }

    /// Calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        // Who starts one in its place afterwards is alone there.
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some((head, body)) = read_request(&mut stream, &mut buffer)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&body).into_owned();
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        lock(&shared.calls).push(Call { head, body: asked.clone() });
        let deaf = lock(&shared.deaf_to).as_ref().is_some_and(|word| text.contains(word.as_str()));
        let reply = if deaf { Some(Reply::Hang) } else { lock(&shared.script).pop_front() };
        let reply = reply.or_else(|| lock(&shared.answers).as_ref().map(|answers| answers(&asked)));
        let reply = reply.unwrap_or_else(|| Reply::text("pong"));
        match reply {
            Reply::Status(code, headers, body) => {
                let extra: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                write!(
                    stream,
                    "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n{body}",
                    body.len()
                )?;
            }
            Reply::Hang => return wait_left(&mut stream),
            Reply::Begun(calls) => {
                stream_pieces(&mut stream, &[])?;
                deltas(&mut stream, calls_in_pieces(&calls).into_iter().take(2))?;
                return wait_left(&mut stream);
            }
            Reply::Stalled(pieces) => {
                stream_pieces(&mut stream, &pieces)?;
                return wait_left(&mut stream);
            }
            Reply::Endless => {
                stream_pieces(&mut stream, &[])?;
                loop {
                    deltas(&mut stream, [serde_json::json!({"content": "on "})])?;
                    crate::wait::pass(Duration::from_millis(20));
                }
            }
            Reply::Text(_) | Reply::Thinks(..) | Reply::Calls(_) => {
                let reason = match &reply {
                    Reply::Calls(calls) => {
                        stream_pieces(&mut stream, &[])?;
                        deltas(&mut stream, calls_in_pieces(calls))?;
                        "tool_calls"
                    }
                    Reply::Text(pieces) => {
                        stream_pieces(&mut stream, pieces)?;
                        "stop"
                    }
                    Reply::Thinks(thought, text) => {
                        stream_pieces(&mut stream, &[])?;
                        let pieces = [("reasoning_content", thought), ("content", text)]
                            .map(|(field, said)| serde_json::json!({ field: said }));
                        deltas(&mut stream, pieces)?;
                        "stop"
                    }
                    _ => unreachable!("only these come here"),
                };
                let done = serde_json::json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
                    "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
                let usage = r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}"#;
                chunk(&mut stream, &format!("data: {done}\n\ndata: {usage}\n\ndata: [DONE]\n\n"))?;
                stream.write_all(b"0\r\n\r\n")?;
            }
            Reply::Cut(pieces) => {
                stream_pieces(&mut stream, &pieces)?;
                return Ok(());
            }
        }
    }
}

/// Waits until the caller leaves.
fn wait_left(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let _ = stream.read(&mut [0]);
    Ok(())
}

fn stream_pieces(stream: &mut TcpStream, pieces: &[String]) -> std::io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    deltas(stream, pieces.iter().map(|piece| serde_json::json!({"role": "assistant", "content": piece})))
}

fn deltas(
    stream: &mut TcpStream,
    deltas: impl IntoIterator<Item = serde_json::Value>,
) -> std::io::Result<()> {
    for delta in deltas {
        let event = serde_json::json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
        chunk(stream, &format!("data: {event}\n\n"))?;
    }
    Ok(())
}

/// Name and id first, the arguments in two halves, as OpenAI streams a call.
fn calls_in_pieces(calls: &[(String, String, String)]) -> Vec<serde_json::Value> {
    let mut pieces = Vec::new();
    for (index, (id, name, arguments)) in calls.iter().enumerate() {
        pieces.push(serde_json::json!({"role": "assistant", "content": null, "tool_calls": [{
            "index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}));
        let (one, two) = arguments.split_at(arguments.len() / 2);
        for half in [one, two] {
            pieces
                .push(serde_json::json!({"tool_calls": [{"index": index, "function": {"arguments": half}}]}));
        }
    }
    pieces
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n{text}\r\n", text.len())?;
    stream.flush()
}

fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut part = [0; 16 * 1024];
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        let n = stream.read(&mut part)?;
        if n == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&part[..n]);
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let length = head
        .lines()
        .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok())
        .unwrap_or(0);
    while buffer.len() < length {
        let n = stream.read(&mut part)?;
        if n == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&part[..n]);
    }
    Ok(Some((head, buffer.drain(..length).collect())))
}
