//! Every bound of the invoker, named with its unit.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use mayfly_warm_pool::Policy;

use crate::outbound::PrivateNetwork;

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
    /// Networks that are not public and that functions may reach nevertheless, if their allow lists name the hosts.
    pub private_networks: Vec<PrivateNetwork>,
    /// Which guests are taken.
    pub wasi: Wasi,
    /// How much of the machine may be used.
    pub bounds: Bounds,
}

/// The versions of WASI that guests may be built for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wasi {
    /// 0.2, and preview 1, which becomes 0.2.
    #[default]
    Stable,
    /// Beside them 0.3, which its makers call unfinished. The engine then keeps books for asynchronous guests, which
    /// every call pays for.
    WithPreview,
}

/// How much of the machine an invoker may use.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Instances alive at once, running and idle together.
    pub instances_max: u32,
    /// Instances kept warm while nobody calls them.
    pub idle_instances_max: usize,
    /// Memory of all instances together, running and idle, in bytes.
    pub instance_memory_bytes: u64,
    /// Native code kept in memory, in bytes.
    pub code_bytes_max: u64,
    /// Native code kept on disk, in bytes; what is in memory is kept beyond that.
    pub cache_bytes_max: u64,
    /// Compiling processes at once.
    pub compilers_max: usize,
    /// Wall time of one compilation.
    pub compile_time_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            instances_max: 1_000,
            idle_instances_max: 900,
            instance_memory_bytes: 1 << 30,
            code_bytes_max: 1 << 30,
            cache_bytes_max: 8 << 30,
            compilers_max: 2,
            compile_time_max: Duration::from_secs(120),
        }
    }
}

/// Largest memory plan that can be deployed, in bytes: the size of a pooled memory slot.
pub const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// Which instances stay warm, see `docs/adr/0001-warm-pool-policy.md`.
pub(crate) const POLICY: Policy = Policy::Learned;
/// Versions whose habits are remembered while they have no instance.
pub(crate) const REMEMBERED_VERSIONS_MAX: usize = 4_096;
/// Calls of one version that wait for one of its instances.
pub(crate) const WAITING_CALLS_MAX: usize = 100;
/// What the host keeps for an instance beside its memory, in bytes: its store, its stack, its tables.
pub(crate) const HOST_BYTES_PER_INSTANCE: u64 = 64 << 10;
/// How often instances that were idle for too long are given up, memory is looked at, and warm instances that are missing
/// are made.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// After how long an instance that could not be kept warm is tried again.
pub(crate) const UPKEEP_RETRY: Duration = Duration::from_secs(30);

/// How long a guest that computes runs before it gives way. A hundred of them on two cores come round in 50 ms.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Processor time of a guest's latest slices from which on it is kept apart; an ordinary call needs far less.
pub(crate) const SHORT_SLICE_NS_MAX: u64 = 400_000;
/// Guests of an artifact that are kept apart from the first, after one of them had long slices. Not for ever: memory that the
/// machine has to find first makes a slice long once.
pub(crate) const EXPECTED_LONG_GUESTS: u32 = 64;
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
/// A guest whose memory is larger than this is let go of apart from all else: giving it back to the kernel takes longer than
/// a call, in bytes.
pub(crate) const LARGE_GUEST_BYTES: u64 = 16 << 20;

/// Bytes that a guest may hand to the host in one call.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 8 << 20;
/// Messages that a guest may send in one call.
pub(crate) const SENT_MESSAGES_MAX: usize = 100;
/// Their bodies and attributes together, in bytes.
pub(crate) const SENT_BYTES_MAX: usize = 1 << 20;
/// Live component-model handles of one store.
pub(crate) const HANDLES_MAX: usize = 10_000;
/// Host resources of one store.
pub(crate) const RESOURCES_MAX: usize = 4_000;
/// Those of them that are no pollables: each may hold [`HEADER_BYTES_MAX`] of the host's memory. Pollables are small, and
/// there are engines that leak one with every piece of a body.
pub(crate) const LARGE_RESOURCES_MAX: usize = 320;
/// Calls of `wasi:http` after which they are counted; each makes one or two of them at most.
pub(crate) const LARGE_RESOURCES_CHECK_CALLS: u32 = 64;
/// Such resources that an idle instance may hold on to; one that leaks more is given up before it runs out.
pub(crate) const LEAKED_RESOURCES_MAX: usize = LARGE_RESOURCES_MAX / 2;
/// Invocations after which an instance is looked at for leaks.
pub(crate) const LEAK_CHECK_INVOCATIONS: u32 = 16;
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

/// Requests that one invocation may send.
pub(crate) const OUTBOUND_REQUESTS_MAX: u64 = 50;
/// Connections that one invocation may have open at once; one more request waits for one of them to end.
pub(crate) const OUTBOUND_CONNECTIONS_MAX: usize = 6;
/// Time to look a host up, connect and encrypt, where the guest does not say another.
pub(crate) const OUTBOUND_CONNECT_TIME: Duration = Duration::from_secs(10);
/// Lookups of names at once, of all functions together; each takes a thread and cannot be stopped.
pub(crate) const OUTBOUND_LOOKUPS_MAX: usize = 32;
/// Addresses of one host that are tried.
pub(crate) const OUTBOUND_ADDRESSES_TRIED_MAX: usize = 4;
/// Path and query of a request that a guest sends, in bytes.
pub(crate) const OUTBOUND_TARGET_BYTES_MAX: usize = 16 << 10;
/// Body of a request that a guest sends, in bytes; it is streamed.
pub(crate) const OUTBOUND_REQUEST_BYTES_MAX: u64 = 64 << 20;
/// Header fields of a response that a guest receives.
pub(crate) const OUTBOUND_HEADERS_MAX: usize = 100;
/// Head of a response that a guest receives, in bytes; also what is read of its body ahead of the guest.
pub(crate) const OUTBOUND_HEAD_BYTES_MAX: usize = 32 << 10;
/// Heads that say only that the response will come (1xx) before it does.
pub(crate) const OUTBOUND_INTERIM_MAX: usize = 16;
/// Body of a response that a guest receives, in bytes; it is streamed.
pub(crate) const OUTBOUND_RESPONSE_BYTES_MAX: u64 = 64 << 20;
/// Lines about refused requests in the output of one invocation.
pub(crate) const OUTBOUND_NOTES_MAX: usize = 8;
/// What is known of native code beside its bytes, in bytes, at the head of a cache entry.
pub(crate) const CODE_FACTS_BYTES_MAX: usize = 8 << 10;
/// What small code counts for in [`Bounds::code_bytes_max`], in bytes: each holds a descriptor and mappings as well.
pub(crate) const CODE_WEIGHT_BYTES_MIN: u64 = 1 << 20;
/// Native code that is read in one go, in bytes.
pub(crate) const CODE_PIECE_BYTES: usize = 256 << 10;
/// Files of the cache folder that are looked at in one go.
pub(crate) const CACHE_FILES_SEEN_MAX: usize = 100_000;

/// The export of a component that is called before its first invocation; what tools of the trade call it.
pub(crate) const INIT_FUNCTION: &str = "wizer-initialize";
/// How long that function may run when a snapshot is made of what it leaves.
pub(crate) const INIT_TIME_MAX: Duration = Duration::from_secs(10);
/// Address space that is set aside then for a memory to grow in place, in bytes.
pub(crate) const INIT_GROWTH_BYTES: u64 = 16 << 20;
/// Component with the memory that its init function has left, in bytes.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 128 << 20;
/// Why there is no snapshot, in characters.
pub(crate) const REASON_CHARS_MAX: usize = 500;
