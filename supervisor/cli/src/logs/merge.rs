//! Many logs as one, by time: where to begin, and what comes then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use super::bounds::Wall;
use super::chain::{Back, Chain, Forth, Position};
use super::file::{DISORDER, Found};
use super::filter::Filter;
use super::follow::Following;
use super::names::{Entry, Place};
use super::twins::Twins;

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// So many records, the last ones. `None`: all that pass the filter.
    pub(crate) last: Option<u64>,
    /// Somebody waits for more: a line without an end is not complete yet.
    pub(crate) follow: bool,
}

/// The records that were asked for, one after the other.
#[derive(Debug)]
pub(crate) struct Merged {
    filter: Filter,
    sources: Vec<Source>,
    /// Time of the next record, and whose it is.
    next: BinaryHeap<Reverse<(Wall, usize)>>,
    /// Whose record was handed out last.
    last: Option<usize>,
    twins: Twins,
    /// What could not be read.
    pub(crate) troubles: Vec<io::Error>,
    /// Those without a file that can be read.
    silent: Vec<Place>,
}

#[derive(Debug)]
struct Source {
    place: Place,
    forth: Forth,
    found: Option<Found>,
    /// Of the last record that says one: lines that say none stand where they are.
    time: Wall,
}

/// Whether there is a file at any of the places is told by [`Merged::is_empty`].
pub(crate) fn read(places: Vec<Place>, filter: Filter, span: Span) -> Merged {
    let (mut troubles, mut silent, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for place in places {
        match Chain::open(place.path.clone()) {
            Ok(chain) if chain.files.is_empty() => silent.push(place),
            Ok(chain) => open.push((place, chain)),
            Err(error) => {
                troubles.push(error);
                silent.push(place);
            }
        }
    }
    let begins = match span.last {
        Some(last) => last_ones(&mut open, &filter, last, span.follow, &mut troubles),
        None => open
            .iter_mut()
            .map(|(_, chain)| chain.begin(filter.since).map_err(|e| troubles.push(e)).ok())
            .collect(),
    };
    let mut merged = Merged {
        filter,
        sources: Vec::new(),
        next: BinaryHeap::new(),
        last: None,
        twins: Twins::default(),
        troubles,
        silent,
    };
    for ((place, chain), begin) in open.into_iter().zip(begins) {
        let Some(begin) = begin else { continue };
        let forth = Forth::new(chain, begin, span.follow);
        merged.sources.push(Source { place, forth, found: None, time: Wall::MIN });
        merged.advance(merged.sources.len() - 1);
    }
    merged
}

/// Where to begin, so that so many records come; `None` where a log cannot be read. Backwards through all of them.
fn last_ones(
    open: &mut [(Place, Chain)],
    filter: &Filter,
    last: u64,
    whole: bool,
    troubles: &mut Vec<io::Error>,
) -> Vec<Option<Position>> {
    let mut begins: Vec<Option<Position>> =
        open.iter().map(|(_, chain)| chain.end(whole).map_err(|error| troubles.push(error)).ok()).collect();
    let mut back: Vec<Option<(Back, Wall)>> = open
        .iter_mut()
        .map(|(_, chain)| {
            let back = Back::new(chain, filter.until).map_err(|error| troubles.push(error)).ok()?;
            Some((back, Wall::MAX))
        })
        .collect();
    let (mut latest, mut twins, mut count) = (BinaryHeap::new(), Twins::default(), 0);
    let mut found: Vec<Option<(Found, Position)>> = vec![None; open.len()];
    let mut ready: Vec<usize> = (0..open.len()).collect();
    while count < last {
        for at in ready.drain(..) {
            let Some((reader, time)) = back[at].as_mut() else { continue };
            let (place, chain) = &mut open[at];
            match wanted(reader, place, chain, filter, time) {
                Ok(Some(one)) => {
                    latest.push((*time, at));
                    found[at] = Some(one);
                }
                Ok(None) => back[at] = None,
                // What was read so far is shown.
                Err(error) => {
                    troubles.push(error);
                    back[at] = None;
                }
            }
        }
        let Some((time, at)) = latest.pop() else { break };
        if let (Some((one, position)), Some((reader, _))) = (found[at].take(), &back[at]) {
            begins[at] = Some(position);
            if !twins.has(&open[at].0, at, time, reader.record(&one).bytes) {
                count += 1;
            }
        }
        ready.push(at);
    }
    begins
}

/// The record before that passes the filter, unless all before are too old.
fn wanted(
    reader: &mut Back,
    place: &Place,
    chain: &mut Chain,
    filter: &Filter,
    time: &mut Wall,
) -> io::Result<Option<(Found, Position)>> {
    while let Some((found, position)) = reader.next(chain)? {
        if let Some(head) = &found.head {
            *time = head.time;
            let too_old = |since: Wall| since.checked_sub(DISORDER).is_ok_and(|since| head.time < since);
            if filter.since.is_some_and(too_old) {
                return Ok(None);
            }
        }
        if place.passes(&reader.record(&found), filter) {
            return Ok(Some((found, position)));
        }
    }
    Ok(None)
}

impl Merged {
    /// The next record.
    pub(crate) fn next(&mut self) -> Option<Entry<'_>> {
        let at = loop {
            if let Some(last) = self.last.take() {
                self.advance(last);
            }
            let Reverse((time, at)) = self.next.pop()?;
            self.last = Some(at);
            let Source { place, forth, found, .. } = &self.sources[at];
            let Some(found) = found else { continue };
            if !self.twins.has(place, at, time, forth.record(found).bytes) {
                break at;
            }
        };
        let source = &self.sources[at];
        let record = source.forth.record(source.found.as_ref()?);
        Some(Entry { place: &source.place, record })
    }

    /// Whether there is nothing that could be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// What comes from here on.
    pub(crate) fn follow(self) -> Following {
        let mut following = Following::new(self.filter);
        for source in self.sources {
            let (file, reader) = source.forth.into_newest();
            following.go_on(source.place, file, reader);
        }
        self.silent.into_iter().for_each(|place| following.add(place));
        following
    }

    fn advance(&mut self, at: usize) {
        let source = &mut self.sources[at];
        loop {
            source.found = match source.forth.next() {
                Ok(found) => found,
                Err(error) => {
                    self.troubles.push(error);
                    None
                }
            };
            let Some(found) = &source.found else { return };
            if let Some(head) = &found.head {
                source.time = head.time;
                let too_new = |until: Wall| until.checked_add(DISORDER).is_ok_and(|until| head.time > until);
                if self.filter.until.is_some_and(too_new) {
                    source.found = None;
                    return;
                }
            }
            if source.place.passes(&source.forth.record(found), &self.filter) {
                self.next.push(Reverse((source.time, at)));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use camino::{Utf8Path, Utf8PathBuf};

    use super::super::names::Log;
    use super::*;

    struct Logs(tempfile::TempDir);

    impl Logs {
        fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs_err::write(dir.path().join(name), text).unwrap();
            }
            Self(dir)
        }

        fn place(&self, label: &str, name: &str, has_twins: bool) -> Place {
            let path: Utf8PathBuf = Utf8Path::from_path(self.0.path()).unwrap().join(name);
            Place { label: label.to_owned(), log: Log::Profile, path, has_twins, about: None }
        }
    }

    fn shown(places: Vec<Place>, filter: Filter, last: Option<u64>) -> Vec<String> {
        let mut merged = read(places, filter, Span { last, follow: false });
        let mut all = Vec::new();
        while let Some(entry) = merged.next() {
            let text = String::from_utf8_lossy(entry.record.bytes).into_owned();
            all.push(format!(
                "{}/{}",
                entry.place.label,
                text.split_once(": ").map_or(text.as_str(), |(_, m)| m)
            ));
        }
        assert!(merged.troubles.is_empty(), "{:?}", merged.troubles);
        all
    }

    fn lines(of: &[(u32, &str)]) -> String {
        of.iter().map(|(s, text)| format!("2026-11-21 00:30:{s:02},000 INFO x: {text}\n")).collect()
    }

    #[test]
    fn logs_are_one_by_time_and_rotated_files_are_read_where_needed() {
        let logs = Logs::new(&[
            ("a.log", &lines(&[(5, "a5"), (9, "a9")])),
            ("a.log.1", &lines(&[(1, "a1"), (3, "a3")])),
            ("b.log", &lines(&[(2, "b2"), (4, "b4"), (9, "b9")])),
        ]);
        let places = || vec![logs.place("a", "a.log", false), logs.place("b", "b.log", false)];
        assert_eq!(
            shown(places(), Filter::default(), None),
            ["a/a1", "b/b2", "a/a3", "b/b4", "a/a5", "a/a9", "b/b9"]
        );
        assert_eq!(shown(places(), Filter::default(), Some(4)), ["b/b4", "a/a5", "a/a9", "b/b9"]);
        assert_eq!(shown(places(), Filter::default(), Some(5))[0], "a/a3");
        assert_eq!(shown(places(), Filter::default(), Some(0)), Vec::<String>::new());
        let since = Filter { since: "2026-11-21T00:30:04".parse().ok(), ..Filter::default() };
        assert_eq!(shown(places(), since, None), ["b/b4", "a/a5", "a/a9", "b/b9"]);
        let until = Filter { until: "2026-11-21T00:30:04".parse().ok(), ..Filter::default() };
        assert_eq!(shown(places(), until.clone(), Some(2)), ["a/a3", "b/b4"]);
        assert_eq!(shown(places(), until, None), ["a/a1", "b/b2", "a/a3", "b/b4"]);
    }

    #[test]
    fn a_record_in_two_files_of_a_profile_is_one() {
        let bad = lines(&[(2, "bad"), (2, "bad")]);
        let logs = Logs::new(&[
            ("gateway.log", &format!("{}{bad}{}", lines(&[(1, "fine")]), lines(&[(3, "end")]))),
            ("gateway.error.log", &format!("{bad}{}", lines(&[(2, "printed")]))),
        ]);
        let places = || ["gateway.log", "gateway.error.log"].map(|name| logs.place("a", name, true)).to_vec();
        let mut all = shown(places(), Filter::default(), None);
        all[1..4].sort();
        assert_eq!(all, ["a/fine", "a/bad", "a/bad", "a/printed", "a/end"]);
        assert_eq!(shown(places(), Filter::default(), Some(4)).len(), 4);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_shown() {
        let logs = Logs::new(&[("a.log", &lines(&[(1, "a1")]))]);
        fs_err::create_dir(logs.0.path().join("b.log")).unwrap();
        let places = vec![logs.place("a", "a.log", false), logs.place("b", "b.log", false)];
        let mut merged = read(places, Filter::default(), Span { last: Some(5), follow: false });
        assert!(merged.next().is_some() && merged.next().is_none() && !merged.is_empty());
        assert!(merged.troubles[0].to_string().contains("b.log"), "{:?}", merged.troubles);
    }
}
