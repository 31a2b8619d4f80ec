use proptest::prelude::*;

use super::*;

const ALL_COLUMNS: &[u8] = include_bytes!("../../../tests/fixtures/nettop/macos26_all_columns.txt");
const FIVE_COLUMNS: &[u8] =
    include_bytes!("../../../tests/fixtures/nettop/macos26_five_columns.txt");
const TWO_SAMPLES: &[u8] =
    include_bytes!("../../../tests/fixtures/nettop/macos_two_samples_delta.txt");
const PROCESSES: &[u8] =
    include_bytes!("../../../tests/fixtures/nettop/macos_processes_no_state_no_arch.txt");
const USAGE: &[u8] = include_bytes!("../../../tests/fixtures/nettop/macos_usage.txt");

fn only_sample(output: &[u8]) -> Sample {
    let mut read = parse_nettop(output).unwrap();
    assert_eq!((read.samples.len(), read.unreadable), (1, 0));
    read.samples.remove(0)
}

fn endpoint(text: &str) -> Endpoint {
    parse_endpoint(text).unwrap()
}

#[test]
fn a_tcp_row_has_its_ends_state_bytes_and_round_trip_time() {
    let sample = only_sample(ALL_COLUMNS);
    assert_eq!(
        sample.flows[4],
        FlowRow {
            pid: Some(7429),
            transport: Transport::Tcp,
            ipv6: false,
            local: endpoint("192.0.2.10:50001"),
            remote: endpoint("198.51.100.7:443"),
            interface: Some("en0".into()),
            state: Some(SocketState::Established),
            counters: Some(Counters {
                rx_bytes: 100_000,
                tx_bytes: 20_500,
                rx_duplicate_bytes: Some(70),
                tx_again_bytes: Some(500),
            }),
            rtt: Some(Duration::from_micros(108_530)),
        }
    );
}

#[test]
fn names_with_blanks_dots_and_parentheses_are_split_from_the_pid_at_the_last_dot() {
    let sample = only_sample(ALL_COLUMNS);
    let names: Vec<_> = sample
        .processes
        .iter()
        .map(|process| (process.name.as_str(), process.pid))
        .collect();
    assert_eq!(
        names,
        [
            ("kernel_task", 0),
            ("mDNSResponder", 272),
            ("Google Chrome H", 7429),
            ("Codex (Service)", 65506),
            ("python3.11", 2852),
        ]
    );
}

#[test]
fn ipv6_ends_have_a_dot_before_the_port_and_may_have_a_zone() {
    let sample = only_sample(ALL_COLUMNS);
    let tcp = &sample.flows[6];
    assert!(tcp.ipv6);
    assert_eq!(tcp.remote, endpoint("[2001:db8:1::1]:443"));
    let quic = &sample.flows[7];
    assert_eq!(quic.transport, Transport::Quic);
    assert_eq!(quic.transport.protocol(), Protocol::Udp);
    assert_eq!(quic.local, endpoint("[fe80::1234%awdl0]:52214"));
}

#[test]
fn an_empty_cell_is_no_value_and_not_zero() {
    let sample = only_sample(ALL_COLUMNS);
    let never_used = &sample.flows[3];
    assert_eq!(never_used.counters, None);
    assert_eq!(never_used.interface, None);
    assert_eq!(never_used.rtt, None);
    let multicast = &sample.flows[1];
    assert_eq!(
        multicast.counters,
        Some(Counters {
            rx_bytes: 500_600,
            tx_bytes: 181_500,
            rx_duplicate_bytes: None,
            tx_again_bytes: None,
        })
    );
    let listening = &sample.flows[8];
    assert_eq!(listening.state, Some(SocketState::Listen));
    assert_eq!(listening.counters, None);
}

#[test]
fn each_socket_belongs_to_the_process_above_it() {
    let sample = only_sample(ALL_COLUMNS);
    let owners: Vec<_> = sample.flows.iter().map(|flow| flow.pid.unwrap()).collect();
    assert_eq!(
        owners,
        [0, 272, 272, 272, 7429, 7429, 65506, 65506, 2852, 2852]
    );
}

#[test]
fn columns_that_are_not_there_are_no_values() {
    let sample = only_sample(FIVE_COLUMNS);
    assert_eq!(sample.flows[0].state, Some(SocketState::Closed));
    assert_eq!(sample.flows[0].counters, None);
    let counters = sample.flows[1].counters.unwrap();
    assert_eq!((counters.rx_bytes, counters.tx_bytes), (2484, 1396));
    assert_eq!(counters.tx_again_bytes, None);
    let sample = only_sample(PROCESSES);
    assert_eq!(sample.processes[1].counters.unwrap().tx_bytes, 681);
    assert!(sample.flows.is_empty());
}

#[test]
fn each_header_begins_a_sample() {
    let read = parse_nettop(TWO_SAMPLES).unwrap();
    assert_eq!((read.samples.len(), read.unreadable), (2, 0));
    let second = &read.samples[1].processes;
    assert_eq!(second[0].counters.unwrap().rx_bytes, 745);
    assert_eq!(second[1].name, "Code Helper (Pl");
}

#[test]
fn usage_garbage_or_nothing_is_an_error() {
    for output in [USAGE, b"", b"\n\n", b"\xff\x00garbage", b"a,b,c\n1,2,3\n"] {
        let error = parse_nettop(output).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Malformed);
    }
}

const HEADER: &str = "time,,interface,state,bytes_in,bytes_out,\n";

fn with_header(rows: &str) -> Nettop {
    parse_nettop(format!("{HEADER}{rows}").as_bytes()).unwrap()
}

#[test]
fn a_bad_line_costs_that_line() {
    for bad in [
        "t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1",
        "t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1,x,",
        "t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,-1,2,",
        "t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1,,",
        "t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,99999999999999999999,2,",
        "t,tcp4 host.example:1<->192.0.2.2:2,en0,Established,1,2,",
        "t,tcp6 somewhere<->*.443,,,1,2,",
        "t,sctp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1,2,",
        "garbage",
    ] {
        let read = with_header(&format!("t,a.1,,,5,6,\n{bad}\nt,b.2,,,7,8,\n"));
        assert_eq!(read.unreadable, 1, "{bad}");
        assert_eq!(read.samples[0].processes.len(), 2, "{bad}");
        assert_eq!(read.samples[0].flows.len(), 0, "{bad}");
    }
}

#[test]
fn sockets_under_a_process_that_could_not_be_read_belong_to_nobody() {
    let read = with_header(
        "t,a.1,,,5,6,\nt,broken,,,1,2,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1,2,\n",
    );
    assert_eq!(read.unreadable, 1);
    assert_eq!(read.samples[0].flows[0].pid, None);
}

#[test]
fn a_bad_socket_does_not_take_the_next_one_from_its_process() {
    let read = with_header(
        "t,a.1,,,5,6,\nt,tcp4 x<->y,,,1,2,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1,2,\n",
    );
    assert_eq!(read.unreadable, 1);
    assert_eq!(read.samples[0].flows[0].pid, Some(1));
}

#[test]
fn a_comma_or_a_newline_in_a_name_invents_no_process() {
    let read = with_header("t,a.5,b.7,,,1,2,\n");
    assert_eq!(read.samples[0].processes[0].name, "a.5,b");
    assert_eq!(read.samples[0].processes[0].pid, 7);
    let read = with_header("t,a.5\nb.7,,,1,2,\n");
    assert_eq!(read.unreadable, 2);
    assert_eq!(read.samples[0].processes, []);
}

#[test]
fn cells_after_the_last_named_column_change_nothing() {
    let read = with_header("t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1,2,so,\n");
    assert_eq!(read.unreadable, 0);
    assert_eq!(read.samples[0].flows[0].counters.unwrap().tx_bytes, 2);
}

#[test]
fn a_cell_that_is_not_known_is_counted_and_the_bytes_are_kept() {
    let read = with_header("t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Dreaming,1,2,\n");
    assert_eq!(read.unreadable, 1);
    let flow = &read.samples[0].flows[0];
    assert_eq!(flow.state, None);
    assert_eq!(flow.counters.unwrap().rx_bytes, 1);
}

#[test]
fn round_trip_times_are_exact_in_every_unit() {
    for (text, nanoseconds) in [
        ("1.22 ms", 1_220_000),
        ("0 ms", 0),
        ("3 s", 3_000_000_000),
        ("12.5 us", 12_500),
    ] {
        assert_eq!(parse_rtt(text), Some(Duration::from_nanos(nanoseconds)));
    }
    for bad in [
        "1.22", "ms", "1.22ms", ".5 ms", "1. ms", "-1 ms", "1 h", "1e3 ms", "1.2.3 ms",
    ] {
        assert_eq!(parse_rtt(bad), None, "{bad}");
    }
    assert_eq!(parse_rtt("99999999999999999999 ms"), None);
    assert_eq!(parse_rtt("1.9999999999 ms"), None);
}

fn counters() -> impl Strategy<Value = Counters> {
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(rx, tx, dupe, again)| {
        Counters {
            rx_bytes: rx,
            tx_bytes: tx,
            rx_duplicate_bytes: Some(dupe),
            tx_again_bytes: Some(again),
        }
    })
}

fn flow() -> impl Strategy<Value = FlowRow> {
    let state = prop::sample::select(vec![
        None,
        Some(SocketState::Established),
        Some(SocketState::Listen),
        Some(SocketState::TimeWait),
    ]);
    let transport = prop::sample::select(vec![Transport::Tcp, Transport::Udp, Transport::Quic]);
    (
        transport,
        any::<[std::net::Ipv4Addr; 2]>(),
        any::<[u16; 2]>(),
        prop::option::of("[a-z]{2,5}[0-9]"),
        state,
        prop::option::of(counters()),
        prop::option::of(0..1_000_000_u64),
    )
        .prop_map(|(transport, ips, ports, interface, state, counters, rtt)| {
            let end = |at: usize| endpoint(&format!("{}:{}", ips[at], ports[at]));
            FlowRow {
                pid: None,
                transport,
                ipv6: false,
                local: end(0),
                remote: end(1),
                interface,
                state,
                counters,
                rtt: rtt.map(|hundredths| Duration::from_micros(hundredths * 10)),
            }
        })
}

fn print_counters(counters: Option<Counters>) -> (String, String) {
    counters.map_or_else(
        || (",".into(), ",,".into()),
        |counters| {
            (
                format!("{},{}", counters.rx_bytes, counters.tx_bytes),
                format!(
                    "{},0,{}",
                    counters.rx_duplicate_bytes.unwrap(),
                    counters.tx_again_bytes.unwrap()
                ),
            )
        },
    )
}

/// As `nettop` prints it.
fn print_sample(groups: &[(ProcessRow, Vec<FlowRow>)]) -> String {
    let mut printed = String::from(
        "time,,interface,state,bytes_in,bytes_out,rx_dupe,rx_ooo,re-tx,rtt_avg,arch,\n",
    );
    for (process, flows) in groups {
        let (bytes, again) = print_counters(process.counters);
        printed += &format!(
            "10:00:00.000000,{}.{},,,{bytes},{again},,,\n",
            process.name, process.pid
        );
        for flow in flows {
            let kind = match flow.transport {
                Transport::Tcp => "tcp4",
                Transport::Udp => "udp4",
                Transport::Quic => "quic4",
            };
            let end = |end: &Endpoint| {
                format!("{}:{}", end.address.as_ref().unwrap().ip, end.port.unwrap())
            };
            let state = flow.state.map_or("", |state| match state {
                SocketState::Established => "Established",
                SocketState::Listen => "Listen",
                _ => "TimeWait",
            });
            let (bytes, again) = print_counters(flow.counters);
            let rtt = flow.rtt.map_or_else(String::new, |rtt| {
                let hundredths = rtt.as_micros() / 10;
                format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
            });
            printed += &format!(
                "10:00:00.000000,{kind} {}<->{},{},{state},{bytes},{again},{rtt},so,\n",
                end(&flow.local),
                end(&flow.remote),
                flow.interface.as_deref().unwrap_or_default(),
            );
        }
    }
    printed
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(output: Vec<u8>) {
        let _ = parse_nettop(&output);
    }

    #[test]
    fn no_row_makes_it_panic(row in "[ -~é,.<>*:%-]{0,80}") {
        let _ = with_header(&row);
    }

    #[test]
    fn no_mutation_of_a_real_layout_makes_it_panic_or_invents_a_row(
        at in 0..ALL_COLUMNS.len(),
        byte: u8,
        end in 0..ALL_COLUMNS.len(),
    ) {
        let mut output = ALL_COLUMNS.to_vec();
        output[at] = byte;
        output.truncate(end);
        if let Ok(read) = parse_nettop(&output) {
            let rows: usize = read.samples.iter().map(|sample| sample.flows.len() + sample.processes.len()).sum();
            prop_assert!(rows <= 16);
        }
    }

    #[test]
    fn what_is_printed_is_read_back(
        groups in prop::collection::vec(
            (("[A-Za-z0-9 ().,-]{1,15}", any::<u32>(), counters()), prop::collection::vec(flow(), 0..5)),
            0..6,
        ),
    ) {
        let groups: Vec<_> = groups
            .into_iter()
            .map(|((name, pid, counters), flows)| {
                (ProcessRow { name, pid, counters: Some(counters) }, flows)
            })
            .collect();
        let read = parse_nettop(print_sample(&groups).as_bytes()).unwrap();
        let mut expected = Sample::default();
        for (process, flows) in groups {
            expected.flows.extend(flows.into_iter().map(|flow| FlowRow { pid: Some(process.pid), ..flow }));
            expected.processes.push(process);
        }
        prop_assert_eq!(read.unreadable, 0);
        prop_assert_eq!(&read.samples, &[expected]);
    }
}
