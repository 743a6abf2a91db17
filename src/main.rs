//! The program: parse, then call the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    echo_phoenix::cli::main()
}
