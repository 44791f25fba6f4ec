//! A row of the table of keys: what may stand at one place, as what, by whom, and what it means.

use serde_json::Value as Json;

/// Words that mean that there is no limit. Programs from 0.20 on write them, as they write zero and `-1`.
pub const NO_LIMIT: [&str; 4] = ["none", "unlimited", "inf", "infinite"];

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`; YAML 1.1's words for them too.
    Bool,
    /// A whole number in a range.
    Int(i64, i64),
    /// A whole number up to a limit; a negative one counts as zero.
    Count(i64),
    /// A whole number from one up to a limit, or a word for none at all: [`NO_LIMIT`], zero, a negative number.
    Limit(i64),
    /// Seconds, fractions allowed, up to a limit; a negative number counts as zero.
    Seconds(u32),
    /// Any number.
    Number,
    /// Text, whatever it looks like.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `host:port`.
    Address,
    /// A list of texts.
    List,
    /// A mapping with the keys of other rows and no others.
    Section,
    /// Anything: a mapping of free names, or something this program does not look into.
    Any,
}

impl Kind {
    /// What a value of this kind is, in words.
    pub fn wanted(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Int(low, high) => format!("a whole number from {low} to {high}"),
            Self::Count(high) => format!("a whole number up to {high}"),
            Self::Limit(high) => format!("a whole number up to {high}, or `none`"),
            Self::Seconds(high) => format!("a number of seconds up to {high}"),
            Self::Number => "a number".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Choice(words) => {
                format!(
                    "one of {}",
                    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
                )
            }
            Self::Address => "an address, `host:port`".to_owned(),
            Self::List => "a list".to_owned(),
            Self::Section => "a mapping of keys to values".to_owned(),
            Self::Any => "anything".to_owned(),
        }
    }
}

/// What holds where nothing is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Nothing.
    None,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Number(f64),
    /// A text.
    Text(&'static str),
    /// An empty list.
    NoItems,
}

impl Value {
    /// As a value of a file.
    pub fn json(self) -> Option<Json> {
        Some(match self {
            Self::None => return None,
            Self::Bool(flag) => flag.into(),
            Self::Int(number) => number.into(),
            Self::Number(number) => number.into(),
            Self::Text(text) => text.into(),
            Self::NoItems => Json::Array(Vec::new()),
        })
    }
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Its pattern, as documented.
    pub path: &'static str,
    /// Other places where it is read.
    pub also: &'static [&'static str],
    /// What its value is.
    pub kind: Kind,
    /// What holds without it.
    pub default: Value,
    /// What it does; empty for keys that are only kept for other programs.
    pub about: &'static str,
    /// The variable of `.env` that beats it; empty = none.
    pub env: &'static str,
    /// Whether only the default profile's file decides it.
    pub primary: bool,
    /// Whether it must not be seen.
    pub secret: bool,
    /// Whether it came after 0.19.0. Nothing here reads it.
    pub newer: bool,
}

impl Key {
    /// Whether this program reads it; others are kept for the Python program.
    pub fn is_read(&self) -> bool {
        !self.about.is_empty()
    }
}

/// A group of keys, as documented.
#[derive(Debug)]
pub struct Group {
    /// Heading.
    pub title: &'static str,
    /// What stands before the table.
    pub intro: &'static str,
    /// What stands behind it.
    pub outro: &'static str,
    /// The keys.
    pub keys: &'static [Key],
}

/// A row: what stands at `path`, and what it does.
pub const fn key(path: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        path,
        also: &[],
        kind,
        default: Value::None,
        about,
        env: "",
        primary: false,
        secret: false,
        newer: false,
    }
}

/// A row of 0.19.0 that nothing here reads yet.
pub const fn kept(path: &'static str, kind: Kind) -> Key {
    key(path, kind, "")
}

/// A row of releases from 0.20 on that nothing here reads.
pub const fn newer(path: &'static str, kind: Kind) -> Key {
    Key { newer: true, ..kept(path, kind) }
}

impl Key {
    /// What holds without it.
    #[must_use]
    pub const fn or(mut self, default: Value) -> Self {
        self.default = default;
        self
    }

    /// True without it.
    #[must_use]
    pub const fn yes(self) -> Self {
        self.or(Value::Bool(true))
    }

    /// False without it.
    #[must_use]
    pub const fn no(self) -> Self {
        self.or(Value::Bool(false))
    }

    /// A whole number without it.
    #[must_use]
    pub const fn int(self, default: i64) -> Self {
        self.or(Value::Int(default))
    }

    /// A text without it.
    #[must_use]
    pub const fn text(self, default: &'static str) -> Self {
        self.or(Value::Text(default))
    }

    /// The variable of `.env` that beats it.
    #[must_use]
    pub const fn env(mut self, name: &'static str) -> Self {
        self.env = name;
        self
    }

    /// Other places where it is read.
    #[must_use]
    pub const fn also(mut self, paths: &'static [&'static str]) -> Self {
        self.also = paths;
        self
    }

    /// Only the default profile's file decides it.
    #[must_use]
    pub const fn primary(mut self) -> Self {
        self.primary = true;
        self
    }

    /// It must not be seen.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}
