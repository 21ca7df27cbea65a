//! The program: an exit code and nothing else.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A call allocates some dozens of times, and mostly frees on the thread that allocated: what this one is made for. It is
/// built without huge pages (`no_thp`), which would double what thousands of held connections take.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    offpeak::cli::main()
}
