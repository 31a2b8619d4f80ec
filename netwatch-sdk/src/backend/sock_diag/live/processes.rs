//! Several processes, and other users.

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{self, Command, Stdio},
};

use super::{SockDiag, ends};
use crate::{
    backend::{
        Measure,
        loopback::{
            ANSWERED, SENT, assert_exact, exchange, open_row, own_namespace, pair, payload, row,
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
    own_namespace();
    let mut diag = SockDiag::start(false).unwrap();
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
