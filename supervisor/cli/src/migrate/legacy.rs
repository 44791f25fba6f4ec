//! The unit of before the rename, `hermes.service`: it would start a gateway beside the one of today.
//!
//! Something else may have that name: it counts only where its command is a gateway's.

use super::MigrateError;
use crate::home::Surroundings;
use crate::service::{self, Manager, Scope, Service};

/// Its name.
const NAME: &str = "hermes.service";

/// Those that are installed, the user's first.
pub(crate) fn find(env: &Surroundings) -> Result<Vec<Service>, MigrateError> {
    let mut found = Vec::new();
    for manager in [Manager::Systemd(Scope::User), Manager::Systemd(Scope::System)] {
        let Some(directory) = service::directory(manager, env) else { continue };
        let service = service::at(manager, &directory, NAME, env)?;
        found.extend(service.filter(|service| service.unit.owner.is_some()));
    }
    Ok(found)
}

/// Stops one, and removes it.
pub(crate) fn remove(service: &Service) -> Result<(), MigrateError> {
    service.stop(&mut |_| {})?;
    service.remove().map_err(MigrateError::io("remove", &service.file))
}
