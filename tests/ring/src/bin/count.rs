//! Writes records for a tool that counts instructions: `count plain|typical`.

fn main() -> std::io::Result<()> {
    tollgate_ring::count::run(&std::env::args().nth(1).unwrap_or_default())
}
