//! What a client command works with.

use mayfly_invoker_api::FunctionName;

use crate::client::Client;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    /// Whether the output is JSON.
    pub(crate) json: bool,
}

impl Session {
    /// A command line that looks at the same namespace.
    pub(crate) fn command_line(&self, command: &str, name: &FunctionName) -> String {
        let namespace = self.client.namespace();
        match namespace.as_str() {
            "default" => format!("fn {command} {name}"),
            _ => format!("fn {command} {name} -n {namespace}"),
        }
    }
}
