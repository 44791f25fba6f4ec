//! What there is: profiles, the services and gateways that each has of its own, and what default's configuration says. Nothing is changed.
//!
//! What cannot be looked at is an obstacle of its own and never "none": a unit that was overlooked would run beside the one gateway.

use camino::Utf8PathBuf;
use hermes_gateway::client::{Client, ClientError};
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_gateway::{running, watch};
use hermes_host::homes;
use hermes_wire::contract::gateway_status::GatewayStatus;
use hermes_wire::{ProfileHome, ProfileName, RootHome};

use super::manifest::Flag;
use super::{MigrateError, lost};
use crate::home::Surroundings;
use crate::service::{self, Manager, Scope, Service, State};
use crate::settings::{As, Draft, judge};
use hermes_config::document::Origin;

/// Where the flag is written where it is nowhere yet.
const FLAG: &str = "gateway.multiplex_profiles";

/// Everything.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) root: RootHome,
    /// `default` first, then by name.
    pub(crate) profiles: Vec<Seen>,
    pub(crate) flag: FlagSeen,
    /// The root home's gateway, where it is ours and answers.
    pub(crate) gateway: Option<GatewayStatus>,
    /// Services of gateways of other homes, for people: nothing is done with them.
    pub(crate) others: Vec<Service>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<(Utf8PathBuf, String)>,
    /// Whether this process may change the machine's services.
    pub(crate) is_root: bool,
}

/// What is seen of one profile.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) name: ProfileName,
    pub(crate) home: ProfileHome,
    /// Of its own gateway, the user's first.
    pub(crate) services: Vec<Installed>,
    /// Its own gateway, where it runs; of the default profile the root home's.
    pub(crate) live: Option<Live>,
    /// Its home says that it is parked.
    pub(crate) parked: bool,
    /// Its configuration wants no part in a gateway of all.
    pub(crate) alone: bool,
}

/// A service that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) service: Service,
    pub(crate) state: State,
    /// What it says that the one gateway would not have.
    pub(crate) lost: Vec<lost::Lost>,
}

/// Whose program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// This one.
    Us,
    /// The Python program.
    Python,
    /// Somebody holds the lock, and no record says who.
    Unknown,
}

/// A gateway that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) pid: Option<u32>,
    pub(crate) by: By,
    /// The unit it runs in, as its control group says.
    pub(crate) unit: Option<String>,
    /// Another user's process, by number.
    pub(crate) user: Option<u32>,
}

/// What default's files say of the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlagSeen {
    pub(crate) flag: Flag,
    /// Where it stands, or would.
    pub(crate) key: String,
    /// Why it would not be in force as it would be set.
    pub(crate) obstacle: Option<String>,
}

impl World {
    /// Looks.
    pub(crate) fn look(root: &RootHome, env: &Surroundings) -> Result<Self, MigrateError> {
        let mut unseen = Vec::new();
        let found = watch::scan(root);
        unseen.extend(found.unseen.iter().map(|unseen| (unseen.path.clone(), unseen.why.clone())));
        let everybodys = service::everybodys(env);
        let mut profiles = Vec::new();
        for name in found.names() {
            profiles.push(Seen::look(root, name, &everybodys, &mut unseen, env)?);
        }
        let of_ours = |service: &Service| {
            let owner = service.unit.owner.as_ref();
            owner.is_some_and(|owner| owner.root == *root && found.contains(&owner.profile))
        };
        let others = everybodys.iter().filter(|service| !of_ours(service)).cloned().collect();
        Ok(Self {
            root: root.clone(),
            profiles,
            flag: FlagSeen::look(root, env)?,
            gateway: status(root, env)?,
            others,
            unseen,
            is_root: nix::unistd::geteuid().is_root(),
        })
    }

    /// Whether the root home's gateway serves all profiles now.
    pub(crate) fn is_one(&self) -> bool {
        self.gateway.as_ref().is_some_and(|status| status.gateway.mode.as_deref() == Some("multiplex"))
    }
}

impl Seen {
    fn look(
        root: &RootHome,
        name: &ProfileName,
        everybodys: &[Service],
        unseen: &mut Vec<(Utf8PathBuf, String)>,
        env: &Surroundings,
    ) -> Result<Self, MigrateError> {
        let home = root.profile(name);
        let mut services = Vec::new();
        for service in everybodys {
            let owner = service.unit.owner.as_ref();
            if owner.is_some_and(|owner| owner.root == *root && owner.profile == *name) {
                services.push(Installed::look(service.clone(), name)?);
            }
        }
        let parked = homes::is_parked(&home).unwrap_or_else(|error| {
            unseen.push((home.parked(), error.to_string()));
            false
        });
        let live = Live::of(&home);
        Ok(Self {
            name: name.clone(),
            services,
            live,
            parked: parked && !name.is_default(),
            alone: judge::stands_alone(root, name, env),
            home,
        })
    }

    /// Whether it has a gateway of its own, running or not.
    pub(crate) fn has_own(&self) -> bool {
        self.live.is_some() || !self.services.is_empty()
    }

    /// Whether its own gateway is meant to run: it does, or its service would start it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.live.is_some() || self.services.iter().any(Installed::is_wanted)
    }

    /// The service that its live gateway runs in, else the first.
    pub(crate) fn service(&self) -> Option<&Installed> {
        self.services.iter().find(|installed| installed.state.runs()).or_else(|| self.services.first())
    }
}

impl Installed {
    fn look(service: Service, name: &ProfileName) -> Result<Self, MigrateError> {
        let state = service.state()?;
        let lost = lost::of(&service, &state.drop_ins, name.is_default());
        Ok(Self { service, state, lost })
    }

    /// Whether its manager keeps it running, or tries to.
    pub(crate) fn is_wanted(&self) -> bool {
        self.state.runs() || self.state.phase == service::Phase::Failed
    }

    pub(crate) fn manager(&self) -> Manager {
        self.service.manager
    }

    pub(crate) fn is_systems(&self) -> bool {
        matches!(self.service.manager, Manager::Systemd(Scope::System))
    }
}

impl Live {
    /// The gateway that runs for `home` itself.
    pub(crate) fn of(home: &ProfileHome) -> Option<Self> {
        if let Some(predecessor) = Predecessor::find(home.path()) {
            return Some(Self::process(Some(predecessor.pid), By::Python));
        }
        match instance::probe(home.path()) {
            Liveness::Running { record: Some(record) } => {
                let by = if record.schema.is_some() { By::Us } else { By::Unknown };
                Some(Self::process(Some(record.pid), by))
            }
            Liveness::Running { record: None } => Some(Self::process(None, By::Unknown)),
            Liveness::Stopped | Liveness::Unknown { .. } => None,
        }
    }

    fn process(pid: Option<u32>, by: By) -> Self {
        let own = nix::unistd::geteuid();
        let user = pid.and_then(user_of).filter(|user| !own.is_root() && *user != own.as_raw());
        Self { pid, by, unit: pid.and_then(running::unit_of).map(|(unit, _)| unit), user }
    }
}

/// Whose process it is.
fn user_of(pid: u32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    fs_err::metadata(format!("/proc/{pid}")).ok().map(|found| found.uid())
}

impl FlagSeen {
    /// Looks, and tries in memory what setting it would come to.
    pub(super) fn look(root: &RootHome, env: &Surroundings) -> Result<Self, MigrateError> {
        let default = ProfileName::default_profile();
        let draft = Draft::open(root, &default, env)?;
        let settled = draft.get(FLAG)?;
        // What this command's own environment says is nothing to a service.
        let env = Surroundings { multiplex: None, ..env.clone() };
        let is_on = judge::settings(root, &env).is_some_and(|settings| settings.multiplex);
        let (flag, key) = match settled.as_ref().map(|settled| &settled.origin) {
            Some(Origin::File(path)) => (if is_on { Flag::On } else { Flag::Off }, path.to_string()),
            _ => (if is_on { Flag::On } else { Flag::Absent }, FLAG.to_owned()),
        };
        let mut draft = draft;
        let tried = draft.set(&key, "true", As::Schema);
        let in_force = || draft.config().and_then(|config| config.gateway).map(|gateway| gateway.multiplex);
        let obstacle = match tried {
            Err(error) => Some(error.to_string()),
            // Files that a start refuses say so themselves.
            Ok(_) if in_force() == Some(false) => Some(match settled.map(|settled| settled.origin) {
                Some(Origin::Variable(name)) => format!("the variable {name} says otherwise"),
                Some(Origin::Administrator) => "an administrator's file says otherwise".to_owned(),
                _ => "something else says otherwise".to_owned(),
            }),
            Ok(_) => None,
        };
        Ok(Self { flag, key, obstacle })
    }
}

/// The status of the root home's gateway; `None` where none of ours answers.
pub(crate) fn status(root: &RootHome, env: &Surroundings) -> Result<Option<GatewayStatus>, MigrateError> {
    match Client::connect(root.path(), &env.sockets).and_then(|client| client.status(None)) {
        Ok(status) => Ok(Some(status)),
        Err(ClientError::NobodyThere { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
