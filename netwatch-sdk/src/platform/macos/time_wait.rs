//! `netstat -an`: TCP sockets in TIME-WAIT.

use std::collections::BTreeMap;

use super::Host;
use crate::{Result, parse::netstat::states::parse_netstat_time_wait, reading::Pid};

/// The count of this host. There are no namespaces here.
pub(crate) fn read_time_wait(host: &Host, _: &BTreeMap<u32, Vec<Pid>>) -> Result<u32> {
    parse_netstat_time_wait(&host.runner.stdout("netstat", &["-an", "-p", "tcp"])?)
}
