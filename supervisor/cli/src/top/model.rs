//! What `hermes top` knows, and what keys make of it. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use hermes_wire::contract::gateway_status::{GatewayStatus, Profile, state};

/// Points of a curve.
pub(crate) const POINTS: usize = 120;
/// Lines of logs that are kept.
const LINES: usize = 500;
/// How long an answer stays to be read.
const READ: Duration = Duration::from_secs(8);

/// What can be asked of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Restart,
    Stop,
    Start,
}

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }
}

/// A key, as far as it means anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Char(char),
}

/// What is to be done because of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Quit,
    Ask(Verb, String),
    Why(String),
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) profile: String,
    pub(crate) text: String,
}

/// What stands above the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing.
    None,
    Help,
    /// To be confirmed with `y`.
    Confirm(Verb, String),
    /// Text of `hermes why`, and how far it is scrolled.
    Why {
        name: String,
        text: String,
        from: usize,
    },
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) status: Option<GatewayStatus>,
    pub(crate) curves: HashMap<String, VecDeque<u64>>,
    pub(crate) cpu: HashMap<String, f64>,
    measured: HashMap<String, (u64, Instant)>,
    selected: Option<String>,
    pub(crate) log: VecDeque<Line>,
    pub(crate) shows_log: bool,
    pub(crate) over: Over,
    notice: Option<(String, Instant)>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            status: None,
            curves: HashMap::new(),
            cpu: HashMap::new(),
            measured: HashMap::new(),
            selected: None,
            log: VecDeque::new(),
            shows_log: true,
            over: Over::None,
            notice: None,
        }
    }

    /// A newer status.
    pub(crate) fn take(&mut self, status: GatewayStatus, now: Instant) {
        let processes = status.profiles.iter().map(|p| (p.name.as_str(), p.cpu_ms));
        for (name, ms) in processes.chain([("", status.gateway.cpu_ms)]) {
            let Some(ms) = ms else {
                self.measured.remove(name);
                self.cpu.remove(name);
                continue;
            };
            if let Some((before, at)) = self.measured.insert(name.to_owned(), (ms, now)) {
                let passed = now.saturating_duration_since(at).as_secs_f64();
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a second")]
                let used = ms.saturating_sub(before) as f64 / 1000.0;
                if passed > 0.0 {
                    self.cpu.insert(name.to_owned(), used / passed * 100.0);
                }
            }
        }
        for profile in &status.profiles {
            let curve = self.curves.entry(profile.name.clone()).or_default();
            // Tenths, so that little is not nothing.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, bounded")]
            curve.push_back((profile.requests_per_sec.unwrap_or(0.0) * 10.0).clamp(0.0, 1e12) as u64);
            while curve.len() > POINTS {
                curve.pop_front();
            }
        }
        let names: Vec<&str> = status.profiles.iter().map(|p| p.name.as_str()).collect();
        self.curves.retain(|name, _| names.contains(&name.as_str()));
        if !self.selected.as_deref().is_some_and(|name| names.contains(&name)) {
            self.selected = names.first().map(|name| (*name).to_owned());
        }
        self.status = Some(status);
    }

    /// New lines of logs, in their order.
    pub(crate) fn add(&mut self, lines: Vec<Line>) {
        self.log.extend(lines);
        let more = self.log.len().saturating_sub(LINES);
        self.log.drain(..more);
    }

    pub(crate) fn say(&mut self, text: String, now: Instant) {
        self.notice = Some((text, now));
    }

    /// The last answer, while it is fresh.
    pub(crate) fn notice(&self, now: Instant) -> Option<&str> {
        let fresh = |(_, at): &&(String, Instant)| now.saturating_duration_since(*at) < READ;
        self.notice.as_ref().filter(fresh).map(|(text, _)| text.as_str())
    }

    pub(crate) fn profiles(&self) -> &[Profile] {
        self.status.as_ref().map(|status| status.profiles.as_slice()).unwrap_or_default()
    }

    /// The row that is selected.
    pub(crate) fn selected(&self) -> Option<usize> {
        let name = self.selected.as_deref()?;
        self.profiles().iter().position(|profile| profile.name == name)
    }

    fn move_to(&mut self, at: usize) {
        let at = at.min(self.profiles().len().saturating_sub(1));
        self.selected = self.profiles().get(at).map(|profile| profile.name.clone());
    }

    /// What a key means now. `page`: rows that are seen.
    pub(crate) fn press(&mut self, key: Key, page: usize) -> Option<Order> {
        match (&mut self.over, key) {
            (Over::Confirm(verb, name), Key::Char('y' | 'Y')) => {
                let order = Order::Ask(*verb, std::mem::take(name));
                self.over = Over::None;
                return Some(order);
            }
            (Over::Why { from, .. }, Key::Down | Key::Char('j')) => *from += 1,
            (Over::Why { from, .. }, Key::Up | Key::Char('k')) => *from = from.saturating_sub(1),
            (Over::Why { from, .. }, Key::PageDown | Key::Char(' ')) => *from += page,
            (Over::Why { from, .. }, Key::PageUp) => *from = from.saturating_sub(page),
            (Over::Help | Over::Confirm(..) | Over::Why { .. }, _) => self.over = Over::None,
            (Over::None, key) => return self.plain(key, page.max(1)),
        }
        None
    }

    fn plain(&mut self, key: Key, page: usize) -> Option<Order> {
        let (at, last) = (self.selected().unwrap_or(0), self.profiles().len().saturating_sub(1));
        let name = self.selected.clone();
        match key {
            Key::Char('q' | 'Q') | Key::Escape => return Some(Order::Quit),
            Key::Up | Key::Char('k') => self.move_to(at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.move_to(at + 1),
            Key::PageUp => self.move_to(at.saturating_sub(page)),
            Key::PageDown => self.move_to(at + page),
            Key::Home | Key::Char('g') => self.move_to(0),
            Key::End | Key::Char('G') => self.move_to(last),
            Key::Char('l') => self.shows_log = !self.shows_log,
            Key::Char('?' | 'h') => self.over = Over::Help,
            Key::Char('w') | Key::Enter => return name.map(Order::Why),
            Key::Char('r') => return name.map(|name| Order::Ask(Verb::Restart, name)),
            Key::Char('t') => return name.map(|name| Order::Ask(Verb::Start, name)),
            // What takes something down is asked for twice.
            Key::Char('s') => {
                let runs = self.profiles().get(at).is_some_and(|p| !state::is_at_rest(&p.state));
                if let Some(name) = name.filter(|_| runs) {
                    self.over = Over::Confirm(Verb::Stop, name);
                }
            }
            Key::Char(_) => {}
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::status::render::tests::{gateway, profile};

    pub(crate) fn model(now: Instant) -> Model {
        let mut model = Model::new();
        for n in 0..30_u32 {
            let mut status = gateway(vec![
                profile("default", state::READY),
                profile("coder", state::DEGRADED),
                profile("ops", state::CRASH_LOOP),
            ]);
            status.profiles[0].requests_per_sec = Some(f64::from(n % 7) * 3.5);
            status.profiles[0].latency_p99_ms = Some(12.3);
            status.profiles[1].reason = Some("provider openai: auth: HTTP 401: Invalid key".to_owned());
            model.take(status, now + Duration::from_secs(u64::from(n)));
        }
        model.add(vec![Line {
            profile: "coder".to_owned(),
            text: "2026-11-29 18:00:00,000 WARNING turn: no".to_owned(),
        }]);
        model
    }

    #[test]
    fn keys_select_ask_and_leave() {
        let now = hermes_host::clock::now();
        let mut model = model(now);
        assert_eq!(model.selected(), Some(0));
        for (key, at) in
            [(Key::Down, 1), (Key::Char('j'), 2), (Key::Down, 2), (Key::Home, 0), (Key::End, 2), (Key::Up, 1)]
        {
            assert_eq!(model.press(key, 10), None);
            assert_eq!(model.selected(), Some(at), "{key:?}");
        }
        assert_eq!(model.press(Key::Char('r'), 10), Some(Order::Ask(Verb::Restart, "coder".to_owned())));
        assert_eq!(model.press(Key::Enter, 10), Some(Order::Why("coder".to_owned())));
        // Stopping is confirmed, and by nothing else than `y`.
        assert_eq!(model.press(Key::Char('s'), 10), None);
        assert_eq!(model.press(Key::Char('q'), 10), None);
        assert_eq!(model.press(Key::Char('s'), 10), None);
        assert_eq!(model.press(Key::Char('y'), 10), Some(Order::Ask(Verb::Stop, "coder".to_owned())));
        // Who is gone is not selected any more.
        model.take(gateway(vec![profile("default", state::READY)]), now);
        assert_eq!(model.selected(), Some(0));
        model.take(gateway(Vec::new()), now);
        assert_eq!((model.selected(), model.press(Key::Char('r'), 1)), (None, None));
        assert_eq!(model.press(Key::Char('q'), 10), Some(Order::Quit));
    }
}
