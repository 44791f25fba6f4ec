//! One platform's section, and the entries of mappings in it, read for the platform's folder.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Blocks;
use crate::platform::{ListenAddress, Section, Spot, Token};
use crate::problem::Place;
use crate::reader::{At, Reader};
use crate::scalar::split_commas;
use crate::secret::Secret;
use hermes_wire::ProfileName;
use hermes_wire::latest::{Problem, Severity};

/// One platform's section and variables, as its folder sees them.
pub(super) struct Own<'r, 'a> {
    reader: &'r mut Reader<'a>,
    within: Within,
    platform: &'static str,
    listener: Option<&'r ListenAddress>,
}

/// What keys are looked for in.
enum Within {
    /// A platform's blocks.
    Platform(Blocks),
    /// An entry of a mapping.
    Entry(At),
}

impl<'r, 'a> Own<'r, 'a> {
    pub(super) fn new(
        reader: &'r mut Reader<'a>,
        blocks: Blocks,
        platform: &'static str,
        listener: Option<&'r ListenAddress>,
    ) -> Self {
        Self { reader, within: Within::Platform(blocks), platform, listener }
    }

    fn at(&self, key: &str) -> At {
        match &self.within {
            Within::Platform(blocks) => blocks.get(key),
            Within::Entry(at) => at.key(key),
        }
    }

    /// What a variable says; none: it is not set.
    fn variable(&self, name: &str) -> Option<String> {
        if name.is_empty() { None } else { self.reader.env(name).map(str::to_owned) }
    }

    fn place(&self, spot: Spot) -> Place {
        match (spot, &self.within) {
            (Spot::Variable(name), _) => self.reader.env_place(name),
            (Spot::Key(key), _) => self.reader.place(&self.at(key)),
            (Spot::Here, Within::Entry(at)) => self.reader.place(at),
            (Spot::Here, Within::Platform(blocks)) => self.reader.place(&blocks.first()),
        }
    }
}

impl Section for Own<'_, '_> {
    fn profile(&self) -> &ProfileName {
        self.reader.profile
    }

    fn listener(&self) -> Option<&ListenAddress> {
        self.listener
    }

    fn is_set(&self, key: &'static str) -> bool {
        self.at(key).is_set()
    }

    fn has_variable(&self, variable: &'static str) -> bool {
        self.reader.env(variable).is_some()
    }

    fn text(&mut self, key: &'static str, variable: &'static str) -> Option<String> {
        self.variable(variable).or_else(|| self.reader.text(&self.at(key)))
    }

    fn verbatim(&mut self, key: &'static str) -> Option<String> {
        self.reader.raw_text(&self.at(key))
    }

    fn secret(&mut self, key: &'static str, variable: &'static str) -> Option<Secret> {
        self.text(key, variable).map(Secret::new)
    }

    fn tokens(&self) -> &[Token] {
        self.reader.tokens.get(self.platform).map_or(&[], Vec::as_slice)
    }

    fn choice(&mut self, key: &'static str, words: &[&'static str]) -> Option<&'static str> {
        let words: Vec<_> = words.iter().map(|word| (*word, *word)).collect();
        self.reader.choice(&self.at(key), &words)
    }

    fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.reader.flag(&self.at(key))
    }

    fn number(
        &mut self,
        key: &'static str,
        variable: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        match self.variable(variable) {
            Some(_) => self.reader.env_number(variable, range),
            None => self.reader.number(&self.at(key), range),
        }
    }

    fn count(&mut self, key: &'static str, most: u64) -> Option<u64> {
        self.reader.number_or_zero(&self.at(key), most)
    }

    fn seconds(&mut self, key: &'static str, most: Duration) -> Option<Duration> {
        self.reader.seconds(&self.at(key), most)
    }

    fn list(&mut self, key: &'static str, variable: &'static str) -> Vec<String> {
        match self.variable(variable) {
            Some(text) => split_commas(&text),
            None => self.reader.list(&self.at(key)),
        }
    }

    fn json(&mut self, key: &'static str) -> serde_json::Value {
        self.reader.json(&self.at(key))
    }

    fn texts(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let map = self.at(key);
        self.reader.expect_map(&map);
        let mut all = BTreeMap::new();
        for (name, at) in map.entries() {
            let text = if at.is_map() || at.is_seq() {
                Some(self.reader.json(&at).to_string())
            } else {
                self.reader.raw_text(&at)
            };
            all.extend(text.map(|text| (name, text)));
        }
        all
    }

    fn each(&mut self, key: &'static str, entry: &mut dyn FnMut(&str, &mut dyn Section)) {
        let map = self.at(key);
        self.reader.expect_map(&map);
        for (name, at) in map.entries() {
            let (platform, listener) = (self.platform, self.listener);
            let within = Within::Entry(at);
            entry(&name, &mut Own { reader: &mut *self.reader, within, platform, listener });
        }
    }

    fn is_mapping(&mut self) -> bool {
        match &self.within {
            Within::Platform(_) => true,
            Within::Entry(at) => !at.is_set() || self.reader.expect_map(at),
        }
    }

    fn path(&self, key: &'static str) -> String {
        match &self.within {
            _ if !key.is_empty() => self.at(key).path,
            Within::Platform(blocks) => blocks.first().path,
            Within::Entry(at) => at.path.clone(),
        }
    }

    fn warn(&mut self, code: &str, at: Spot, message: String, fix: &str) {
        self.reader.warn(code, self.place(at), message, fix);
    }

    fn fault(&mut self, code: &str, at: Spot, message: String, fix: &str) {
        let Place { file, line, column, key } = self.place(at);
        let (severity, code) = (Severity::Platform, code.to_owned());
        let (platform, fix) = (Some(self.platform.to_owned()), Some(fix.to_owned()));
        self.reader.problems.push(Problem {
            severity,
            code,
            platform,
            file,
            line,
            column,
            key,
            message,
            fix,
        });
    }
}
