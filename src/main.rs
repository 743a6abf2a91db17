//! The program: parse, then call the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    echo_phoenix::cli::main()
}

/// Gives memory back by itself, on a thread of its own: what strangers' unfinished requests took is
/// the system's again seconds after they are gone. The C library's allocator keeps it for as long
/// as one small piece above it lives.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
