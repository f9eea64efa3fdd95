//! Initialising a component before it is compiled: its init function is run once, here, and what it left in memory becomes
//! the memory that every instance begins with.
//!
//! Runs in the compiling process only. The component gets no host at all: what a clock, a random number or a variable of
//! the environment said at deploy must not be what every instance believes for ever. A call of the host ends the attempt,
//! and so does whatever cannot be kept, such as a changed table.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cpu_time::ThreadTime;
use futures_util::FutureExt;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentNamedList, Instance, Lift, Linker, LinkerInstance, ResourceType};
use wasmtime::{Engine, Result, Store, Trap};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::config::{INIT_FUNCTION, INIT_TIME_MAX, MEMORY_BYTES_MAX, SNAPSHOT_BYTES_MAX};
use crate::engine;
use crate::limiter::Limiter;

/// A component that begins where its init function has ended.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) component: Vec<u8>,
    pub(crate) init_us: u64,
}

/// The call of an import while there is no host.
#[derive(Debug, thiserror::Error)]
#[error("the init function called {0}, which is not there before the first invocation")]
struct NoHost(String);

/// Runs the init function of `component`, which must export it.
///
/// # Errors
/// Why there is no snapshot, as a sentence.
pub(crate) fn take(component: &[u8]) -> Result<Snapshot, String> {
    // The rewriting asserts what it believes of its input, and the input is a stranger's.
    let taken = catch_unwind(AssertUnwindSafe(|| try_take(component)));
    let snapshot = match taken {
        Ok(taken) => taken.map_err(|error| reason(&error))?,
        Err(_) => return Err("the component has a shape that cannot be initialised beforehand".to_owned()),
    };
    if snapshot.component.len() > SNAPSHOT_BYTES_MAX {
        return Err(format!(
            "the init function left more than {} MiB behind",
            SNAPSHOT_BYTES_MAX >> 20
        ));
    }
    Ok(snapshot)
}

fn try_take(component: &[u8]) -> Result<Snapshot> {
    let mut wizer = Wizer::new();
    // Kept, because the component's other parts refer to it; nobody calls it again.
    wizer.init_func(INIT_FUNCTION).keep_init_func(true);
    let (context, instrumented) = wizer.instrument_component(component)?;
    let engine = engine::initialising()?;
    let instrumented = Component::new(&engine, &instrumented)?;
    let mut store = Store::new(&engine, Limiter::new(MEMORY_BYTES_MAX));
    store.limiter(|limiter| limiter);
    store.set_epoch_deadline(1);
    let instance = hostless(&engine, &instrumented)?.instantiate(&mut store, &instrumented)?;
    let init = instance.get_typed_func::<(), ()>(&mut store, INIT_FUNCTION)?;
    let alarm = engine.clone();
    // This process lives for one component: a thread that is still asleep at its end hurts nobody.
    std::thread::spawn(move || {
        std::thread::sleep(INIT_TIME_MAX);
        alarm.increment_epoch();
    });
    // Not the time on the wall: compiling is what the machine does when it has nothing better to do.
    let before = ThreadTime::now();
    init.call(&mut store, ())?;
    let init_us = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut state = InitialisedState { store, instance };
    let component = wizer
        .snapshot_component(&context, &mut state)
        .now_or_never()
        .ok_or_else(|| wasmtime::Error::msg("reading the memory of the component waited for something"))??;
    Ok(Snapshot { component, init_us })
}

fn reason(error: &wasmtime::Error) -> String {
    if let Some(no_host) = error.downcast_ref::<NoHost>() {
        return no_host.to_string();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => format!("the init function did not end within {} s", INIT_TIME_MAX.as_secs()),
        Some(trap) => format!("the init function trapped: {trap}"),
        None => format!("the component cannot be initialised beforehand: {}", error.root_cause()),
    }
}

/// Everything that the component imports is there, and fails when it is called.
fn hostless(engine: &Engine, component: &Component) -> Result<Linker<Limiter>> {
    let mut linker = Linker::new(engine);
    let imports: Vec<_> = component
        .component_type()
        .imports(engine)
        .map(|(name, item)| (name.to_owned(), item.ty))
        .collect();
    for (name, item) in imports {
        refuse(engine, &mut linker.root(), "", &name, &item)?;
    }
    Ok(linker)
}

fn refuse(
    engine: &Engine,
    linker: &mut LinkerInstance<'_, Limiter>,
    interface: &str,
    name: &str,
    item: &ComponentItem,
) -> Result<()> {
    match item {
        ComponentItem::ComponentFunc(_) => {
            let called = match interface {
                "" => name.to_owned(),
                interface => format!("{name} of {interface}"),
            };
            linker.func_new(name, move |_, _, _, _| Err(NoHost(called.clone()).into()))
        }
        ComponentItem::ComponentInstance(instance) => {
            let mut inner = linker.instance(name)?;
            for (member, item) in instance.exports(engine) {
                refuse(engine, &mut inner, name, member, &item.ty)?;
            }
            Ok(())
        }
        ComponentItem::Resource(_) => linker.resource(name, ResourceType::host::<()>(), |_, _| Ok(())),
        // Types need no definition, and whatever else there is makes linking fail with its name.
        _ => Ok(()),
    }
}

/// The instance after its init function, for the rewriting to read.
struct InitialisedState {
    store: Store<Limiter>,
    instance: Instance,
}

impl InitialisedState {
    /// Calls a function that was put into the component to tell what is in it.
    fn ask<R: Lift + 'static>(&mut self, interface: &str, function: &str) -> R
    where
        (R,): ComponentNamedList + Lift,
    {
        let (_, interface) = self
            .instance
            .get_export(&mut self.store, None, interface)
            .expect("the instrumented component exports its accessors");
        let (_, function) = self
            .instance
            .get_export(&mut self.store, Some(&interface), function)
            .expect("the instrumented component exports its accessors");
        let function = self
            .instance
            .get_typed_func::<(), (R,)>(&mut self.store, function)
            .expect("an accessor has the type that it is asked for by");
        // Caught above: no more than one attempt is lost.
        let (answer,) = function
            .call(&mut self.store, ())
            .expect("an accessor has no way to fail but for memory");
        answer
    }
}

impl ComponentInstanceState for InitialisedState {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        let list: wasmtime::component::WasmList<u8> = self.ask(instance, func);
        contents(list.as_le_slice(&self.store));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.ask(instance, func)
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.ask(instance, func)
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.ask::<f32>(instance, func).to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.ask::<f64>(instance, func).to_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component around a core module that may import a function `host` and has to export `init`.
    fn taken(host: &str, init_type: &str, module: &str) -> Result<Snapshot, String> {
        let text = format!(
            r#"(component
                (import "wasi:random/random@0.2.0" (instance $random (export "get-random-u64" (func (result u64)))))
                (core func $host (canon lower (func $random "get-random-u64")))
                (core module $guest {host} {module})
                (core instance $instance
                    (instantiate $guest (with "random" (instance (export "host" (func $host))))))
                (func (export "wizer-initialize") {init_type} (canon lift (core func $instance "init"))))"#
        );
        take(&wat::parse_str(text).unwrap())
    }

    fn refused(host: &str, module: &str) -> String {
        taken(host, "", module).unwrap_err()
    }

    const HOST: &str = r#"(import "random" "host" (func $host (result i64)))"#;

    #[test]
    fn what_init_leaves_in_memory_and_in_globals_is_in_the_component() {
        let module = r#"
            (memory (export "memory") 1) (global $done (mut i32) (i32.const 0))
            (func (export "init")
                (i32.store (i32.const 16) (i32.const 0x59464c4d))
                (global.set $done (i32.const 0x0dedbeef)))"#;
        let Snapshot { component, .. } = taken(HOST, "", module).unwrap();
        assert!(
            component.windows(4).any(|bytes| bytes == b"MLFY"),
            "the memory is in it"
        );
        // And it can be compiled and made without running anything.
        let engine = engine::initialising().unwrap();
        let component = Component::new(&engine, &component).unwrap();
        let linker = hostless(&engine, &component).unwrap();
        let mut store = Store::new(&engine, Limiter::new(MEMORY_BYTES_MAX));
        store.limiter(|limiter| limiter);
        store.set_epoch_deadline(1);
        linker.instantiate(&mut store, &component).unwrap();
    }

    #[test]
    fn a_call_of_the_host_is_named() {
        let reason = refused(HOST, r#"(func (export "init") (drop (call $host)))"#);
        assert!(
            reason.contains("get-random-u64 of wasi:random/random@0.2.0"),
            "{reason}"
        );
        // Also one before the init function, which would be in the memory just as well.
        let reason = refused(
            HOST,
            r#"(func $start (drop (call $host))) (start $start) (func (export "init"))"#,
        );
        assert!(reason.contains("get-random-u64"), "{reason}");
    }

    #[test]
    fn whatever_else_is_in_the_way_is_told() {
        for (module, expected) in [
            (r#"(func (export "init") unreachable)"#, "trapped"),
            (
                r#"(func $recurse (export "init") (call $recurse))"#,
                "call stack exhausted",
            ),
            (
                r#"(table 2 funcref) (func (export "init")
                    (table.set (i32.const 0) (ref.null func)))"#,
                "table.set",
            ),
            (
                r#"(memory 1) (func (export "init") (drop (memory.grow (i32.const 65535)))
                    (i32.store8 (i32.const 0x7fff_0000) (i32.const 1)))"#,
                "out of bounds memory access",
            ),
        ] {
            let reason = refused("", module);
            assert!(reason.contains(expected), "{reason}");
        }
        let reason = taken("", "(param \"n\" u32)", r#"(func (export "init") (param i32))"#).unwrap_err();
        assert!(reason.contains("cannot be initialised beforehand"), "{reason}");
    }
}
