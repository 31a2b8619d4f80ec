use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;

/// A folder with one program, a shell script.
fn programs(name: &str, script: &str) -> (tempfile::TempDir, Runner) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let runner = Runner::in_directories([folder.path().to_owned()]);
    (folder, runner)
}

fn is_running(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).join("exe").exists()
}

#[test]
fn arguments_reach_the_program_as_they_are_and_no_shell_reads_them() {
    let (_folder, runner) = programs("show", r#"printf '%s|' "$#" "$@""#);
    let arguments = ["a b", "$(echo x)", "; exit 1", ""];
    let stdout = runner.stdout("show", &arguments).unwrap();
    assert_eq!(stdout, b"4|a b|$(echo x)|; exit 1||");
}

#[test]
fn programs_speak_the_c_locale_and_get_no_input() {
    let (_folder, runner) = programs("show", "cat; printf %s \"$LC_ALL\"");
    assert_eq!(runner.stdout("show", &[]).unwrap(), b"C");
}

#[test]
fn a_program_that_is_absent_or_no_program_is_missing() {
    let (folder, runner) = programs("other", "");
    fs::write(folder.path().join("tool"), "text").unwrap();
    fs::create_dir(folder.path().join("dir")).unwrap();
    for name in ["absent", "tool", "dir"] {
        let error = runner.run(name, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing, "{name}");
    }
}

#[test]
fn a_program_that_fails_is_an_error_with_what_it_said() {
    let (_folder, runner) = programs("fail", "echo partial; echo 'no such thing' >&2; exit 3");
    let error = runner.stdout("fail", &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    assert!(error.to_string().contains("no such thing"), "{error}");
    let output = runner.run("fail", &[]).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout, b"partial\n");
}

#[test]
fn a_program_that_hangs_is_ended_with_what_it_started() {
    let (folder, runner) = programs("hang", "sleep 60 & echo $! > \"$0.pid\"; wait");
    let runner = runner.with_time_limit(Duration::from_millis(500));
    let start = Instant::now();
    let error = runner.run("hang", &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(5));
    if cfg!(target_os = "linux") {
        let sleeper = fs::read_to_string(folder.path().join("hang.pid")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        while is_running(&sleeper) && Instant::now() < deadline {
            thread::sleep(EXIT_POLL);
        }
        assert!(!is_running(&sleeper));
    }
}

#[test]
fn a_program_that_closes_its_output_and_stays_is_ended() {
    let (_folder, runner) = programs("stay", "exec >&- 2>&-; sleep 60");
    let runner = runner.with_time_limit(Duration::from_millis(500));
    let error = runner.run("stay", &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_program_that_prints_without_end_is_ended() {
    let (_folder, runner) = programs("yes", "while :; do echo yes; done");
    let runner = Runner {
        output_limit: 10_000,
        ..runner
    };
    let error = runner.run("yes", &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn output_larger_than_a_pipe_holds_arrives_whole() {
    let (_folder, runner) = programs(
        "much",
        "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2",
    );
    let output = runner.run("much", &[]).unwrap();
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (1_000_000, 1_000_000)
    );
}

#[test]
fn relative_folders_of_path_are_never_searched() {
    let runner = Runner::default();
    assert!(
        runner
            .directories
            .iter()
            .all(|directory| directory.is_absolute())
    );
    assert!(runner.find("sh").unwrap().is_absolute());
}
