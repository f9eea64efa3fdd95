//! Answers its input in capitals; ends with exit code 3 when the input is `fail`.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    if text.trim() == "fail" {
        return Ok(ExitCode::from(3));
    }
    io::stdout().write_all(text.to_uppercase().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
