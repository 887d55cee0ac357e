//! Loki.

use super::*;

#[tokio::test(start_paused = true)]
async fn every_answer_of_loki_has_its_consequence() {
    let loki = || Target::Loki { labels: Vec::new() };
    let table = [
        rows([200, 202, 204], |_| Then::Taken),
        rows([400, 422], refused),
        rows([413], |_| Then::Halved),
        rows([401, 403, 404, 402, 405, 408, 409, 410, 415], |_| Then::Held),
        rows([429, 500, 501, 502, 503, 504, 507], |_| Then::Held),
        rows([429, 500, 504], |_| Then::Again(FIRST)),
        common(),
    ];
    check(loki(), table.into_iter().flatten().collect()).await;
    check_size_and_silence(loki()).await;
}
