//! The program: an exit code and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    offpeak::cli::main()
}
