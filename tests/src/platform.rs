//! One server of our own: started, called, killed, started again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::database::PostgresDatabase;
use crate::run::{finish, fn_command, run_fn};
use crate::{Database, Done, Reply, Vitals, WAIT_MAX, guest, http_client};

/// Lines of the server's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// A real `fn serve` on free ports, with a temporary data directory and profile.
#[derive(Debug)]
pub struct Platform {
    // Dropped in this order: the server first, then what it uses.
    child: Child,
    postgres: Option<PostgresDatabase>,
    dir: TempDir,
    client: Client,
    /// Base address of the functions listener.
    pub functions: String,
    /// Base address of the admin listener.
    pub admin: String,
    /// Base address of the storage listener.
    pub storage: String,
    /// The admin token that the first start made.
    pub token: String,
    /// What client commands are told beside the profile.
    environment: Vec<(&'static str, String)>,
    serve_with: ServeWith,
}

/// What `fn serve` is told beside the usual.
#[derive(Debug, Default, Clone)]
pub struct ServeWith {
    /// More arguments.
    pub args: Vec<String>,
    /// More of its environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Platform {
    /// Starts a new server; `None` when it is to use Postgres, there is none here, and nobody requires one.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start(database: Database) -> Option<Self> {
        Self::start_with(database, ServeWith::default()).await
    }

    /// Starts a new server that is told more than the usual, also when it is started again.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start_with(database: Database, serve_with: ServeWith) -> Option<Self> {
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(PostgresDatabase::create().await?),
        };
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (child, addresses) = serve(dir.path(), postgres.as_ref(), &serve_with).await;
        let Addresses {
            functions,
            admin,
            storage,
        } = addresses;
        let token = token_of(&dir.path().join("profile.toml"), &admin);
        Some(Self {
            child,
            postgres,
            dir,
            client: http_client(),
            functions,
            admin,
            storage,
            token,
            environment: Vec::new(),
            serve_with,
        })
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The client profile that the server wrote.
    #[must_use]
    pub fn profile(&self) -> PathBuf {
        self.dir().join("profile.toml")
    }

    /// Runs a client command to its end.
    pub async fn fn_(&self, args: &[&str]) -> Done {
        finish(self.fn_command(args), args).await
    }

    /// Runs a client command with bytes on its standard input.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn fn_with_input(&self, args: &[&str], input: &[u8]) -> Done {
        let file = self.dir().join("stdin");
        fs::write(&file, input).expect("the test's folder can be written");
        let mut command = self.fn_command(args);
        command.stdin(File::open(&file).expect("the file was just written"));
        finish(command, args).await
    }

    /// A client command that the test starts and ends itself; its output is there to be read.
    #[must_use]
    pub fn fn_command(&self, args: &[&str]) -> Command {
        let mut command = fn_command(&self.profile());
        command
            .args(args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Deploys a built guest and gives what `fn deploy --json` printed.
    pub async fn deploy(&self, name: &str, more: &[&str]) -> Value {
        self.deploy_file(&guest(name), more).await
    }

    /// Deploys a file and gives what `fn deploy --json` printed.
    pub async fn deploy_file(&self, file: &Path, more: &[&str]) -> Value {
        let file = file.to_string_lossy();
        let args = [&["deploy", &file, "--json"], more].concat();
        self.fn_(&args).await.json()
    }

    /// A request to a function; `path` starts with `/NAME`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.functions))
    }

    /// Calls a function with GET.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path)).await
    }

    /// Calls a function with POST.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Reply {
        send(self.request(Method::POST, path).body(body)).await
    }

    /// A request to the API with the admin token; `path` starts with `/v1`.
    pub fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.admin))
            .bearer_auth(&self.token)
    }

    /// Reads from the API.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn api_get(&self, path: &str) -> Reply {
        send(self.api(Method::GET, path)).await
    }

    /// Calls a function through the API, as `fn invoke` does.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn direct(&self, name: &str, payload: &str) -> Reply {
        let request = self.api(Method::POST, &format!("/v1/ns/default/functions/{name}/invoke"));
        send(request.body(payload.to_owned())).await
    }

    /// Every recorded invocation of a function, newest first.
    ///
    /// # Panics
    /// When the API does not answer as documented.
    pub async fn invocations(&self, function: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut before = String::new();
        loop {
            let page = self
                .api_get(&format!(
                    "/v1/ns/default/functions/{function}/invocations?limit=100{before}"
                ))
                .await;
            assert_eq!(page.status, 200, "{}", page.text());
            let page = page.json();
            all.extend(
                page["invocations"]
                    .as_array()
                    .expect("a page has invocations")
                    .iter()
                    .cloned(),
            );
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return all,
            }
        }
    }

    /// The usage row of a function.
    ///
    /// # Panics
    /// When there is none.
    pub async fn usage_of(&self, function: &str) -> Value {
        let rows = self.fn_(&["usage", "--by", "function", "--json"]).await.json();
        let found = rows
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["function"] == function));
        found
            .unwrap_or_else(|| panic!("no usage of {function}: {rows}"))
            .clone()
    }

    /// Memory that the server holds, in bytes.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.vitals().resident_bytes
    }

    /// What the server holds of the machine.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals::of(self.process_id())
    }

    /// The server's process.
    ///
    /// # Panics
    /// When its end was seen.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// `kill -9`: the process ends at once, whatever it was doing.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("our own child can be killed");
    }

    /// Asks the server to stop (SIGTERM).
    ///
    /// # Panics
    /// When it has ended before.
    pub fn terminate(&self) {
        let id = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        let id = id.expect("the server runs");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("our own child can be signalled");
    }

    /// Waits until the server has ended by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(WAIT_MAX, self.child.wait()).await;
        ended
            .expect("the server ends in time")
            .expect("our own child can be waited for")
    }

    /// Starts a server again on the same data and database, on new ports. The token of the first start stays good; the
    /// client is told both, because the profile knows the old address only.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn restart(&mut self) {
        let (child, addresses) = serve(self.dir.path(), self.postgres.as_ref(), &self.serve_with).await;
        self.child = child;
        self.functions = addresses.functions;
        self.admin = addresses.admin;
        self.storage = addresses.storage;
        self.client = http_client();
        self.environment = vec![("MAYFLY_URL", self.admin.clone()), ("MAYFLY_TOKEN", self.token.clone())];
    }

    /// The same with other arguments and another environment, from now on.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn restart_with(&mut self, serve_with: ServeWith) {
        self.serve_with = serve_with;
        self.restart().await;
    }

    /// Runs a second server, which must end by itself before it is ready.
    ///
    /// # Panics
    /// When it gets ready.
    pub async fn serve_again(&self, args: &[&str]) -> Done {
        let done = run_fn(
            &self.dir().join("second-profile.toml"),
            &[],
            &[&["serve"], args].concat(),
        )
        .await;
        assert!(!done.stdout.contains("ready "), "it must not get ready: {done:?}");
        done
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.child.start_kill().ok();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir().join("server.log")).unwrap_or_default();
            let skipped = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
            let shown: Vec<_> = log.lines().skip(skipped).collect();
            eprintln!("--- the last lines of the server's log\n{}", shown.join("\n"));
        }
    }
}

async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.expect("the server answers");
    Reply::read(response).await.expect("the answer is complete")
}

/// Where a server listens.
struct Addresses {
    functions: String,
    admin: String,
    storage: String,
}

async fn serve(dir: &Path, postgres: Option<&PostgresDatabase>, with: &ServeWith) -> (Child, Addresses) {
    let log_path = dir.join("server.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .expect("the log can be written");
    let mut command = fn_command(&dir.join("profile.toml"));
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--storage",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(dir.join("data"));
    command
        .args(&with.args)
        .envs(with.environment.iter().map(|(name, value)| (name, value)));
    if let Some(postgres) = postgres {
        command.args(["--database", &postgres.url()]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the binary can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("standard output is a pipe")).lines();
    let line = timeout(WAIT_MAX, lines.next_line())
        .await
        .expect("ready in time")
        .expect("its output can be read");
    let log = || fs::read_to_string(&log_path).unwrap_or_default();
    let line = line.unwrap_or_else(|| panic!("the server ended before it was ready:\n{}", log()));
    let address = |key: &str| {
        let found = line.split(' ').find_map(|word| word.strip_prefix(key));
        found
            .unwrap_or_else(|| panic!("no {key} in the ready line: {line}"))
            .to_owned()
    };
    let addresses = Addresses {
        functions: address("functions="),
        admin: address("admin="),
        storage: address("storage="),
    };
    // Reads on, so that the server never writes into a closed pipe; it has promised to print nothing more.
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("the server printed more than its ready line: {line}");
        }
    });
    (child, addresses)
}

fn token_of(profile: &Path, admin: &str) -> String {
    let text = fs::read_to_string(profile).expect("the server wrote a profile");
    let profile: toml::Table = text.parse().expect("the profile is TOML");
    assert_eq!(
        profile["current"].as_str(),
        Some(admin),
        "the newest server is the current one"
    );
    profile["servers"][admin]["token"]
        .as_str()
        .expect("the server has a token")
        .to_owned()
}
