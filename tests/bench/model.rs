//! A model on loopback that answers at once and notes when it was asked and when it had answered, by the clock of who measures.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hermes_tests::wait;
use serde_json::{Value, json};

/// What stands in every piece that has text.
pub(crate) const MARK: &str = "word ";

/// One call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// Its request was there whole.
    pub(crate) asked: Instant,
    /// Its first piece was written.
    pub(crate) first: Instant,
    /// Its last byte was written.
    pub(crate) done: Instant,
}

/// Runs until the process ends; nothing it holds outlives that.
pub(crate) struct Model {
    address: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Model {
    /// Answers `pong`. Asked for `tokens N PAUSE` it sends N pieces, PAUSE milliseconds apart. Asked for `tool NAME ARGUMENTS` it has the
    /// tool called, and answers when it gets the result.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let model = Self { address: listener.local_addr().unwrap().to_string(), calls: Arc::default() };
        let calls = Arc::clone(&model.calls);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let calls = Arc::clone(&calls);
                std::thread::spawn(move || {
                    // Whoever hangs up has what he wanted.
                    let _ = serve(&stream, &calls);
                });
            }
        });
        model
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The calls since this was asked last, in the order of their ends.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(stream: &TcpStream, calls: &Mutex<Vec<Call>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = BufWriter::new(stream);
    while let Some((head, body)) = request(&mut reader)? {
        let asked = wait::now();
        if head.starts_with("GET ") {
            let list = json!({"object": "list", "data": [{"id": "m", "object": "model", "context_length": 200_000}]}).to_string();
            write!(
                writer,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{list}",
                list.len()
            )?;
            writer.flush()?;
            continue;
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        writer.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        let first = answer(&mut writer, &wish(&body))?;
        calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call { asked, first, done: wait::now() });
    }
    Ok(())
}

/// What the last message is after.
fn wish(body: &Value) -> Vec<String> {
    let last = body["messages"].as_array().and_then(|all| all.last());
    let text =
        last.filter(|message| message["role"] == "user").and_then(|message| message["content"].as_str());
    text.unwrap_or_default().splitn(3, ' ').map(str::to_owned).collect()
}

fn answer(writer: &mut BufWriter<&TcpStream>, wish: &[String]) -> std::io::Result<Instant> {
    let words: Vec<&str> = wish.iter().map(String::as_str).collect();
    let mut first = None;
    let mut piece = |writer: &mut BufWriter<&TcpStream>, delta: Value, end: Option<&str>| {
        let event = json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]});
        chunk(writer, &format!("data: {event}\n\n"))?;
        writer.flush()?;
        first.get_or_insert_with(wait::now);
        std::io::Result::Ok(())
    };
    let end = match words[..] {
        ["tokens", count, pause] => {
            let pause = Duration::from_millis(pause.parse().unwrap_or(0));
            for _ in 0..count.parse().unwrap_or(1) {
                piece(writer, json!({"content": MARK}), None)?;
                if !pause.is_zero() {
                    wait::pass(pause);
                }
            }
            "stop"
        }
        ["tool", name, arguments] => {
            let function = json!({"name": name, "arguments": arguments});
            piece(
                writer,
                json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}),
                None,
            )?;
            "tool_calls"
        }
        _ => {
            piece(writer, json!({"role": "assistant", "content": "pong"}), None)?;
            "stop"
        }
    };
    let usage = r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":1,"total_tokens":101}}"#;
    piece(writer, json!({}), Some(end))?;
    chunk(writer, &format!("data: {usage}\n\ndata: [DONE]\n\n"))?;
    writer.write_all(b"0\r\n\r\n")?;
    writer.flush()?;
    Ok(first.unwrap_or_else(wait::now))
}

fn chunk(writer: &mut impl Write, text: &str) -> std::io::Result<()> {
    write!(writer, "{:x}\r\n{text}\r\n", text.len())
}

fn request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head.get(start..) == Some("\r\n") {
            break;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}
