//! Prometheus text: one scrape reads the proxy's atomics and the actors' last published facts at that moment. Nothing is counted here.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::proxy::{LATENCY_BOUNDS_MS, Reader, Totals};
use crate::supervise::{WorkerTable, WorkerView};

/// Content type of [`text`].
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One scrape.
pub(super) fn text(workers: Arc<WorkerTable>, reader: Reader) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot { workers, reader }));
    let mut text = String::new();
    encode(&mut text, &registry).map(|()| text)
}

/// What is scraped.
#[derive(Debug)]
struct Snapshot {
    workers: Arc<WorkerTable>,
    reader: Reader,
}

/// Name, help and value of a gauge each worker has.
type Described = (&'static str, &'static str, fn(&WorkerView) -> i64);

/// Profile names and words of ours need no escaping.
type Labels<'a> = [(&'static str, &'a str)];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let encoder = &mut encoder;
        let release: &Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
        describe(encoder, "hermes_build", "The release that runs", None, MetricType::Info)?
            .encode_info(&release)?;
        let help = "Open client connections";
        describe(encoder, "hermes_connections", help, None, MetricType::Gauge)?
            .encode_gauge(&as_i64(self.reader.connections()))?;
        self.encode_requests(encoder)?;
        self.encode_workers(encoder)
    }
}

impl Snapshot {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let table = self.reader.table();
        let mut routes: Vec<_> =
            table.routes.values().map(|r| (r.name().as_str(), r.active(), r.totals())).collect();
        routes.sort_unstable_by_key(|(name, ..)| *name);

        let help = "Finished requests by profile and class of status";
        let mut family = describe(encoder, "hermes_requests", help, None, MetricType::Counter)?;
        for (profile, _, totals) in &routes {
            for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(totals.classes) {
                counter(&mut family, &[("profile", profile), ("class", class)], count)?;
            }
        }
        let help = "Requests being answered";
        let mut family = describe(encoder, "hermes_requests_in_flight", help, None, MetricType::Gauge)?;
        for (profile, active, _) in &routes {
            gauge(&mut family, &[("profile", profile)], as_i64(*active))?;
        }
        let help = "Bytes of request and response bodies";
        let mut family = describe(encoder, "hermes_body", help, Some(&Unit::Bytes), MetricType::Counter)?;
        for (profile, _, totals) in &routes {
            counter(&mut family, &[("profile", profile), ("direction", "received")], totals.received)?;
            counter(&mut family, &[("profile", profile), ("direction", "sent")], totals.sent)?;
        }
        let help = "From the request's head to the last byte of its answer";
        let mut family =
            describe(encoder, "hermes_request_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (profile, _, totals) in &routes {
            histogram(&mut family, profile, totals)?;
        }
        Ok(())
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let workers = &self.workers.workers;
        let help = "1 for the state a profile's worker is in";
        let mut family = describe(encoder, "hermes_worker_state", help, None, MetricType::Gauge)?;
        for worker in workers {
            gauge(&mut family, &[("profile", worker.name.as_str()), ("state", worker.state)], 1)?;
        }
        let help = "Unplanned replacements of a profile's worker";
        let mut family = describe(encoder, "hermes_worker_restarts", help, None, MetricType::Counter)?;
        for worker in workers {
            counter(&mut family, &[("profile", worker.name.as_str())], worker.restarts)?;
        }
        let gauges: [Described; 7] = [
            ("hermes_worker_desired", "1 for a profile that should run", |w| i64::from(w.desired_running)),
            ("hermes_worker_ready", "1 for a worker that takes requests", |w| i64::from(w.ready)),
            ("hermes_worker_active_turns", "Turns running, at the last heartbeat", |w| {
                i64::from(w.active_turns)
            }),
            ("hermes_worker_inbox_waiting", "Inbox items waiting, at the last heartbeat", |w| {
                as_i64(w.inbox_waiting)
            }),
            ("hermes_worker_inbox_postponed", "Of those, put off because of the provider", |w| {
                as_i64(w.inbox_postponed)
            }),
            ("hermes_worker_inbox_failed", "Inbox items given up within a week", |w| as_i64(w.inbox_failed)),
            ("hermes_worker_undelivered", "Answers that could not be delivered within a week", |w| {
                as_i64(w.undelivered)
            }),
        ];
        for (name, help, value) in gauges {
            let mut family = describe(encoder, name, help, None, MetricType::Gauge)?;
            for worker in workers {
                gauge(&mut family, &[("profile", worker.name.as_str())], value(worker))?;
            }
        }
        let help = "Failed calls to the provider in a row, by what the last one was; absent while it answers";
        let mut family = describe(encoder, "hermes_worker_last_error", help, None, MetricType::Gauge)?;
        for worker in workers {
            if let Some(error) = &worker.last_error {
                let code = error.code.map(|code| code.to_string()).unwrap_or_default();
                let labels: &Labels<'_> =
                    &[("profile", worker.name.as_str()), ("class", &error.class), ("code", &code)];
                gauge(&mut family, labels, as_i64(error.count))?;
            }
        }
        let help = "How long nobody was connected when exclusive platforms last passed to another process";
        let mut family =
            describe(encoder, "hermes_worker_takeover_pause", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for worker in workers {
            if let Some(takeover) = &worker.takeover {
                let labels: &Labels<'_> = &[("profile", worker.name.as_str())];
                family.encode_family(&labels)?.encode_gauge(&takeover.pause.as_secs_f64())?;
            }
        }
        let help = "Time since the last heartbeat";
        let mut family =
            describe(encoder, "hermes_worker_heartbeat_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for worker in workers {
            if let Some(heartbeat) = worker.heartbeat {
                let labels: &Labels<'_> = &[("profile", worker.name.as_str())];
                family.encode_family(&labels)?.encode_gauge(&heartbeat.elapsed().as_secs_f64())?;
            }
        }
        Ok(())
    }
}

fn describe<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    unit: Option<&'e Unit>,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, std::fmt::Error> {
    encoder.encode_descriptor(name, help, unit, kind)
}

fn counter(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: u64) -> std::fmt::Result {
    family.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&value, None)
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: i64) -> std::fmt::Result {
    family.encode_family(&labels)?.encode_gauge(&value)
}

fn histogram(family: &mut MetricEncoder<'_>, profile: &str, totals: &Totals) -> std::fmt::Result {
    let labels: &Labels<'_> = &[("profile", profile)];
    let bounds = LATENCY_BOUNDS_MS.iter().map(|&ms| std::time::Duration::from_millis(ms).as_secs_f64());
    let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(totals.buckets).collect();
    let sum = std::time::Duration::from_micros(totals.micros).as_secs_f64();
    family.encode_family(&labels)?.encode_histogram::<NoLabels>(sum, totals.requests(), &buckets, None)
}

/// The type of exemplars nobody has.
type NoLabels = [(&'static str, &'static str); 0];

/// Gauges are signed; none of ours comes near the limit.
fn as_i64(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
