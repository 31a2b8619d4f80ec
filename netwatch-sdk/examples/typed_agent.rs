//! An agent on the typed API.
//!
//! `typed_agent [SNAPSHOTS] [MILLISECONDS]` prints its status, then so many snapshots (3)
//! so far apart (1,000 ms), each as one line of JSON, and to stderr who moved most
//! since it started.

use std::{env, error::Error, time::Duration};

use netwatch_sdk::{
    Backend, Collector,
    reading::{Process, Reading},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let count: u32 = arguments.next().map_or(Ok(3), |word| word.parse())?;
    let millis = arguments.next().map_or(Ok(1000), |word| word.parse())?;

    let collector = Collector::builder().backend(Backend::Auto).start()?;
    // Every reader sees every byte, whatever the others read.
    let mut snapshots = collector.snapshots(Duration::from_millis(millis));
    let mut reader = collector.reader();

    println!("{}", serde_json::to_string(&collector.status())?);
    for _ in 0..count {
        let Some(snapshot) = snapshots.next().await else {
            break;
        };
        println!("{}", serde_json::to_string(&snapshot?)?);
    }

    let reading = reader.read()?;
    if let Some(process) = busiest(&reading) {
        eprintln!(
            "{} moved most: {} B in, {} B out, {:?} by {:?}",
            process.name,
            process.payload.rx_bytes,
            process.payload.tx_bytes,
            process.accuracy,
            reading.source,
        );
    }
    if !reading.lost.is_empty() {
        eprintln!("lost: {:?}", reading.lost);
    }
    Ok(())
}

fn busiest(reading: &Reading) -> Option<&Process> {
    let moved = |process: &&Process| process.payload.rx_bytes + process.payload.tx_bytes;
    let some = reading
        .processes
        .iter()
        .filter(|process| moved(process) > 0);
    some.max_by_key(moved)
}
