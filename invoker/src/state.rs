//! What the host keeps for one instance: its view of WASI, its limits and its console.

use std::sync::Arc;

use mayfly_invoker_api::{Gauge, LogStream, Target};
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Result};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings;
use crate::call::Call;
use crate::config::{
    ANSWER_BYTES_MAX, HEADER_BYTES_MAX, LARGE_RESOURCES_CHECK_CALLS, LARGE_RESOURCES_MAX, LEAKED_RESOURCES_MAX,
    RANDOM_BYTES_MAX, RESOURCES_MAX, Wasi,
};
use crate::console::{Console, ConsoleStream};
use crate::limiter::Limiter;
use crate::outbound::Hooks;

/// The host's side of one store.
pub(crate) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    http_calls: u32,
    pub(crate) hooks: Hooks,
    pub(crate) limiter: Limiter,
    pub(crate) console: Arc<Console>,
}

impl State {
    /// For a guest that is called through its exports: standard input is empty, output goes to the console.
    pub(crate) fn new(target: &Target) -> Self {
        Self::build(target, |wasi, console| {
            wasi.stdout(ConsoleStream::new(console, LogStream::Stdout));
        })
    }

    /// For a command: reads `stdin`, answers on `stdout`.
    pub(crate) fn for_command(target: &Target, stdin: MemoryInputPipe, stdout: MemoryOutputPipe) -> Self {
        Self::build(target, |wasi, _| {
            wasi.stdin(stdin).stdout(stdout);
        })
    }

    /// What the guest prints, uses and sends from now on is this invocation's.
    pub(crate) fn begin(&mut self, call: &Call) {
        self.observe(&call.gauge);
        self.hooks.begin(call);
    }

    /// What the guest prints and uses from now on is noted here; it may send nothing.
    pub(crate) fn observe(&mut self, gauge: &Arc<Gauge>) {
        self.console.begin(gauge);
        self.limiter.begin(gauge);
    }

    /// Whether the guest holds so much of the host that it may soon run out.
    pub(crate) fn leaks(&mut self) -> bool {
        self.large_resources() > LEAKED_RESOURCES_MAX || self.table.iter_mut().count() > RESOURCES_MAX / 2
    }

    fn large_resources(&mut self) -> usize {
        let all = self.table.iter_mut();
        all.filter(|resource| !resource.is::<DynPollable>()).count()
    }

    /// The invocation has ended.
    pub(crate) fn end(&mut self) {
        self.console.end();
        self.limiter.end();
        self.hooks.end();
    }

    fn build(target: &Target, stdio: impl FnOnce(&mut WasiCtxBuilder, &Arc<Console>)) -> Self {
        let console = Arc::new(Console::default());
        let mut wasi = WasiCtxBuilder::new();
        wasi.arg(target.function.as_str())
            .envs(&target.env)
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .stderr(ConsoleStream::new(&console, LogStream::Stderr));
        stdio(&mut wasi, &console);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADER_BYTES_MAX);
        let limiter = Limiter::new(target.limits.memory_bytes);
        Self {
            table,
            wasi: wasi.build(),
            http,
            http_calls: 0,
            hooks: Hooks::new(&console),
            limiter,
            console,
        }
    }
}

/// An answer pipe. It takes one byte more than is allowed, so that too long an answer can be told from one that fits.
pub(crate) fn answer_pipe() -> MemoryOutputPipe {
    MemoryOutputPipe::new(ANSWER_BYTES_MAX + 1)
}

/// All that guests may import: the whole of WASI 0.2 `cli` and `http`, and of 0.3 where that is wanted, and the queues of the
/// platform. Terminals and the filesystem are there but empty, sockets are there but closed: the standard libraries of most
/// languages import them without need.
pub(crate) fn linker(engine: &Engine, wasi: Wasi) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    if wasi == Wasi::WithPreview {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    bindings::queue::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.http_calls = self.http_calls.wrapping_add(1);
        if self.http_calls.is_multiple_of(LARGE_RESOURCES_CHECK_CALLS) && self.large_resources() > LARGE_RESOURCES_MAX {
            // There is no error to give here: the next header field that the guest sets is its last act.
            self.http.set_field_size_limit(0);
        }
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}
