//! What a platform's connection and its way out have in common. They are made apart from each other, the way out first.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One thing a platform, of a type of its own. Cloning shares it.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<BTreeMap<&'static str, Arc<dyn Any + Send + Sync>>>>);

impl Shared {
    /// What this platform shares; made when it is first asked for.
    pub(super) fn of<T: Any + Send + Sync>(
        &self,
        platform: &'static str,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Arc::clone(all.entry(platform).or_insert_with(|| Arc::new(make())));
        kept.downcast().expect("a platform shares one type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_s_halves_get_the_same_and_others_get_their_own() {
        let shared = Shared::default();
        let (one, two) = (shared.of("a", || Mutex::new(1)), shared.clone().of("a", || Mutex::new(2)));
        *one.lock().unwrap() = 3;
        assert_eq!((*two.lock().unwrap(), *shared.of("b", || 7_u8)), (3, 7));
    }
}
