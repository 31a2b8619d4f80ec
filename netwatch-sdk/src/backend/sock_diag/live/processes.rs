//! Several processes, and other users.

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{SockDiag, ends, start};
use crate::{
    backend::{
        Measure,
        loopback::{
            ANSWERED, SENT, assert_exact, exchange, find, open_row, own_namespace, pair, payload,
            row,
        },
    },
    reading::Accuracy,
};

const CHILD_ADDRESS: &str = "NETWATCH_TEST_ADDRESS";

/// The other process of the test below; on its own it does nothing.
#[test]
fn child() {
    let Ok(address) = env::var(CHILD_ADDRESS) else {
        return;
    };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&vec![1; SENT]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
}

#[test]
fn each_process_gets_its_own_bytes_and_keeps_them_when_it_has_exited() {
    let mut diag = start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "backend::sock_diag::live::processes::child"])
        .env(CHILD_ADDRESS, listener.local_addr().unwrap().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut server, far) = listener.accept().unwrap();
    server.read_exact(&mut vec![0; SENT]).unwrap();
    let reading = diag.read().unwrap();
    assert_eq!(row(&reading, child.id()).payload, payload(0, SENT));
    assert!(row(&reading, child.id()).alive);
    let near = server.local_addr().unwrap();
    server.write_all(&vec![2; ANSWERED]).unwrap();
    drop(server);
    assert!(child.wait().unwrap().success());
    let (_, _, reading) = ends(&mut diag, far, near);
    let theirs = row(&reading, child.id());
    assert_eq!(theirs.payload, payload(ANSWERED, SENT));
    assert_eq!((theirs.accuracy, theirs.alive), (Accuracy::Exact, false));
    let ours = row(&reading, process::id());
    assert_eq!(ours.payload, payload(SENT, ANSWERED));
}

#[test]
fn an_idle_socket_that_is_passed_on_goes_to_who_has_it_under_the_name_that_it_has() {
    let mut diag = start();
    let (client, server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    for _ in 0..3 {
        let reading = diag.read().unwrap();
        let near = open_row(&reading, &client);
        assert_exact(near, ANSWERED, SENT);
        assert_eq!(near.owner.unwrap().pid.0, process::id());
        assert_eq!(row(&reading, process::id()).sockets, 2);
    }
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    let mut heir = Command::new("sh")
        .args(["-c", "read word && exec sleep 60"])
        .stdin(Stdio::piped())
        .stdout(std::os::fd::OwnedFd::from(client))
        .spawn()
        .unwrap();
    // A socket that appears is what makes it look for holders.
    let _appeared = pair("127.0.0.1:0");
    let pid = heir.id();
    let named = |diag: &mut SockDiag, name: &str| {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let reading = diag.read().unwrap();
            let row = find(&reading.open, near, far).unwrap();
            assert_exact(row, ANSWERED, SENT);
            assert_eq!(row.owner.unwrap().pid.0, pid);
            if row.owner_name.as_deref() == Some(name) {
                return;
            }
            assert!(Instant::now() < deadline, "{row:?}");
            thread::sleep(Duration::from_millis(5));
        }
    };
    named(&mut diag, "sh");
    heir.stdin.take().unwrap().write_all(b"go\n").unwrap();
    named(&mut diag, "sleep");
    heir.kill().unwrap();
    heir.wait().unwrap();
}

const CHILD_USER: &str = "NETWATCH_TEST_USER";

/// Run as another user by the test below; on its own it does nothing.
#[test]
fn child_without_privileges() {
    if env::var_os(CHILD_USER).is_none() {
        return;
    }
    let mut diag = SockDiag::start(true).unwrap();
    let (client, server) = pair("127.0.0.1:0");
    exchange(&client, &server);
    let reading = diag.read().unwrap();
    assert_exact(open_row(&reading, &client), ANSWERED, SENT);
    let this = payload(SENT + ANSWERED, SENT + ANSWERED);
    assert_eq!(row(&reading, process::id()).payload, this);
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    drop((client, server));
    let (near, far, reading) = ends(&mut diag, near, far);
    assert_exact(&near, ANSWERED, SENT);
    assert_exact(&far, SENT, ANSWERED);
    assert_eq!(row(&reading, process::id()).payload, this);
    let limits = diag.limits();
    assert!(
        limits
            .iter()
            .any(|it| it.contains("processes of other users")),
        "{limits:?}"
    );
    println!("{limits:#?}");
}

#[test]
fn an_unprivileged_user_gets_the_exact_figures_of_its_own_processes() {
    own_namespace();
    // The test program is in a folder that other users may not enter.
    let folder = tempfile::Builder::new()
        .prefix("netwatch")
        .tempdir()
        .unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let program = folder.path().join("child");
    std::fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
        ])
        .arg(program)
        .args(["--exact", "--nocapture"])
        .arg("backend::sock_diag::live::processes::child_without_privileges")
        .env(CHILD_USER, "1")
        .current_dir("/")
        .output()
        .expect("this test needs the command setpriv (util-linux)");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}
