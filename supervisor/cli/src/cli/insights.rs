//! `hermes insights`: what was used, by profile, day and model.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use hermes_gateway::watch;
use hermes_host::clock;
use hermes_wire::{ProfileName, exit};
use hermes_worker::stored::{Look, Tokens, Usage};
use jiff::civil::Date;
use jiff::{ToSpan as _, Zoned};
use serde_json::{Value, json};

use super::Call;
use super::output::{self, Output};
use super::sessions::words::{grouped, many};
use crate::columns::{pad, width};
use crate::error::{HermesError, StoredError};
use crate::home::{Chosen, Selection};

/// Most days that can be asked about.
const MOST: u32 = 36_500;

#[derive(Debug, Args)]
#[command(
    after_help = "Read from the counters of the sessions, whether or not a gateway runs. A session is counted on the day on which it began: \
    its counters are sums. Input is without what came from a cache; thoughts are part of the output.\n\n\
    Examples:\n  hermes insights\n  hermes insights coder --days 7\n  hermes insights --json | jq '.models[] | {model, cost_usd}'"
)]
pub(super) struct InsightsArgs {
    #[command(flatten)]
    pub(super) whose: super::OneOfAll,
    /// So many days, today with them.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    days: u32,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Sums.
#[derive(Debug, Clone, Default)]
struct Sum {
    sessions: i64,
    messages: i64,
    tool_calls: i64,
    calls: i64,
    tokens: Tokens,
    cost: Option<f64>,
    is_unknown: bool,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.messages += other.messages;
        self.tool_calls += other.tool_calls;
        self.calls += other.calls;
        self.tokens = self.tokens.and(other.tokens);
        self.cost = match (self.cost, other.cost) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
        };
        self.is_unknown |= other.is_unknown;
    }
}

/// What is shown.
#[derive(Debug, Default)]
struct Insights {
    profiles: Vec<(ProfileName, Sum)>,
    days: BTreeMap<Date, Sum>,
    models: BTreeMap<String, Sum>,
    total: Sum,
    earlier: i64,
}

impl Insights {
    fn take(&mut self, profile: ProfileName, usage: &Usage) {
        let mut own = Sum::default();
        for used in &usage.used {
            let sum = Sum {
                calls: used.calls,
                tokens: used.tokens,
                cost: used.cost,
                is_unknown: used.is_unknown,
                ..Sum::default()
            };
            own.add(&sum);
            self.days.entry(used.day).or_default().add(&sum);
            self.models.entry(used.model.clone()).or_default().add(&sum);
        }
        for day in &usage.days {
            let sum = Sum {
                sessions: day.sessions,
                messages: day.messages,
                tool_calls: day.tool_calls,
                ..Sum::default()
            };
            own.add(&sum);
            self.days.entry(day.day).or_default().add(&sum);
        }
        self.total.add(&own);
        self.earlier += usage.earlier;
        self.profiles.push((profile, own));
    }
}

/// `hermes insights`.
pub(super) fn run(args: &InsightsArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (selection, profiles) = whose(call)?;
    let now = clock::local();
    let since = beginning(&now, args.days);
    #[expect(clippy::cast_precision_loss, reason = "a time of these days")]
    let from = since.timestamp().as_millisecond() as f64 / 1e3;
    let mut insights = Insights::default();
    let mut code = exit::OK;
    let single = profiles.len() == 1;
    for profile in profiles {
        let home = selection.root.profile(&profile);
        let usage = Look::into(&home).and_then(|look| {
            look.map_or_else(|| Ok(Usage::default()), |look| look.usage(Some(from), now.time_zone()))
        });
        match usage {
            Ok(usage) => insights.take(profile, &usage),
            Err(error) if single => return Err(StoredError::from(error).into()),
            // One that cannot be read is not one that has used nothing.
            Err(error) => {
                output::warn(&format!("profile '{profile}' is left out: {error} ({})", error.path()));
                code = exit::FAILURE;
            }
        }
    }
    if args.json {
        out.line(&format!("{:#}", value(&insights, &since, &now)))?;
        return Ok(code);
    }
    if insights.total.sessions == 0 && insights.total.calls == 0 {
        out.line(&format!("No session began since {}.", since.date()))?;
    } else {
        out.write(&text(&insights, &since, &now))?;
    }
    if insights.earlier > 0 {
        output::note(&format!(
            "{} that began before {} were used since and are left out: their counters are sums; `--days` takes them in",
            many(insights.earlier, "session"),
            since.date()
        ));
    }
    Ok(code)
}

/// The profiles it is about.
fn whose(call: &Call) -> Result<(Selection, Vec<ProfileName>), HermesError> {
    let selection = call.select_and_warn()?;
    if matches!(selection.chosen, Chosen::Flag | Chosen::Home) {
        let selection = selection.strict()?;
        let profile = selection.profile.clone();
        return Ok((selection, vec![profile]));
    }
    let all = watch::scan(&selection.root).names().cloned().collect();
    Ok((selection, all))
}

/// The first moment of the first day.
fn beginning(now: &Zoned, days: u32) -> Zoned {
    let back = (i64::from(days) - 1).days();
    now.checked_sub(back).and_then(|day| day.start_of_day()).unwrap_or_else(|_| now.clone())
}

fn value(insights: &Insights, since: &Zoned, now: &Zoned) -> Value {
    let sum = |name: &str, of: Value, sum: &Sum| {
        let mut value = numbers(sum);
        value[name] = of;
        value
    };
    json!({
        "schema": 1,
        "from": since.date().to_string(),
        "to": now.date().to_string(),
        "profiles": insights.profiles.iter().map(|(name, of)| sum("profile", name.as_str().into(), of)).collect::<Vec<_>>(),
        "days": insights.days.iter().map(|(day, of)| sum("day", day.to_string().into(), of)).collect::<Vec<_>>(),
        "models": insights.models.iter().map(|(model, of)| {
            let mut value = sum("model", model.as_str().into(), of);
            // A session may have used several.
            for none in ["sessions", "messages", "tool_calls"] {
                if let Some(fields) = value.as_object_mut() {
                    fields.remove(none);
                }
            }
            value
        }).collect::<Vec<_>>(),
        "total": numbers(&insights.total),
        "earlier_sessions": insights.earlier,
    })
}

fn numbers(sum: &Sum) -> Value {
    json!({
        "sessions": sum.sessions,
        "messages": sum.messages,
        "tool_calls": sum.tool_calls,
        "api_calls": sum.calls,
        "input_tokens": sum.tokens.input,
        "cache_read_tokens": sum.tokens.cache_read,
        "cache_write_tokens": sum.tokens.cache_write,
        "output_tokens": sum.tokens.output,
        "reasoning_tokens": sum.tokens.reasoning,
        "cost_usd": sum.cost,
        "cost_is_incomplete": sum.is_unknown,
    })
}

/// What something cost: `+` where that is not all, `-` where nobody knows.
fn cost(sum: &Sum) -> String {
    match (sum.cost, sum.is_unknown) {
        (Some(cost), false) => format!("${cost:.2}"),
        (Some(cost), true) => format!("${cost:.2}+"),
        (None, _) => "-".to_owned(),
    }
}

fn text(insights: &Insights, since: &Zoned, now: &Zoned) -> String {
    let whose = match &insights.profiles[..] {
        [(one, _)] => format!("profile '{one}'"),
        all => many(i64::try_from(all.len()).unwrap_or(i64::MAX), "profile"),
    };
    let mut text =
        format!("Used by {whose} in sessions that began from {} to {}\n", since.date(), now.date());
    let row = |name: String, sum: &Sum, of_sessions: bool| {
        let tokens = sum.tokens;
        let mut cells = vec![name];
        if of_sessions {
            cells.extend([sum.sessions, sum.messages, sum.tool_calls].map(grouped));
        }
        cells.extend(
            [sum.calls, tokens.input, tokens.cache_read, tokens.cache_write, tokens.output, tokens.reasoning]
                .map(grouped),
        );
        cells.push(cost(sum));
        cells
    };
    let titles = |name: &'static str, of_sessions: bool| {
        let sessions: &[&str] = if of_sessions { &["SESSIONS", "MESSAGES", "TOOL CALLS"] } else { &[] };
        let numbers = ["API CALLS", "INPUT", "CACHED", "CACHE WRITES", "OUTPUT", "THOUGHTS", "COST"];
        [&[name], sessions, &numbers].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> =
        insights.profiles.iter().map(|(name, sum)| row(name.to_string(), sum, true)).collect();
    if rows.len() > 1 {
        rows.push(row("all".to_owned(), &insights.total, true));
    }
    let _ = write!(text, "\n{}", table(&titles("PROFILE", true), &rows));
    let rows: Vec<_> = insights.days.iter().map(|(day, sum)| row(day.to_string(), sum, true)).collect();
    let _ = write!(text, "\n{}", table(&titles("DAY", true), &rows));
    let named = |model: &str| if model.is_empty() { "(none)".to_owned() } else { model.to_owned() };
    let rows: Vec<_> = insights.models.iter().map(|(model, sum)| row(named(model), sum, false)).collect();
    if !rows.is_empty() {
        let _ = write!(text, "\n{}", table(&titles("MODEL", false), &rows));
    }
    if insights.total.is_unknown {
        text += "\nWhat a provider does not tell the price of is not in the cost.\n";
    }
    text
}

/// The first column to the left, the others to the right.
fn table(titles: &[String], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = titles.iter().map(|title| width(title)).collect();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            widths[at] = widths[at].max(width(cell));
        }
    }
    std::iter::once(titles)
        .chain(rows.iter().map(Vec::as_slice))
        .map(|row| {
            let cells = row.iter().enumerate().map(|(at, cell)| pad(cell, widths[at], at > 0));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hermes_worker::stored::{Day, Used};

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn sums_are_those_of_profiles_days_and_models() {
        let used = |model: &str, at: &str, input, cost: Option<f64>| Used {
            day: day(at),
            model: model.to_owned(),
            calls: 1,
            tokens: Tokens { input, output: 5, ..Tokens::default() },
            cost,
            is_unknown: cost.is_none(),
        };
        let usage = Usage {
            used: vec![used("m", "2026-11-30", 1000, Some(0.25)), used("n", "2026-12-01", 500, None)],
            days: vec![
                Day { day: day("2026-11-30"), sessions: 1, messages: 4, tool_calls: 1 },
                Day { day: day("2026-12-01"), sessions: 1, messages: 2, tool_calls: 0 },
            ],
            earlier: 1,
        };
        let mut insights = Insights::default();
        insights.take("default".parse().unwrap(), &usage);
        insights.take("coder".parse().unwrap(), &Usage::default());
        let now: Zoned = "2026-12-01T12:00:00+00:00[UTC]".parse().unwrap();
        let since = beginning(&now, 2);
        assert_eq!(since.to_string(), "2026-11-30T00:00:00+00:00[UTC]");
        insta::assert_snapshot!(text(&insights, &since, &now), @r"
        Used by 2 profiles in sessions that began from 2026-11-30 to 2026-12-01

        PROFILE  SESSIONS  MESSAGES  TOOL CALLS  API CALLS  INPUT  CACHED  CACHE WRITES  OUTPUT  THOUGHTS    COST
        default         2         6           1          2  1,500       0             0      10         0  $0.25+
        coder           0         0           0          0      0       0             0       0         0       -
        all             2         6           1          2  1,500       0             0      10         0  $0.25+

        DAY         SESSIONS  MESSAGES  TOOL CALLS  API CALLS  INPUT  CACHED  CACHE WRITES  OUTPUT  THOUGHTS   COST
        2026-11-30         1         4           1          1  1,000       0             0       5         0  $0.25
        2026-12-01         1         2           0          1    500       0             0       5         0      -

        MODEL  API CALLS  INPUT  CACHED  CACHE WRITES  OUTPUT  THOUGHTS   COST
        m              1  1,000       0             0       5         0  $0.25
        n              1    500       0             0       5         0      -

        What a provider does not tell the price of is not in the cost.
        ");
        let value = value(&insights, &since, &now);
        assert_eq!(value["total"]["input_tokens"], 1500);
        assert_eq!(
            (&value["total"]["cost_usd"], &value["total"]["cost_is_incomplete"]),
            (&json!(0.25), &json!(true))
        );
        assert_eq!(
            (&value["models"][1]["model"], &value["models"][1]["sessions"]),
            (&json!("n"), &Value::Null)
        );
        assert_eq!(value["days"][0]["day"], "2026-11-30");
    }
}
