use std::path::Path;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::{golden, stderr, stdout, tollgate};

/// Writes `NAME.pem` and `NAME.key` for `host`, good to the end of `until`.
fn certificate(dir: &Path, name: &str, host: &str, until: i32) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 12, 31);
    let made = params.self_signed(&key).unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), made.pem()).unwrap();
    let path = dir.join(format!("{name}.key"));
    std::fs::write(&path, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn config(dir: &Path, sites: &str) -> String {
    let file = dir.join("tollgate.toml");
    let head = "[server]\nhttps = \"127.0.0.1:8443\"\n[log]\nservice = \"none\"\nstdout = true\n";
    std::fs::write(&file, format!("{head}{sites}").replace("DIR", dir.to_str().unwrap())).unwrap();
    file.to_str().unwrap().to_owned()
}

fn site(host: &str, cert: &str, key: &str) -> String {
    format!(
        "[site.\"{host}\"]\ntls = {{ cert = \"DIR/{cert}.pem\", key = \"DIR/{key}.key\" }}\n\
         routes = [{{ path = \"/*\", respond = \"hi\" }}]\n"
    )
}

/// The same on every day and in every directory.
fn steady(text: &str, dir: &Path) -> String {
    let text = text.replace(dir.to_str().unwrap(), "DIR");
    let days = regex::Regex::new(r"\d+ days").unwrap();
    days.replace_all(&text, "N days").into_owned()
}

#[test]
fn certificates_are_judged_at_the_line_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "old", "a.example", 2021);
    certificate(dir, "other", "b.example", 2090);
    let sites = site("a.example", "old", "old") + &site("c.example", "other", "other");
    let file = config(dir, &sites);
    let output = tollgate(&["check", &file]);
    assert_eq!(output.status.code(), Some(0), "findings are warnings");
    golden("check_certificate_findings.txt", &steady(&stderr(&output), dir));
    assert_eq!(tollgate(&["check", "--strict", &file]).status.code(), Some(3));
}

#[test]
fn a_key_of_another_certificate_and_broken_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "a", "a.example", 2090);
    certificate(dir, "b", "b.example", 2090);
    certificate(dir, "c", "c.example", 2090);
    std::fs::write(dir.join("c.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    let file = config(dir, &(site("a.example", "a", "b") + &site("c.example", "c", "c")));
    let output = tollgate(&["check", &file]);
    assert_eq!(output.status.code(), Some(3));
    golden("check_certificate_errors.txt", &steady(&stderr(&output), dir));
}

#[test]
fn what_no_room_can_build_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = dir.join("tollgate.toml");
    let text = r#"
[server]
http = "127.0.0.1:8080"
[log]
service = "none"
stdout  = "line"
[limit.long]
rate  = "1/m"
burst = 4_000_000_000
[site."*"]
limit  = "long"
routes = [{ path = "/*", files = "DIR/none" }]
"#;
    std::fs::write(&file, text.replace("DIR", dir.to_str().unwrap())).unwrap();
    let output = tollgate(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    golden("check_plan.txt", &steady(&stderr(&output), dir));
}

#[test]
fn json_holds_the_verdict_and_every_finding() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    certificate(dir, "old", "a.example", 2021);
    let file = config(dir, &site("a.example", "old", "old"));
    for (words, code, ok) in
        [(&["check", "--json"][..], 0, true), (&["check", "--json", "--strict"], 3, false)]
    {
        let output = tollgate(&[words, &[&*file]].concat());
        assert_eq!(output.status.code(), Some(code));
        let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!((&report["ok"], &report["warnings"]), (&ok.into(), &1.into()), "{report}");
        assert_eq!(report["diagnostics"][0]["severity"], "warning");
    }
}
