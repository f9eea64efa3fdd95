//! `cargo xtask demo`: the whole road once, on this machine, with everything it writes under `target/demo`.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lint::cargo;
use crate::server::Server;
use crate::summary::Summary;
use crate::{guests, http, paths, setup};

/// How often, and how many times, the thumbnail is looked for.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 100;

/// One example and how to call it.
struct Example {
    name: &'static str,
    what: &'static str,
    /// Body of the HTTP call; without one it is a GET.
    body: Option<&'static str>,
    /// Payload of the direct call.
    data: &'static str,
}

const EXAMPLES: [Example; 3] = [
    Example {
        name: "hello-http",
        what: "a standard wasi:http component",
        body: None,
        data: "{}",
    },
    Example {
        name: "order-total",
        what: "a typed event function, written with mayfly-sdk",
        body: Some(ORDER),
        data: ORDER,
    },
    Example {
        name: "word-count",
        what: "a plain program: standard input to standard output",
        body: Some("to be or not to be"),
        data: "@LICENSE",
    },
];

const ORDER: &str = r#"{"lines":[{"quantity":2,"unit_price_cents":1250},{"quantity":1,"unit_price_cents":499}]}"#;

pub(crate) fn run(summary: &mut Summary) -> Result<()> {
    let toolchain = summary.part("guest toolchain", setup::guest_toolchain)?;
    summary.run(
        "release binary (the first time takes minutes)",
        cargo().args(["build", "--release"]),
    )?;
    summary.part("examples", || guests::build_examples(&toolchain))?;
    let server = summary.part("start a server", start)?;
    summary.part("deploy the examples", || deploy(&server))?;
    summary.part("call them over HTTP", || call(&server))?;
    summary.part("call them with fn invoke", || invoke(&server))?;
    summary.part("a picture comes into a bucket", || store(&server))?;
    summary.part("what was printed, and what it cost", || look(&server))?;
    summary.part("stop the server", || server.stop())?;
    println!("{NEXT}");
    Ok(())
}

fn start() -> Result<Server> {
    let server = Server::start("demo")?;
    println!("functions at {}, admin API at {}", server.functions, server.admin);
    Ok(server)
}

fn deploy(server: &Server) -> Result<()> {
    for example in &EXAMPLES {
        println!("{}: {}", example.name, example.what);
        let file = paths::guest(example.name);
        show(
            &format!("fn deploy {}.wasm", example.name),
            &server.call(&["deploy", &file.to_string_lossy()])?,
        );
    }
    Ok(())
}

fn call(server: &Server) -> Result<()> {
    for example in &EXAMPLES {
        let url = format!("{}/{}", server.functions, example.name);
        let (command, answer) = match example.body {
            Some(body) => (format!("curl -d '{body}' {url}"), http::post(&url, body)?),
            None => (format!("curl {url}"), http::get(&url)?),
        };
        show(&command, &answer.body);
        println!("    {} {} start", answer.status, answer.header("mayfly-start"));
        ensure!(answer.status == 200, "{} answered {}", example.name, answer.status);
    }
    Ok(())
}

fn invoke(server: &Server) -> Result<()> {
    for Example { name, data, .. } in &EXAMPLES {
        show(
            &format!("fn invoke {name} --data '{data}'"),
            &server.call(&["invoke", name, "--data", data])?,
        );
    }
    Ok(())
}

/// An object fires a function, which reads it and writes another one.
fn store(server: &Server) -> Result<()> {
    let (file, picture) = (
        paths::guest("photo-thumb"),
        paths::root().join("tests/pictures/quadrants.jpg"),
    );
    let (file, picture) = (file.to_string_lossy(), picture.to_string_lossy());
    let thumb = paths::target().join("demo/quadrants.png");
    let thumb = thumb.to_string_lossy();
    for args in [
        &["bucket", "create", "photos"][..],
        &["deploy", &file, "--allow-host", "photos.s3.mayfly.internal"],
        &[
            "trigger",
            "create",
            "storage",
            "photo-thumb",
            "--bucket",
            "photos",
            "--prefix",
            "raw/",
        ],
        &["bucket", "put", "photos", &picture, "raw/"],
    ] {
        show(&format!("fn {}", args.join(" ")), &server.call(args)?);
    }
    for _ in 0..LOOKS_MAX {
        if server
            .call(&["bucket", "ls", "photos", "thumbs/"])?
            .contains("quadrants.png")
        {
            break;
        }
        std::thread::sleep(LOOK_PAUSE);
    }
    let get = ["bucket", "get", "photos", "thumbs/quadrants.png", &thumb];
    show(&format!("fn {}", get.join(" ")), &server.call(&get)?);
    println!("    it is in {thumb}");
    Ok(())
}

fn look(server: &Server) -> Result<()> {
    let logs = server.call(&["logs", "order-total"])?;
    show(
        "fn logs order-total",
        logs.lines().last().unwrap_or("(nothing printed)"),
    );
    show("fn usage --by function", &server.call(&["usage", "--by", "function"])?);
    Ok(())
}

fn show(command: &str, output: &str) {
    println!("  $ {command}");
    for line in output.trim_end().lines() {
        println!("    {line}");
    }
}

const NEXT: &str = "
That was the whole road. Now with a function of your own:

  target/release/fn serve                       # in one terminal; keeps its data in the folder that it names
  target/release/fn deploy target/guests/hello-http.wasm
  curl http://127.0.0.1:8080/hello-http
  target/release/fn invocations hello-http      # every call, with what it used
  target/release/fn --help

Their sources are in examples/: copy one and change it. README.md says how to build it for wasm.";
