//! Tools that are missing, refuse or hang.

use super::*;

#[test]
fn without_nettop_there_are_sockets_and_owners_and_no_bytes() {
    let mut mac = whole_host();
    mac.remove("nettop");
    let reading = mac.read();
    assert_eq!(reading.source, Source::Lsof);
    assert_eq!(mac.backend.trouble.as_deref(), Some("no program nettop"));
    assert_eq!(reading.lost.unreadable, 1);
    let chrome = socket(&reading.open, "192.0.2.10:50001");
    assert_eq!(chrome.payload, None);
    assert_eq!(chrome.owner.unwrap().pid, Pid(7429));
    assert_eq!(chrome.state, SocketState::Established);
    assert_eq!(reading.open.len(), 3);
    mac.says("lsof", "");
    assert_eq!(mac.read().closed.len(), 3);
}

#[test]
fn when_nettop_is_refused_for_a_while_totals_stay_and_then_catch_up() {
    let mut mac = Mac::new();
    mac.says(
        "lsof",
        "p7\nca\nf3\ntIPv4\nPTCP\nn192.0.2.1:1->192.0.2.2:2\nTST=ESTABLISHED\n",
    );
    let row = |rx| {
        format!(
            "t,a.7,,,{rx},0,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,{rx},0,0,0,0,,\nt,tcp4 192.0.2.1:9<->192.0.2.2:2,en0,Established,0,0,0,0,0,,\n"
        )
    };
    mac.nettop(&row(100));
    let before = mac.nettop(&row(140));
    assert_eq!(mac.backend.trouble.as_deref(), None);
    mac.says("nettop", Mac::fixture("nettop/macos_usage.txt"));
    let during = mac.read();
    assert_eq!(during.source, Source::Lsof);
    assert!(
        mac.backend
            .trouble
            .as_deref()
            .unwrap()
            .starts_with("nettop printed no header")
    );
    assert_eq!(total(&during, 7), bytes(40, 0));
    assert_eq!((during.open.len(), during.closed.len()), (1, 0));
    assert_eq!(during.open[0].id, before.open[0].id);
    assert_eq!(during.open[0].payload, None);

    mac.says("nettop", format!("{HEADER}{}", row(200)));
    let paused = mac.read();
    assert_eq!(paused.source, Source::Lsof);
    let back = mac.read();
    assert_eq!(back.source, Source::Nettop);
    assert_eq!(mac.backend.trouble.as_deref(), None);
    assert_eq!(total(&back, 7), bytes(100, 0));
    assert_eq!((back.open.len(), back.closed.len()), (2, 0));
}

#[test]
fn a_tool_that_hangs_is_left_alone_for_longer_each_time() {
    let mut pause = Pause::default();
    let mut asked = Vec::new();
    for reading in 0..150 {
        if pause.is_over() {
            asked.push(reading);
            pause.begin();
        }
    }
    assert_eq!(asked, [0, 2, 5, 10, 19, 36, 69, 102, 135]);
    pause.end();
    assert!(pause.is_over());
}

#[test]
fn without_lsof_there_are_bytes_and_owners_and_no_users() {
    let mut mac = whole_host();
    mac.remove("lsof");
    let reading = mac.read();
    assert_eq!(reading.source, Source::Nettop);
    assert_eq!(reading.lost.unreadable, 1);
    let chrome = socket(&reading.open, "192.0.2.10:50001");
    assert_eq!(chrome.uid, None);
    assert_eq!(chrome.owner_name.as_deref(), Some("Google Chrome H"));
    assert_eq!(chrome.payload, Some(bytes(99_930, 20_000)));
}

#[test]
fn without_ps_processes_have_no_start_and_none_is_said_to_have_ended() {
    let mut mac = Mac::new();
    mac.remove("ps");
    mac.nettop(
        "t,a.7,,,100,0,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,100,0,0,0,0,,\n",
    );
    let reading = mac.nettop("");
    assert!(process(&reading, 7).alive);
    let id = ProcessId {
        pid: Pid(7),
        started: None,
    };
    assert_eq!(process(&reading, 7).id, Attribution::Process(id));
}

#[test]
fn with_neither_list_there_is_an_error_and_not_an_empty_reading() {
    let mut mac = Mac::new();
    mac.remove("nettop");
    mac.remove("lsof");
    let error = mac.backend.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(error::chain(&error), "no program lsof: no program nettop");
}

#[test]
fn a_failure_of_lsof_is_told_from_a_host_without_sockets() {
    let mut mac = Mac::new();
    mac.remove("nettop");
    let path = mac.path("lsof");
    fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
    while Command::new(&path).status().is_err() {}
    assert_eq!(mac.read().open.len(), 0);
    fs::write(&path, "#!/bin/sh\necho lsof: not permitted >&2\nexit 1\n").unwrap();
    while Command::new(&path).status().is_err() {}
    let error = mac.backend.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}
