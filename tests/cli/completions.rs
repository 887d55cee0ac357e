use super::{stdout, tollgate};

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = tollgate(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = stdout(&output);
        for command in ["run", "proxy", "check", "explain", "reload", "stop", "status", "logs", "whoami"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(!script.contains("worker-exec"), "{shell}: a command that is not for people");
    }
}

/// The shells themselves read the scripts, where they are there.
#[test]
fn shells_take_the_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(shell).is_file()));
        if !found {
            eprintln!("skipped: {shell} is absent");
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("completions");
        std::fs::write(&file, tollgate(&["completions", shell]).stdout).unwrap();
        let checked = std::process::Command::new(shell).arg("-n").arg(&file).status().unwrap();
        assert!(checked.success(), "{shell}");
    }
}
