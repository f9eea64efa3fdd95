//! What must be equal for an instance to be used again.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mayfly_invoker_api::{FunctionName, Namespace, Target};

/// One version of a function, as it is deployed. Which part of its callers an instance serves is told apart beside it.
#[derive(Debug, Clone)]
pub(crate) struct Version(pub(crate) Arc<Target>);

impl Version {
    pub(crate) fn is_of(&self, namespace: &Namespace, function: &FunctionName) -> bool {
        self.0.function == *function && self.0.namespace == *namespace
    }

    pub(crate) fn is_of_the_function_of(&self, other: &Self) -> bool {
        self.is_of(&other.0.namespace, &other.0.function)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        Arc::ptr_eq(a, b)
            || (a.config == b.config
                && a.artifact == b.artifact
                && a.version == b.version
                && a.function == b.function
                && a.namespace == b.namespace)
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.namespace.hash(state);
        self.0.function.hash(state);
        self.0.version.hash(state);
    }
}
