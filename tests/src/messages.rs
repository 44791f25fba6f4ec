//! A model behind Anthropic's wire, on loopback: it says one sentence, whatever it is asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Longest request that is read, in bytes.
const MAX_BODY: usize = 64 << 20;

/// The model. Its thread ends with the test's process.
pub struct Messages {
    address: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Messages {
    /// Starts it.
    pub fn start(sentence: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    let _ended = serve(&stream, sentence, &seen);
                });
            }
        });
        Self { address, asked }
    }

    /// Its base address.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked: the key, and the request.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, sentence: &str, seen: &Mutex<Vec<(String, Value)>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut request, mut length, mut key) = (String::new(), 0, String::new());
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "x-api-key" => value.trim().clone_into(&mut key),
                _ => {}
            }
        }
        let mut body = vec![0; length.min(MAX_BODY)];
        reader.read_exact(&mut body)?;
        let is_asked = request.starts_with("POST /v1/messages");
        if is_asked {
            seen.lock().unwrap().push((key, serde_json::from_slice(&body).unwrap_or_default()));
        }
        let (status, answer) =
            if is_asked { ("200 OK", events(sentence)) } else { ("404 Not Found", String::new()) };
        write!(
            &mut &*stream,
            "HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

fn events(sentence: &str) -> String {
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 1}});
    let all = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": sentence}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    let one = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    all.iter().map(one).collect()
}
