//! The `hearthgate` command. Exit status: 0 done, 1 failed (also when an import left anything
//! out, and when a validation found errors), 2 used or configured wrongly. `config diff` alone ends
//! with 2 where something differs, and with 1 for every error.

use std::io::Write as _;
use std::process::ExitCode;

use hearthgate::command::Command;
use hearthgate::failure::one_line;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hearthgate::memory::take_small_pages();
    let command = match Command::read() {
        Ok(command) => command,
        Err(status) => return status,
    };
    match command.run() {
        Ok(code) => code,
        Err(failure) => {
            // Where stderr is gone, the status still says it.
            let _ = writeln!(std::io::stderr(), "hearthgate: {}", one_line(&failure));
            failure.exit_code()
        }
    }
}
