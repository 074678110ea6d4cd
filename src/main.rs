use std::process::ExitCode;

/// The program's allocator, for a comparison of dumps is over in milliseconds. Who uses the library has an own one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    migcompat::cli::main()
}
