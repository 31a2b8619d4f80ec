use super::*;
use crate::{Error, ErrorKind, reading::Source};

/// A backend that has stopped working.
#[derive(Debug)]
struct Broken;

impl Measure for Broken {
    fn read(&mut self) -> Result<Reading> {
        Err(Error::new(ErrorKind::Io, "the map is gone"))
    }

    fn status(&self) -> Status {
        Status::of(Source::Ebpf)
    }
}

/// A collector whose backend breaks once it has started; and what it was.
fn breaking(settings: &Builder) -> (Collector, Source) {
    let collector = Collector::start_on(Ladder::new(settings), None, Instant::now()).unwrap();
    let source = collector.status().source;
    lock(&collector.core).backend = Box::new(Broken);
    (collector, source)
}

#[test]
fn a_backend_that_fails_is_replaced_and_the_status_says_so() {
    let (collector, first) = breaking(&Collector::builder());
    let before = collector.status().refused.len();
    collector.reader().network().unwrap();
    let status = collector.status();
    assert_ne!(status.source, first);
    assert_eq!(status.refused.len(), before + 1);
    assert_eq!(status.refused[before].why, "the map is gone");
}

#[test]
fn a_forced_backend_that_fails_is_an_error() {
    let (collector, _) = breaking(&Collector::builder().backend(Backend::SockDiag));
    let failure = collector.reader().network().unwrap_err();
    assert_eq!(failure.to_string(), "the map is gone");
}
