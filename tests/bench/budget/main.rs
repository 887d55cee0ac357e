//! What the steps of a plain request cost against their budgets: `cargo bench --bench budget`.
//!
//! A row is the median over rounds, and rough on a busy machine; `-- NAME` runs only the rows whose
//! names contain NAME. With `count` every row runs a few times only, for a tool that counts instructions:
//!
//! ```text
//! valgrind --tool=callgrind BENCH count NAME       (BENCH: the program that cargo names)
//! callgrind_annotate --inclusive=yes callgrind.out.PID
//! ```
//!
//! The function of a row (`id`, `route`, `limit`, `forward`, `pick`, `record`) stands there with all its calls. The
//! benchmarks `route` and `record` show the parts of their rows.

mod log;
mod meter;
#[path = "../notebook.rs"]
mod notebook;
mod request;
mod upstream;
mod walk;

use std::error::Error;

use self::meter::Meter;

/// The program's own: half of the steps allocate.
#[global_allocator]
static ALLOCATOR: tollgate::process::memory::Allocator = tollgate::process::memory::Allocator;

fn main() -> Result<(), Box<dyn Error>> {
    let meter = Meter::from_arguments(std::env::args().skip(1));
    walk::rows(&meter)?;
    upstream::rows(&meter)?;
    log::rows(&meter)
}
