//! Keys that say what a profile's own tools may do.

use super::Kind::{self, Bool, Choice, Int, List, Seconds, Text};
use super::{Group, Value};
use crate::row::key;

const YEAR: Kind = Seconds(31_536_000);

pub(super) const TOOLS: Group = Group {
    title: "Tools",
    intro: "What the profile's own tools may do, and how much of it the model is shown: see [tools](tools.md).",
    outro: "",
    keys: &[
        key(
            "terminal.cwd",
            Text,
            "where commands run, and what relative paths are relative to; `.`: `workspace` in the profile's home, which is made \
             when it is first used",
        )
        .text("."),
        key("terminal.timeout", YEAR, "seconds a command has that says nothing else, 600 at most").int(180),
        key(
            "terminal.env_passthrough",
            List,
            "variables that commands get besides the usual ones: of `.env`, or of the gateway's environment",
        )
        .or(Value::NoItems),
        key(
            "terminal.backend",
            Text,
            "where commands run: `local`; with any other of 0.19.0's no command runs, and the model is told why",
        )
        .text("local"),
        key("terminal.persistent_shell", Bool, "a command begins in the directory where the one before it ended").yes(),
        key(
            "terminal.home_mode",
            Choice(&["auto", "real", "profile"]),
            "`HOME` of commands: `home` in the profile's home where that exists (`auto`), the user's, or always the profile's",
        )
        .text("auto"),
        key(
            "terminal.fence",
            Choice(&["auto", "require", "off", "false"]),
            "what is around programs that the profile starts: the best fence that the machine allows (`auto`), the same or nothing is \
             started (`require`), or none (`off`); see [isolation](isolation.md)",
        )
        .text("auto"),
        key(
            "approvals.mode",
            Choice(&["manual", "smart", "off", "false"]),
            "dangerous commands: ask somebody, or run them (`off`) except what ends a machine; `smart` lets a model look first (`auxiliary.approval`), which may let one run, and asks otherwise",
        )
        .text("smart"),
        key("approvals.timeout", Seconds(86_400), "seconds until a dangerous command that nobody says anything about is not run").int(60),
        key("approvals.deny", List, "commands that never run, with `*` for anything").or(Value::NoItems),
        key(
            "command_allowlist",
            List,
            "dangerous commands that run without being asked about: a command, with `*` for anything, or the name of a danger",
        )
        .or(Value::NoItems),
        key("file_read_max_chars", BOUND, "most characters that one reading of a file gives").int(100_000),
        key("tool_output.max_bytes", BOUND, "most bytes of a command's output that the model is shown")
            .int(50_000),
        key("tool_loop_guardrails.warnings_enabled", Bool, "tell a model that goes round in circles that it does").yes(),
        key("tool_loop_guardrails.warn_after.exact_failure", REPEATS, "the same call has failed so often").int(2),
        key("tool_loop_guardrails.warn_after.same_tool_failure", REPEATS, "one tool has failed so often in a row").int(3),
        key("tool_loop_guardrails.warn_after.idempotent_no_progress", REPEATS, "the same call has given the same result so often")
            .int(2),
        key("tool_loop_guardrails.hard_stop_enabled", Bool, "stop running what goes round in circles").no(),
        key("tool_loop_guardrails.hard_stop_after.exact_failure", REPEATS, "as above; the call is refused from then on").int(5),
        key("tool_loop_guardrails.hard_stop_after.same_tool_failure", REPEATS, "as above; the tool is").int(8),
        key("tool_loop_guardrails.hard_stop_after.idempotent_no_progress", REPEATS, "as above; the call is").int(5),
        key("tool_output.max_lines", BOUND, "most lines that one reading of a file gives").int(2000),
        key("tool_output.max_line_length", BOUND, "most characters of a line of a file").int(2000),
    ],
};

/// How often something happens; 0: never.
const REPEATS: Kind = Int(0, 1_000_000);

/// A bound on what a model is shown.
const BOUND: Kind = Int(1, 1_000_000_000);
