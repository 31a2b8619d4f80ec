use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::platform::Runner;

/// A host whose only program is a `ping` made of this script.
fn host_with_ping(script: &str) -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ping");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let runner = Runner::in_directories([folder.path().to_owned()]);
    let host = Host::at(folder.path(), runner);
    (folder, host)
}

fn by_command(script: &str) -> Result<Probes> {
    let (_folder, host) = host_with_ping(script);
    let target: ScopedIp = "192.0.2.1".parse().unwrap();
    command::probe(&host, &target, PROBES)
}

/// `None`, with a note, where this user may open no ICMP socket.
fn echo(target: &str) -> Option<Probes> {
    match icmp::probe(&target.parse().unwrap(), PROBES, PROBE_TIME) {
        Ok(probes) => Some(probes),
        Err(error) => {
            eprintln!("skipped: {error:?}");
            None
        }
    }
}

#[test]
fn loopback_answers_every_probe_over_ipv4_and_ipv6() {
    for target in ["127.0.0.1", "::1", "::1%lo"] {
        let Some(probes) = echo(target) else { return };
        assert_eq!((probes.sent, probes.received), (3, 3), "{target}");
        assert_eq!(probes.sender, Sender::Socket);
        let rtt = probes.mean_rtt.unwrap();
        assert!(
            rtt > Duration::ZERO && rtt < Duration::from_millis(200),
            "{rtt:?}"
        );
    }
}

#[test]
fn many_probes_at_once_do_not_take_each_others_answers() {
    let threads: Vec<_> = (0..8)
        .map(|_| std::thread::spawn(|| echo("127.0.0.1")))
        .collect();
    for thread in threads {
        let Some(probes) = thread.join().unwrap() else {
            return;
        };
        assert_eq!((probes.sent, probes.received), (3, 3));
    }
}

#[test]
fn probing_works_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let Some(outside) = echo("127.0.0.1") else {
        return;
    };
    let inside = runtime.block_on(async { echo("127.0.0.1") }).unwrap();
    assert_eq!(inside.received, outside.received);
}

#[test]
fn a_name_is_looked_up() {
    let address = icmp::look_up("localhost").unwrap();
    assert!(address.is_loopback());
    let error = icmp::look_up("no-such-host.invalid").unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::Missing | ErrorKind::TimedOut
    ));
}

#[test]
fn an_interface_that_does_not_exist_is_an_error_not_loss() {
    let error = probe("fe80::1%nosuch0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
}

#[test]
fn the_command_gets_an_argument_list_and_its_statistics_count() {
    let probes = by_command(
        r#"[ "$*" = "-n -c 3 -W 1 192.0.2.1" ] || exit 9
        echo '--- 192.0.2.1 ping statistics ---'
        echo '3 packets transmitted, 2 received, 33% packet loss, time 2043ms'
        echo 'rtt min/avg/max/mdev = 1.0/1.5/2.0/0.5 ms'"#,
    )
    .unwrap();
    let expected = Probes {
        sent: 3,
        received: 2,
        mean_rtt: Some(Duration::from_micros(1500)),
        sender: Sender::Command,
    };
    assert_eq!(probes, expected);
    assert!((probes.loss_pct() - 100.0 / 3.0).abs() < 1e-9);
}

#[test]
fn no_route_is_loss() {
    let probes = by_command("echo 'ping: connect: Network is unreachable' >&2; exit 2").unwrap();
    assert_eq!((probes.sent, probes.received), (3, 0));
    assert!((probes.loss_pct() - 100.0).abs() < 1e-9);
}

#[test]
fn not_being_able_to_probe_is_an_error_with_its_kind() {
    let denied = by_command("echo 'ping: permission denied (are you root?)' >&2; exit 1");
    assert_eq!(denied.unwrap_err().kind(), ErrorKind::Permission);
    let garbage = by_command("echo garbage");
    assert_eq!(garbage.unwrap_err().kind(), ErrorKind::Malformed);
    let empty = Host::at("/", Runner::in_directories([]));
    let absent = command::probe(&empty, &"192.0.2.1".parse().unwrap(), PROBES);
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::Missing);
}

#[test]
fn a_refused_socket_without_ping_says_both_and_is_a_permission() {
    let refused = Error::new(ErrorKind::Permission, "open an ICMP socket");
    let error = no_way(refused, &Error::new(ErrorKind::Missing, "no program ping"));
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert_eq!(
        format!("{error:?}"),
        "Permission: no ICMP socket, and no program ping: open an ICMP socket"
    );
}

#[test]
fn not_being_able_to_probe_is_null_in_json_and_never_total_loss() {
    let result = PingResult::from(Err(Error::new(ErrorKind::Permission, "no")));
    assert_eq!(result.rtt_ms, None);
    assert!(result.loss_pct.is_nan());
    assert_eq!(
        serde_json::to_string(&Some(result.loss_pct)).unwrap(),
        "null"
    );
}

#[test]
fn the_published_ping_of_loopback_has_milliseconds_and_no_loss() {
    let result = run_ping("127.0.0.1");
    if result.loss_pct.is_nan() {
        eprintln!("skipped: this user may not ping");
        return;
    }
    assert_eq!(result.loss_pct, 0.0);
    let rtt = result.rtt_ms.unwrap();
    assert!(rtt > 0.0 && rtt < 200.0, "{rtt}");
}
