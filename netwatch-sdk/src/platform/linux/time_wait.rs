//! `/proc/PID/net/sockstat`: TCP sockets in TIME-WAIT, by network namespace.
//!
//! They are no full sockets, have no owner and no bytes any more. The kernel keeps
//! one count of them, with what is left of orphaned sockets in FIN-WAIT-2, by
//! namespace since Linux 4.11.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

use crate::{
    Error, ErrorKind, Result, parse::sockstat::parse_time_wait, platform::Host, reading::Pid,
};

/// The count of the calling thread's namespace and of each in `inhabitants`: some
/// processes of a namespace, by its inode.
///
/// A namespace whose processes have all gone does not count any more.
pub(crate) fn read_time_wait(host: &Host, inhabitants: &BTreeMap<u32, Vec<Pid>>) -> Result<u32> {
    let own = own_namespace(host)?;
    let mut total = read(host, "proc/thread-self/net/sockstat")?;
    for (_, pids) in inhabitants.iter().filter(|&(&inode, _)| inode != own) {
        for pid in pids {
            match read(host, format!("proc/{pid}/net/sockstat")) {
                Ok(count) => {
                    total = total.saturating_add(count);
                    break;
                }
                // It has ended: ask another one.
                Err(gone) if gone.kind() == ErrorKind::Missing => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(total)
}

fn own_namespace(host: &Host) -> Result<u32> {
    let path = host.path("proc/thread-self/ns/net");
    let failed = |cause| Error::io(format!("look at {}", path.display()), cause);
    let inode = fs::metadata(&path).map_err(failed)?.ino();
    // No namespace has number 0.
    Ok(u32::try_from(inode).unwrap_or_default())
}

fn read(host: &Host, path: impl AsRef<Path>) -> Result<u32> {
    let path = path.as_ref();
    let bad = |why: &'static str| {
        let what = format!("read {}", host.path(path).display());
        Error::new(ErrorKind::Malformed, what).because(why)
    };
    parse_time_wait(&host.read(path)?).map_err(bad)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{
        backend::loopback::{own_namespace, pair},
        platform::Runner,
    };

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host::at(root.path(), Runner::in_directories([]));
        (root, host)
    }

    const OWN: (&str, &str) = ("proc/thread-self/net/sockstat", "TCP: inuse 1 tw 3\n");
    const NAMESPACE: (&str, &str) = ("proc/thread-self/ns/net", "");

    #[test]
    fn every_namespace_counts_once_by_a_process_that_is_still_there() {
        let (_root, host) = host(&[OWN, NAMESPACE, ("proc/43/net/sockstat", "TCP: tw 40\n")]);
        let own = super::own_namespace(&host).unwrap();
        let inhabitants = BTreeMap::from([
            (own, vec![Pid(1)]),
            (own.wrapping_add(1), vec![Pid(42), Pid(43), Pid(44)]),
            (own.wrapping_add(2), vec![Pid(45)]),
        ]);
        assert_eq!(read_time_wait(&host, &inhabitants).unwrap(), 43);
    }

    #[test]
    fn a_file_that_is_missing_or_strange_is_an_error() {
        let (_root, empty) = host(&[NAMESPACE]);
        let error = read_time_wait(&empty, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        let (_root, strange) = host(&[NAMESPACE, (OWN.0, "TCP: inuse 1\n")]);
        let error = read_time_wait(&strange, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }

    #[test]
    fn connections_closed_by_this_side_wait_and_are_counted() {
        let counted = thread::spawn(|| {
            own_namespace();
            for _ in 0..7 {
                let (client, server) = pair("127.0.0.1:0");
                drop(client);
                drop(server);
            }
            for _ in 0..4 {
                let (client, server) = pair("[::1]:0");
                drop(client);
                drop(server);
            }
            read_time_wait(&Host::default(), &BTreeMap::new()).unwrap()
        });
        assert_eq!(counted.join().unwrap(), 11);
    }
}
