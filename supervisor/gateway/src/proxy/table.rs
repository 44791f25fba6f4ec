//! The route table: which profiles can be reached. The app owns it and publishes a new one when the served set changes; proxy
//! threads only read.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use hermes_wire::ProfileName;
use tokio::sync::watch;

use super::route::Route;
use super::shared::Shared;

/// All routes, as of one moment.
#[derive(Debug, Clone)]
pub struct Table {
    /// Whether `/p/<profile>/` leads anywhere.
    pub multiplex: bool,
    /// Where requests without a prefix go.
    pub primary: Arc<Route>,
    /// Every served profile, the primary included.
    pub routes: HashMap<ProfileName, Arc<Route>>,
}

impl Table {
    /// A table that serves `primary` only.
    pub fn new(multiplex: bool, primary: Arc<Route>) -> Self {
        let routes = HashMap::from([(primary.name().clone(), Arc::clone(&primary))]);
        Self { multiplex, primary, routes }
    }

    /// Adds a profile.
    pub fn insert(&mut self, route: Arc<Route>) {
        self.routes.insert(route.name().clone(), route);
    }

    /// Profiles that should be serving and are not, or not with everything that their files ask for, sorted.
    pub fn not_ready(&self) -> Vec<&ProfileName> {
        let mut names: Vec<_> =
            self.routes.values().filter(|r| r.desired() && !r.is_able()).map(|r| r.name()).collect();
        names.sort();
        names
    }
}

/// Replaces the table. One exists.
#[derive(Debug)]
pub struct Publisher {
    tables: watch::Sender<Arc<Table>>,
    reader: Reader,
}

/// Sees the newest table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) tables: watch::Receiver<Arc<Table>>,
    proxy: Arc<OnceLock<Weak<Shared>>>,
}

impl Publisher {
    /// Both ends, starting with `table`.
    pub fn new(table: Table) -> (Self, Reader) {
        let (sender, receiver) = watch::channel(Arc::new(table));
        let reader = Reader { tables: receiver, proxy: Arc::default() };
        (Self { tables: sender, reader: reader.clone() }, reader)
    }

    /// From now on requests are routed by `table`. Requests in flight keep the route they were given.
    pub fn publish(&self, table: Table) {
        self.tables.send_replace(Arc::new(table));
    }

    /// The table in force.
    pub fn table(&self) -> Arc<Table> {
        self.reader.table()
    }

    /// Another reading end.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }
}

impl Reader {
    /// The table in force.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.tables.borrow())
    }

    /// Open client connections of the proxy that reads this table.
    pub fn connections(&self) -> usize {
        self.running().map_or(0, |shared| shared.connections())
    }

    /// Whether that proxy is on its way out, or not there yet.
    pub fn is_draining(&self) -> bool {
        self.running().is_none_or(|shared| shared.is_draining())
    }

    fn running(&self) -> Option<Arc<Shared>> {
        self.proxy.get()?.upgrade()
    }

    pub(super) fn attach(&self, shared: &Arc<Shared>) {
        // The first proxy started with this reader is the one it tells about; there is no second.
        let _ = self.proxy.set(Arc::downgrade(shared));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Availability;

    #[test]
    fn readiness_counts_desired_profiles_only() {
        let primary = Route::new("default".parse().unwrap(), "/d".into());
        let coder = Route::new("coder".parse().unwrap(), "/c".into());
        let mut table = Table::new(true, Arc::clone(&primary));
        table.insert(Arc::clone(&coder));
        assert_eq!(table.not_ready().len(), 2);
        primary.set(Availability::Open { ready: true });
        coder.set(Availability::Open { ready: false });
        assert_eq!(table.not_ready(), [coder.name()]);
        coder.set_desired(false);
        assert!(table.not_ready().is_empty());
    }
}
