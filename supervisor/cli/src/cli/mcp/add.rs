//! `hermes mcp add`: an entry of `mcp_servers`, its keys in `.env`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use clap::Args;
use hermes_config::{mask, redact, servers};
use hermes_wire::exit;
use serde_json::{Map, Value, json};

use super::super::Call;
use super::super::config::{self, secret};
use super::super::output::Output;
use super::key;
use crate::error::{CommandError, HermesError};
use crate::settings::{As, Draft, SettingsError};

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// What it is called.
    #[arg(value_hint = clap::ValueHint::Other)]
    name: String,
    /// Address of a server that is there already.
    #[arg(long, value_name = "URL", conflicts_with_all = ["program", "command", "args"])]
    url: Option<String>,
    /// A variable that the program gets: `NAME=VALUE`, or `NAME` alone, which asks for the value.
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "url")]
    env: Vec<String>,
    /// A header of each request to the address: `NAME: VALUE`, or `NAME` alone, which asks for the value.
    #[arg(long, value_name = "NAME[: VALUE]", requires = "url")]
    header: Vec<String>,
    /// How requests to the address are allowed.
    #[arg(long, value_name = "HOW", value_parser = ["none", "oauth"], requires = "url")]
    auth: Option<String>,
    /// Take the place of a server of that name.
    #[arg(long)]
    force: bool,
    /// The program, as the Python program has it.
    #[arg(long, hide = true, value_name = "PROGRAM")]
    command: Option<String>,
    /// Its arguments, as the Python program has them: everything that follows.
    #[arg(long, hide = true, num_args = 0.., allow_hyphen_values = true, requires = "command")]
    args: Vec<String>,
    /// The program with its arguments.
    #[arg(last = true, value_name = "PROGRAM", value_hint = clap::ValueHint::CommandWithArguments, conflicts_with = "command")]
    program: Vec<String>,
}

/// An entry, and what it takes from `.env`.
#[derive(Debug, Default)]
struct Entry {
    value: Map<String, Value>,
    variables: BTreeMap<String, String>,
}

pub(super) fn run(args: &AddArgs, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let refused = |why: String| CommandError::NoServer { name: args.name.clone(), why };
    if !servers::is_name(&args.name) {
        return Err(refused("a name has letters, digits, `-`, `_` and `.`, 64 at most".to_owned()).into());
    }
    let path = key(&args.name, &[]);
    let draft = Draft::open(&selection.root, &selection.profile, &call.env)?;
    draft.may_change()?;
    if draft.get(&path)?.is_some() && !args.force {
        let why = "the profile has one of that name; `--force` replaces it".to_owned();
        return Err(refused(why).into());
    }
    let known: BTreeMap<String, String> =
        draft.variables().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let Entry { value, variables } = entry(args, &known)?;
    let text = Value::Object(value).to_string();
    let change = config::change(&selection, call, |draft| {
        for (name, value) in &variables {
            draft.set_variable(name, name, value)?;
        }
        if draft.get(&path)?.is_some() {
            draft.unset(&path)?;
        }
        let change = draft.set(&path, &text, As::Json)?;
        match draft.refused_by_a_start(&change) {
            Some(problem) => Err(SettingsError::Refused { key: change.key, why: problem.message }),
            None => Ok(change),
        }
    })?;
    let mut out = Output::stdout();
    out.line(&format!(
        "✓ Tool server '{}' of profile '{}' is in {}.",
        args.name, selection.profile, change.file
    ))?;
    if !variables.is_empty() {
        let names = variables.keys().cloned().collect::<Vec<_>>().join(", ");
        out.line(&format!("✓ Keys are in {}: {names}", selection.home().env_file()))?;
    }
    for note in &change.notes {
        out.line(&note.to_string())?;
    }
    let flag =
        if selection.profile.is_default() { String::new() } else { format!(" -p {}", selection.profile) };
    let next = if args.auth.as_deref() == Some("oauth") { "login" } else { "test" };
    let name = shlex::try_quote(&args.name).map_or_else(|_| args.name.clone(), std::borrow::Cow::into_owned);
    out.line(&format!("Next: `hermes{flag} mcp {next} {name}`. A profile that runs takes it up by itself."))?;
    Ok(exit::OK)
}

fn entry(args: &AddArgs, known: &BTreeMap<String, String>) -> Result<Entry, HermesError> {
    let refused = |why: String| CommandError::NoServer { name: args.name.clone(), why };
    let mut entry = Entry::default();
    let program: Vec<&String> = args.command.iter().chain(&args.args).chain(&args.program).collect();
    match (&args.url, program.split_first()) {
        (Some(url), None) => {
            entry.value.insert("url".to_owned(), url.as_str().into());
        }
        (None, Some((command, rest))) => {
            entry.value.insert("command".to_owned(), command.as_str().into());
            if !rest.is_empty() {
                entry.value.insert("args".to_owned(), json!(rest));
            }
        }
        _ => {
            let why = "say what it is: `-- PROGRAM ARGUMENTS`, or `--url ADDRESS`".to_owned();
            return Err(refused(why).into());
        }
    }
    entry.take_keys(&args.name, known)?;
    if let Some(auth) = args.auth.as_ref().filter(|auth| *auth != "none") {
        entry.value.insert("auth".to_owned(), auth.as_str().into());
    }
    for (what, given, sign) in [("env", &args.env, '='), ("headers", &args.header, ':')] {
        let mut all = Map::new();
        for text in given {
            let (name, value) = match text.split_once(sign) {
                Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
                None => (text.trim(), None),
            };
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(refused(format!("`{}` names nothing", text.escape_debug())).into());
            }
            let value = entry.value_of(&args.name, name, value, known)?;
            all.insert(name.to_owned(), value.into());
        }
        if !all.is_empty() {
            entry.value.insert(what.to_owned(), Value::Object(all));
        }
    }
    Ok(entry)
}

impl Entry {
    /// What stands in the entry for a value: itself, or the variable that holds it.
    fn value_of(
        &mut self,
        server: &str,
        name: &str,
        value: Option<String>,
        known: &BTreeMap<String, String>,
    ) -> Result<String, HermesError> {
        let Some(value) = value else {
            if known.contains_key(name) {
                return Ok(format!("${{{name}}}"));
            }
            let value =
                if std::io::stdin().is_terminal() { secret::ask(name)? } else { config::from_stdin(name)? };
            return Ok(self.keep(server, name, value, known));
        };
        let is_reference = value.contains("${");
        let is_secret = mask::is_secret(name)
            || redact::holds_key(&format!("{name}={value}"))
            || redact::holds_key(&value);
        if is_reference || !is_secret {
            return Ok(value);
        }
        Ok(self.keep(server, name, value, known))
    }

    /// Keeps a value in a variable of its own. The reference to it.
    fn keep(&mut self, server: &str, name: &str, value: String, known: &BTreeMap<String, String>) -> String {
        let plain = |text: &str| -> String {
            text.chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
                .collect()
        };
        let own = plain(name);
        let is_free = |name: &str| known.get(name).is_none_or(|there| *there == value);
        // One variable for one value: nobody else's is touched.
        let variable =
            if own == name && is_free(&own) { own } else { format!("MCP_{}_{own}", plain(server)) };
        let reference = format!("${{{variable}}}");
        self.variables.insert(variable, value);
        reference
    }

    /// Takes what looks like a key out of the address and the arguments.
    fn take_keys(&mut self, server: &str, known: &BTreeMap<String, String>) -> Result<(), HermesError> {
        let document = json!({"mcp_servers": {server: self.value}});
        let refused = |why: String| CommandError::NoServer { name: server.to_owned(), why };
        let found = redact::json(document.to_string().as_bytes()).map_err(|error| {
            refused(format!(
                "{error}; put the key into .env with `hermes config set NAME`, and write ${{NAME}} here"
            ))
        })?;
        if found.replaced.is_empty() {
            return Ok(());
        }
        let without: Value = serde_json::from_str(&found.text).unwrap_or_default();
        let Some(Value::Object(without)) = without["mcp_servers"].get(server).cloned() else { return Ok(()) };
        let texts = |value: &Map<String, Value>| -> Vec<String> {
            let args = value.get("args").and_then(Value::as_array).cloned().unwrap_or_default();
            let first = value.get("url").or_else(|| value.get("command")).cloned();
            first.into_iter().chain(args).filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let mut changed = Vec::new();
        for (before, after) in texts(&self.value).into_iter().zip(texts(&without)) {
            changed.push(self.exchanged(&before, &after, known).ok_or_else(|| {
                let why = "an argument holds a key among other text; put the key into .env with `hermes config set NAME`, and \
                           write ${NAME} here";
                refused(why.to_owned())
            })?);
        }
        let mut changed = changed.into_iter();
        for name in ["url", "command"] {
            if self.value.contains_key(name) {
                self.value.insert(name.to_owned(), changed.next().into());
            }
        }
        if self.value.contains_key("args") {
            self.value.insert("args".to_owned(), changed.collect());
        }
        Ok(())
    }

    /// A text with its key in a variable: `after` has `${…}` where the key stands in `before`.
    fn exchanged(&mut self, before: &str, after: &str, known: &BTreeMap<String, String>) -> Option<String> {
        if before == after {
            return Some(before.to_owned());
        }
        let (start, rest) = after.split_once("${")?;
        let (name, end) = rest.split_once('}')?;
        let value = before.strip_prefix(start)?.strip_suffix(end)?;
        let name = format!("MCP_{}", name.strip_prefix("MCP_SERVERS_").unwrap_or(name));
        let reference = self.keep("", &name, value.to_owned(), known);
        Some(format!("{start}{reference}{end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> AddArgs {
        #[derive(Debug, clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: AddArgs,
        }
        <Only as clap::Parser>::parse_from(std::iter::once(&"x").chain(words)).args
    }

    fn made(words: &[&str], known: &[(&str, &str)]) -> (Value, BTreeMap<String, String>) {
        let known = known.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let Entry { value, variables } = entry(&args(words), &known).unwrap();
        (Value::Object(value), variables)
    }

    const KEY: &str = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";

    #[test]
    fn a_program_with_its_arguments() {
        let (entry, variables) = made(&["time", "--", "uvx", "mcp-server-time", "--local-timezone=UTC"], &[]);
        assert_eq!(entry, json!({"command": "uvx", "args": ["mcp-server-time", "--local-timezone=UTC"]}));
        assert!(variables.is_empty());
        let (entry, _) = made(&["t", "--command", "npx", "--args", "-y", "server"], &[]);
        assert_eq!(entry, json!({"command": "npx", "args": ["-y", "server"]}));
    }

    #[test]
    fn keys_go_into_variables() {
        let given = format!("GITHUB_TOKEN={KEY}");
        let (entry, variables) = made(&["gh", "--env", &given, "--env", "LEVEL=debug", "--", "npx"], &[]);
        assert_eq!(entry["env"], json!({"GITHUB_TOKEN": "${GITHUB_TOKEN}", "LEVEL": "debug"}));
        assert_eq!(variables["GITHUB_TOKEN"], KEY);
        // Another value of the same name is somebody else's.
        let (entry, variables) = made(&["gh", "--env", &given, "--", "npx"], &[("GITHUB_TOKEN", "other")]);
        assert_eq!(entry["env"]["GITHUB_TOKEN"], "${MCP_GH_GITHUB_TOKEN}");
        assert_eq!(variables["MCP_GH_GITHUB_TOKEN"], KEY);
        let (entry, variables) =
            made(&["gh", "--env", "GITHUB_TOKEN", "--", "npx"], &[("GITHUB_TOKEN", "there")]);
        assert_eq!((&entry["env"]["GITHUB_TOKEN"], variables.len()), (&json!("${GITHUB_TOKEN}"), 0));
        let header = format!("Authorization: Bearer {KEY}");
        let (entry, variables) = made(&["gh", "--url", "https://h/mcp", "--header", &header], &[]);
        assert_eq!(entry["headers"]["Authorization"], "${MCP_GH_AUTHORIZATION}");
        assert_eq!(variables["MCP_GH_AUTHORIZATION"], format!("Bearer {KEY}"));
    }

    #[test]
    fn keys_among_arguments_go_too() {
        let token = format!("--token={KEY}");
        for words in [&["gh", "--", "npx", "--api-key", KEY][..], &["gh", "--", "npx", &token]] {
            let (entry, variables) = made(words, &[]);
            assert!(!entry.to_string().contains(KEY) && entry.to_string().contains("${"), "{entry}");
            assert!(variables.values().any(|value| value == KEY), "{variables:?}");
        }
    }
}
