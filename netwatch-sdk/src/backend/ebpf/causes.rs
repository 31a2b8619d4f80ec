//! Settings of a host that keep attached programs from running, and how to change them.

use std::{fs, path::Path};

/// A switch of the kernel that silences programs while it is 0.
struct Switch {
    file: &'static str,
    off: &'static str,
    way_out: &'static str,
}

const SWITCHES: [Switch; 2] = [
    Switch {
        file: "sys/kernel/debug/kprobes/enabled",
        off: "kprobes are disarmed",
        way_out: "echo 1 > /sys/kernel/debug/kprobes/enabled",
    },
    Switch {
        file: "proc/sys/kernel/ftrace_enabled",
        off: "ftrace is off",
        way_out: "sysctl kernel.ftrace_enabled=1",
    },
];

/// Why programs that are attached count nothing, as far as this host tells.
pub(super) fn of_silence() -> String {
    explain(Path::new("/"))
}

fn explain(root: &Path) -> String {
    let is_off = |switch: &&Switch| {
        fs::read_to_string(root.join(switch.file)).is_ok_and(|text| text.trim() == "0")
    };
    let off: Vec<String> = SWITCHES
        .iter()
        .filter(is_off)
        .map(|switch| format!("{} ({})", switch.off, switch.way_out))
        .collect();
    if off.is_empty() {
        "no setting of this host explains it".to_owned()
    } else {
        off.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_is_off_is_named_with_the_way_out() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(explain(root.path()), "no setting of this host explains it");
        let sysctl = root.path().join("proc/sys/kernel");
        fs::create_dir_all(&sysctl).unwrap();
        fs::write(sysctl.join("ftrace_enabled"), "1\n").unwrap();
        assert_eq!(explain(root.path()), "no setting of this host explains it");
        fs::write(sysctl.join("ftrace_enabled"), "0\n").unwrap();
        assert_eq!(
            explain(root.path()),
            "ftrace is off (sysctl kernel.ftrace_enabled=1)"
        );
    }
}
