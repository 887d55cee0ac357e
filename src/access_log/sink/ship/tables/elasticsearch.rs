//! Elasticsearch: answers to the whole, and to each document.

use super::*;

fn elasticsearch() -> Target {
    Target::Elasticsearch { index: "logs".to_owned() }
}

/// A status for each document, by its number.
fn items(asked: &Asked, status: impl Fn(usize) -> u16) -> Reply {
    let item = |number: usize| match status(number) {
        taken @ 200..=299 => json!({ "create": { "status": taken } }),
        status => json!({ "create": { "status": status, "error": { "type": "why", "reason": "so it is" } } }),
    };
    let items: Vec<Value> = records(asked).into_iter().map(item).collect();
    full(200, &json!({ "took": 1, "errors": true, "items": items }).to_string())
}

/// Record 3 has this status, all others are taken.
fn only_3(status: u16) -> impl Fn(&Asked) -> Reply + Send + 'static {
    move |asked| items(asked, |number| if number == 3 { status } else { 201 })
}

#[tokio::test(start_paused = true)]
async fn every_answer_of_elasticsearch_to_the_whole_has_its_consequence() {
    let no_items = || full(200, r#"{"took":1,"errors":true,"items":[]}"#);
    let table = [
        vec![
            row("no errors", || full(200, r#"{"took":1,"errors":false}"#), Then::Taken),
            row("no errors, created", || full(201, r#"{"errors":false,"items":[]}"#), Then::Taken),
            row("no answer of _bulk", || full(200, "<html>"), Then::Held),
            row("half of one", || full(200, r#"{"took":1,"errors":tr"#), Then::Again(FIRST)),
            row("nothing", || Reply::Status(200), Then::Held),
            row("an answer for none of them", no_items, Then::Held),
        ],
        rows([413], |_| Then::Halved),
        rows([400, 422], refused),
        rows([401, 403, 404, 402, 405, 408, 409, 410, 415], |_| Then::Held),
        rows([429, 500, 501, 502, 503, 504], |_| Then::Held),
        // Whatever else is a success is none of _bulk.
        rows([202, 204, 301, 308], |_| Then::Held),
        common(),
    ];
    check(elasticsearch(), table.into_iter().flatten().collect()).await;
    check_size_and_silence(elasticsearch()).await;
}

#[tokio::test(start_paused = true)]
async fn items_that_are_there_are_taken() {
    for status in [200, 201, 409] {
        let seen = run(&elasticsearch(), move |asked| Some(only_3(status)(asked))).await;
        assert_eq!((seen.asked, seen.pauses.len(), seen.letters.len()), (vec![all()], 0, 0), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn items_that_are_refused_are_letters_at_once() {
    for status in [400, 402, 405, 406, 410, 413, 415, 422] {
        let seen = run(&elasticsearch(), move |asked| Some(only_3(status)(asked))).await;
        assert_letter(&seen, status, "why: so it is", &status.to_string());
        assert_eq!((seen.asked, seen.pauses.len()), (vec![all()], 0), "{status}");
    }
    // Old versions have a text there.
    let old = |asked: &Asked| {
        let item = |number| match number {
            3 => json!({ "create": { "status": 400, "error": "so it was" } }),
            _ => json!({ "create": { "status": 201 } }),
        };
        let items: Vec<Value> = records(asked).into_iter().map(item).collect();
        Some(full(200, &json!({ "errors": true, "items": items }).to_string()))
    };
    assert_letter(&run(&elasticsearch(), old).await, 400, "so it was", "a text");
}

#[tokio::test(start_paused = true)]
async fn items_that_were_turned_away_go_again_as_often_as_it_takes() {
    for status in [429, 503] {
        let mut left = 20;
        let turned = move |asked: &Asked| {
            left -= 1;
            (left >= 0).then(|| only_3(status)(asked))
        };
        let seen = run(&elasticsearch(), turned).await;
        assert_eq!((seen.asked.len(), &seen.asked[0], seen.letters.len()), (21, &all(), 0), "{status}");
        assert!(seen.asked[1..].iter().all(|again| *again == [3]), "{status}: {:?}", seen.asked);
        assert!(FIRST.contains(&seen.pauses[0]) && seen.pauses.len() == 20, "{:?}", seen.pauses);
    }
}

#[tokio::test(start_paused = true)]
async fn items_that_fail_while_others_are_taken_are_letters_after_several_tries() {
    for status in [401, 403, 404, 500, 501, 502, 504] {
        let seen = run(&elasticsearch(), move |asked| Some(only_3(status)(asked))).await;
        assert_letter(&seen, status, "why: so it is", &status.to_string());
        let alone = vec![vec![3]; usize::from(MOST_FAILURES) - 1];
        assert_eq!((&seen.asked[0], &seen.asked[1..]), (&all(), &alone[..]), "{status}");
        assert_eq!(seen.pauses.len(), usize::from(MOST_FAILURES) - 1, "{status}");
        // One that is mended in time is none.
        let mut left = 5;
        let mended = move |asked: &Asked| {
            left -= 1;
            (left >= 0).then(|| only_3(status)(asked))
        };
        let seen = run(&elasticsearch(), mended).await;
        assert_eq!((seen.letters.len(), seen.asked.len(), &seen.asked[5]), (0, 6, &vec![3]), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_item_is_taken_all_are_held() {
    for status in [401, 403, 404, 500, 504] {
        let mut left = 20;
        let denied = move |asked: &Asked| {
            left -= 1;
            (left >= 0).then(|| items(asked, |_| status))
        };
        let seen = run(&elasticsearch(), denied).await;
        assert_eq!((seen.asked, seen.letters.len()), (vec![all(); 21], 0), "{status}");
    }
}
