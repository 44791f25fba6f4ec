//! Commands of somebody who sits at a terminal.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};

use hermes_tests::Home;
use hermes_tests::gateway::hermes;
use nix::pty::openpty;

use super::home_with;

/// A command whose standard input is a terminal, and the hand at the keyboard.
struct Terminal {
    child: Child,
    keyboard: std::fs::File,
    said: String,
}

impl Terminal {
    fn start(home: &Home, args: &[&str], editor: &str) -> Self {
        let pty = openpty(None, None).unwrap();
        let child = hermes(home, args)
            .env("EDITOR", editor)
            .stdin(pty.slave)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, keyboard: pty.master.into(), said: String::new() }
    }

    /// Types a line once standard error shows `prompt`.
    fn answer(&mut self, prompt: &str, line: &str) {
        let err = self.child.stderr.as_mut().unwrap();
        let mut byte = [0];
        while !self.said.ends_with(prompt) {
            err.read_exact(&mut byte).unwrap_or_else(|_| panic!("it ended without asking: {}", self.said));
            self.said.push(char::from(byte[0]));
        }
        self.keyboard.write_all(line.as_bytes()).unwrap();
    }

    /// Exit code, what was printed, and what was to be seen while typing.
    fn end(mut self) -> (Option<i32>, String, String) {
        let output = self.child.wait_with_output().unwrap();
        self.said += &String::from_utf8_lossy(&output.stderr);
        self.said += &String::from_utf8_lossy(&output.stdout);
        // The other side is closed; what is left to read is what was echoed.
        let (mut echoed, mut bytes) = (Vec::new(), [0; 256]);
        while let Ok(n @ 1..) = self.keyboard.read(&mut bytes) {
            echoed.extend_from_slice(&bytes[..n]);
        }
        (output.status.code(), self.said, String::from_utf8_lossy(&echoed).into_owned())
    }
}

#[test]
fn a_secret_is_asked_for_unseen() {
    let home = Home::empty();
    for args in [&["config", "set", "openai_api_key"][..], &["config", "set", "openai_api_key", "-"]] {
        let mut terminal = Terminal::start(&home, args, "true");
        terminal.answer("(not shown): ", "hunter2 hunter2\n");
        let (code, said, echoed) = terminal.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("hunter2") && !echoed.contains("hunter2"), "{said:?} {echoed:?}");
        assert_eq!(home.read("default", ".env").unwrap(), "OPENAI_API_KEY=\"hunter2 hunter2\"\n");
    }
    // Ctrl-D is no value.
    let mut terminal = Terminal::start(&home, &["config", "set", "openai_api_key"], "true");
    terminal.answer("(not shown): ", "\u{4}");
    let (code, said, _) = terminal.end();
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(home.read("default", ".env").unwrap(), "OPENAI_API_KEY=\"hunter2 hunter2\"\n");
}

#[test]
fn a_text_that_cannot_be_used_is_edited_again() {
    let home = home_with("a: 1\n", "");
    // First a broken text, then a whole one.
    let script = home.user().join("editor");
    fs_err::write(&script, "#!/bin/sh\nif grep -q '\\[' \"$1\"; then echo 'timezone: UTC' > \"$1\"; else echo 'b: [' >> \"$1\"; fi\n").unwrap();
    let command = format!("/bin/sh {script}");
    let mut terminal = Terminal::start(&home, &["config", "edit"], &command);
    terminal.answer("Edit again? [Y/n] ", "\n");
    let (code, said, _) = terminal.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(home.read("default", "config.yaml").unwrap(), "timezone: UTC\n");
    let mut terminal = Terminal::start(&home, &["config", "edit"], &command);
    terminal.answer("Edit again? [Y/n] ", "n\n");
    let (code, said, _) = terminal.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is kept in"), "{said}");
    assert_eq!(home.read("default", "config.yaml").unwrap(), "timezone: UTC\n");
}
