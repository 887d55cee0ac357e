use super::{golden, stderr, stdout, tollgate};

const CONFIG: &str = "tests/cli/explain.toml";

/// Name of the golden file, and the request.
const CASES: [(&str, &[&str]); 18] = [
    (
        "proxied",
        &[
            "GET",
            "https://shop.example/api/./cart?a=1",
            "-H",
            "Accept-Encoding: gzip",
            "-H",
            "Connection: close, x-drop",
            "-H",
            "X-Drop: 1",
            "-H",
            "X-Forwarded-For: 203.0.113.9",
            "-H",
            "X_Tenant: b",
        ],
    ),
    (
        "conditions_win",
        &["POST", "https://shop.example/api/cart", "-H", "x-beta: yes", "-H", "Content-Length: 5"],
    ),
    (
        "trusted_proxy",
        &[
            "GET",
            "https://shop.example/x",
            "--from",
            "10.1.2.3",
            "-H",
            "X-Forwarded-For: 203.0.113.9, 10.9.9.9",
        ],
    ),
    (
        "forwarded_by_a_trusted_proxy",
        &[
            "GET",
            "https://www.shop.example/x",
            "--from",
            "10.1.2.3",
            "-H",
            "Forwarded: for=203.0.113.9;proto=http",
        ],
    ),
    ("regular_expression", &["GET", "https://shop.example/v1/x"]),
    ("redirect", &["GET", "https://shop.example/old/a/b?c"]),
    ("file", &["GET", "https://shop.example/pages/"]),
    ("no_file", &["GET", "https://shop.example/pages/none"]),
    ("to_https", &["GET", "http://shop.example/a?b"]),
    ("no_site", &["GET", "https://nobody.example/"]),
    ("no_route_for_the_method", &["PUT", "https://shop.example/x"]),
    ("path_leaves_the_root", &["GET", "https://shop.example/a/../../etc/passwd"]),
    ("hidden_dots", &["GET", "https://shop.example/a/..;/b"]),
    ("encoded_slash", &["GET", "https://shop.example/api/a%2Fb"]),
    ("two_lengths", &["POST", "https://shop.example/", "-H", "Content-Length: 1", "-H", "Content-Length: 2"]),
    (
        "body_too_large",
        &["POST", "https://shop.example/api/x", "-H", "x-beta: 1", "-H", "Content-Length: 9000000"],
    ),
    (
        "websocket",
        &[
            "GET",
            "wss://shop.example/live",
            "-H",
            "Connection: Upgrade",
            "-H",
            "Upgrade: websocket",
            "-H",
            "Sec-WebSocket-Version: 13",
            "-H",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
    ),
    ("hostile_text", &["GET", "http://plain.example/\u{1b}[2J", "-H", "x: \u{202e}"]),
];

#[test]
fn explains_exactly_this() {
    for (name, request) in CASES {
        let output = tollgate(&[&["explain"], request, &["-c", CONFIG]].concat());
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{name}");
        let text = stdout(&output);
        let is_plain = |c: char| !c.is_control() || c == '\n';
        assert!(text.chars().all(is_plain) && !text.contains('\u{202e}'), "{name} drives the terminal");
        golden(&format!("explain_{name}.txt"), &without_file_times(&text));
    }
}

/// A checkout gives files new times.
fn without_file_times(text: &str) -> String {
    let is_steady = |line: &&str| !line.contains(" etag: ") && !line.contains(" last-modified: ");
    text.lines().filter(is_steady).map(|line| format!("{line}\n")).collect()
}

#[test]
fn json_tells_the_same_in_a_stable_form() {
    let request = CASES[0].1;
    let output = tollgate(&[&["explain", "--json"], request, &["-c", CONFIG]].concat());
    let text = stdout(&output);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["v"], 1);
    assert_eq!(report["routes"][0]["won"], true);
    assert_eq!(report["routes"][0]["place"], "tests/cli/explain.toml:41");
    golden("explain_proxied.json", &text);
}

#[test]
fn secrets_of_request_and_configuration_are_not_shown() {
    let request = &["GET", "https://shop.example/api/x", "-H", "Authorization: Bearer hunter2"];
    for form in [&["explain"][..], &["explain", "--json"]] {
        let output = tollgate(&[form, request, &["-c", CONFIG]].concat());
        let text = stdout(&output);
        assert!(
            text.contains("(not shown)") && !text.contains("hunter2") && !text.contains("eDp5"),
            "{text}"
        );
    }
}

#[test]
fn bad_words_are_usage_and_a_bad_configuration_is_told() {
    assert_eq!(tollgate(&["explain", "GET", "shop.example", "-c", CONFIG]).status.code(), Some(2));
    let output = tollgate(&["explain", "GET", "http://a/", "-c", "tests/config/cases/bad_rate.toml"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("error["), "{}", stderr(&output));
}
