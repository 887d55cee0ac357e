//! What good files mean.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tollgate::config::log_sink::{Remote, SinkType};
use tollgate::config::route::Action;
use tollgate::config::words::{Host, Listen, PathPattern};
use tollgate::config::{self, Config};

fn loaded(text: &str) -> Config {
    config::from_text("tollgate.toml", text, &crate::variables).unwrap_or_else(|found| panic!("{found}"))
}

const LAYERS: &str = r#"
[server]
http = [":80", "[::1]:8080"]
timeouts = { upstream = "50s", connect = "1s", queue = "2s" }
max_body = "1MiB"

[upstream.app]
servers = [":${PORT_OF_APP}", { addr = "unix:/run/app.sock", weight = 3, backup = true }]
timeouts = { upstream = "40s", connect = "2s" }

[site."Example.COM"]
timeouts = { upstream = "30s", body = "3s" }
compress = ["gzip"]
routes = [
  { path = "/a/*", proxy = "app", timeouts = { upstream = "20s" }, max_body = "2MiB", compress = false },
  { path = "/b", proxy = "app" },
  { path = "/c", redirect = "/a/" },
  { path = "~^/d[0-9]$", respond = "" },
]
"#;

#[test]
fn the_most_specific_timeout_wins_key_by_key() {
    let config = loaded(LAYERS);
    let site = &config.sites[0].body;
    let a = config.timeouts(site, &site.routes[0]);
    assert_eq!(a.upstream.as_millis(), 20_000);
    assert_eq!(a.connect.as_millis(), 2_000);
    assert_eq!(a.body.as_millis(), 3_000);
    assert_eq!(a.queue.as_millis(), 2_000);
    assert_eq!(a.write.as_millis(), 30_000);
    let b = config.timeouts(site, &site.routes[1]);
    assert_eq!(b.upstream.as_millis(), 40_000);
    let c = config.timeouts(site, &site.routes[2]);
    assert_eq!(c.upstream.as_millis(), 30_000);
}

#[test]
fn a_timeout_tells_its_cause() {
    let config = loaded(LAYERS);
    let site = &config.sites[0].body;
    let timeouts = config.timeouts(site, &site.routes[0]);
    assert_eq!(&*timeouts.upstream.cause("timeouts.upstream"), "timeouts.upstream=20s @tollgate.toml:15");
    assert_eq!(&*timeouts.write.cause("timeouts.write"), "timeouts.write=30s (default)");
}

#[test]
fn bodies_and_compression_go_by_the_nearest_level() {
    let config = loaded(LAYERS);
    let site = &config.sites[0].body;
    assert_eq!(config.max_body(site, &site.routes[0]).as_bytes(), 2 << 20);
    assert_eq!(config.max_body(site, &site.routes[1]).as_bytes(), 1 << 20);
    assert!(config.compress(site, &site.routes[0]).is_none());
    let gzip = config.compress(site, &site.routes[1]).unwrap();
    assert_eq!(gzip.codecs.len(), 1);
    assert_eq!(gzip.min_size.as_bytes(), 1024);
}

#[test]
fn words_become_typed_values() {
    let config = loaded(LAYERS);
    assert_eq!(config.server.http.as_ref().unwrap()[0].value, Listen::Any(80));
    assert_eq!(config.sites[0].name.value, Host::Exact("example.com".into()));
    let app = &config.upstream("app").unwrap().body;
    assert_eq!(app.servers[0].written.as_ref(), ":3000");
    assert_eq!((app.servers[1].weight(), app.servers[1].is_backup()), (3, true));
    let routes = &config.sites[0].body.routes;
    assert_eq!(routes[0].path.value, PathPattern::Prefix("/a/".into()));
    assert_eq!(routes[3].path.to_string(), "~^/d[0-9]$");
    assert!(matches!(routes[2].action(), Some(Action::Redirect { status: 307, .. })));
}

#[test]
fn included_files_are_put_together_in_order() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "tollgate.toml", "include = [\"conf.d/*.toml\"]\n[server]\nhttp = \":80\"\n");
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    write(
        dir.path(),
        "conf.d/b.toml",
        "[site.\"b.example\"]\nroutes = [{ path = \"/*\", respond = \"b\" }]\n",
    );
    write(
        dir.path(),
        "conf.d/a.toml",
        "[site.\"a.example\"]\nroutes = [{ path = \"/*\", respond = \"a\" }]\n",
    );
    let config = config::load(&dir.path().join("tollgate.toml"), &crate::variables).unwrap();
    let names: Vec<String> = config.sites.iter().map(|site| site.name.to_string()).collect();
    assert_eq!(names, ["a.example", "b.example"]);
    assert_eq!(config.sources.names().count(), 3);
}

#[test]
fn keys_that_others_can_read_are_warned_about_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (write(dir.path(), "a.pem", "CERT"), write(dir.path(), "a.key", "KEY"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let text = format!(
        "[server]\nhttps = \":443\"\n[site.\"a.example\"]\ntls = {{ cert = {cert:?}, key = {key:?} }}\n\
         routes = [{{ path = \"/\", respond = \"\" }}]\n"
    );
    let config = loaded(&text);
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(config.warnings[0].code.code, "W0106");
    assert_eq!(&*config.file(&key).unwrap().bytes, b"KEY");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(loaded(&text).warnings.is_empty());
}

#[test]
fn a_text_that_is_no_file_cannot_include() {
    let found =
        config::from_text("none", "include = [\"x.toml\"]\n[server]\nhttp = \":80\"\n", &crate::variables);
    assert_eq!(found.unwrap_err().iter().next().unwrap().code.code, "E0004");
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_alarm_reads_as_it_is_meant() {
    use tollgate::config::alert::{AlertBy, Metric, Sign, Silence};
    let config = loaded(
        r#"
[server]
http = ":80"
[site.a]
routes = [{ path = "/*", respond = "" }]
[alert.errors]
when = "error_share > 0.5%"
over = "5m"
for = "2m"
until = "error_share<0.1%"
by = "route"
where = "host:*.example -status:4xx"
silence = ["mon-fri 18:00-08:00", "until 2026-12-01"]
repeat = false
notify = "ops"
[alert.quiet]
when = "requests < 6/m"
[notify.ops]
slack = "https://hooks.slack.com/services/T0/B0/secret"
"#,
    );
    let errors = &config.alerts.rules[0].body;
    let when = &errors.when.value;
    assert_eq!(
        (when.metric, when.sign, when.bound, when.is_rate),
        (Metric::ErrorShare, Sign::More, 0.005, false)
    );
    assert_eq!(
        (errors.by.value, errors.hold.as_millis(), errors.repeat.every()),
        (AlertBy::Route, 120_000, None)
    );
    let filter = &errors.filter.as_ref().unwrap().0;
    assert_eq!((filter.len(), &*filter[1].pattern), (2, "4xx"));
    assert!(matches!(errors.silence[1].value, Silence::UntilDay(_)));
    let quiet = &config.alerts.rules[1].body;
    assert_eq!((quiet.when.bound, quiet.when.is_rate), (0.1, true));
    assert_eq!(quiet.repeat.every().unwrap().as_millis(), 4 * 3_600_000);
    let shown = format!("{:?}", config.alerts.notifies[0].body.slack.as_ref().unwrap().value);
    assert!(shown.contains("https://hooks.slack.com/…") && !shown.contains("secret"), "{shown}");
}

#[test]
fn the_path_of_a_sink_stays_as_it_is_written() {
    let path = |to: &str| Remote::parse(to, SinkType::Http, false).unwrap().path;
    assert_eq!(path("https://logs.example.com"), "");
    assert_eq!(path("https://logs.example.com/"), "");
    assert_eq!(path("https://logs.example.com/in/"), "/in/", "`/in` may be another place");
    assert_eq!(path("https://logs.example.com/in?to=/a/"), "/in?to=/a/");
}
