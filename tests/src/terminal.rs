//! A program on a terminal of its own, as somebody types at it. The terminal is `script`'s (util-linux).

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::{Home, gateway, wait};

/// What runs on the terminal; ended on drop.
pub struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs a shell command line; `hermes` and this home's alias commands are on its PATH, and the environment is this home's alone.
    #[expect(clippy::disallowed_methods, reason = "the harness starts the program under test")]
    pub fn run(home: &Home, line: &str) -> Self {
        let mut command = Command::new("script");
        command.args(["-qfec", line, "/dev/null"]).env_clear().envs(environment(home));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, copy) = (child.stdout.take().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                copy.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        Self { keys: child.stdin.take(), child, screen }
    }

    /// Types.
    pub fn keys(&mut self, text: &str) {
        let keys = self.keys.as_mut().unwrap();
        keys.write_all(text.as_bytes()).unwrap();
        keys.flush().unwrap();
    }

    /// Everything printed so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until `text` was printed `times` times.
    pub fn wait_for(&self, text: &str, times: usize) {
        wait::until_true(&format!("{text:?} on the terminal"), || {
            self.screen().matches(text).count() >= times
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of its input ends `script`, and with it the terminal.
        drop(self.keys.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a terminal where its cursor is.
const WHERE: &[u8] = b"\x1b[6n";

/// What is to be seen on a terminal that obeys: a program that draws, at some size.
pub struct Screen {
    terminal: Terminal,
    seen: usize,
    parser: vt100::Parser,
    place: tempfile::NamedTempFile,
}

impl Screen {
    /// Runs a shell command line on a screen of that size.
    pub fn run(home: &Home, line: &str, columns: u16, rows: u16) -> Self {
        let place = tempfile::NamedTempFile::new().unwrap();
        let path = place.path().display();
        let line =
            format!("tty >{path}; stty rows {rows} cols {columns}; TERM=xterm-256color; export TERM; {line}");
        Self {
            terminal: Terminal::run(home, &line),
            seen: 0,
            parser: vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0),
            place,
        }
    }

    /// Types.
    pub fn keys(&mut self, text: &str) {
        self.terminal.keys(text);
    }

    /// Another size, as when somebody pulls at the window.
    #[expect(clippy::disallowed_methods, reason = "the harness changes what the program under test runs on")]
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let terminal = fs_err::read_to_string(self.place.path()).unwrap();
        let (rows_, columns_) = (rows.to_string(), columns.to_string());
        let sized =
            Command::new("stty").args(["-F", terminal.trim(), "rows", &rows_, "cols", &columns_]).status();
        assert!(sized.unwrap().success());
        self.parser.screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
    }

    /// What is seen now. Whoever asks the terminal where its cursor is hears it.
    pub fn screen(&mut self) -> String {
        let new = self.terminal.screen.lock().unwrap()[self.seen..].to_vec();
        let mut rest = &new[..];
        while let Some(at) = rest.windows(WHERE.len()).position(|bytes| bytes == WHERE) {
            let (before, behind) = rest.split_at(at + WHERE.len());
            self.parser.process(before);
            self.seen += before.len();
            rest = behind;
            let (row, column) = self.parser.screen().cursor_position();
            self.terminal.keys(&format!("\x1b[{};{}R", row + 1, column + 1));
        }
        // The end may be the beginning of that question.
        let kept = rest.iter().rposition(|byte| *byte == b'\x1b').filter(|at| rest.len() - at < WHERE.len());
        let whole = &rest[..kept.unwrap_or(rest.len())];
        self.parser.process(whole);
        self.seen += whole.len();
        self.parser.screen().contents()
    }

    /// The same with everything that was printed and is not seen any more: no control code is in it but those that were printed.
    pub fn printed(&self) -> String {
        self.terminal.screen()
    }

    /// Waits until `text` is seen.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    /// Waits until what is seen is as it should be.
    pub fn wait_until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) {
        let deadline = wait::now() + wait::PATIENCE;
        while !is_so(&self.screen()) {
            assert!(wait::now() < deadline, "waited in vain for {what:?} on:\n{}", self.screen());
            wait::pass(std::time::Duration::from_millis(20));
        }
    }

    /// Keeps what is seen as `target/artefacts/NAME.txt`.
    pub fn keep(&mut self, name: &str) {
        let text = self.screen();
        fs_err::write(crate::tools::artefacts().join(format!("{name}.txt")), text).unwrap();
    }
}

/// The environment of a shell that somebody uses with this home.
pub fn environment(home: &Home) -> Vec<(&'static str, String)> {
    let program = gateway::binary();
    let directory = program.parent().unwrap().to_str().unwrap();
    vec![
        ("PATH", format!("{directory}:{}/.local/bin:/usr/local/bin:/usr/bin:/bin", home.user())),
        ("HOME", home.user().to_string()),
        ("HERMES_HOME", home.root().to_string()),
        ("XDG_RUNTIME_DIR", home.runtime().to_string()),
        ("TERM", "dumb".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PS1", "$ ".to_owned()),
    ]
}
