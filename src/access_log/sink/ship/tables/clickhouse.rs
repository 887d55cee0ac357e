//! ClickHouse.

use super::*;

/// As of `ErrorCodes.cpp`.
const OF_DATA: [u32; 20] =
    [6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 349, 376, 469, 675, 676];
/// No such table, database or user; no right; too many parts; no memory; too slow; read only; a syntax that is not known.
const NOT_OF_DATA: [u32; 10] = [60, 81, 516, 497, 252, 241, 159, 164, 62, 999];

fn clickhouse() -> Target {
    Target::ClickHouse { table: "logs.access".to_owned() }
}

fn words(code: u32) -> String {
    format!("Code: {code}. DB::Exception: so it is. (NAME)")
}

/// With the code in the head.
fn exception(status: u16, code: u32) -> Reply {
    Reply::Full(status, vec![("x-clickhouse-exception-code", code.to_string())], words(code))
}

#[tokio::test(start_paused = true)]
async fn every_answer_of_clickhouse_has_its_consequence() {
    let of_data = |code: u32| {
        [
            row(format!("{code} in the head"), move || exception(400, code), refused(400)),
            // The status was sent before the row was read.
            row(format!("{code} in a 200"), move || full(200, &words(code)), refused(200)),
        ]
    };
    let passing = |code: u32| {
        [
            row(format!("{code} in the head"), move || exception(500, code), Then::Held),
            row(format!("{code} in a 200"), move || full(200, &words(code)), Then::Again(FIRST)),
            row(format!("{code} in the head of a 200"), move || exception(200, code), Then::Again(FIRST)),
        ]
    };
    let statuses = [301, 400, 401, 402, 403, 404, 408, 415, 422, 429, 500, 501, 502, 503, 504];
    let table: Vec<Vec<Row>> = vec![
        rows([200, 201, 204], |_| Then::Taken),
        vec![row("a code without an exception", || full(200, "Code: 27"), Then::Taken)],
        OF_DATA.into_iter().flat_map(of_data).collect(),
        NOT_OF_DATA.into_iter().flat_map(passing).collect(),
        // One that names none of ours is nothing that can be left out.
        vec![row("115 for something else", || exception(404, 115), Then::Held)],
        rows([413], |_| Then::Halved),
        rows(statuses, |_| Then::Held),
        common(),
    ];
    check(clickhouse(), table.into_iter().flatten().collect()).await;
    check_size_and_silence(clickhouse()).await;
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_is_not_known_is_left_out_at_once() {
    const SETTINGS: [&str; 4] = [
        "date_time_input_format",
        "input_format_skip_unknown_fields",
        "wait_for_async_insert",
        "insert_deduplication_token",
    ];
    for unknown in SETTINGS {
        let old = move |asked: &Asked| {
            let text = format!("Code: 115. DB::Exception: Unknown setting {unknown}. (UNKNOWN_SETTING)");
            let headers = vec![("x-clickhouse-exception-code", "115".to_owned())];
            asked.target.contains(unknown).then_some(Reply::Full(404, headers, text))
        };
        let seen = run(&clickhouse(), old).await;
        assert_eq!((seen.asked, seen.pauses.len(), seen.letters.len()), (vec![all(), all()], 0, 0));
        let left: Vec<&str> =
            SETTINGS.into_iter().filter(|name| seen.requests[1].target.contains(name)).collect();
        assert_eq!((left.len(), left.contains(&unknown)), (3, false), "{unknown}");
    }
}
