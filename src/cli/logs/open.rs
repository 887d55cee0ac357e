//! `logs open`: what is under way now, or was at the last death.

use std::path::Path;

use super::args::OpenArgs;
use super::output::Output;
use super::{CommandError, place};
use crate::access_log::has_unfound;
use crate::access_log::recovery::{Crash, OpenEntry, directory};
use crate::app::admin::Open;
use crate::cli::Exit;
use crate::cli::control;
use crate::cli::control::table::{ago, align, clean};

/// Asks the running instance at `socket`.
pub(super) fn now(args: &OpenArgs, socket: &Path) -> Exit {
    control::show(socket, "/open", |body| match args.json() {
        true => control::pretty(body),
        false => serde_json::from_slice::<Open>(body).map(|open| table(&open.open, open.beyond)),
    })
}

/// Reads what the start after the last death has written down.
pub(super) fn at_the_last_death(args: &OpenArgs) -> Result<bool, CommandError> {
    let dir = args.data.as_deref().map_or_else(|| place::spool(&args.config), directory);
    let failed =
        |error| CommandError::Read(format!("cannot read the last crash in {}", dir.display()), error);
    if has_unfound(&dir) {
        super::output::note(&format!(
            "note: the newest run has not ended in order and has not been started again: `tollgate logs recover {}` shows \
             what was under way",
            dir.display()
        ));
    }
    let mut out = Output::stdout();
    let Some(crash) = Crash::read(&dir).map_err(failed)? else {
        super::output::note(&format!("no start has found a crash in {}", dir.display()));
        return Ok(false);
    };
    match args.json() {
        true => out.line(&serde_json::to_string_pretty(&crash).unwrap_or_default())?,
        false => out.line(text(&crash).trim_end())?,
    }
    out.flush()?;
    Ok(true)
}

fn text(crash: &Crash) -> String {
    let Crash { proxy, pid, died, records, .. } = crash;
    let head =
        format!("{} (pid {pid}) died at {died}; {records} records were still in its memory", clean(proxy));
    format!("{head}\n{}", table(&crash.in_flight, crash.beyond))
}

/// One line per exchange, the oldest first.
pub(super) fn table(open: &[OpenEntry], beyond: u64) -> String {
    let mut rows = vec![["AGE", "PHASE", "METHOD", "HOST", "PATH", "CLIENT", "ID"].map(str::to_owned)];
    rows.extend(open.iter().map(row));
    let mut text = if open.is_empty() { "nothing is under way\n".to_owned() } else { align(&rows) };
    if beyond > 0 {
        text.push_str(&format!("and {beyond} more\n"));
    }
    text
}

fn row(open: &OpenEntry) -> [String; 7] {
    let more = if open.path_goes_on { "…" } else { "" };
    [
        age(open.age_us),
        clean(&open.at),
        clean(&open.method),
        clean(&open.host),
        clean(&open.path) + more,
        clean(&open.client_ip),
        clean(&open.id),
    ]
}

/// `3d 4h` … `12s`, `1.25s`, `250ms`.
fn age(us: u64) -> String {
    match us {
        0..1_000_000 => format!("{}ms", us / 1000),
        1_000_000..10_000_000 => format!("{}.{:02}s", us / 1_000_000, us / 10_000 % 100),
        _ => ago(us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_is_under_way_and_lets_nothing_reach_the_terminal() {
        let entry = OpenEntry {
            age_us: 1_250_000,
            at: "wait".to_owned(),
            method: "POST".to_owned(),
            host: "shop.example".to_owned(),
            path: "/\u{1b}[31mpoison".to_owned(),
            path_goes_on: true,
            client_ip: "192.0.2.7".to_owned(),
            id: "01a1fd62".to_owned(),
            ..OpenEntry::default()
        };
        let text = table(&[entry], 2);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "AGE    PHASE  METHOD  HOST          PATH           CLIENT     ID");
        assert_eq!(lines[1], "1.25s  wait   POST    shop.example  /\u{fffd}[31mpoison…  192.0.2.7  01a1fd62");
        assert_eq!(lines[2], "and 2 more");
        assert_eq!(table(&[], 0), "nothing is under way\n");
    }

    #[test]
    fn ages_are_short() {
        let ages = [0, 999_999, 1_000_000, 12_000_000, 61_000_000].map(age);
        assert_eq!(ages, ["0ms", "999ms", "1.00s", "12s", "1m 1s"]);
    }
}
