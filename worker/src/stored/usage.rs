//! What conversations cost, by day and model.
//!
//! Sessions hold sums, and no more: what one cost stands on the day on which it began, as in 0.19.0. One that began before the time that is
//! asked about and was used since is counted apart, because nobody can tell how much of it belongs there.
//!
//! Of each model a session has a sum of its own, jobs beside the conversation included (titles, summaries). Older files have sums of
//! sessions alone; these then stand for the model that the session names.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::params;

use super::look::{Look, Tokens, Unread};
use crate::clock;
use crate::session::SANE;

/// What a model cost in sessions of a day.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The day on which they began.
    pub day: Date,
    /// The model.
    pub model: String,
    /// Calls.
    pub calls: i64,
    /// Tokens.
    pub tokens: Tokens,
    /// Dollars, of what is known.
    pub cost: Option<f64>,
    /// The cost of something is not known.
    pub is_unknown: bool,
}

/// Sessions that began on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// The day.
    pub day: Date,
    /// Conversations; those of sub-agents are none.
    pub sessions: i64,
    /// Messages in them.
    pub messages: i64,
    /// Calls of tools in them.
    pub tool_calls: i64,
}

/// What a profile has used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Tokens and money, a row for each session and model.
    pub used: Vec<Used>,
    /// Conversations, a row for each.
    pub days: Vec<Day>,
    /// Sessions that began before and were used since.
    pub earlier: i64,
}

impl Look {
    /// What was used in sessions that began at `since`, in seconds since the epoch, or later.
    pub fn usage(&self, since: Option<f64>, zone: &TimeZone) -> Result<Usage, Unread> {
        let since = since.unwrap_or(1.0);
        let by_model = self.tables.contains("session_model_usage");
        let counted = if by_model {
            "EXISTS (SELECT 1 FROM session_model_usage u WHERE u.session_id = s.id AND COALESCE(u.task, '') = '')"
        } else {
            "0"
        };
        let one = |name| self.column(name);
        let own = format!(
            "SELECT s.started_at, COALESCE({model}, ''), {calls}, {input}, {output}, {read}, {written}, {reasoning},
                {actual}, {estimated}, {status}
             FROM sessions s WHERE s.started_at {SANE} AND s.started_at >= ?1 AND NOT {counted}",
            model = one("model"),
            calls = one("api_call_count"),
            input = one("input_tokens"),
            output = one("output_tokens"),
            read = one("cache_read_tokens"),
            written = one("cache_write_tokens"),
            reasoning = one("reasoning_tokens"),
            actual = one("actual_cost_usd"),
            estimated = one("estimated_cost_usd"),
            status = one("cost_status"),
        );
        let rows = "SELECT s.started_at, u.model, u.api_call_count, u.input_tokens, u.output_tokens, u.cache_read_tokens,
                u.cache_write_tokens, u.reasoning_tokens, u.actual_cost_usd, u.estimated_cost_usd, u.cost_status
             FROM session_model_usage u JOIN sessions s ON s.id = u.session_id
             WHERE s.started_at BETWEEN 1 AND 1e11 AND s.started_at >= ?1";
        let (count, calls) = (one("message_count"), one("tool_call_count"));
        let sessions = format!(
            "SELECT s.started_at, COALESCE({count}, 0), COALESCE({calls}, 0), COALESCE(s.source, '') IN ('tool', 'subagent')
             FROM sessions s WHERE s.started_at {SANE} AND s.started_at >= ?1 ORDER BY s.started_at, s.id"
        );
        let earlier = format!(
            "SELECT count(*) FROM sessions s WHERE s.started_at {SANE} AND s.started_at < ?1
                AND EXISTS (SELECT 1 FROM messages m WHERE m.session_id = s.id AND m.timestamp {SANE} AND m.timestamp >= ?1)"
        );
        let day = |at: f64| clock::at_zone(at, zone).map(|time| time.date());
        self.read(|db| {
            let mut usage = Usage::default();
            for sql in [Some(own.as_str()), by_model.then_some(rows)].into_iter().flatten() {
                let mut select = db.prepare(sql)?;
                let mut rows = select.query(params![since])?;
                while let Some(row) = rows.next()? {
                    let Some(day) = day(row.get(0)?) else { continue };
                    let calls = row.get::<_, Option<i64>>(2)?.unwrap_or_default();
                    let tokens = Tokens::read(row, 3)?;
                    if calls == 0 && tokens == Tokens::default() {
                        continue;
                    }
                    let cost = cost(row.get(8)?, row.get(9)?, row.get::<_, Option<String>>(10)?.as_deref());
                    usage.used.push(Used {
                        day,
                        model: row.get(1)?,
                        calls,
                        tokens,
                        cost,
                        is_unknown: cost.is_none(),
                    });
                }
            }
            let mut select = db.prepare(&sessions)?;
            let mut rows = select.query(params![since])?;
            while let Some(row) = rows.next()? {
                let Some(day) = day(row.get(0)?) else { continue };
                let is_hidden: bool = row.get(3)?;
                usage.days.push(Day {
                    day,
                    sessions: i64::from(!is_hidden),
                    messages: row.get(1)?,
                    tool_calls: row.get(2)?,
                });
            }
            usage.earlier = db.query_row(&earlier, params![since], |row| row.get(0))?;
            Ok(usage)
        })
    }
}

/// What something cost, where that is known: programs write a zero where it is not.
fn cost(actual: Option<f64>, estimated: Option<f64>, status: Option<&str>) -> Option<f64> {
    let is_known =
        |cost: &f64| cost.is_finite() && (*cost > 0.0 || !matches!(status, None | Some("" | "unknown")));
    actual.filter(|cost| *cost > 0.0).or(estimated).or(actual).filter(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_that_nobody_knows_is_no_zero() {
        assert_eq!(cost(Some(0.0), Some(0.0), Some("unknown")), None);
        assert_eq!(cost(None, None, None), None);
        assert_eq!(cost(Some(0.0), Some(0.25), Some("estimated")), Some(0.25));
        assert_eq!(cost(Some(0.5), Some(0.25), None), Some(0.5));
        assert_eq!(
            cost(Some(0.0), Some(0.0), Some("included")),
            Some(0.0),
            "a subscription costs nothing more"
        );
        assert_eq!(cost(None, Some(f64::NAN), Some("estimated")), None);
    }
}
