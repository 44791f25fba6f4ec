//! How messages between supervisor and worker are encoded, and what a peer of version 2 is told and understood by.

use super::parts::{GatewaySettings, Prepare};
use super::report::Report;
use super::upkeep::Upkeep;
use super::worker::{FromWorker, ToWorker};
use crate::codec::{self, CodecError};
use crate::message::Message;
use crate::v2::{parts, worker as v2};
use crate::version::Version;

impl Message for ToWorker {
    fn encode(&self, version: Version) -> Result<Option<Vec<u8>>, CodecError> {
        if version < 3 { codec::encode(&to_worker(self)) } else { codec::encode(self) }.map(Some)
    }

    fn decode(version: Version, bytes: &[u8]) -> Result<Self, CodecError> {
        if version < 3 { codec::decode::<v2::ToWorker>(bytes).map(Self::from) } else { codec::decode(bytes) }
    }
}

impl Message for FromWorker {
    fn encode(&self, version: Version) -> Result<Option<Vec<u8>>, CodecError> {
        if version < 3 {
            from_worker(self).map(|old| codec::encode(&old)).transpose()
        } else {
            codec::encode(self).map(Some)
        }
    }

    fn decode(version: Version, bytes: &[u8]) -> Result<Self, CodecError> {
        if version < 3 {
            codec::decode::<v2::FromWorker>(bytes).map(Self::from)
        } else {
            codec::decode(bytes)
        }
    }
}

/// What a worker of version 2 is told. It always runs.
fn to_worker(message: &ToWorker) -> v2::ToWorker {
    use v2::ToWorker as V2;
    match message.clone() {
        ToWorker::Prepare(prepare) => V2::Prepare(prepare_in_2(prepare)),
        ToWorker::Admit(admit) => V2::Admit(admit),
        ToWorker::Refuse { reason } => V2::Refuse { reason },
        ToWorker::StopAccepting => V2::StopAccepting,
        // It ends as it always did, and leaves no word.
        ToWorker::Drain { deadline_ms } | ToWorker::Rest { deadline_ms } => V2::Drain { deadline_ms },
        ToWorker::StopClaiming => V2::StopClaiming,
        ToWorker::Connect => V2::Connect,
        ToWorker::Yield { within_ms } => V2::Yield { within_ms },
    }
}

/// What a supervisor of version 2 is told. It lets nobody sleep.
fn from_worker(message: &FromWorker) -> Option<v2::FromWorker> {
    use v2::FromWorker as V2;
    Some(match message.clone() {
        FromWorker::Report(report) => V2::Report(report_in_2(report)),
        FromWorker::Ready => V2::Ready,
        FromWorker::Heartbeat(beat) => V2::Heartbeat(beat),
        FromWorker::AcceptStopped => V2::AcceptStopped,
        FromWorker::Drained => V2::Drained,
        FromWorker::Degraded { platforms, reason, last_error } => {
            V2::Degraded { platforms, reason, last_error }
        }
        FromWorker::LastWords { reason } => V2::LastWords { reason },
        FromWorker::Yielded => V2::Yielded,
        FromWorker::Connected { platform } => V2::Connected { platform },
        // Its supervisor has no word for either.
        FromWorker::Idle | FromWorker::Restart => return None,
    })
}

impl From<v2::ToWorker> for ToWorker {
    fn from(old: v2::ToWorker) -> Self {
        use v2::ToWorker as V2;
        match old {
            V2::Prepare(prepare) => Self::Prepare(prepare_of_2(prepare)),
            V2::Admit(admit) => Self::Admit(admit),
            V2::Refuse { reason } => Self::Refuse { reason },
            V2::StopAccepting => Self::StopAccepting,
            V2::Drain { deadline_ms } => Self::Drain { deadline_ms },
            V2::StopClaiming => Self::StopClaiming,
            V2::Connect => Self::Connect,
            V2::Yield { within_ms } => Self::Yield { within_ms },
        }
    }
}

impl From<v2::FromWorker> for FromWorker {
    fn from(old: v2::FromWorker) -> Self {
        use v2::FromWorker as V2;
        match old {
            V2::Report(report) => Self::Report(report_of_2(report)),
            V2::Ready => Self::Ready,
            V2::Heartbeat(beat) => Self::Heartbeat(beat),
            V2::AcceptStopped => Self::AcceptStopped,
            V2::Drained => Self::Drained,
            V2::Degraded { platforms, reason, last_error } => {
                Self::Degraded { platforms, reason, last_error }
            }
            V2::LastWords { reason } => Self::LastWords { reason },
            V2::Yielded => Self::Yielded,
            V2::Connected { platform } => Self::Connected { platform },
        }
    }
}

fn report_in_2(report: Report) -> v2::Report {
    let Report { claims, problems, gateway, exclusive, hand_over, families, .. } = report;
    v2::Report { claims, problems, gateway: gateway.map(settings_in_2), exclusive, hand_over, families }
}

fn report_of_2(report: v2::Report) -> Report {
    let v2::Report { claims, problems, gateway, exclusive, hand_over, families } = report;
    let gateway = gateway.map(settings_of_2);
    Report { claims, problems, gateway, exclusive, hand_over, families, ..Report::default() }
}

fn prepare_in_2(old: Prepare) -> parts::Prepare {
    let Prepare {
        claim_key,
        generation,
        role,
        multiplex,
        listeners,
        supervisor_pid,
        restarts,
        heartbeat_ms,
        ..
    } = old;
    parts::Prepare {
        claim_key,
        generation,
        role,
        multiplex,
        listeners,
        supervisor_pid,
        restarts,
        heartbeat_ms,
    }
}

fn prepare_of_2(old: parts::Prepare) -> Prepare {
    let parts::Prepare {
        claim_key,
        generation,
        role,
        multiplex,
        listeners,
        supervisor_pid,
        restarts,
        heartbeat_ms,
    } = old;
    Prepare {
        claim_key,
        generation,
        role,
        multiplex,
        listeners,
        supervisor_pid,
        restarts,
        heartbeat_ms,
        upkeep: Upkeep::default(),
        stamp: String::new(),
    }
}

fn settings_in_2(old: GatewaySettings) -> parts::GatewaySettings {
    let GatewaySettings {
        multiplex,
        allowlist,
        on_profile_error,
        shared_env,
        listeners,
        admin,
        max_connections,
        max_requests_per_profile,
        max_body_bytes,
        header_timeout_ms,
        hold_ms,
        response_timeout_ms,
        drain_ms,
        start_timeout_ms,
        stuck_after_ms,
        heartbeat_ms,
        max_connections_per_address,
        body_timeout_ms,
        min_body_rate,
        ..
    } = old;
    parts::GatewaySettings {
        multiplex,
        allowlist,
        on_profile_error,
        shared_env,
        listeners,
        admin,
        max_connections,
        max_requests_per_profile,
        max_body_bytes,
        header_timeout_ms,
        hold_ms,
        response_timeout_ms,
        drain_ms,
        start_timeout_ms,
        stuck_after_ms,
        heartbeat_ms,
        max_connections_per_address,
        body_timeout_ms,
        min_body_rate,
    }
}

fn settings_of_2(old: parts::GatewaySettings) -> GatewaySettings {
    let parts::GatewaySettings {
        multiplex,
        allowlist,
        on_profile_error,
        shared_env,
        listeners,
        admin,
        max_connections,
        max_requests_per_profile,
        max_body_bytes,
        header_timeout_ms,
        hold_ms,
        response_timeout_ms,
        drain_ms,
        start_timeout_ms,
        stuck_after_ms,
        heartbeat_ms,
        max_connections_per_address,
        body_timeout_ms,
        min_body_rate,
    } = old;
    GatewaySettings {
        multiplex,
        allowlist,
        on_profile_error,
        shared_env,
        listeners,
        admin,
        max_connections,
        max_requests_per_profile,
        max_body_bytes,
        header_timeout_ms,
        hold_ms,
        response_timeout_ms,
        drain_ms,
        start_timeout_ms,
        stuck_after_ms,
        heartbeat_ms,
        max_connections_per_address,
        body_timeout_ms,
        min_body_rate,
        upkeep: Upkeep::default(),
        admin_token: None,
        keep_awake: false,
    }
}
