//! A real browser without a window, driven over its debugging pipe: one page, looked at as somebody would.
//!
//! The browser is Debian's Chromium. It talks over two named pipes, each message a JSON text that ends with a zero byte.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use fs_err::File;
use serde_json::{Value, json};

use crate::tools::artefacts;
use crate::wait;

/// The browser, with one page; ended on drop.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    count: u64,
    session: Option<String>,
    /// What the page said on its console, and what its policy forbade.
    pub complaints: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Browser {
    /// Starts it, with an empty page.
    #[expect(clippy::disallowed_methods, reason = "the harness starts the programs under test")]
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("browser").tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for pipe in ["in", "out"] {
            nix::unistd::mkfifo(&path(pipe), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let line = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions \
            --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars --lang=en \
            --host-resolver-rules='MAP * ~NOTFOUND , EXCLUDE 127.0.0.1' --user-data-dir=\"$PLACE/profile\" \
            --remote-debugging-pipe about:blank 3<\"$PLACE/in\" 4>\"$PLACE/out\"";
        let child = Command::new("sh")
            .args(["-c", line])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", directory.path())
            .env("PLACE", directory.path())
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = fs_err::OpenOptions::new().write(true).open(path("in")).unwrap();
        let from = BufReader::new(File::open(path("out")).unwrap());
        let mut browser =
            Self { child, to, from, count: 0, session: None, complaints: Vec::new(), _directory: directory };
        let target = browser.ask("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", &attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.ask(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// One command of the protocol, and its result.
    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.count += 1;
        let mut message = json!({"id": self.count, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let mut answer = Vec::new();
            assert!(self.from.read_until(0, &mut answer).unwrap() > 0, "the browser has ended");
            answer.pop();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.count {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            let said = &answer["params"];
            match answer["method"].as_str() {
                Some("Log.entryAdded") if said["entry"]["level"] == "error" => {
                    self.complaints.push(said["entry"]["text"].as_str().unwrap_or_default().to_owned());
                }
                Some("Runtime.exceptionThrown") => self.complaints.push(said.to_string()),
                Some("Runtime.consoleAPICalled") => self.complaints.push(said["args"].to_string()),
                _ => {}
            }
        }
    }

    /// A screen of that size, in dark or in light.
    pub fn screen(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", &features);
    }

    /// Goes to an address.
    pub fn open(&mut self, url: &str) {
        self.ask("Page.navigate", &json!({"url": url}));
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.ask("Runtime.evaluate", &asked);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        // Before the page is there nothing has any value.
        let asked = format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        wait::until_true(expression, || self.value(&asked) == true);
    }

    /// What a screen reader has: role and name of everything that it does not pass over.
    pub fn read_aloud(&mut self) -> Vec<(String, String)> {
        let tree = self.ask("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] != true);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }

    /// Keeps what is seen as `target/artefacts/NAME.png`.
    pub fn keep(&mut self, name: &str) {
        let shot = self.ask("Page.captureScreenshot", &json!({"format": "png"}));
        let bytes = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        fs_err::write(artefacts().join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends its own processes when it is told to, and they end with it when it is killed.
        let close = serde_json::to_vec(&json!({"id": 0, "method": "Browser.close"})).unwrap();
        let _ = self.to.write_all(&[close.as_slice(), &[0]].concat());
        let deadline = wait::now() + std::time::Duration::from_secs(10);
        while self.child.try_wait().ok().flatten().is_none() && wait::now() < deadline {
            wait::pass(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
