//! The order at start: the primary's report, listeners, everybody else's reports, the decision, the first answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hermes_host::clock;
use hermes_wire::ProfileName;
use hermes_wire::latest::{GatewaySettings, OnProfileError, Problem, Report};
use tokio::sync::oneshot;

use super::claims::{self, Findings};
use super::gateway::{Gateway, Happened};
use super::{AppError, CheckReport};
use crate::generation::Generation;
use crate::metrics::Admin;
use crate::proxy::Families;
use crate::signal::Interrupt;
use crate::supervise::actor::{Decision, FleetEvent};
use crate::supervise::effort::Effort;
use crate::supervise::state::{Event, Why};

/// When nobody has reported for this long, the rest is treated like profiles that are added later.
const QUIET: Duration = Duration::from_millis(1500);
/// How long it waits at most for those that are slow.
const LONGEST: Duration = Duration::from_secs(20);
/// The primary's worker may die this often before its first report.
const PRIMARY_ATTEMPTS: u32 = 3;

/// Why a start did not come to its end.
pub(super) enum Abandoned {
    /// Somebody asked to stop.
    Asked(&'static str),
    Failed(AppError),
}

impl<E: Into<AppError>> From<E> for Abandoned {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What all reports together say, without a verdict.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) report: CheckReport,
    /// `None` where the primary's files give none.
    pub(super) settings: Option<GatewaySettings>,
}

/// A report that waits for the decision.
struct Reported {
    profile: ProfileName,
    generation: Generation,
    report: Report,
    /// `None`: it was decided at once.
    decide: Option<oneshot::Sender<Decision>>,
}

impl Gateway {
    /// Everything from the primary's worker to the first answered request.
    pub(super) async fn start(&mut self) -> Result<(), Abandoned> {
        let primary = self.first_report().await?;
        let settings = self.accept_settings(&primary).await?;
        if settings.multiplex
            && let Some(rendezvous) = &self.rendezvous
        {
            rendezvous.claim(vec![self.fleet.primary().to_string()]).await?;
        }
        let bound = self.edge.bind(&settings, Families::new(primary.report.families.clone()))?;
        let admin = match &settings.admin {
            Some(address) => Some(Admin::bind(address, settings.admin_token.is_some()).await?),
            None => None,
        };
        self.edge.guard(self.door(&settings));
        self.common.change_terms(|terms| terms.listeners = bound.listeners());
        let reports = self.other_reports(primary, &settings, true).await?;
        let findings = self.compare(&reports);
        let strict = settings.on_profile_error == OnProfileError::Fail;
        let primary_refused = findings.refused.iter().any(|(profile, _)| profile == self.fleet.primary());
        if primary_refused || (findings.contract_broken && strict) {
            return Err(self.refuse_all(reports, findings).await);
        }
        for (profile, said) in &findings.apart {
            tracing::info!(%profile, file = %said.file, "{}", said.message);
            self.fleet.leave_alone(profile).await;
        }
        self.decide(reports, &findings);
        let reader = self.fleet.open_routes();
        self.edge.open(bound, admin, reader, (&settings, self.fleet.handles().len()))?;
        let primary = self.primary();
        if self.fleet.wanted.rest(&primary).is_some()
            && let Some(handle) = self.fleet.handle(&primary)
        {
            handle.send(Event::Stop).await;
        }
        self.settings = Some(settings);
        self.board.gateway(|view| view.state = "running");
        Ok(())
    }

    /// As [`Self::start`], as far as the comparison.
    pub(super) async fn examine(&mut self) -> Result<Examined, Abandoned> {
        let mut report = CheckReport::default();
        let primary = self.first_report().await?;
        let own = |(profile, problem): &(ProfileName, Problem)| (Some(profile.clone()), problem.clone());
        let settings = match self.accept_settings(&primary).await {
            Ok(settings) => settings,
            Err(Abandoned::Failed(AppError::Refused { problems, .. })) => {
                report.served.push(self.primary());
                report.problems = problems.iter().map(own).collect();
                return Ok(Examined { report, settings: None });
            }
            Err(other) => return Err(other),
        };
        let reports = self.other_reports(primary, &settings, false).await?;
        let findings = self.compare(&reports);
        report.problems = findings.objections.iter().map(own).collect();
        for Reported { profile, report: found, .. } in &reports {
            let lesser = found
                .problems
                .iter()
                .filter(|problem| !findings.objections.iter().any(|(p, o)| p == profile && o == *problem));
            report.problems.extend(lesser.map(|problem| (Some(profile.clone()), problem.clone())));
        }
        self.board.gateway(|view| {
            let all = view.problems.iter().chain(&view.limited);
            report.problems.extend(all.map(|problem| (None, problem.clone())));
        });
        let apart = |name: &ProfileName| findings.apart.iter().any(|(profile, _)| profile == name);
        report.served =
            self.fleet.handles().into_iter().map(|handle| handle.name).filter(|n| !apart(n)).collect();
        Ok(Examined { report, settings: Some(settings) })
    }

    /// Starts the primary's worker and waits for its report.
    async fn first_report(&mut self) -> Result<Reported, Abandoned> {
        let handle = self.fleet.begin().await;
        let mut losses = 0;
        loop {
            match self.next_at_start().await? {
                FleetEvent::Reported { profile, generation, report, decide } => {
                    return Ok(Reported { profile, generation, report: *report, decide: Some(decide) });
                }
                FleetEvent::Gone { .. } => {
                    losses += 1;
                    let view = handle.view();
                    let reason = view.reason.or(view.last_exit).unwrap_or_else(|| "it ended".to_owned());
                    tracing::warn!("the primary's worker ended before its report: {reason}");
                    if losses >= PRIMARY_ATTEMPTS {
                        return Err(AppError::Primary { profile: self.primary(), reason }.into());
                    }
                }
                FleetEvent::Ready { .. } | FleetEvent::Ended { .. } => {}
            }
        }
    }

    /// What the fleet says next, while nothing else may be done yet.
    async fn next_at_start(&mut self) -> Result<FleetEvent, Abandoned> {
        loop {
            match self.next().await {
                Happened::Fleet(event) => return Ok(event),
                Happened::Signal(Interrupt::Stop(name)) => return Err(Abandoned::Asked(name)),
                Happened::Request(request) => {
                    if self.on_early_request(request).await {
                        return Err(Abandoned::Asked("asked to"));
                    }
                }
                Happened::Asked(asked) => {
                    if self.on_early_asked(asked).await {
                        return Err(Abandoned::Asked("asked to"));
                    }
                }
                Happened::Signal(Interrupt::Reload | Interrupt::Renew)
                | Happened::Stir(_)
                | Happened::AbsenceOver(_)
                | Happened::Reloaded(_)
                | Happened::Proved(_) => {}
            }
        }
    }

    /// Puts the primary's settings into force, or says what is wrong with them.
    async fn accept_settings(&mut self, primary: &Reported) -> Result<GatewaySettings, Abandoned> {
        let fatal: Vec<_> =
            claims::objections(&primary.report).map(|problem| (self.primary(), problem.clone())).collect();
        let settings = match (&primary.report.gateway, fatal.is_empty()) {
            (Some(settings), true) => settings.clone(),
            (None, true) => {
                let reason = "its report has no settings".to_owned();
                return Err(AppError::Primary { profile: self.primary(), reason }.into());
            }
            (_, false) => {
                return Err(AppError::Refused { primary: self.primary(), problems: fatal }.into());
            }
        };
        let settings = self.own(settings);
        self.adopt(&settings);
        if let Some(handle) = self.fleet.handle(self.fleet.primary()) {
            let limits = self.common.terms().limits;
            handle.send(Event::Limits(limits)).await;
        }
        Ok(settings)
    }

    /// Starts all other workers and collects their reports; `primary`'s comes first. `at_once`: who need not run rests when it has
    /// reported.
    async fn other_reports(
        &mut self,
        mut primary: Reported,
        settings: &GatewaySettings,
        at_once: bool,
    ) -> Result<Vec<Reported>, Abandoned> {
        if !self.common.terms().environment.shared_names().is_empty() {
            // The primary was started before anybody knew what to share.
            if let Some(handle) = self.fleet.handle(self.fleet.primary()) {
                handle.send(Event::Restart).await;
            }
            primary = self.report_of_primary(primary.generation).await?;
        }
        let mut reports = vec![primary];
        let mut waiting = BTreeSet::new();
        self.fleet.wanted.look().await;
        let (names, problems) = self.fleet.wanted.names();
        self.fleet.remark(problems);
        if settings.multiplex {
            self.edge.fit(settings, names.len().max(1)).map_err(AppError::from)?;
            for name in names {
                if name != *self.fleet.primary() && self.fleet.admit(&name).await {
                    waiting.insert(name);
                }
            }
        }
        let (longest, mut efforts) = (clock::now() + LONGEST, BTreeMap::new());
        while !waiting.is_empty() {
            let Ok(event) = tokio::time::timeout(QUIET, self.next_at_start()).await else {
                if clock::now() < longest && self.still_work(&waiting, &mut efforts) {
                    continue;
                }
                tracing::warn!(profiles = ?waiting, "not waiting for these any longer; they are served when they report");
                break;
            };
            match event? {
                FleetEvent::Reported { profile, generation, report, decide } => {
                    waiting.remove(&profile);
                    let mut decide = Some(decide);
                    if at_once && self.fleet.may_rest_at_once(&profile, &report) {
                        // Or a thousand that sleep would all wait for the last one, awake.
                        let decision = self.fleet.admission_of(&profile, &report);
                        decide.take().map(|decide| decide.send(decision));
                    }
                    reports.push(Reported { profile, generation, report: *report, decide });
                }
                FleetEvent::Gone { profile, generation } => {
                    waiting.remove(&profile);
                    reports
                        .retain(|reported| reported.profile != profile || reported.generation != generation);
                }
                FleetEvent::Ready { .. } | FleetEvent::Ended { .. } => {}
            }
        }
        reports.sort_by(|a, b| {
            let secondary = |reported: &Reported| reported.profile != *self.fleet.primary();
            (secondary(a), &a.profile).cmp(&(secondary(b), &b.profile))
        });
        Ok(reports)
    }

    /// Whether one of those that have not reported is at work, or would be if it had a processor: slow, and not stuck. On a busy
    /// machine a start must not miss what would refuse it.
    fn still_work(&self, waiting: &BTreeSet<ProfileName>, efforts: &mut BTreeMap<u32, u64>) -> bool {
        let pids = waiting.iter().filter_map(|name| self.fleet.handle(name)?.view().pid);
        let looks: Vec<_> = pids.filter_map(|pid| Some((pid, Effort::of(pid)?))).collect();
        let before = std::mem::take(efforts);
        efforts.extend(looks.iter().map(|(pid, effort)| (*pid, effort.ticks)));
        looks.iter().any(|(pid, effort)| effort.runs || before.get(pid) != Some(&effort.ticks))
    }

    /// The report of a generation of the primary newer than `old`.
    async fn report_of_primary(&mut self, old: Generation) -> Result<Reported, Abandoned> {
        loop {
            match self.next_at_start().await? {
                FleetEvent::Reported { profile, generation, report, decide } if generation > old => {
                    return Ok(Reported { profile, generation, report: *report, decide: Some(decide) });
                }
                FleetEvent::Gone { generation, .. } if generation > old => {
                    let reason = "it ended before its report".to_owned();
                    return Err(AppError::Primary { profile: self.primary(), reason }.into());
                }
                _ => {}
            }
        }
    }

    fn compare(&mut self, reports: &[Reported]) -> Findings {
        let all: Vec<_> = reports.iter().map(|r| (r.profile.clone(), r.generation, &r.report)).collect();
        self.fleet.compare(&all)
    }

    fn decide(&self, reports: Vec<Reported>, findings: &Findings) {
        let refused: BTreeMap<_, _> =
            findings.refused.iter().map(|(profile, problem)| (profile, problem)).collect();
        let apart: BTreeMap<_, _> = findings.apart.iter().map(|(profile, said)| (profile, said)).collect();
        for mut reported in reports {
            let Some(decide) = reported.decide.take() else { continue };
            let profile = &reported.profile;
            let decision = match (refused.get(profile), apart.get(profile)) {
                (_, Some(said)) => Decision::Apart(Why::from(*said)),
                (Some(problem), None) => Decision::Refuse(Why::from(*problem)),
                (None, None) => self.fleet.admission_of(profile, &reported.report),
            };
            // A process that died meanwhile needs no decision.
            let _ = decide.send(decision);
        }
    }

    /// Nobody may serve: everybody is told why, and the result says it all.
    async fn refuse_all(&mut self, reports: Vec<Reported>, findings: Findings) -> Abandoned {
        let first =
            findings.objections.first().map(|(_, problem)| problem.message.clone()).unwrap_or_default();
        let own: BTreeMap<_, _> =
            findings.refused.iter().map(|(profile, problem)| (profile, problem)).collect();
        let mut waiting: BTreeSet<ProfileName> = BTreeSet::new();
        for reported in reports {
            let why = own.get(&reported.profile).map_or_else(
                || Why { reason: format!("the gateway does not start: {first}"), file: None },
                |problem| Why::from(*problem),
            );
            if reported.decide.is_some_and(|decide| decide.send(Decision::Refuse(why)).is_ok()) {
                waiting.insert(reported.profile);
            }
        }
        // They write down why before they go; whoever does not is ended with the rest.
        while !waiting.is_empty() {
            match tokio::time::timeout(QUIET, self.next_at_start()).await {
                Ok(Ok(FleetEvent::Gone { profile, .. })) => {
                    waiting.remove(&profile);
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Abandoned::Failed(AppError::Refused { primary: self.primary(), problems: findings.objections })
    }
}
