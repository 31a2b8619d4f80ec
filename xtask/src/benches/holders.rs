//! Processes that hold idle sockets. One process may have only so many open files.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::progress;

/// Below the usual limit of 20,000 open files, and of 28,000 local ports to one remote port.
const EACH: usize = 16_000;

/// Holder processes; they end when this is dropped.
pub(crate) struct Holders {
    children: Vec<Child>,
}

impl Holders {
    /// Starts as many as `sockets` needs; returns when all sockets are connected.
    pub(crate) fn start(sockets: usize) -> Result<Self> {
        progress(&format!("connecting {sockets} sockets"));
        let mut holders = Self {
            children: Vec::new(),
        };
        let mut left = sockets;
        while left > 0 {
            let part = left.min(EACH);
            let child = Command::new(env::current_exe()?)
                .args(["hold", &part.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            holders.children.push(child);
            left -= part;
        }
        for child in &mut holders.children {
            let output = child.stdout.as_mut().context("a holder has no output")?;
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
            ensure!(line == "ready\n", "a holder of sockets failed");
        }
        Ok(holders)
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// Holds both ends of `sockets / 2` TCP connections until the input ends.
pub(crate) fn hold(sockets: usize) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut held = Vec::with_capacity(sockets);
    for _ in 0..sockets / 2 {
        let mut client = TcpStream::connect(address).context("is `ulimit -n` above 16,100?")?;
        let (mut server, _) = listener.accept()?;
        client.write_all(b"x")?;
        server.read_exact(&mut [0])?;
        // They end by a reset, so that none waits in TIME-WAIT for what is measured next.
        setsockopt(
            &client,
            sockopt::Linger,
            &linger {
                l_onoff: 1,
                l_linger: 0,
            },
        )?;
        held.push((client, server));
    }
    println!("ready");
    io::stdout().flush()?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    drop(held);
    Ok(())
}
