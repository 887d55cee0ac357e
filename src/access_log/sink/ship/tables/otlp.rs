//! OTLP.

use super::*;
use crate::wire::otlp::Form;
use crate::wire::otlp::message::{Answer, PartialSuccess};

/// 200 with so many rejected. All of it is ASCII.
fn partly(rejected: i64) -> Reply {
    let told = PartialSuccess { rejected_log_records: rejected, error_message: "so it is".to_owned() };
    let body = Form::Protobuf.write(&Answer { partial_success: Some(told) });
    full(200, std::str::from_utf8(&body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn every_answer_of_otlp_has_its_consequence() {
    let held = [301, 302, 303, 307, 308, 401, 403, 404, 405, 407, 408, 415, 429, 502, 503, 504];
    let table = [
        // A text that is no answer says nothing against it.
        rows([200, 201, 202, 204], |_| Then::Taken),
        vec![
            row("an empty answer", || Reply::Status(200), Then::Taken),
            row("a warning", || partly(0), Then::Taken),
        ],
        rows([400, 402, 406, 409, 410, 422, 500, 501, 505, 507], refused),
        rows([413], |_| Then::Halved),
        rows(held, |_| Then::Held),
        rows([429, 502, 504], |_| Then::Again(FIRST)),
        common(),
    ];
    check(Target::Otlp, table.into_iter().flatten().collect()).await;
    check_size_and_silence(Target::Otlp).await;
}

#[tokio::test(start_paused = true)]
async fn of_what_otlp_rejects_in_part_one_is_a_letter_and_none_goes_again() {
    for rejected in [1, 3, 8] {
        let seen = run(&Target::Otlp, move |_| Some(partly(rejected))).await;
        assert_eq!((seen.asked, seen.pauses.len()), (vec![all()], 0));
        assert_eq!((seen.letters.len(), seen.refused), (1, rejected as u64));
        assert_eq!(seen.letters[0]["why"], format!("{rejected} of those sent with it: so it is"));
        assert_eq!(seen.letters[0]["status"], 200);
    }
}
