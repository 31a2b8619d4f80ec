use proptest::prelude::*;

use super::*;

const NAME5: &[u8] = include_bytes!("../../../../tests/fixtures/netstat/macos10_ibdn_name5.txt");
const NAME10: &[u8] = include_bytes!("../../../../tests/fixtures/netstat/macos15_ib_name10.txt");
const IDROP: &[u8] = include_bytes!("../../../../tests/fixtures/netstat/freebsd12_ib_idrop.txt");

#[test]
fn a_link_has_its_counters_in_both_directions() {
    let read = parse_netstat_interfaces(NAME5).unwrap();
    assert_eq!(read.unreadable, 0);
    assert_eq!(
        read.links[3],
        Link {
            name: "en0".into(),
            cut: false,
            index: 5,
            is_up: Some(true),
            rx_bytes: 2_530_556_736,
            tx_bytes: 18_228_234_970,
            rx_packets: 5_921_903,
            tx_packets: 14_314_573,
            rx_errors: 3,
            tx_errors: 4,
            rx_drops: None,
            tx_drops: Some(230),
        }
    );
}

#[test]
fn a_missing_address_or_a_missing_last_column_moves_no_counter() {
    let read = parse_netstat_interfaces(NAME5).unwrap();
    let lo0 = &read.links[0];
    assert_eq!((lo0.rx_packets, lo0.tx_bytes), (174_982, 25_774_844));
    assert_eq!(lo0.tx_drops, None);
    let fw0 = &read.links[4];
    assert_eq!((fw0.rx_packets, fw0.tx_bytes), (0, 1038));
}

#[test]
fn address_rows_are_left_out() {
    let read = parse_netstat_interfaces(NAME5).unwrap();
    let names: Vec<_> = read.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(
        names,
        ["lo0", "gif0", "VHC12", "en0", "fw0", "utun8", "utun8"]
    );
}

#[test]
fn names_that_fill_their_column_may_be_cut_and_their_mark_too() {
    let read = parse_netstat_interfaces(NAME5).unwrap();
    let (gif0, vhc, utun) = (&read.links[1], &read.links[2], &read.links[6]);
    assert_eq!((gif0.cut, gif0.is_up), (true, Some(false)));
    assert_eq!((vhc.cut, vhc.is_up), (true, None));
    assert_eq!((utun.cut, utun.index), (true, 90));
}

#[test]
fn a_wide_name_column_cuts_nothing() {
    let read = parse_netstat_interfaces(NAME10).unwrap();
    let up: Vec<_> = read
        .links
        .iter()
        .map(|link| (link.name.as_str(), link.cut, link.is_up))
        .collect();
    assert_eq!(
        up,
        [
            ("lo0", false, Some(true)),
            ("en0", false, Some(true)),
            ("utun1", false, Some(true)),
            ("anpi0", false, Some(false)),
        ]
    );
    assert_eq!(read.links[1].rx_bytes, 51_277_090_577);
    assert_eq!(read.links[2].tx_bytes, 29_703_870);
    assert_eq!(read.links[2].tx_drops, None);
}

#[test]
fn a_column_in_the_middle_moves_the_others() {
    let read = parse_netstat_interfaces(IDROP).unwrap();
    assert_eq!((read.links.len(), read.unreadable), (2, 0));
    assert_eq!(read.links[0].rx_drops, Some(7));
    assert_eq!(read.links[0].rx_bytes, 372_538_087);
    assert_eq!(read.links[1].tx_bytes, 21_024);
}

const HEADER: &str = "Name  Mtu   Network  Address  Ipkts Ierrs Ibytes Opkts Oerrs Obytes Coll\n";

#[test]
fn a_bad_line_costs_that_line() {
    for bad in [
        "en1 1500",
        "en1 1500 <Link#x> 1 2 3 4 5 6 0",
        "en1 1500 <Link#1 1 2 3 4 5 6 0",
        "en1 1500 <Link#1> 1 2 3 4",
        "en1 1500 <Link#1> 1 2 -3 4 5 6 0",
        "en1 1500 <Link#1> 1 2 99999999999999999999 4 5 6 0",
        "en1 1500 <Link#1> 1 - 3 4 5 6 0",
        "* 1500 <Link#1> 1 2 3 4 5 6 0",
        "\u{fffd}",
    ] {
        let output = format!("{HEADER}{bad}\nen0 1500 <Link#2> 1 2 3 4 5 6 0\n");
        let read = parse_netstat_interfaces(output.as_bytes()).unwrap();
        assert_eq!((read.links.len(), read.unreadable), (1, 1), "{bad}");
    }
}

#[test]
fn output_without_byte_columns_is_an_error() {
    for output in [
        "",
        "Name  Mtu   Network       Address            Ipkts Ierrs    Opkts Oerrs  Coll\n",
        "netstat: illegal option -- W\n",
    ] {
        let error = parse_netstat_interfaces(output.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Malformed);
    }
}

fn link() -> impl Strategy<Value = Link> {
    (
        "[a-z]{2,6}[0-9]",
        any::<u32>(),
        any::<bool>(),
        any::<[u64; 7]>(),
    )
        .prop_map(|(name, index, up, counters)| {
            let [
                rx_packets,
                rx_errors,
                rx_bytes,
                tx_packets,
                tx_errors,
                tx_bytes,
                drops,
            ] = counters;
            Link {
                name,
                cut: false,
                index,
                is_up: Some(up),
                rx_bytes,
                tx_bytes,
                rx_packets,
                tx_packets,
                rx_errors,
                tx_errors,
                rx_drops: None,
                tx_drops: Some(drops),
            }
        })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(output: Vec<u8>) {
        let _ = parse_netstat_interfaces(&output);
    }

    #[test]
    fn no_row_makes_it_panic(row in "[ -~é]{0,100}") {
        let _ = parse_netstat_interfaces(format!("{HEADER}{row}").as_bytes());
    }

    #[test]
    fn no_mutation_of_a_real_layout_makes_it_panic_or_invents_a_link(
        at in 0..NAME5.len(),
        byte: u8,
        end in 0..NAME5.len(),
    ) {
        let mut output = NAME5.to_vec();
        output[at] = byte;
        output.truncate(end);
        if let Ok(read) = parse_netstat_interfaces(&output) {
            prop_assert!(read.links.len() <= 8);
        }
    }

    #[test]
    fn what_is_printed_is_read_back(links in prop::collection::vec(link(), 0..8), address: bool) {
        let mut printed = String::from(
            "Name       Mtu   Network       Address            Ipkts Ierrs     Ibytes    Opkts Oerrs     Obytes  Coll Drop\n",
        );
        for link in &links {
            let name = format!("{}{}", link.name, if link.is_up == Some(true) { "" } else { "*" });
            let network = format!("<Link#{}>", link.index);
            let address = if address { "02:00:5e:00:53:01" } else { "" };
            printed += &format!(
                "{name:<10} {:<5} {network:<11} {address:<17} {:>8} {:>5} {:>10} {:>8} {:>5} {:>10} {:>5} {:>3}\n",
                1500, link.rx_packets, link.rx_errors, link.rx_bytes, link.tx_packets, link.tx_errors, link.tx_bytes, 0, link.tx_drops.unwrap(),
            );
        }
        let read = parse_netstat_interfaces(printed.as_bytes()).unwrap();
        prop_assert_eq!(read, Interfaces { links, unreadable: 0 });
    }
}
