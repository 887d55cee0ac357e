//! The door: parse arguments, run the command, return its exit code.

#[global_allocator]
static ALLOCATOR: tollgate::process::memory::Allocator = tollgate::process::memory::Allocator;

fn main() -> std::process::ExitCode {
    tollgate::cli::run()
}
