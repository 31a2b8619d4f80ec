use std::{fs, path::Path, time::Duration};

use proptest::prelude::*;

use super::{
    row::{parse_end, parse_users},
    tcp::millis,
    *,
};

fn one(line: &str) -> SsSocket {
    let parsed = parse_ss(format!("{line}\n").as_bytes());
    assert_eq!(parsed.unreadable, 0, "{line}");
    let [socket] = <[_; 1]>::try_from(parsed.sockets).unwrap();
    socket
}

fn end(text: &str) -> String {
    let end = parse_end(text, Ipv4Addr::UNSPECIFIED.into()).unwrap();
    let zone = end.zone.unwrap_or_default();
    format!("{} {} {zone}", end.address, end.port)
}

fn holders(text: &str) -> Vec<(String, u32)> {
    let (holders, rest) = parse_users(text).unwrap();
    assert_eq!(rest, " ino:1");
    holders.into_iter().map(|it| (it.name, it.pid)).collect()
}

#[test]
fn every_way_to_print_an_address_is_read() {
    assert_eq!(end("10.0.0.1:80"), "10.0.0.1 80 ");
    assert_eq!(end("[2001:db8::1]:80"), "2001:db8::1 80 ");
    assert_eq!(end("2001:db8::1:80"), "2001:db8::1 80 ");
    assert_eq!(end(":::5354"), ":: 5354 ");
    assert_eq!(end("::ffff:127.0.0.1:8082"), "127.0.0.1 8082 ");
    assert_eq!(end("[fe80::1]%eth0:80"), "fe80::1 80 eth0");
    assert_eq!(end("fe80::1%eth0:80"), "fe80::1 80 eth0");
    assert_eq!(end("127.0.0.53%lo:53"), "127.0.0.53 53 lo");
    assert_eq!(end("*:*"), "0.0.0.0 0 ");
    assert_eq!(parse_end("*:ssh", Ipv4Addr::UNSPECIFIED.into()), None);
    assert_eq!(
        parse_end("10.0.0.1:80000", Ipv4Addr::UNSPECIFIED.into()),
        None
    );
}

#[test]
fn names_with_quotes_commas_and_parentheses_are_read() {
    assert_eq!(
        holders(r#"("we"ird",pid=1,fd=3),("a,b=(c",pid=2,fd=4)) ino:1"#),
        [(r#"we"ird"#.into(), 1), ("a,b=(c".into(), 2)]
    );
    assert_eq!(
        holders(r#"("",pid=1,fd=3",pid=77,fd=9)) ino:1"#),
        [(r#"",pid=1,fd=3"#.into(), 77)]
    );
}

#[test]
fn a_name_with_a_line_end_costs_neither_its_row_nor_the_next() {
    let parsed = parse_ss(
        b"tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:((\"a\nb\",pid=1,fd=3))\n\
          tcp ESTAB 0 0 10.0.0.1:3 10.0.0.2:4 users:((\"c\",pid=2,fd=3))\n",
    );
    assert_eq!(parsed.unreadable, 0);
    assert_eq!(parsed.sockets.len(), 2);
    assert_eq!(parsed.sockets[0].holders[0].name, "a\nb");
    assert_eq!(parsed.sockets[1].holders[0].pid, 2);
}

#[test]
fn users_that_are_cut_cost_their_row_only() {
    let parsed = parse_ss(
        b"tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:((\"a\n\
          tcp ESTAB 0 0 10.0.0.1:3 10.0.0.2:4 users:((\"c\",pid=2,fd=3))\n",
    );
    assert_eq!((parsed.sockets.len(), parsed.unreadable), (1, 1));
}

#[test]
fn a_cgroup_path_cannot_pose_as_figures() {
    let socket = one(
        "tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:((\"a\",pid=1,fd=3)) uid:5 ino:7 sk:1f \
         cgroup:/x <-> rto:1 bytes_received:999 ino:8 <-> rto:204 bytes_received:10",
    );
    assert_eq!(socket.tcp.unwrap().bytes_received, 10);
    assert_eq!(socket.inode, Some(7));
    assert_eq!(socket.cookie, Some(0x1f));
    assert_eq!(socket.uid, Some(5));
}

#[test]
fn figures_that_are_no_numbers_or_too_large_cost_the_row() {
    for figure in [
        "bytes_acked:1x",
        "bytes_received:99999999999999999999",
        "rtt:a/b",
    ] {
        let line = format!("tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 rto:1 {figure}\n");
        let parsed = parse_ss(line.as_bytes());
        assert_eq!(
            (parsed.sockets.len(), parsed.unreadable),
            (0, 1),
            "{figure}"
        );
    }
}

#[test]
fn times_are_read_to_the_microsecond() {
    assert_eq!(millis("0.044"), Some(Duration::from_micros(44)));
    assert_eq!(millis("5.06"), Some(Duration::from_micros(5060)));
    assert_eq!(millis("1.5e+03"), Some(Duration::from_millis(1500)));
    assert_eq!(millis("-1"), None);
    assert_eq!(millis("nan"), None);
}

#[test]
fn other_families_are_left_out_and_garbage_is_counted() {
    let parsed = parse_ss(
        b"Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port\n\
          nl UNCONN 0 0 rtnl:kernel *\n\
          u_str LISTEN 0 128 /run/x 22040 * 0\n\
          Usage: ss [ OPTIONS ]\n\
          tcp ESTAB\n",
    );
    assert_eq!((parsed.sockets.len(), parsed.unreadable), (0, 2));
}

fn folder(path: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Rows by a rule of its own: a line that begins with a protocol or a state.
fn rows(text: &[u8]) -> usize {
    let text = String::from_utf8_lossy(text);
    let begins = [
        "tcp ", "udp ", "ESTAB", "SYN-", "FIN-", "TIME-", "CLOS", "LAST-", "LISTEN",
    ];
    text.lines()
        .filter(|line| begins.iter().any(|begin| line.starts_with(begin)))
        .count()
}

#[test]
fn our_own_captures_are_read_field_by_field() {
    let files = folder("tests/fixtures/ss");
    assert!(files.len() >= 4, "fixtures are missing");
    for (name, text) in files {
        let parsed = parse_ss(&text);
        assert_eq!(parsed.unreadable, 0, "{name}");
        assert_eq!(parsed.sockets.len(), rows(&text), "{name}");
        let at = |port| parsed.sockets.iter().find(|it| it.local.port == port);
        let web = at(443).unwrap();
        assert_eq!(web.remote.as_ref().unwrap().port, 50000, "{name}");
        let names: Vec<_> = web.holders.iter().map(|it| (&*it.name, it.pid)).collect();
        assert_eq!(names, [("nginx: a (b", 101), ("nginx", 100)], "{name}");
        let tcp = web.tcp.unwrap();
        assert_eq!(
            (tcp.bytes_acked, tcp.bytes_received),
            (70001, 4097),
            "{name}"
        );
        let old = name.starts_with("iproute2-4");
        assert_eq!(tcp.bytes_sent.is_none(), old, "{name}");
        let rtt = tcp.rtt.unwrap();
        assert_eq!(rtt.smoothed, Duration::from_micros(1250), "{name}");
        assert_eq!(tcp.retransmits, 3, "{name}");
        assert_eq!(web.cookie.is_some(), name.contains("-e"), "{name}");
        let dns = at(53).unwrap();
        assert_eq!(
            (dns.protocol, &dns.remote),
            (Protocol::Udp, &None),
            "{name}"
        );
        assert_eq!(dns.local.zone.as_deref(), Some("lo"), "{name}");
        let any = at(22).unwrap();
        assert_eq!((any.state, any.tcp), (SocketState::Listen, None), "{name}");
    }
}

#[test]
fn every_capture_of_the_shared_folder_is_read_where_it_exists() {
    let files = folder("../../shared/fixtures/ss");
    let elsewhere = folder("../../../shared/fixtures/ss");
    let files = if files.is_empty() { elsewhere } else { files };
    if files.is_empty() {
        println!("no shared captures here: only this repository's own are read");
        return;
    }
    for (name, text) in files {
        let parsed = parse_ss(&text);
        let read = parsed.sockets.len();
        let unreadable = usize::try_from(parsed.unreadable).unwrap();
        assert_eq!(read + unreadable, rows(&text), "{name}");
        // Taken without `-n`.
        let with_names = ["centos77_a.txt", "ubuntu18_a.txt"].contains(&&*name);
        assert_eq!(unreadable > 0, with_names, "{name}: {unreadable}");
        if !name.starts_with("gen_") {
            continue;
        }
        let at = |local, remote| {
            let row = parsed.sockets.iter().find(|it| {
                it.local.port == local && it.remote.as_ref().is_some_and(|it| it.port == remote)
            });
            row.unwrap_or_else(|| panic!("{name}: {local} {remote}"))
        };
        let queue = at(49898, 8086).tcp.unwrap();
        assert_eq!(queue.bytes_acked, 128_513, "{name}");
        assert_eq!(queue.rtt.unwrap().smoothed, Duration::from_micros(5060));
        assert_eq!(at(8086, 49898).receive_queue, 128_512);
        let new = !name.contains("_v4_");
        assert_eq!(queue.bytes_sent, new.then_some(176_128), "{name}");
        assert_eq!(
            queue.notsent,
            if name.contains("v4_4") { 0 } else { 3_782_144 }
        );
        assert_eq!(
            at(8082, 39168).local.address.to_string(),
            "127.0.0.1",
            "{name}"
        );
        assert_eq!(at(8083, 50348).local.address.to_string(), "::1", "{name}");
        assert_eq!(
            at(8084, 59494).local.zone.as_deref(),
            Some("eth0"),
            "{name}"
        );
        if name.contains("tunapie") {
            assert_eq!(at(43424, 443).cookie, Some(0x604a), "{name}");
            assert_eq!(at(43424, 443).inode, Some(177_624), "{name}");
        }
        if name.contains("tunap") && !name.contains("unpriv") {
            let shared = parsed
                .sockets
                .iter()
                .find(|it| it.local.port == 8080)
                .unwrap();
            assert_eq!(shared.holders.len(), 3, "{name}");
            assert_eq!(at(50792, 8081).holders[0].name, r#"cli"2""#, "{name}");
            assert_eq!(at(39168, 8082).holders[0].name, "cli(3", "{name}");
        }
    }
}

#[test]
fn cut_output_never_gives_a_figure_that_the_whole_does_not_have() {
    for (name, text) in folder("tests/fixtures/ss") {
        let whole = parse_ss(&text).sockets;
        for cut in 0..text.len() {
            let part = parse_ss(&text[..cut]).sockets;
            for (mut row, whole) in part.into_iter().zip(&whole) {
                // A row of two lines may have lost its second.
                if row.tcp.is_none() {
                    row.tcp = whole.tcp;
                }
                assert_eq!(row, *whole, "{name} cut at {cut}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        parse_ss(&bytes);
    }

    #[test]
    fn no_rest_of_a_row_makes_it_panic(rest in "\\PC*") {
        parse_ss(format!("tcp ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:((\"{rest}\n").as_bytes());
        parse_ss(format!("tcp ESTAB 0 0 {rest}\n\t {rest}\n").as_bytes());
    }

    #[test]
    fn a_name_never_changes_anything_but_itself(name in "[^)]{0,15}") {
        let line = format!(
            "tcp ESTAB 1 2 10.0.0.1:1 10.0.0.2:2 users:((\"{name}\",pid=77,fd=9)) ino:5 sk:6 \
             <-> rto:1 bytes_received:10\n"
        );
        let parsed = parse_ss(line.as_bytes());
        prop_assert_eq!(parsed.sockets.len(), 1);
        let socket = &parsed.sockets[0];
        prop_assert_eq!(&socket.holders, &[SsHolder { name, pid: 77 }]);
        prop_assert_eq!(socket.inode, Some(5));
        prop_assert_eq!(socket.tcp.unwrap().bytes_received, 10);
    }
}
