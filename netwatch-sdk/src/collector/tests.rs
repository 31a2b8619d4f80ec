use std::thread;

use super::*;

use crate::{
    Error, ErrorKind,
    backend::feed::{Feed, Running, Sink},
    event::{Event, Topic},
    reading::Source,
};

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

/// Kernel programs that have stopped counting.
#[derive(Debug)]
struct Silent;

impl Measure for Silent {
    fn read(&mut self) -> Result<Reading> {
        Err(Error::new(ErrorKind::Unsupported, "counted 0 of 1 byte"))
    }

    fn status(&self) -> Status {
        Status {
            hook: Some(Hook::TpBtf.name()),
            ..Status::of(Source::Ebpf)
        }
    }
}

#[cfg(feature = "ebpf")]
#[test]
fn a_hook_that_fails_is_replaced_by_another_and_readers_count_anew() {
    let builder = Collector::builder().backend(Backend::Ebpf);
    let collector = Collector::start_on(Ladder::new(&builder), None, Instant::now()).unwrap();
    let mut reader = collector.reader();
    lock(&collector.core).backend = Box::new(Silent);
    reader.network().unwrap();
    let status = collector.status();
    assert_eq!(status.source, Source::Ebpf);
    assert_ne!(status.hook, Some(Hook::TpBtf.name()));
    let refused = status.refused.iter().find(|one| one.what == "tp_btf");
    assert_eq!(refused.unwrap().why, "counted 0 of 1 byte");
    assert_eq!(lock(&collector.core).generation, 1);
}

#[cfg(feature = "ebpf")]
#[test]
fn a_forced_hook_that_fails_is_an_error() {
    let builder = Collector::builder().hook(Hook::TpBtf);
    let collector = Collector::start_on(Ladder::new(&builder), None, Instant::now()).unwrap();
    lock(&collector.core).backend = Box::new(Silent);
    let failure = collector.reader().network().unwrap_err();
    assert_eq!(failure.to_string(), "counted 0 of 1 byte");
}

#[test]
fn a_forced_backend_that_fails_is_an_error() {
    let (collector, _) = breaking(&Collector::builder().backend(Backend::SockDiag));
    let failure = collector.reader().network().unwrap_err();
    assert_eq!(failure.to_string(), "the map is gone");
}

#[test]
fn a_backend_without_events_says_which_one_has_them() {
    let settings = Collector::builder().backend(Backend::SockDiag);
    let error = settings.start().unwrap().events().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let said = error.to_string();
    assert!(
        said.contains("ebpf") && said.contains("sock_diag runs"),
        "{said}"
    );
}

/// Delivers one event, then nothing until its sink ends.
#[derive(Debug)]
struct Single;

#[derive(Debug)]
struct Delivered;

impl Feed for Single {
    fn start(&self, sink: Arc<dyn Sink>) -> Result<Box<dyn Running>> {
        sink.miss(Topic::Connections, 3);
        Ok(Box::new(Delivered))
    }

    fn lost(&self) -> u64 {
        3
    }
}

impl Running for Delivered {
    fn is_over(&self) -> bool {
        false
    }
}

#[test]
fn streams_end_when_their_backend_is_replaced() {
    let (collector, _) = breaking(&Collector::builder());
    lock(&collector.core).hub = Some(Hub::new(Arc::new(Single)));
    assert_eq!(collector.status().lost.events, 3);
    let mut events = collector.events().unwrap();
    let mut stream = collector.events().unwrap().into_stream();
    let first = events.next();
    assert!(matches!(first, Some(Event::Lost(lost)) if lost.events == 3));
    assert!(!events.is_over());
    let waiting = thread::spawn(move || (events.next(), events.is_over()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let streaming = thread::spawn(move || runtime.block_on(stream.next()));
    collector.reader().network().unwrap();
    assert_eq!(waiting.join().unwrap(), (None, true));
    assert_eq!(streaming.join().unwrap(), None);
}
