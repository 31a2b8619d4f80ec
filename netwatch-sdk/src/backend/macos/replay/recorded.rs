//! `nettop` and `lsof` as recorded on one Mac within minutes of each other, where
//! the folder of recordings is beside the repository.

use std::{collections::BTreeMap, fmt::Write};

use super::*;

fn recording(name: &str) -> Option<Vec<u8>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    ["..", "../.."]
        .iter()
        .find_map(|up| fs::read(repository.join(up).join("shared/fixtures").join(name)).ok())
}

/// The table of `lsof -i -n -P` in the form of `lsof -F`.
fn as_fields(table: &str) -> String {
    let mut fields = String::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split_ascii_whitespace().collect();
        let [
            command,
            pid,
            _user,
            descriptor,
            family,
            device,
            _offset,
            protocol,
            name,
            ..,
        ] = cells.as_slice()
        else {
            panic!("{line}");
        };
        writeln!(
            fields,
            "p{pid}\nc{command}\nu501\nf{descriptor}\nt{family}\nd{device}\nP{protocol}\nn{name}"
        )
        .unwrap();
        if let Some(state) = cells.get(9) {
            writeln!(fields, "TST={}", state.trim_matches(['(', ')'])).unwrap();
        }
    }
    fields
}

#[test]
fn recordings_of_one_mac_join() {
    let (Some(nettop), Some(table)) = (
        recording("nettop/macos26_n_L1_J_5cols_capture.txt"),
        recording("lsof/macos26_i_nP_table.txt"),
    ) else {
        println!("NOT THERE: ../shared/fixtures; nothing recorded was joined");
        return;
    };
    let mut mac = Mac::new();
    mac.says("nettop", nettop);
    mac.says("lsof", as_fields(&String::from_utf8(table).unwrap()));
    let reading = mac.read();
    assert_eq!(reading.lost.unreadable, 0);
    assert_eq!(reading.open.len(), 265);
    for process in &reading.processes {
        assert_eq!(process.payload, bytes(0, 0), "{}", process.name);
    }

    // The recordings are some minutes apart, so each has connections of its own.
    let alone = connections_of_lsof(&mac);
    let (mut both, mut other_owner) = (0, 0);
    for socket in &reading.open {
        if let Some(owner) = alone.get(&(socket.local, socket.remote)) {
            both += 1;
            other_owner += u32::from(socket.owner.map(|owner| owner.pid) != *owner);
            assert_eq!(socket.uid, Some(501), "{socket:?}");
        }
    }
    println!("{both} connections in both recordings, {other_owner} with another owner");
    assert_eq!((both, other_owner), (74, 0));
}

type Ends = (std::net::SocketAddr, Option<std::net::SocketAddr>);

/// The connections that `lsof` alone shows, with their owners.
fn connections_of_lsof(mac: &Mac) -> BTreeMap<Ends, Option<Pid>> {
    let mut alone = Mac::new();
    alone.remove("nettop");
    alone.says("lsof", fs::read(mac.path("lsof.says")).unwrap());
    alone
        .read()
        .open
        .iter()
        .filter(|socket| socket.protocol == Protocol::Tcp && socket.remote.is_some())
        .map(|socket| {
            let owner = socket.owner.map(|owner| owner.pid);
            ((socket.local, socket.remote), owner)
        })
        .collect()
}
