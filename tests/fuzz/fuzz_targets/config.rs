//! Any text as a configuration: it is read, or refused with at least one diagnostic that can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::config;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let variables = |name: &str| (name == "NAME").then(|| "value".to_owned());
    if let Err(diagnostics) = config::from_text("fuzz.toml", text, &variables) {
        assert!(diagnostics.errors() > 0, "refused without a reason");
        assert!(!diagnostics.render(false).is_empty());
        assert!(diagnostics.to_json().is_array() || diagnostics.to_json().is_object());
    }
});
