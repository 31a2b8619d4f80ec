//! Lines that cannot be read, and figures that are not there.

use super::*;

#[test]
fn a_line_that_cannot_be_read_for_once_closes_nothing_and_counts_nothing_twice() {
    let mut mac = Mac::new();
    let row = |line| format!("t,a.7,,,9,9,0,0,0,,\nt,{line},0,0,0,,\n");
    mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,100,10",
    ));
    let torn = mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1x0,10",
    ));
    assert_eq!(torn.lost.unreadable, 1);
    assert_eq!((torn.open.len(), torn.closed.len()), (0, 0));
    let whole = mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,170,10",
    ));
    assert_eq!(total(&whole, 7), bytes(70, 0));
    assert_eq!(whole.lost.unreadable, 1);
}

#[test]
fn a_line_that_could_not_be_read_at_first_is_not_taken_for_a_new_socket() {
    let mut mac = Mac::new();
    let row = |line| format!("t,a.7,,,100,0,0,0,0,,\nt,{line},0,0,0,,\n");
    mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1x0,10",
    ));
    let whole = mac.nettop(&row(
        "tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,170,10",
    ));
    assert_eq!(total(&whole, 7), bytes(0, 0));
}

#[test]
fn a_line_that_is_never_readable_does_not_keep_gone_sockets_for_ever() {
    let mut mac = Mac::new();
    let bad = "t,tcp9 x<->y,,,1,2,0,0,0,,\n";
    mac.nettop(&format!(
        "t,a.7,,,1,2,0,0,0,,\n{bad}t,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,1,2,0,0,0,,\n"
    ));
    let closed: Vec<_> = (0..4)
        .map(|_| {
            mac.nettop(&format!("t,a.7,,,1,2,0,0,0,,\n{bad}"))
                .closed
                .len()
        })
        .collect();
    assert_eq!(closed, [0, 0, 1, 0]);
}

#[test]
fn sockets_of_a_process_that_cannot_be_read_are_unattributed() {
    let mut mac = Mac::new();
    mac.nettop("");
    let reading = mac.nettop(
        "t,nobody,,,5,6,0,0,0,,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,5,6,0,0,0,,\n",
    );
    assert_eq!(
        reading.lost.unattributed_rx_bytes + reading.lost.unattributed_tx_bytes,
        11
    );
    assert_eq!(reading.open[0].owner, None);
    assert_eq!(reading.processes[0].name, "[unknown]");
    assert_eq!(reading.processes[0].payload, bytes(5, 6));
}

#[test]
fn figures_without_the_columns_to_correct_them_are_an_estimate() {
    let mut mac = Mac::new();
    mac.nettop("");
    mac.says(
        "nettop",
        "time,,interface,state,bytes_in,bytes_out,\nt,a.7,,,5,6,\nt,tcp4 192.0.2.1:1<->192.0.2.2:2,en0,Established,5,6,\n",
    );
    let reading = mac.read();
    assert_eq!(reading.open[0].payload, Some(bytes(5, 6)));
    assert_eq!(reading.open[0].accuracy, Accuracy::Estimate);
    assert_eq!(process(&reading, 7).accuracy, Accuracy::Estimate);
}
