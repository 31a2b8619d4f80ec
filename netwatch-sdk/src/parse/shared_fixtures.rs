//! Every recorded output under `../shared/fixtures` that one of these parsers
//! is for, and what it must read as. The recordings are not part of this
//! repository: where the folder is absent, only the repository's own fixtures
//! are read, and the test says so.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    lsof::parse_lsof,
    netstat::{interfaces::parse_netstat_interfaces, routes::parse_netstat_routes},
    nettop::parse_nettop,
    ps::parse_ps_started,
    scutil::parse_scutil_dns,
};

/// Rows and lines that could not be read, or why the whole is refused.
type Read = Result<(usize, u64), String>;
type Reader = fn(&[u8]) -> Read;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The shared folder: beside the repository, or beside the folder of worktrees.
fn shared() -> Option<PathBuf> {
    ["..", "../.."]
        .map(|up| repository().join(up).join("shared/fixtures"))
        .into_iter()
        .find(|folder| folder.is_dir())
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

fn read<T>(read: crate::Result<T>, count: impl Fn(T) -> (usize, u64)) -> Read {
    read.map(count).map_err(|error| error.to_string())
}

fn read_nettop(output: &[u8]) -> Read {
    read(parse_nettop(output), |read| {
        let rows = |sample: &super::nettop::Sample| sample.processes.len() + sample.flows.len();
        (read.samples.iter().map(rows).sum(), read.unreadable)
    })
}

fn read_lsof(output: &[u8]) -> Read {
    read(parse_lsof(output), |read| {
        (read.sockets.len(), read.unreadable)
    })
}

fn read_interfaces(output: &[u8]) -> Read {
    read(parse_netstat_interfaces(output), |read| {
        (read.links.len(), read.unreadable)
    })
}

fn read_routes(output: &[u8]) -> Read {
    read(parse_netstat_routes(output), |read| {
        (read.routes.len(), read.unreadable)
    })
}

fn read_scutil(output: &[u8]) -> Read {
    read(parse_scutil_dns(output), |read| {
        let all = read.resolvers.iter().chain(&read.scoped);
        (
            all.map(|resolver| resolver.nameservers.len()).sum(),
            read.unreadable,
        )
    })
}

fn read_ps(output: &[u8]) -> Read {
    read(parse_ps_started(output), |read| {
        (read.processes.len(), read.unreadable)
    })
}

/// What a recording must read as.
enum Expected {
    /// So many rows, and so many lines that cannot be read.
    Rows(usize, u64),
    /// Another output format of the same tool: refused, never misread.
    Refused,
}

use Expected::{Refused, Rows};

struct Recordings {
    folder: &'static str,
    read: Reader,
    files: &'static [(&'static str, Expected)],
}

const RECORDINGS: [Recordings; 5] = [
    Recordings {
        folder: "nettop",
        read: read_nettop,
        files: &[
            ("macos26_n_L1_J_5cols_capture.txt", Rows(294, 0)),
            ("macos_L1_full_columns_netscope_test.txt", Rows(9, 0)),
            ("macos_P_L1_k_state_interface.txt", Rows(5, 0)),
            ("macos_d_P_L2_dashboard_test.txt", Rows(5, 0)),
            ("macos_n_m_tcp_p0_L1_t_loopback_orbstack.txt", Rows(2, 0)),
            // Without its header.
            ("macos_L0_firefox_isc.txt", Refused),
            // Text and not `-L`.
            ("macos_l_text_J_state_in_out_agentmon.txt", Refused),
            ("macos_text_x_n_m_tcp_l1_netwatch_test.txt", Refused),
        ],
    },
    Recordings {
        folder: "lsof",
        read: read_lsof,
        files: &[
            ("gen_linux_lsof_F.txt", Rows(8, 0)),
            ("macos_F_pcnPT_as_captured.txt", Rows(6, 0)),
            ("macos_F_pcn_agentmon.txt", Rows(3, 0)),
            ("macos_F_tPnT_ssh.txt", Rows(1, 0)),
            // With names for the address and the port.
            ("macos_F_all_fields_443.txt", Rows(0, 1)),
            // Tables and not `-F`.
            ("gen_linux_lsof_tab.txt", Refused),
            ("gen_linux_lsof_tab_c0.txt", Refused),
            ("macos26_i_nP_table.txt", Refused),
            ("macos_table_bandwhich.txt", Refused),
        ],
    },
    Recordings {
        folder: "netstat",
        read: read_interfaces,
        files: &[
            ("freebsd12_ib.txt", Rows(2, 0)),
            ("macos_ib_recent_wide_name.txt", Rows(4, 0)),
            ("macos_ibdnW_gopsutil.txt", Rows(4, 0)),
            ("macos_ibdnW_truncated_gopsutil.txt", Rows(8, 0)),
            ("macos_ibdn_ohai.txt", Rows(8, 0)),
            // Without `-b`.
            ("macos_10.14_i.txt", Refused),
        ],
    },
    Recordings {
        folder: "netstat",
        read: read_routes,
        files: &[
            ("macos14_rn_inet_inet6.txt", Rows(6, 0)),
            ("macos_10.14_rnl.txt", Rows(6, 0)),
            ("macos_rn_darwin_gateway.txt", Rows(2, 0)),
            ("macos_rn_darwinNoRoute_gateway.txt", Rows(0, 0)),
            ("macos_rn_f_inet_2026.txt", Rows(1, 0)),
            // With names, or garbage, for the router.
            ("macos_rn_darwinBadRoute_gateway.txt", Rows(0, 1)),
            ("macos_nr_names_macos11.txt", Rows(0, 1)),
            ("macos_10.14_r.txt", Rows(5, 1)),
            // Sockets and not routes.
            ("macos_10.14_Abn.txt", Refused),
            ("macos_10.14_An.txt", Refused),
            ("macos_10.14_plain.txt", Refused),
            ("macos_an_inet_2026_vigil.txt", Refused),
            ("macos_anv_p_tcp_recent_process_col.txt", Refused),
            ("macos_anvp_tcp_listen_rhiwat_pid.txt", Refused),
            ("macos_vn_p_tcp_mojave.txt", Refused),
        ],
    },
    Recordings {
        folder: "scutil",
        read: read_scutil,
        files: &[
            ("macos_dns_corp_split_issue49.txt", Rows(10, 0)),
            ("macos_dns_tailscale_1.txt", Rows(7, 0)),
        ],
    },
];

fn own_fixtures() {
    let own = repository().join("netwatch-sdk/tests/fixtures");
    let formats: [(&str, Reader, &[&str]); 6] = [
        ("nettop", read_nettop, &["usage"]),
        ("lsof", read_lsof, &[]),
        ("netstat", read_interfaces, &["_rn", "_an"]),
        ("netstat", read_routes, &["_ib", "_an"]),
        ("scutil", read_scutil, &[]),
        ("ps", read_ps, &[]),
    ];
    for (folder, read, of_other_formats) in formats {
        let mut checked = 0;
        for (name, output) in files(&own.join(folder)) {
            if !of_other_formats.iter().any(|other| name.contains(other)) {
                let (_, unreadable) = read(&output).unwrap_or_else(|why| panic!("{name}: {why}"));
                assert_eq!(unreadable, 0, "{folder}/{name}");
                checked += 1;
            }
        }
        assert!(checked > 0, "no fixture of {folder}");
        println!("{folder}: {checked} files");
    }
}

#[test]
fn every_recorded_output_reads_as_it_should() {
    own_fixtures();
    let Some(shared) = shared() else {
        println!("NOT THERE: ../shared/fixtures; only the repository's own fixtures were read");
        return;
    };
    let (mut parsed, mut refused, mut read_rows, mut unreadable_lines) = (0, 0, 0, 0);
    for Recordings {
        folder,
        read,
        files: expected,
    } in &RECORDINGS
    {
        let files = files(&shared.join(folder));
        for (name, expected) in *expected {
            let output = files
                .get(*name)
                .unwrap_or_else(|| panic!("no recording {folder}/{name}"));
            let is = read(output);
            println!("{folder}/{name}: {is:?}");
            match &is {
                Ok((rows, lines)) => {
                    parsed += 1;
                    read_rows += rows;
                    unreadable_lines += lines;
                }
                Err(_) => refused += 1,
            }
            match expected {
                Rows(rows, unreadable) => {
                    assert_eq!(is, Ok((*rows, *unreadable)), "{folder}/{name}");
                }
                Refused => assert!(is.is_err(), "{folder}/{name}: {is:?}"),
            }
        }
    }
    println!(
        "{parsed} recordings: {read_rows} rows, {unreadable_lines} unreadable lines; {refused} of other formats refused"
    );
}
