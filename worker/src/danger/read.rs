//! Reads a command as a shell would, by the grammar of bash.
//!
//! The tree is walked without recursion, whatever is nested in what, and reading has limits: what is longer or takes longer is not read.

use std::ops::ControlFlow;

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Point, Tree};

use super::words::{Function, Script, Simple, UNKNOWN, Word};

/// Longest text that is read, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;
/// Most commands of a text.
const MOST: usize = 2000;
/// Deepest nesting of a text: to find what something stands in takes as long as it is deep.
const NESTED: u32 = 100;
/// Deepest nesting of parts of a word.
const DEEPEST: usize = 16;
/// How often the parser may ask whether to go on, which it does every hundred steps.
const STEPS: u32 = 50_000;

/// A byte without a meaning of its own that is no part of a name.
const IN_WORDS: u8 = 1;

/// `None`: it cannot be read.
pub(super) fn read(text: &str) -> Option<Script> {
    // The grammar knows no other.
    if text.len() > LONGEST || text.contains('\0') {
        return None;
    }
    let tree = parse(&masked(text))?;
    let root = tree.root_node();
    if root.has_error() {
        return None;
    }
    let mut script = Script::default();
    let mut cursor = root.walk();
    loop {
        let node = cursor.node();
        if is_torn(node, text) {
            return None;
        }
        take(node, text, &mut script);
        if script.commands.len() > MOST || cursor.depth() > NESTED {
            return None;
        }
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return Some(script);
            }
        }
    }
}

/// The text as the grammar may see it, byte for byte as long: of what is not ASCII, every byte is one that stands in words only.
///
/// A shell looks at bytes: to it `\u{3000}` is no blank, nor is a carriage return, and `é` is no part of a name. The grammar's scanner takes characters for both, and
/// looks characters above 255 up in a table that ends there (`isdigit`), which can end the process.
fn masked(text: &str) -> Vec<u8> {
    let seen =
        |byte: u8| if byte.is_ascii() && !matches!(byte, 0x0b | 0x0c | b'\r') { byte } else { IN_WORDS };
    text.bytes().map(seen).collect()
}

fn parse(bytes: &[u8]) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bash::LANGUAGE.into()).ok()?;
    let mut left = STEPS;
    let mut stop = |_: &ParseState| {
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut piece = |at: usize, _: Point| bytes.get(at..).unwrap_or_default();
    parser.parse_with_options(&mut piece, None, Some(ParseOptions::new().progress_callback(&mut stop)))
}

/// Something whose parts stand on one line to a shell and are on several here. The grammar's scanner skips the ends of lines behind a
/// redirection, a `==` and the like, and takes the next line's command for what is missing.
fn is_torn(node: Node<'_>, text: &str) -> bool {
    const ON_ONE_LINE: [&str; 6] = [
        "command",
        "declaration_command",
        "unset_command",
        "variable_assignment",
        "file_redirect",
        "herestring_redirect",
    ];
    if !ON_ONE_LINE.contains(&node.kind()) {
        return false;
    }
    let mut at = node.start_byte();
    node.children(&mut node.walk()).any(|child| {
        let before = text.get(at..child.start_byte()).unwrap_or_default();
        at = child.end_byte();
        before.replace("\\\n", "").contains('\n')
    })
}

fn take(node: Node<'_>, text: &str, script: &mut Script) {
    match node.kind() {
        "command" | "declaration_command" | "unset_command" => script.commands.push(simple(node, text)),
        "variable_assignment" if !is_part_of_command(node) => {
            let command = Simple { set: vec![assigned(node, text)], ..Simple::default() };
            script.commands.push(command);
        }
        // Of anything else than a single command.
        "file_redirect" if node.parent().is_none_or(|parent| parent.kind() != "command") => {
            let mut command = Simple::default();
            redirect(node, text, &mut command);
            script.commands.push(command);
        }
        "heredoc_body" => script.given.push(given(node, text)),
        "herestring_redirect" => {
            script.given.extend(node.named_children(&mut node.walk()).map(|child| word(child, text)));
        }
        "function_definition" => script.functions.push(function(node, text)),
        _ => {}
    }
}

fn is_part_of_command(node: Node<'_>) -> bool {
    node.parent().is_some_and(|parent| matches!(parent.kind(), "command" | "declaration_command"))
}

fn simple(node: Node<'_>, text: &str) -> Simple {
    let mut command = Simple { is_fed: is_fed(node), ..Simple::default() };
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        match child.kind() {
            "variable_assignment" => command.set.push(assigned(child, text)),
            "file_redirect" => redirect(child, text, &mut command),
            "herestring_redirect" | "heredoc_redirect" | "comment" => {}
            "command_name" => {
                let name = child.child(0).map(|name| word(name, text)).unwrap_or_default();
                command.words.push(name);
            }
            _ => command.words.push(word(child, text)),
        }
    }
    // The redirections of the statement around it.
    if let Some(parent) = node.parent().filter(|parent| parent.kind() == "redirected_statement") {
        let mut cursor = parent.walk();
        for child in parent.children(&mut cursor).filter(|child| child.kind() == "file_redirect") {
            redirect(child, text, &mut command);
        }
    }
    command
}

/// Whether something is written into its input by another command.
fn is_fed(node: Node<'_>) -> bool {
    let (mut at, mut child) = (node.parent(), node);
    while let Some(parent) = at {
        let is_first = parent.named_child(0) == Some(child);
        match parent.kind() {
            "pipeline" if !is_first => return true,
            // `cat <<EOF | sh`: the grammar has the rest of the line there.
            "heredoc_redirect" => return true,
            _ => {}
        }
        (at, child) = (parent.parent(), parent);
    }
    false
}

fn assigned(node: Node<'_>, text: &str) -> String {
    node.child_by_field_name("name").map(|name| slice(name, text).to_owned()).unwrap_or_default()
}

fn redirect(node: Node<'_>, text: &str, command: &mut Simple) {
    let Some(destination) = node.child_by_field_name("destination") else { return };
    let operator = (0..node.child_count())
        .filter_map(|at| node.child(at))
        .find(|child| !child.is_named())
        .map_or("", |child| child.kind());
    let target = word(destination, text);
    match operator {
        "<" | "<&" | "<&-" => command.reads.push(target),
        // `2>&1`
        ">&" | ">&-" if target.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => {}
        _ => command.writes.push(target),
    }
}

fn given(node: Node<'_>, text: &str) -> Word {
    let is_exact = node.named_children(&mut node.walk()).all(|child| child.kind() == "heredoc_content");
    let mut word = Word::of(slice(node, text));
    word.is_tilde = false;
    if !is_exact {
        word.text.push(UNKNOWN);
    }
    word
}

fn function(node: Node<'_>, text: &str) -> Function {
    let name = node.child_by_field_name("name").map(|name| slice(name, text).to_owned()).unwrap_or_default();
    let mut function = Function { name, ..Function::default() };
    let mut cursor = node.walk();
    // Its own nodes, without recursion; it ends where the cursor is back at the top.
    'walk: loop {
        let at = cursor.node();
        match at.kind() {
            "command_name" => function.calls.push(slice(at, text).to_owned()),
            "pipeline" | "&" => function.multiplies = true,
            _ => {}
        }
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                break 'walk;
            }
        }
    }
    function
}

fn slice<'a>(node: Node<'_>, text: &'a str) -> &'a str {
    text.get(node.byte_range()).unwrap_or_default()
}

fn word(node: Node<'_>, text: &str) -> Word {
    // What stands for each file that is found is no list of words.
    if slice(node, text) == "{}" {
        return Word::of("{}");
    }
    let mut word = Word { is_tilde: slice(node, text).starts_with('~'), ..Word::default() };
    append(node, text, &mut word, 0);
    word
}

fn append(node: Node<'_>, text: &str, word: &mut Word, depth: usize) {
    let own = slice(node, text);
    if depth > DEEPEST {
        word.text.push(UNKNOWN);
        return;
    }
    match node.kind() {
        "word" | "number" | "regex" | "extglob_pattern" | "test_operator" | "variable_name"
            if node.named_child_count() == 0 =>
        {
            unquoted(own, word);
        }
        "string_content" => quoted(own, word),
        "raw_string" => word.text.push_str(own.trim_start_matches('\'').strip_suffix('\'').unwrap_or(own)),
        "string" if is_plain(node) => {
            quoted(own.strip_prefix('"').and_then(|own| own.strip_suffix('"')).unwrap_or(own), word);
        }
        "ansi_c_string" => match decoded(own) {
            Some(decoded) => word.text.push_str(&decoded),
            None => word.text.push(UNKNOWN),
        },
        "string" | "translated_string" | "concatenation" => {
            let mut cursor = node.walk();
            for child in node.children(&mut cursor) {
                match child.kind() {
                    "\"" => {}
                    _ if child.is_named() => append(child, text, word, depth + 1),
                    _ => unquoted(slice(child, text), word),
                }
            }
        }
        "command_substitution" | "process_substitution" => {
            word.text.push(UNKNOWN);
            word.is_output = true;
        }
        _ if !node.is_named() => unquoted(own, word),
        _ => word.text.push(UNKNOWN),
    }
}

/// Whether nothing is filled into a string.
fn is_plain(node: Node<'_>) -> bool {
    node.named_children(&mut node.walk()).all(|child| child.kind() == "string_content")
}

/// A piece without quotes.
fn unquoted(own: &str, word: &mut Word) {
    let mut all = own.chars();
    while let Some(c) = all.next() {
        match c {
            '\\' => match all.next() {
                Some('\n') | None => {}
                Some(next) => word.text.push(next),
            },
            '*' | '?' | '[' => {
                word.is_pattern = true;
                word.text.push(c);
            }
            // `{a,b}` and `{1..3}` are several words; `{}` is none of that.
            '{' if !all.as_str().starts_with('}') => word.text.push(UNKNOWN),
            c => word.text.push(c),
        }
    }
}

/// A piece between double quotes.
fn quoted(own: &str, word: &mut Word) {
    let mut all = own.chars();
    while let Some(c) = all.next() {
        match (c, all.as_str().chars().next()) {
            ('\\', Some(next @ ('"' | '\\' | '$' | '`'))) => {
                word.text.push(next);
                all.next();
            }
            ('\\', Some('\n')) => {
                all.next();
            }
            _ => word.text.push(c),
        }
    }
}

/// `$'…'`; `None` where it holds what is not decoded here.
fn decoded(own: &str) -> Option<String> {
    let own = own.strip_prefix("$'")?.strip_suffix('\'')?;
    let mut text = String::new();
    let mut all = own.chars();
    while let Some(c) = all.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match all.next()? {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            c @ ('\\' | '\'' | '"' | '?') => text.push(c),
            'x' => {
                let digits: String =
                    all.as_str().chars().take(2).take_while(char::is_ascii_hexdigit).collect();
                let code = u8::from_str_radix(&digits, 16).ok().filter(u8::is_ascii)?;
                text.push(char::from(code));
                all.by_ref().take(digits.len()).for_each(drop);
            }
            first @ '0'..='7' => {
                let more: String =
                    all.as_str().chars().take(2).take_while(|c| ('0'..='7').contains(c)).collect();
                let code = u8::from_str_radix(&format!("{first}{more}"), 8).ok().filter(u8::is_ascii)?;
                text.push(char::from(code));
                all.by_ref().take(more.len()).for_each(drop);
            }
            _ => return None,
        }
    }
    Some(text)
}
