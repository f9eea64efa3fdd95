//! Debian's nginx with a configuration of ours: what a server in C answers from its configuration alone.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::install_debian_packages;

pub(super) fn provide() -> Result<String> {
    let version = || -> Option<String> {
        let output = Command::new(PROGRAM).arg("-v").output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Some(text.trim().rsplit_once('/')?.1.to_owned())
    };
    if let Some(version) = version() {
        return Ok(version);
    }
    install_debian_packages(&["nginx-light"])?;
    version().context("nginx is installed, but does not say its version")
}

/// In the foreground, so that it ends with us.
pub(super) fn serve(port: u16) -> Result<Command> {
    let dir = super::dir()?.canonicalize()?;
    let prefix = dir.display();
    let config = dir.join("nginx.conf");
    fs::write(
        &config,
        format!(
            "daemon off;\nworker_processes 2;\npid {prefix}/nginx.pid;\nerror_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 100000000;\n\
             \x20 client_body_temp_path {prefix}/nginx-body;\n  proxy_temp_path {prefix}/nginx-proxy;\n\
             \x20 fastcgi_temp_path {prefix}/nginx-fastcgi;\n  uwsgi_temp_path {prefix}/nginx-uwsgi;\n\
             \x20 scgi_temp_path {prefix}/nginx-scgi;\n\
             \x20 server {{\n    listen 127.0.0.1:{port};\n    location / {{ return 200 \"Hello, WASI!\\n\"; }}\n  }}\n}}\n"
        ),
    )?;
    let mut command = Command::new(PROGRAM);
    command.arg("-p").arg(&dir).arg("-c").arg(&config);
    Ok(command)
}

const PROGRAM: &str = "/usr/sbin/nginx";
