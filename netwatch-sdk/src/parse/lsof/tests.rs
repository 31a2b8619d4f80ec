use proptest::prelude::*;

use super::*;

const MACOS: &[u8] = include_bytes!("../../../tests/fixtures/lsof/macos_fields_all.txt");
const LINUX: &[u8] = include_bytes!("../../../tests/fixtures/lsof/linux4.95_fields.txt");

fn endpoint(text: &str) -> Endpoint {
    parse_endpoint(text).unwrap()
}

#[test]
fn a_socket_has_its_process_user_ends_and_state() {
    let read = parse_lsof(MACOS).unwrap();
    assert_eq!(read.unreadable, 0);
    assert_eq!(
        read.sockets[0],
        OpenSocket {
            pid: 590,
            command: Some("apsd".into()),
            uid: Some(0),
            device: Some("0xcdf758597a6d43c3".into()),
            ipv6: Some(false),
            protocol: Some(Protocol::Tcp),
            local: endpoint("192.0.2.10:50100"),
            remote: Some(endpoint("198.51.100.20:5223")),
            state: Some(SocketState::Established),
        }
    );
}

#[test]
fn the_state_after_a_name_belongs_to_that_file() {
    let read = parse_lsof(MACOS).unwrap();
    let states: Vec<_> = read.sockets.iter().map(|socket| socket.state).collect();
    let established = Some(SocketState::Established);
    assert_eq!(
        states,
        [
            established,
            established,
            Some(SocketState::CloseWait),
            None,
            None,
            established
        ]
    );
}

#[test]
fn the_interface_inside_a_macos_link_local_address_is_taken_out() {
    let read = parse_lsof(MACOS).unwrap();
    assert_eq!(read.sockets[2].local, endpoint("[fe80::1234%4]:49153"));
}

#[test]
fn one_socket_in_two_processes_has_one_device() {
    let read = parse_lsof(MACOS).unwrap();
    let (parent, child) = (&read.sockets[1], &read.sockets[5]);
    assert_eq!(parent.device, child.device);
    assert_eq!((parent.pid, child.pid), (7429, 7430));
    assert_eq!(child.command.as_deref(), Some("Google Chrome Helper"));
}

#[test]
fn files_without_a_descriptor_line_are_told_apart_as_linux_prints_them() {
    let read = parse_lsof(LINUX).unwrap();
    assert_eq!((read.sockets.len(), read.unreadable), (4, 0));
    assert_eq!(read.sockets[1].ipv6, Some(true));
    assert_eq!(read.sockets[2].protocol, Some(Protocol::Udp));
    assert_eq!(read.sockets[2].state, None);
    assert_eq!(read.sockets[3].state, Some(SocketState::Established));
    assert_eq!(read.sockets[3].command.as_deref(), Some("my server (x)"));
}

#[test]
fn names_alone_are_enough() {
    let read = parse_lsof(b"p1\nca\nn192.0.2.1:1->192.0.2.2:2\nn*:5353\n").unwrap();
    assert_eq!(read.sockets.len(), 2);
    assert_eq!(read.sockets[0].protocol, None);
    assert_eq!(read.sockets[1].remote, None);
}

#[test]
fn files_that_are_no_internet_sockets_are_left_out() {
    let read = parse_lsof(
        b"p1\nca\nf3\ntREG\nn/tmp/a:1\nf4\ntIPv4\nPTCP\nn*:80\nf5\ntIPv4\nPICMP\nn*:*\n",
    )
    .unwrap();
    assert_eq!((read.sockets.len(), read.unreadable), (1, 0));
    assert_eq!(read.sockets[0].local, endpoint("*:80"));
}

#[test]
fn escaped_bytes_of_a_name_are_taken_back_but_not_control_characters() {
    assert_eq!(unescape(r"my\x20server"), "my server");
    assert_eq!(unescape(r"caf\xc3\xa9"), "café");
    assert_eq!(unescape(r"cut\xc3"), "cut\u{fffd}");
    for kept in [
        r"a\x0ab", r"a\x1bb", r"a\xzz", r"a\x", r"a\x2", r"a\n", r"a\x+1",
    ] {
        assert_eq!(unescape(kept), kept);
    }
}

#[test]
fn a_bad_line_costs_that_line() {
    for bad in [
        "nhost.example:443",
        "n192.0.2.1:1->",
        "n192.0.2.1:99999",
        "TST=DREAMING",
        "uroot",
        "\u{fffd}",
        "=",
    ] {
        let output = format!("p1\nca\nu0\nf3\ntIPv4\nPTCP\n{bad}\nf4\ntIPv4\nPTCP\nn*:80\n");
        let read = parse_lsof(output.as_bytes()).unwrap();
        assert_eq!((read.sockets.len(), read.unreadable), (1, 1), "{bad}");
    }
}

#[test]
fn sockets_of_a_process_whose_pid_could_not_be_read_are_counted_and_given_to_nobody() {
    let read = parse_lsof(b"p1\nn*:80\npx\nn*:81\np2\nn*:82\n").unwrap();
    assert_eq!(read.unreadable, 2);
    let pids: Vec<_> = read.sockets.iter().map(|socket| socket.pid).collect();
    assert_eq!(pids, [1, 2]);
}

#[test]
fn nothing_is_empty_and_garbage_is_an_error() {
    assert_eq!(parse_lsof(b"").unwrap(), Lsof::default());
    assert_eq!(parse_lsof(b"\n").unwrap(), Lsof::default());
    for garbage in [
        "lsof: illegal option character: F\n",
        "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n",
        "permission denied\n",
    ] {
        let error = parse_lsof(garbage.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Malformed);
    }
}

fn socket() -> impl Strategy<Value = OpenSocket> {
    let state = prop::sample::select(vec![
        Some(SocketState::Established),
        Some(SocketState::CloseWait),
        None,
    ]);
    (
        any::<u32>(),
        "[A-Za-z0-9 ().-]{1,20}",
        any::<u32>(),
        any::<u64>(),
        any::<[std::net::Ipv6Addr; 2]>(),
        any::<[u16; 2]>(),
        any::<bool>(),
        state,
    )
        .prop_map(
            |(pid, command, uid, device, ips, ports, connected, state)| {
                let end = |at: usize| endpoint(&format!("[{}]:{}", ips[at], ports[at]));
                OpenSocket {
                    pid,
                    command: Some(command),
                    uid: Some(uid),
                    device: Some(format!("{device:#x}")),
                    ipv6: Some(true),
                    protocol: Some(Protocol::Tcp),
                    local: end(0),
                    remote: connected.then(|| end(1)),
                    state,
                }
            },
        )
}

/// As `lsof` prints it.
fn print(socket: &OpenSocket) -> String {
    let end = |end: &Endpoint| match end.address.as_ref().unwrap().with_port(end.port.unwrap()) {
        std::net::SocketAddr::V4(end) => format!("[::ffff:{}]:{}", end.ip(), end.port()),
        std::net::SocketAddr::V6(end) => {
            format!("[{}%{}]:{}", end.ip(), end.scope_id(), end.port()).replace("%0]", "]")
        }
    };
    let remote = socket
        .remote
        .as_ref()
        .map_or_else(String::new, |remote| format!("->{}", end(remote)));
    let state = socket.state.map_or("", |state| match state {
        SocketState::Established => "TST=ESTABLISHED\n",
        _ => "TST=CLOSE_WAIT\n",
    });
    format!(
        "p{}\nc{}\nu{}\nf3\ntIPv6\nd{}\nPTCP\nn{}{remote}\n{state}TQR=0\n",
        socket.pid,
        socket.command.as_deref().unwrap(),
        socket.uid.unwrap(),
        socket.device.as_deref().unwrap(),
        end(&socket.local),
    )
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(output: Vec<u8>) {
        let _ = parse_lsof(&output);
    }

    #[test]
    fn no_name_makes_the_unescaping_panic(name in r"[\\xé0-9a-f]{0,12}") {
        let _ = unescape(&name);
    }

    #[test]
    fn no_mutation_of_a_real_layout_makes_it_panic_or_invents_a_socket(
        at in 0..MACOS.len(),
        byte: u8,
        end in 0..MACOS.len(),
    ) {
        let mut output = MACOS.to_vec();
        output[at] = byte;
        output.truncate(end);
        if let Ok(read) = parse_lsof(&output) {
            prop_assert!(read.sockets.len() <= 7);
        }
    }

    #[test]
    fn what_is_printed_is_read_back(sockets in prop::collection::vec(socket(), 0..8)) {
        let printed: String = sockets.iter().map(print).collect();
        let read = parse_lsof(printed.as_bytes()).unwrap();
        prop_assert_eq!(read, Lsof { sockets, unreadable: 0 });
    }
}
