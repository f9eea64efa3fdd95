//! Running a command guest: the event on standard input, the answer on standard output, a fresh instance every time.

use std::sync::Arc;

use bytes::Bytes;
use mayfly_invoker_api::{Gauge, InvokeError, InvokeErrorKind};
use tokio::time::Instant;
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::{Command, CommandIndices};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

use crate::call::{Call, microseconds_since};
use crate::code::Code;
use crate::config::ANSWER_BYTES_MAX;
use crate::guest::{GuestPre, Pre};
use crate::instance::{blame, make_room};
use crate::run::Host;
use crate::state::{self, State};
use crate::store::GuestStore;

/// Runs the command once on `stdin`.
pub(crate) async fn run(host: &Arc<Host>, code: &Arc<Code>, call: &Call, stdin: Bytes) -> Result<Bytes, InvokeError> {
    let stdout = state::answer_pipe();
    let guest_state = State::for_command(&call.target, MemoryInputPipe::new(stdin), stdout.clone());
    let mut store = GuestStore::new(host, &call.lease, guest_state);
    store.data_mut().begin(call);
    store.data_mut().limiter.watch(host.pool.growth());
    let work = {
        let (host, code, gauge) = (Arc::clone(host), Arc::clone(code), Arc::clone(&call.gauge));
        async move {
            let ended = start_and_run(&host, &code, &mut store, &gauge).await;
            (store, ended)
        }
    };
    let (store, ended) = call.metered(Box::pin(work)).await?;
    let answer = stdout.contents();
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(too_long());
    }
    let code = match ended {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0,
            None => return Err(blame(&error, store.data(), call)),
        },
    };
    match code {
        0 => Ok(answer),
        // WASI 0.2 tells success from failure only; preview 1 codes arrive as 1.
        1 => Err(failed("the command ended with an exit code other than 0".to_owned())),
        code => Err(failed(format!("the command ended with exit code {code}"))),
    }
}

fn failed(message: String) -> InvokeError {
    InvokeError::new(InvokeErrorKind::Failed, message)
}

fn too_long() -> InvokeError {
    InvokeError::new(
        InvokeErrorKind::BadResponse,
        format!("the command wrote more than {ANSWER_BYTES_MAX} bytes to standard output"),
    )
}

async fn start_and_run(
    host: &Host,
    code: &Code,
    store: &mut Store<State>,
    gauge: &Gauge,
) -> wasmtime::Result<Result<(), ()>> {
    let GuestPre::Command(pre) = &code.guest else {
        return Err(wasmtime::Error::msg("the function is not a command"));
    };
    let started = Instant::now();
    let command = instantiate(host, pre, store).await;
    gauge.add_init_us(microseconds_since(started));
    command?.wasi_cli_run().call_run(store).await
}

/// If all slots are taken, idle instances are given up for this one.
async fn instantiate(host: &Host, pre: &Pre<CommandIndices>, store: &mut Store<State>) -> wasmtime::Result<Command> {
    loop {
        match pre.instantiate_async(&mut *store).await {
            Err(error) if error.is::<PoolConcurrencyLimitError>() && make_room(host).await => {}
            other => return other,
        }
    }
}
