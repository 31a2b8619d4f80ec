use std::process::{Child, Command};

use super::*;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn sleeper() -> Running {
    Running(Command::new("sleep").arg("60").spawn().unwrap())
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn a_busy_process_and_a_sleeping_one_are_told_apart() {
    let sleeper = sleeper();
    let (busy, idle) = (std::process::id(), sleeper.0.id());
    let pids = [Pid(busy), Pid(idle)];
    let mut sampler = ProcMetaSampler::new().unwrap();
    sampler.sample(&pids).unwrap();
    spin(Duration::from_millis(500));
    let metas = sampler.sample(&pids).unwrap();
    assert_eq!(metas.len(), 2);
    // Less than one whole core where others want the processor too.
    assert!(metas[&busy].cpu_percent > 5.0, "{:?}", metas[&busy]);
    assert!(metas[&idle].cpu_percent < 5.0, "{:?}", metas[&idle]);
    assert_eq!(metas[&idle].state.as_deref(), Some("S"));
    assert_eq!(metas[&idle].ppid, Some(busy));
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_is_what_proc_says_of_it() {
    let sleeper = sleeper();
    let pid = sleeper.0.id();
    let started = Utc::now();
    let read_status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    // Until it sleeps it is still loading itself.
    let is_asleep = |status: &str| status.contains("State:\tS");
    for _ in 0..500 {
        if is_asleep(&read_status()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let metas = ProcMetaSampler::new().unwrap().sample(&[Pid(pid)]).unwrap();
    let meta = &metas[&pid];
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(meta.cmd.as_deref(), exe.to_str());
    let status = read_status();
    assert!(is_asleep(&status), "{status}");
    let kib = |key: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    assert_eq!(meta.mem_virt_bytes, Some(kib("VmSize:")));
    assert!(meta.mem_rss_bytes.unwrap().abs_diff(kib("VmRSS:")) < 1 << 20);
    let age = started.signed_duration_since(meta.started_at.unwrap());
    assert!(age.num_seconds().abs() <= 3, "{age}");
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap();
    assert_eq!(meta.user, me.map(|user| user.name));
}

#[test]
fn arguments_never_show() {
    let secret = Running(
        Command::new("sleep")
            .args(["60", "0.000060"])
            .spawn()
            .unwrap(),
    );
    let pid = secret.0.id();
    let metas = ProcMetaSampler::new().unwrap().sample(&[Pid(pid)]).unwrap();
    assert!(!format!("{:?}", metas[&pid]).contains("0.000060"));
}

#[test]
fn a_process_that_ended_is_left_out() {
    let sleeper = sleeper();
    let pid = sleeper.0.id();
    let mut sampler = ProcMetaSampler::new().unwrap();
    assert_eq!(sampler.sample(&[Pid(pid)]).unwrap().len(), 1);
    drop(sleeper);
    assert!(sampler.sample(&[Pid(pid)]).unwrap().is_empty());
}

#[test]
fn a_sampler_forgets_processes_it_is_no_longer_asked_for() {
    let mut sampler = ProcMetaSampler::new().unwrap();
    sampler.sample_all().unwrap();
    sampler.sample(&[Pid(std::process::id())]).unwrap();
    assert_eq!(sampler.previous.len(), 1);
}

#[test]
fn the_published_sample_knows_this_process_and_fills_its_row() {
    let metas = sample().unwrap();
    let pid = std::process::id();
    let row = |pid| ProcessBandwidth::network_only("me".into(), pid, 1, 2, 3.0, 4.0, 5);
    let mut rows = [row(Some(pid)), row(None)];
    apply(&mut rows, &metas);
    assert_eq!(rows[1], row(None));
    let me = &rows[0];
    assert_eq!((me.rx_bytes, me.connection_count), (1, 5));
    let exe = std::env::current_exe().unwrap();
    assert_eq!(me.cmd.as_deref(), exe.to_str());
    assert!(me.mem_rss_bytes.unwrap() > 0);
    assert!(me.cpu_pct.is_some() && me.user.is_some() && me.started_at.is_some());
}
