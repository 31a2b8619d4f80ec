//! A row of `connections` as JSON: what serde writes, in less time.

use netwatch_sdk::wire::ConnectionDetail;

/// Members that are always there; their names need no escape.
macro_rules! members {
    ($out:ident: $($name:ident)*) => {$(
        $out.extend_from_slice(concat!(",\"", stringify!($name), "\":").as_bytes());
        serde_json::to_writer(&mut *$out, $name)?;
    )*};
}

/// Members that are left out when there is nothing to say.
macro_rules! members_if_some {
    ($out:ident: $($name:ident)*) => {$(
        if let Some($name) = $name {
            members!($out: $name);
        }
    )*};
}

/// Appends a row.
pub(super) fn write(out: &mut Vec<u8>, row: &ConnectionDetail) -> serde_json::Result<()> {
    let ConnectionDetail {
        protocol,
        local_addr,
        remote_addr,
        state,
        pid,
        process_name,
        kernel_rtt_us,
        rx_bytes,
        tx_bytes,
        wire_rx_bytes,
        wire_tx_bytes,
        wire_rx_packets,
        wire_tx_packets,
        loopback_bytes,
        rtt_var_us,
        rtt_min_us,
        retransmits,
        direction,
        uid,
        cookie,
        netns_cookie,
        netns_inode,
        cgroup_id,
        closed,
        source,
        accuracy,
    } = row;
    let begin = out.len();
    members!(out: protocol local_addr remote_addr state pid process_name);
    members_if_some!(out: kernel_rtt_us rx_bytes tx_bytes wire_rx_bytes wire_tx_bytes);
    members_if_some!(out: wire_rx_packets wire_tx_packets loopback_bytes rtt_var_us rtt_min_us);
    members_if_some!(out: retransmits direction uid cookie netns_cookie netns_inode cgroup_id);
    members_if_some!(out: closed source accuracy);
    if let Some(comma) = out.get_mut(begin) {
        *comma = b'{';
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use netwatch_sdk::wire::{Accuracy, Source};

    use super::*;

    fn rows() -> [ConnectionDetail; 3] {
        let full = ConnectionDetail {
            protocol: "TCP".into(),
            local_addr: "[::1]:443".into(),
            remote_addr: "192.0.2.1:1".into(),
            state: "ESTABLISHED".into(),
            pid: Some(7),
            process_name: Some("a \"name\"\n\u{1}\\ü".into()),
            kernel_rtt_us: Some(21.125),
            rx_bytes: Some(u64::MAX),
            tx_bytes: Some(0),
            wire_rx_bytes: Some(1),
            wire_tx_bytes: Some(2),
            wire_rx_packets: Some(3),
            wire_tx_packets: Some(4),
            loopback_bytes: Some(5),
            rtt_var_us: Some(1e21),
            rtt_min_us: Some(f64::NAN),
            retransmits: Some(6),
            direction: Some("outgoing".into()),
            uid: Some(u32::MAX),
            cookie: Some(8),
            netns_cookie: Some(9),
            netns_inode: Some(10),
            cgroup_id: Some(11),
            closed: Some(true),
            source: Some(Source::SockDiag),
            accuracy: Some(Accuracy::LowerBound),
        };
        let some = ConnectionDetail {
            direction: None,
            pid: None,
            closed: None,
            ..full.clone()
        };
        [full, some, ConnectionDetail::default()]
    }

    #[test]
    fn a_row_is_written_as_serde_writes_it() {
        let mut out = b"before".to_vec();
        let mut expected = out.clone();
        for row in rows() {
            write(&mut out, &row).unwrap();
            serde_json::to_writer(&mut expected, &row).unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            String::from_utf8(expected).unwrap()
        );
    }
}
