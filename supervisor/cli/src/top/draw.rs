//! `hermes top` on a screen of any size. Pure. Text from outside is shown, never obeyed.

use std::time::Instant;

use hermes_wire::contract::gateway_status::{Gateway, Profile, state};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table, TableState, Wrap};

use super::model::{Model, Over};
use crate::status::render::{bytes, clean, duration};

/// Heights of a curve.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Colours that profiles have in the log.
const OF_PROFILES: [Color; 6] =
    [Color::Cyan, Color::Magenta, Color::Blue, Color::LightGreen, Color::LightYellow, Color::LightRed];

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn fg(self, color: Color) -> Style {
        if self.0 { Style::new().fg(color) } else { Style::new() }
    }

    fn state(self, word: &str) -> Style {
        match word {
            state::READY | "running" => self.fg(Color::Green),
            state::FAILED | state::CRASH_LOOP | state::CONFLICT => {
                self.fg(Color::Red).add_modifier(Modifier::BOLD)
            }
            _ if state::is_at_rest(word) => Style::new().add_modifier(Modifier::DIM),
            _ => self.fg(Color::Yellow),
        }
    }
}

/// Draws all of it; how many rows of profiles are seen.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model, paint: Paint, now: Instant) -> usize {
    let area = frame.area();
    let height = area.height;
    let wants_log = model.shows_log && height >= 16;
    let details = u16::from(height >= 12) * 2;
    let log = if wants_log { (height / 3).max(5) } else { 0 };
    let [head, table, detail, tail, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(details),
        Constraint::Length(log),
        Constraint::Length(1),
    ])
    .areas(area);
    header(frame, head, model, paint);
    profiles(frame, table, model, paint);
    if details > 0 {
        selected(frame, detail, model, paint);
    }
    if wants_log {
        lines(frame, tail, model, paint);
    }
    footer(frame, foot, model, now);
    over(frame, area, model);
    usize::from(table.height.saturating_sub(1))
}

fn header(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let Some(status) = &model.status else {
        return frame.render_widget("asking the gateway …", area);
    };
    let gateway = &status.gateway;
    let shown =
        if gateway.stale && gateway.state != "stopped" { "does not answer" } else { gateway.state.as_str() };
    let mut parts = vec![
        Span::styled("Gateway ", Style::new().add_modifier(Modifier::BOLD)),
        Span::styled(shown.to_owned(), if gateway.stale { paint.fg(Color::Red) } else { paint.state(shown) }),
    ];
    parts.extend(
        facts(gateway, model.cpu.get("").copied()).into_iter().map(|fact| Span::raw(format!(" · {fact}"))),
    );
    frame.render_widget(Line::from(parts), area);
}

fn facts(gateway: &Gateway, cpu: Option<f64>) -> Vec<String> {
    let mut all = Vec::new();
    if !gateway.stale {
        all.push(gateway.readiness(""));
    }
    all.extend(gateway.pid.map(|pid| format!("PID {pid}")));
    all.extend(gateway.uptime_secs.map(|secs| format!("up {}", duration(secs))));
    all.extend(gateway.rss_bytes.map(bytes));
    all.extend(cpu.map(percent));
    all.extend(gateway.version.as_deref().map(clean));
    all
}

/// A column: its title, its width, from which width of the screen on it is there.
const COLUMNS: [(&str, u16, u16); 9] = [
    ("PROFILE", 0, 0),
    ("STATE", 10, 0),
    ("FOR", 8, 60),
    ("REQ/S", 6, 36),
    ("RATE", 14, 96),
    ("P99", 7, 50),
    ("TURNS", 5, 66),
    ("MEMORY", 8, 74),
    ("CPU", 6, 44),
];
/// From here on the last error has a column of its own.
const WITH_ERRORS: u16 = 120;

fn profiles(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let width = area.width;
    let seen: Vec<usize> = (0..COLUMNS.len()).filter(|n| width >= COLUMNS[*n].2).collect();
    let with_errors = width >= WITH_ERRORS;
    let longest = model.profiles().iter().map(|p| crate::columns::width(&p.name)).max().unwrap_or(0).max(7);
    let names = u16::try_from(longest).unwrap_or(u16::MAX).min(if width < 60 { 14 } else { 28 });
    let mut widths: Vec<Constraint> = seen
        .iter()
        .map(|n| match COLUMNS[*n].1 {
            0 if with_errors => Constraint::Length(names),
            0 => Constraint::Min(names),
            fixed => Constraint::Length(fixed),
        })
        .collect();
    let mut titles: Vec<&str> = seen.iter().map(|n| COLUMNS[*n].0).collect();
    if with_errors {
        widths.push(Constraint::Min(20));
        titles.push("LAST ERROR");
    }
    let rows = model.profiles().iter().map(|profile| {
        let mut cells: Vec<Span<'_>> = seen.iter().map(|n| cell(*n, profile, model, paint)).collect();
        if with_errors {
            cells.push(Span::raw(trouble(profile)));
        }
        Row::new(cells)
    });
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let table = Table::new(rows, widths)
        .header(Row::new(titles).style(bold))
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut at = TableState::new().with_selected(model.selected());
    frame.render_stateful_widget(table, area, &mut at);
}

fn cell(column: usize, p: &Profile, model: &Model, paint: Paint) -> Span<'static> {
    let none = || "–".to_owned();
    match COLUMNS[column].0 {
        "PROFILE" => Span::raw(clean(&p.name)),
        "STATE" if p.stale => Span::styled(format!("{}?", clean(&p.state)), paint.fg(Color::Yellow)),
        "STATE" => Span::styled(clean(&p.state), paint.state(&p.state)),
        "FOR" => Span::raw(p.since_secs.map_or_else(none, duration)),
        "REQ/S" => Span::raw(
            p.requests_per_sec
                .map_or_else(none, |n| if n >= 10.0 { format!("{n:.0}") } else { format!("{n:.1}") }),
        ),
        "RATE" => Span::styled(curve(model, &p.name, 14), paint.fg(Color::Blue)),
        "P99" => Span::raw(p.latency_p99_ms.map_or_else(none, millis)),
        "TURNS" => Span::raw(match p.inbox_waiting {
            0 => p.active_agents.to_string(),
            waiting => format!("{}+{waiting}", p.active_agents),
        }),
        "MEMORY" => Span::raw(p.rss_bytes.map_or_else(none, bytes)),
        _ => Span::raw(model.cpu.get(&p.name).copied().map_or_else(none, percent)),
    }
}

fn curve(model: &Model, name: &str, width: usize) -> String {
    let Some(points) = model.curves.get(name) else { return String::new() };
    let shown = points.iter().skip(points.len().saturating_sub(width));
    let top = points.iter().max().copied().unwrap_or(0).max(10);
    shown.map(|n| BARS[usize::try_from(n * 7 / top).unwrap_or(7).min(7)]).collect()
}

fn percent(n: f64) -> String {
    if n < 10.0 { format!("{n:.1}%") } else { format!("{n:.0}%") }
}

fn millis(ms: f64) -> String {
    if ms >= 1000.0 { format!("{:.1}s", ms / 1000.0) } else { format!("{ms:.0}ms") }
}

/// What is wrong with a profile, in one line.
fn trouble(p: &Profile) -> String {
    let provider =
        p.last_error.as_ref().map(|e| format!("provider {}: {}: {}", e.provider, e.class, e.message));
    let platform =
        || p.platforms.iter().find_map(|(name, of)| Some(format!("{name}: {}", of.error_message.as_ref()?)));
    let mut text = clean(&provider.or_else(|| p.reason.clone()).or_else(platform).unwrap_or_default());
    if let Some(ms) = p.next_attempt_ms {
        text = format!("next try in {} · {text}", duration(ms.div_ceil(1000)));
    }
    text
}

fn selected(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let Some(p) = model.selected().and_then(|at| model.profiles().get(at)) else { return };
    let platforms: Vec<String> =
        p.platforms.iter().map(|(name, of)| format!("{} {}", clean(name), clean(&of.state))).collect();
    let pid = p.pid.map(|pid| format!(" · PID {pid}")).unwrap_or_default();
    let restarts = if p.restarts == 0 { String::new() } else { format!(" · {} restarts", p.restarts) };
    let exit = p.last_exit.as_deref().map(|exit| format!(" · last {}", clean(exit))).unwrap_or_default();
    let first = format!("{}{pid}{restarts}{exit} · {}", clean(&p.name), platforms.join(", "));
    let text = vec![
        Line::styled(first, Style::new().add_modifier(Modifier::BOLD)),
        Line::styled(trouble(p), paint.fg(Color::Yellow)),
    ];
    frame.render_widget(Paragraph::new(text), area);
}

fn lines(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let block = Block::new().borders(ratatui::widgets::Borders::TOP).title(" log of all profiles ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let from = model.log.len().saturating_sub(usize::from(inner.height));
    let names: Vec<&str> = model.profiles().iter().map(|p| p.name.as_str()).collect();
    let shown: Vec<Line<'_>> = model
        .log
        .iter()
        .skip(from)
        .map(|line| {
            let at = names.iter().position(|name| *name == line.profile).unwrap_or(0);
            // The date is today's.
            let text = line.text.get(11..).filter(|_| line.text.as_bytes().get(4) == Some(&b'-'));
            Line::from(vec![
                Span::styled(
                    format!("{} ", clean(&line.profile)),
                    paint.fg(OF_PROFILES[at % OF_PROFILES.len()]),
                ),
                Span::raw(clean(text.unwrap_or(&line.text))),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(shown), inner);
}

fn footer(frame: &mut Frame<'_>, area: Rect, model: &Model, now: Instant) {
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let text = match model.notice(now) {
        Some(notice) => format!(" {}", clean(notice)),
        None if area.width < 60 => " r s t w l ? q".to_owned(),
        None => " r restart  s stop  t start  w why  l log  ? help  q quit".to_owned(),
    };
    frame.render_widget(Paragraph::new(text).style(reversed), area);
}

fn over(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let (title, text, from) = match &model.over {
        Over::None => return,
        Over::Help => (
            "keys".to_owned(),
            "↑ ↓ j k  select a profile\nPgUp PgDn g G  far away\nr  restart it without a gap\ns  stop it, and remember that\n\
             t  start it\nw Enter  why it is as it is\nl  log on and off\nq Esc  quit\n\nany key goes back"
                .to_owned(),
            0,
        ),
        Over::Confirm(verb, name) => {
            (format!("{} {}?", verb.word(), clean(name)), "y  yes\nany other key  no".to_owned(), 0)
        }
        Over::Why { name, text, from } => (format!("why {}", clean(name)), text.clone(), *from),
    };
    let rows = u16::try_from(text.lines().count()).unwrap_or(u16::MAX).saturating_add(2);
    let is_why = matches!(model.over, Over::Why { .. });
    let wanted = if is_why { area.width } else { 44 };
    let (width, height) = (wanted.min(area.width), if is_why { area.height } else { rows.min(area.height) });
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let bottom = if is_why { " ↑ ↓ scroll · any other key back " } else { "" };
    let block = Block::bordered()
        .title(format!(" {title} "))
        .title_bottom(Line::from(bottom).alignment(Alignment::Right));
    let from = u16::try_from(from.min(text.lines().count().saturating_sub(1))).unwrap_or(u16::MAX);
    frame
        .render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).scroll((from, 0)).block(block), place);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::tests::model;
    use super::super::model::{Key, Verb};
    use super::*;

    fn screen(model: &Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let now = hermes_host::clock::now();
        let drawn = terminal.draw(|frame| {
            draw(frame, model, Paint(true), now);
        });
        drawn.unwrap();
        // A screen without columns is drawn on and cannot be shown.
        if width == 0 { String::new() } else { terminal.backend().to_string() }
    }

    /// Mission control: what matters is seen on every screen, and no screen is too small.
    #[test]
    fn every_screen_shows_names_and_states() {
        let mut model = model(hermes_host::clock::now());
        for (width, height) in [(80, 24), (40, 10), (200, 60)] {
            let shown = screen(&model, width, height);
            for word in ["default", "coder", "ops", "ready", "degraded", "crash_loop"] {
                assert!(shown.contains(word), "{word} on {width}x{height}:\n{shown}");
            }
        }
        let wide = screen(&model, 200, 60);
        for word in ["12ms", "HTTP 401: Invalid key", "LAST ERROR", "log of all profiles", "▁", "q quit"] {
            assert!(wide.contains(word), "{word}:\n{wide}");
        }
        model.press(Key::Down, 5);
        assert!(screen(&model, 80, 24).contains("HTTP 401: Invalid key"), "of the one that is selected");
        for over in [
            Over::Help,
            Over::Confirm(Verb::Stop, "coder".to_owned()),
            Over::Why { name: "coder".to_owned(), text: "line\n".repeat(100), from: 1000 },
        ] {
            model.over = over;
            for (width, height) in [(80, 24), (40, 10), (1, 1), (3, 2), (10, 4)] {
                screen(&model, width, height);
            }
        }
        let nothing = Model::new();
        for (width, height) in [(0, 0), (1, 1), (80, 24)] {
            screen(&nothing, width, height);
        }
    }
}
