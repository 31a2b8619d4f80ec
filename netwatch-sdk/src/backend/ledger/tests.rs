use proptest::prelude::*;

use super::*;
use crate::reading::Pid;

const SOCKET: SocketId = SocketId(1);

fn process(pid: u32) -> ProcessId {
    ProcessId {
        pid: Pid(pid),
        started: None,
    }
}

fn bytes(rx_bytes: u64, tx_bytes: u64) -> Payload {
    Payload { rx_bytes, tx_bytes }
}

fn total(ledger: &Ledger, pid: u32) -> Payload {
    ledger.total(Attribution::Process(process(pid)))
}

#[test]
fn a_socket_made_after_the_start_counts_from_its_first_byte() {
    let mut ledger = Ledger::default();
    let holder = [process(7)];
    ledger.record(
        SOCKET,
        bytes(10, 20),
        Since::Birth,
        Holder::Processes(&holder),
    );
    ledger.record(
        SOCKET,
        bytes(15, 20),
        Since::Birth,
        Holder::Processes(&holder),
    );
    assert_eq!(total(&ledger, 7), bytes(15, 20));
}

#[test]
fn bytes_moved_before_the_start_do_not_count() {
    let mut ledger = Ledger::default();
    let holder = [process(7)];
    ledger.record(
        SOCKET,
        bytes(10, 20),
        Since::Now,
        Holder::Processes(&holder),
    );
    assert_eq!(total(&ledger, 7), bytes(0, 0));
    ledger.record(
        SOCKET,
        bytes(11, 22),
        Since::Now,
        Holder::Processes(&holder),
    );
    assert_eq!(total(&ledger, 7), bytes(1, 2));
}

#[test]
fn an_owner_found_later_gets_the_bytes_that_waited() {
    let mut ledger = Ledger::default();
    ledger.record(SOCKET, bytes(5, 6), Since::Birth, Holder::Nobody);
    assert_eq!(ledger.waiting(), bytes(5, 6));
    let holder = [process(7)];
    ledger.record(
        SOCKET,
        bytes(5, 6),
        Since::Birth,
        Holder::Processes(&holder),
    );
    assert_eq!(total(&ledger, 7), bytes(5, 6));
    assert_eq!(ledger.waiting(), bytes(0, 0));
}

#[test]
fn a_socket_that_closes_without_an_owner_belongs_to_somebody_unknown() {
    let mut ledger = Ledger::default();
    ledger.close(SOCKET, Some(bytes(5, 6)));
    assert_eq!(ledger.total(Attribution::Unknown), bytes(5, 6));
}

#[test]
fn the_last_bytes_of_a_socket_go_to_its_last_owner() {
    let mut ledger = Ledger::default();
    let holder = [process(7)];
    ledger.record(
        SOCKET,
        bytes(1, 1),
        Since::Birth,
        Holder::Processes(&holder),
    );
    let account = ledger.close(SOCKET, Some(bytes(9, 9)));
    assert_eq!(account.owner(), Some(process(7)));
    assert_eq!(total(&ledger, 7), bytes(9, 9));
    assert_eq!(ledger.account(SOCKET), None);
}

#[test]
fn a_passed_socket_credits_each_process_with_what_moved_while_it_owned_it() {
    let mut ledger = Ledger::default();
    let (first, second) = ([process(7)], [process(8)]);
    ledger.record(SOCKET, bytes(1, 0), Since::Birth, Holder::Processes(&first));
    ledger.record(
        SOCKET,
        bytes(3, 0),
        Since::Birth,
        Holder::Processes(&second),
    );
    assert_eq!(total(&ledger, 7), bytes(1, 0));
    assert_eq!(total(&ledger, 8), bytes(2, 0));
    assert!(!ledger.is_guess(process(8)));
}

#[test]
fn a_shared_socket_is_credited_once_and_marks_all_its_holders() {
    let mut ledger = Ledger::default();
    let both = [process(7), process(8)];
    let account = ledger.record(SOCKET, bytes(4, 0), Since::Birth, Holder::Processes(&both));
    assert!(account.shared());
    assert_eq!(total(&ledger, 7), bytes(4, 0));
    assert_eq!(total(&ledger, 8), bytes(0, 0));
    assert!(ledger.is_guess(process(7)) && ledger.is_guess(process(8)));
}

#[test]
fn a_restarted_socket_counts_from_zero_again() {
    let mut ledger = Ledger::default();
    let holder = [process(7)];
    ledger.record(
        SOCKET,
        bytes(10, 0),
        Since::Birth,
        Holder::Processes(&holder),
    );
    ledger.restart(SOCKET);
    ledger.record(
        SOCKET,
        bytes(3, 0),
        Since::Birth,
        Holder::Processes(&holder),
    );
    assert_eq!(total(&ledger, 7), bytes(13, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Record(u64, u64, u64, bool, u8),
    Close(u64, Option<(u64, u64)>),
    Restart(u64),
    Retire(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let socket = 0u64..4;
    let figure = 0u64..1000;
    prop_oneof![
        6 => (socket.clone(), figure.clone(), figure.clone(), any::<bool>(), 0u8..6)
            .prop_map(|(id, rx, tx, born, holder)| Step::Record(id, rx, tx, born, holder)),
        2 => (socket.clone(), proptest::option::of((figure.clone(), figure)))
            .prop_map(|(id, last)| Step::Close(id, last)),
        1 => socket.prop_map(Step::Restart),
        1 => (1u32..3).prop_map(Step::Retire),
    ]
}

proptest! {
    #[test]
    fn what_was_counted_is_what_the_rows_hold_and_no_row_ever_shrinks(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut ledger = Ledger::default();
        for step in steps {
            let before: BTreeMap<_, _> = ledger.totals().collect();
            let mut retired = None;
            match step {
                Step::Record(id, rx, tx, born, holder) => {
                    let since = if born { Since::Birth } else { Since::Now };
                    let (one, two) = ([process(1)], [process(1), process(2)]);
                    let holder = match holder {
                        0 => Holder::Processes(&one),
                        1 => Holder::Processes(&two),
                        2 => Holder::Processes(&two[1..]),
                        3 => Holder::Kernel,
                        4 => Holder::Unknown,
                        _ => Holder::Nobody,
                    };
                    ledger.record(SocketId(id), bytes(rx, tx), since, holder);
                }
                Step::Close(id, last) => {
                    ledger.close(SocketId(id), last.map(|(rx, tx)| bytes(rx, tx)));
                }
                Step::Restart(id) => ledger.restart(SocketId(id)),
                Step::Retire(pid) => {
                    retired = Some(Attribution::Process(process(pid)));
                    ledger.retire(process(pid));
                }
            }
            let mut sum = ledger.waiting();
            add(&mut sum, ledger.retired);
            for (_, total) in ledger.totals() {
                add(&mut sum, total);
            }
            prop_assert_eq!(sum, ledger.counted());
            for (owner, total) in before {
                if Some(owner) != retired {
                    let now = ledger.total(owner);
                    prop_assert!(now.rx_bytes >= total.rx_bytes);
                    prop_assert!(now.tx_bytes >= total.tx_bytes);
                }
            }
        }
    }
}
