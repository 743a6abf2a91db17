//! The Python that `make test` prepares with real clients (pyairtable, stripe), and scripts run by
//! it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads its one variable itself"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The interpreter. Not skipped where it is missing: a check by nobody looks like a check that
/// passed.
pub(crate) fn interpreter() -> PathBuf {
    let tools = std::env::var_os("ECHO_TEST_TOOLS")
        .expect("ECHO_TEST_TOOLS is not set: run `make test`, which prepares the real clients");
    PathBuf::from(tools).join("bin/python")
}

/// Runs a script of tests/it with arguments and standard input; answers what it printed. It must
/// succeed.
pub(crate) fn run(script: &str, arguments: &[&str], input: &str) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it")
        .join(script);
    let mut child = Command::new(interpreter())
        .arg(&script)
        .args(arguments)
        // A proxy in the environment is not for a server on this machine.
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ECHO_TEST_TOOLS/bin/python starts");
    child
        .stdin
        .take()
        .expect("it was piped")
        .write_all(input.as_bytes())
        .expect("the script reads");
    let output = child.wait_with_output().expect("the script ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} {arguments:?} failed:\n{said}",
        script.display()
    );
    String::from_utf8(output.stdout).expect("the script prints text")
}
