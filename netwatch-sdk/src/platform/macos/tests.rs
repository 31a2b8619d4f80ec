use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::platform::Runner;

/// A host whose only program prints this when it gets these arguments.
fn host(program: &str, arguments: &str, output: &[u8]) -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("output"), output).unwrap();
    let script =
        format!("#!/bin/sh\n[ \"$*\" = '{arguments}' ] || exit 9\nexec cat \"${{0%/*}}/output\"\n");
    let path = folder.path().join(program);
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let runner = Runner::in_directories([folder.path().to_owned()]);
    let host = Host::at(folder.path(), runner);
    (folder, host)
}

#[test]
fn interfaces_come_from_netstat_once_each_with_their_drops() {
    let output = include_bytes!("../../../tests/fixtures/netstat/macos10_ibdn_name5.txt");
    let (_folder, host) = host("netstat", "-ibdn", output);
    let interfaces = read_interfaces(&host).unwrap();
    let names: Vec<_> = interfaces.value.iter().map(|stats| &stats.name).collect();
    assert_eq!(names, ["lo0", "gif0", "VHC12", "en0", "fw0"]);
    let en0 = &interfaces.value[3];
    let expected = InterfaceStats {
        name: "en0".into(),
        rx_bytes: 2_530_556_736,
        tx_bytes: 18_228_234_970,
        rx_packets: 5_921_903,
        tx_packets: 14_314_573,
        rx_errors: 3,
        tx_errors: 4,
        rx_drops: 0,
        tx_drops: 230,
        is_up: true,
    };
    assert_eq!(*en0, expected);
    assert!(!interfaces.value[1].is_up);
    // Two interfaces whose names were cut to the same five letters.
    assert_eq!(interfaces.gaps.len(), 2);
}

#[test]
fn default_routes_come_from_netstat_general_before_scoped() {
    let output = include_bytes!("../../../tests/fixtures/netstat/macos14_rn_both_families.txt");
    let (_folder, host) = host("netstat", "-rn", output);
    let routes = read_default_routes(&host).unwrap();
    assert!(routes.gaps.is_empty(), "{:?}", routes.gaps);
    let first = &routes.value[0];
    assert_eq!(first.gateway_text().as_deref(), Some("192.0.2.1"));
    assert!(routes.value.is_sorted_by_key(|route| route.ipv6));
    assert!(routes.value.iter().any(|route| route.ipv6));
}

#[test]
fn name_servers_come_from_scutil_with_their_interface() {
    let output = include_bytes!("../../../tests/fixtures/scutil/macos_dns_split.txt");
    let (_folder, host) = host("scutil", "--dns", output);
    let servers = read_name_servers(&host).unwrap();
    let text: Vec<_> = servers.value.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["192.0.2.53", "2001:db8::53", "fe80::1%en0"]);
}

#[test]
fn disk_traffic_is_the_sum_of_the_drivers_and_no_driver_is_not_zero() {
    let output = br#"
  "Statistics" = {"Bytes (Read)"=5,"Bytes (Write)"=7}
  "Statistics" = {"Bytes (Read)"=10,"Bytes (Write)"=20}
  "Statistics" = {"Bytes (Read)"=10}
"#;
    let arguments = "-r -c IOBlockStorageDriver -w 0";
    let (_folder, full) = host("ioreg", arguments, output);
    let total = read_disk_io(&full).unwrap();
    assert_eq!((total.value.read_bytes, total.value.write_bytes), (15, 27));
    assert_eq!(total.gaps.len(), 1);
    let (_folder, empty) = host("ioreg", arguments, b"\n");
    assert_eq!(
        read_disk_io(&empty).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn a_program_that_is_absent_or_prints_garbage_is_an_error_of_its_kind() {
    let (_folder, host) = host("netstat", "-ibdn", b"garbage\n");
    assert_eq!(
        read_interfaces(&host).unwrap_err().kind(),
        ErrorKind::Malformed
    );
    assert_eq!(
        read_name_servers(&host).unwrap_err().kind(),
        ErrorKind::Missing
    );
}

#[test]
fn ping_waits_in_milliseconds_and_ipv6_has_its_own_program() {
    let command = |target: &str| {
        let command = ping_command(&target.parse().unwrap(), 3).unwrap();
        format!("{} {}", command.program, command.arguments.join(" "))
    };
    assert_eq!(command("192.0.2.1"), "ping -n -c 3 -W 1000 192.0.2.1");
    assert_eq!(command("fe80::1%en0"), "ping6 -n -c 3 fe80::1%en0");
}

#[test]
fn time_wait_sockets_are_counted_by_netstat() {
    let output = include_bytes!("../../../tests/fixtures/netstat/macos_an_both_families.txt");
    let (_folder, host) = host("netstat", "-an -p tcp", output);
    let waiting = read_time_wait(&host, &std::collections::BTreeMap::new()).unwrap();
    assert_eq!(waiting, 1);
}
