use std::process::ExitCode;

fn main() -> ExitCode {
    migcompat::cli::main()
}
