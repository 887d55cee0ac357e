//! Lines.

use super::*;

#[tokio::test(start_paused = true)]
async fn every_answer_to_lines_has_its_consequence() {
    let held = [301, 302, 308, 401, 402, 403, 404, 405, 408, 409, 410, 429, 500, 501, 502, 503, 504, 507];
    let table = [
        rows([200, 201, 202, 204], |_| Then::Taken),
        rows([413], |_| Then::Halved),
        rows([400, 415, 422], refused),
        rows(held, |_| Then::Held),
        common(),
    ];
    check(Target::Http, table.into_iter().flatten().collect()).await;
    check_size_and_silence(Target::Http).await;
}
