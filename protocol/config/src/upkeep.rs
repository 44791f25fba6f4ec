//! When a profile's worker runs, and what it may take of the machine: `gateway.autostart`, `gateway.idle_timeout`, `gateway.limits`.
//!
//! Every profile says so in its own file. What it does not say, the default profile's file says for all; the default profile itself
//! always runs.

use std::time::Duration;

use super::reader::{At, Reader};
use super::scalar::narrow;
use super::types::OwnUpkeep;
use hermes_wire::latest::Autostart;

/// Longest time without work that somebody may wait for.
const YEAR: Duration = Duration::from_hours(365 * 24);
/// Least memory in which a worker can do anything: it is a program of some MiB, and runs others.
const LEAST_MEMORY: u64 = 16 << 20;
/// Most memory that anybody means.
const MOST_MEMORY: u64 = 1 << 50;
/// Most processors.
const MOST_CPUS: f64 = 4096.0;
/// Fewest tasks: threads count, and a worker has some.
const LEAST_TASKS: u64 = 16;

/// Reads it.
pub(super) fn read(reader: &mut Reader<'_>, root: &At) -> OwnUpkeep {
    let gateway = root.key("gateway");
    let words = [Autostart::Always, Autostart::OnDemand, Autostart::Never].map(|word| (word.as_str(), word));
    let limits = gateway.key("limits");
    reader.expect_map(&limits);
    OwnUpkeep {
        autostart: reader.choice(&gateway.key("autostart"), &words),
        idle: reader.seconds(&gateway.key("idle_timeout"), YEAR),
        memory: memory(reader, &limits.key("memory")),
        cpu_permille: cpu(reader, &limits.key("cpu")),
        tasks: reader.number(&limits.key("tasks"), LEAST_TASKS..=1 << 22).map(narrow),
    }
}

fn memory(reader: &mut Reader<'_>, at: &At) -> Option<u64> {
    let text = reader.text(at)?;
    let bytes = size(&text).filter(|bytes| (LEAST_MEMORY..=MOST_MEMORY).contains(bytes));
    if bytes.is_none() {
        reader.wrong_type(at, "a size of 16M or more, such as `512M` or `2G`");
    }
    bytes
}

fn cpu(reader: &mut Reader<'_>, at: &At) -> Option<u32> {
    let text = reader.text(at)?;
    let permille = permille(&text);
    if permille.is_none() {
        reader.wrong_type(at, "a number of processors from 0.01 up, such as `0.5` or `2`");
    }
    permille
}

/// Thousandths of a number of processors.
fn permille(text: &str) -> Option<u32> {
    let cpus = text.parse::<f64>().ok().filter(|cpus| (0.01..=MOST_CPUS).contains(cpus))?;
    // Bounded just now; what is beyond thousandths is nothing that a kernel could keep to.
    format!("{:.0}", cpus * 1000.0).parse().ok()
}

/// `512M`, `2G`, `1.5GiB`, `1048576`: powers of 1024, as systemd has them.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let factor = f64::from(1u32 << 10).powi(shift / 10);
    let bytes = number.parse::<f64>().ok()? * factor;
    format!("{bytes:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use hermes_wire::latest::{IDLE_MS, ResourceLimits, Upkeep};

    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("1048576", Some(1 << 20)),
            ("512M", Some(512 << 20)),
            ("512 MB", Some(512 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1.5g", Some(3 << 29)),
            ("64k", Some(64 << 10)),
            ("1T", Some(1 << 40)),
            ("", None),
            ("M", None),
            ("-1M", None),
            ("1.2.3M", None),
            ("12X", None),
            ("99999999999T", None),
            ("1e3", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn processors_are_numbers() {
        for (text, cpus) in [
            ("0.5", Some(500)),
            ("2", Some(2000)),
            ("0.015", Some(15)),
            ("0", None),
            ("-1", None),
            ("nan", None),
            ("inf", None),
            ("x", None),
            ("5000", None),
        ] {
            assert_eq!(permille(text), cpus, "{text}");
        }
    }

    #[test]
    fn a_profiles_own_word_wins_one_by_one() {
        let limits = ResourceLimits { memory: Some(1), cpu_permille: Some(2), tasks: None };
        let all = Upkeep { autostart: Autostart::OnDemand, idle_ms: 7, limits };
        assert_eq!(OwnUpkeep::default().over(&all), all);
        let own = OwnUpkeep { autostart: Some(Autostart::Never), tasks: Some(9), ..OwnUpkeep::default() };
        let limits = ResourceLimits { tasks: Some(9), ..limits };
        assert_eq!(own.over(&all), Upkeep { autostart: Autostart::Never, limits, ..all });
        let idle = OwnUpkeep { idle: Some(Duration::from_millis(1500)), ..OwnUpkeep::default() };
        assert_eq!(idle.over(&Upkeep::default()).idle_ms, 1500);
        assert_eq!(Upkeep::default().idle_ms, IDLE_MS);
    }
}
