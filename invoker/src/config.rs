//! Every bound of the invoker, named with its unit.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What an invoker needs to know to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where native code is kept between runs. Guests and clients can never write here.
    pub cache_dir: PathBuf,
    /// Proves that a cache entry was written by this installation; must live outside of `cache_dir`.
    pub cache_key: [u8; 32],
    /// The command that starts a compiling process: this program with the arguments that reach
    /// [`compile_child_main`](crate::compile_child_main).
    pub compiler_command: Vec<OsString>,
    /// How much of the machine may be used.
    pub bounds: Bounds,
}

/// How much of the machine an invoker may use.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Instances alive at once, running and idle together.
    pub instances_max: u32,
    /// Instances kept warm while nobody calls them.
    pub idle_instances_max: usize,
    /// How long an instance is kept warm.
    pub idle_time: Duration,
    /// Native code kept in memory, in bytes.
    pub code_bytes_max: u64,
    /// Compiling processes at once.
    pub compilers_max: usize,
    /// Wall time of one compilation.
    pub compile_time_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            instances_max: 1_000,
            idle_instances_max: 256,
            idle_time: Duration::from_secs(60),
            code_bytes_max: 1 << 30,
            compilers_max: 2,
            compile_time_max: Duration::from_secs(120),
        }
    }
}

/// Largest memory plan that can be deployed, in bytes: the size of a pooled memory slot.
pub const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// How long a guest that computes runs before it gives way. A hundred of them on two cores come round in 50 ms.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Ticks without a running guest after which the clock stands still.
pub(crate) const TICKS_UNTIL_IDLE: u32 = 1_000;

/// Stack of wasm code, in bytes; less than [`FIBER_STACK_BYTES`] by a margin for the host calls below it.
pub(crate) const WASM_STACK_BYTES: usize = 512 << 10;
/// Stack of a guest's fiber, in bytes.
pub(crate) const FIBER_STACK_BYTES: usize = 2 << 20;

/// Core instances inside one component; componentize-py makes more than 30.
pub(crate) const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 64;
/// Linear memories inside one component.
pub(crate) const MEMORIES_PER_COMPONENT_MAX: u32 = 4;
/// Tables inside one component.
pub(crate) const TABLES_PER_COMPONENT_MAX: u32 = 64;
/// Elements of one table.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Elements of all tables of one store.
pub(crate) const TABLE_ELEMENTS_TOTAL_MAX: usize = 400_000;

/// Of a memory slot that is free: what is cleared and kept instead of given back to the kernel, in bytes.
pub(crate) const MEMORY_KEPT_BYTES: usize = 1 << 20;
/// The same of a table slot.
pub(crate) const TABLE_KEPT_BYTES: usize = 64 << 10;
/// The same of a fiber's stack; most calls touch less.
pub(crate) const STACK_KEPT_BYTES: usize = 32 << 10;
/// Slots that are given back to the kernel in one go.
pub(crate) const DECOMMIT_BATCH_SLOTS: usize = 16;

/// Bytes that a guest may hand to the host in one call.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 8 << 20;
/// Live component-model handles of one store.
pub(crate) const HANDLES_MAX: usize = 10_000;
/// Host resources of one store; each may hold [`HEADER_BYTES_MAX`] of the host's memory.
pub(crate) const RESOURCES_MAX: usize = 2_000;
/// Host resources that an idle instance may hold on to; one that leaks more is given up before it runs out.
pub(crate) const LEAKED_RESOURCES_MAX: usize = RESOURCES_MAX / 2;
/// Invocations after which an instance is looked at for leaks.
pub(crate) const LEAK_CHECK_INVOCATIONS: u32 = 64;
/// Random bytes that a guest may ask for in one call.
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Header fields that a guest may build, in bytes.
pub(crate) const HEADER_BYTES_MAX: usize = 32 << 10;
/// One chunk of a response body, in bytes.
pub(crate) const BODY_CHUNK_BYTES: usize = 64 << 10;

/// Answer of a command or event guest, in bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 6 << 20;
/// Output kept of one invocation, in bytes.
pub(crate) const LOG_BYTES_MAX: usize = 256 << 10;
/// Lines of output kept of one invocation.
pub(crate) const LOG_ENTRIES_MAX: usize = 4_096;
/// Request body that is kept for a second try while it is unknown whether a guest can be reused, in bytes.
pub(crate) const REPLAY_BYTES_MAX: usize = 64 << 10;

/// How long an invocation waits for code that has to be compiled again.
pub(crate) const CODE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Address space of a compiling process, in bytes.
pub(crate) const COMPILE_MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Processor time of a compiling process, in seconds.
pub(crate) const COMPILE_CPU_SECONDS_MAX: u64 = 90;
/// Native code that a compiling process may send back, in bytes.
pub(crate) const COMPILE_OUTPUT_BYTES_MAX: u64 = 512 << 20;
