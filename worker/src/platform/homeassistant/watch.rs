//! What of a house is told: which entities are watched, how often one speaks, and in which words. Pure.
//!
//! An entity that spoke says nothing more for the cooldown; how it is behind that is told then, if it is another way than was told last. What
//! changed while nobody listened is told when somebody does again. So the last state of everything that is watched is always told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::wire::State;

/// Most entities of which it is known what was told.
const MOST: usize = 10_000;
/// As which an entity was that was not there.
const UNKNOWN: &str = "unknown";

/// Which entities are watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Filter {
    pub(super) domains: BTreeSet<String>,
    pub(super) entities: BTreeSet<String>,
    /// Where neither is listed: all of them.
    pub(super) all: bool,
    pub(super) ignored: BTreeSet<String>,
}

impl Filter {
    /// Whether nothing is.
    pub(super) fn is_blind(&self) -> bool {
        self.domains.is_empty() && self.entities.is_empty() && !self.all
    }

    /// Whether this one is.
    pub(super) fn watches(&self, entity: &str) -> bool {
        if self.ignored.contains(entity) {
            return false;
        }
        if self.domains.is_empty() && self.entities.is_empty() {
            return self.all;
        }
        self.domains.contains(domain(entity)) || self.entities.contains(entity)
    }
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) entity: String,
    /// Since when it is so: the same change has the same.
    pub(super) since: String,
    pub(super) text: String,
}

/// What is known of one entity.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// The state that was told last.
    told: String,
    /// When.
    at: Option<Instant>,
    /// How it is since, where that waits for the cooldown.
    latest: Option<State>,
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Watch {
    filter: Filter,
    cooldown: Duration,
    entries: BTreeMap<String, Entry>,
}

impl Watch {
    /// `told`: how each entity was when it was told last.
    pub(super) fn new(filter: Filter, cooldown: Duration, told: BTreeMap<String, String>) -> Self {
        let told = told.into_iter().filter(|(entity, _)| filter.watches(entity)).take(MOST);
        let entry = |told: String| Entry { told, at: None, latest: None };
        let entries = told.map(|(entity, told)| (entity, entry(told))).collect();
        Self { filter, cooldown, entries }
    }

    /// How each entity was when it was told last.
    pub(super) fn told(&self) -> BTreeMap<&str, &str> {
        self.entries.iter().map(|(entity, entry)| (entity.as_str(), entry.told.as_str())).collect()
    }

    /// An entity is another way than it was; what is to be told now.
    pub(super) fn changed(&mut self, old: Option<&str>, new: State, now: Instant) -> Vec<Told> {
        if !self.filter.watches(&new.entity) {
            return Vec::new();
        }
        if self.entries.len() >= MOST && !self.entries.contains_key(&new.entity) {
            // Beyond that nobody is compared with what he was.
            return told(old.unwrap_or(UNKNOWN), &new).into_iter().collect();
        }
        let entry = self.entries.entry(new.entity.clone()).or_insert_with(|| Entry {
            told: old.unwrap_or(UNKNOWN).to_owned(),
            at: None,
            latest: None,
        });
        entry.latest = Some(new);
        self.due(now)
    }

    /// How everything is now; what of that was not told.
    pub(super) fn compare(&mut self, states: Vec<State>, now: Instant) -> Vec<Told> {
        for state in states.into_iter().filter(|state| self.filter.watches(&state.entity)) {
            if let Some(entry) = self.entries.get_mut(&state.entity) {
                entry.latest = Some(state);
            } else if self.entries.len() < MOST {
                // Seen for the first time, it has not changed.
                let entry = Entry { told: state.value, at: None, latest: None };
                self.entries.insert(state.entity, entry);
            }
        }
        self.due(now)
    }

    /// When something is to be told that is not yet.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.entries.values().filter(|entry| entry.latest.is_some());
        waiting.filter_map(|entry| Some(entry.at? + self.cooldown)).min()
    }

    /// What is to be told by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Told> {
        let cooldown = self.cooldown;
        let rested = |entry: &Entry| entry.at.is_none_or(|at| now >= at + cooldown);
        let mut all = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| rested(entry)) {
            let Some(new) = entry.latest.take() else { continue };
            if let Some(said) = told(&entry.told, &new) {
                (entry.told, entry.at) = (new.value, Some(now));
                all.push(said);
            }
        }
        all
    }
}

/// The part of an entity's id that says what it is.
fn domain(entity: &str) -> &str {
    entity.split('.').next().unwrap_or_default()
}

/// In the words of 0.19.0. None: nothing has changed.
fn told(old: &str, new: &State) -> Option<Told> {
    if old == new.value {
        return None;
    }
    let State { entity, value: state, name, unit, since, .. } = new;
    let triggered = |state: &str| if state == "on" { "triggered" } else { "cleared" };
    let text = match domain(entity) {
        "climate" => {
            let (is, wanted) = new.temperature.clone().unwrap_or_default();
            let or = |text: String| if text.is_empty() { "?".to_owned() } else { text };
            let (is, wanted) = (or(is), or(wanted));
            format!("{name}: HVAC mode changed from '{old}' to '{state}' (current: {is}, target: {wanted})")
        }
        "sensor" => format!("{name}: changed from {old}{unit} to {state}{unit}"),
        "binary_sensor" => format!("{name}: {} (was {})", triggered(state), triggered(old)),
        "light" | "switch" | "fan" => format!("{name}: turned {}", if state == "on" { "on" } else { "off" }),
        "alarm_control_panel" => format!("{name}: alarm state changed from '{old}' to '{state}'"),
        _ => format!("{name} ({entity}): changed from '{old}' to '{state}'"),
    };
    let text = format!("[Home Assistant] {text}");
    Some(Told { entity: entity.clone(), since: since.clone(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(entity: &str, state: &str) -> State {
        State {
            entity: entity.into(),
            value: state.into(),
            name: "Thing".into(),
            unit: "%".into(),
            since: state.into(),
            ..State::default()
        }
    }

    fn filter(domains: &[&str], entities: &[&str], all: bool, ignored: &[&str]) -> Filter {
        let set = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Filter { domains: set(domains), entities: set(entities), all, ignored: set(ignored) }
    }

    #[test]
    fn only_what_is_watched_is_told() {
        let watches = |filter: &Filter, entity: &str| filter.watches(entity);
        let both = filter(&["light"], &["lock.door"], true, &["light.porch"]);
        assert!(watches(&both, "light.hall") && watches(&both, "lock.door"));
        assert!(!watches(&both, "lock.other") && !watches(&both, "light.porch"));
        let all = filter(&[], &[], true, &["light.porch"]);
        assert!(watches(&all, "any.thing") && !watches(&all, "light.porch"));
        let none = filter(&[], &[], false, &[]);
        assert!(!watches(&none, "any.thing") && none.is_blind() && !all.is_blind() && !both.is_blind());
    }

    #[test]
    fn who_spoke_is_silent_for_a_while_and_then_says_how_it_is() {
        let (now, cooldown) = (Instant::now(), Duration::from_secs(30));
        let mut watch = Watch::new(filter(&["light"], &[], false, &[]), cooldown, BTreeMap::new());
        let changed = |watch: &mut Watch, old: &str, new: &str, at: u64| {
            let told = watch.changed(Some(old), state("light.hall", new), now + Duration::from_secs(at));
            told.into_iter().next().map(|told| told.text)
        };
        assert_eq!(changed(&mut watch, "off", "on", 0).as_deref(), Some("[Home Assistant] Thing: turned on"));
        assert_eq!(changed(&mut watch, "on", "off", 5), None);
        assert_eq!(watch.next(), Some(now + cooldown));
        assert!(watch.due(now + Duration::from_secs(29)).is_empty());
        let due = watch.due(now + cooldown);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].text.as_str(), watch.next()), ("[Home Assistant] Thing: turned off", None));
        // What is as it was told is told to nobody.
        assert_eq!(changed(&mut watch, "off", "on", 31), None);
        assert_eq!(changed(&mut watch, "on", "off", 32), None);
        assert!(watch.due(now + Duration::from_secs(90)).is_empty());
    }

    #[test]
    fn what_changed_meanwhile_is_told_and_what_is_new_is_not() {
        let now = Instant::now();
        let told = BTreeMap::from([
            ("light.hall".to_owned(), "on".to_owned()),
            ("light.porch".to_owned(), "on".to_owned()),
        ]);
        let mut watch = Watch::new(filter(&["light"], &[], false, &[]), Duration::from_secs(30), told);
        let states = vec![
            state("light.hall", "off"),
            state("light.porch", "on"),
            state("light.new", "on"),
            state("lock.x", "on"),
        ];
        let found = watch.compare(states, now);
        let entities: Vec<&str> = found.iter().map(|told| told.entity.as_str()).collect();
        assert_eq!(entities, ["light.hall"]);
        assert_eq!(watch.told().len(), 3);
        assert_eq!(watch.told()["light.hall"], "off");
    }

    #[test]
    fn words_are_those_of_what_it_is() {
        let of = |entity: &str, old: &str, new: &str| told(old, &state(entity, new)).map(|told| told.text);
        assert_eq!(
            of("sensor.x", "1", "2").as_deref(),
            Some("[Home Assistant] Thing: changed from 1% to 2%")
        );
        assert_eq!(
            of("binary_sensor.x", "off", "on").as_deref(),
            Some("[Home Assistant] Thing: triggered (was cleared)")
        );
        assert_eq!(
            of("climate.x", "heat", "off").as_deref(),
            Some("[Home Assistant] Thing: HVAC mode changed from 'heat' to 'off' (current: ?, target: ?)")
        );
        assert_eq!(
            of("alarm_control_panel.x", "disarmed", "triggered").as_deref(),
            Some("[Home Assistant] Thing: alarm state changed from 'disarmed' to 'triggered'")
        );
        assert_eq!(
            of("lock.x", "locked", "unlocked").as_deref(),
            Some("[Home Assistant] Thing (lock.x): changed from 'locked' to 'unlocked'")
        );
        assert_eq!(of("lock.x", "locked", "locked"), None);
    }
}
