//! Made-up histories of sockets, shown to the join as `nettop` would show them:
//! it must never credit a byte that did not move.

use proptest::prelude::*;

use super::super::{commands::Answers, join::Join};
use super::*;
use crate::parse::{
    lsof::Lsof,
    nettop::parse_nettop,
    ps::{Ps, parse_ps_started},
};

/// One socket at one moment.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Moves bytes, and is made if it is not there.
    Move { rx: u16, tx: u16 },
    /// Ends; its bytes are then nowhere.
    End,
    /// Is still there, but its line cannot be read.
    Hide,
    /// Goes to the other process.
    Pass,
}

#[derive(Debug, Clone, Copy, Default)]
struct Truth {
    open: Option<(u64, u64)>,
    pid: u32,
    moved: (u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u16>(), any::<u16>()).prop_map(|(rx, tx)| Step::Move { rx, tx }),
        2 => Just(Step::End),
        1 => Just(Step::Hide),
        1 => Just(Step::Pass),
    ]
}

fn answers(rows: &str) -> Answers {
    Answers {
        nettop: Some(parse_nettop(format!("{HEADER}{rows}").as_bytes())),
        lsof: Ok(Lsof::default()),
        ps: Ok::<Ps, _>(parse_ps_started(PS.as_bytes()).unwrap()),
    }
}

const SOCKETS: usize = 3;

proptest! {
    #[test]
    fn no_history_makes_it_credit_what_did_not_move(
        history in prop::collection::vec([step(), step(), step()], 1..12),
        old in any::<[Option<u16>; SOCKETS]>(),
    ) {
        let mut join = Join::default();
        let mut truth: [Truth; SOCKETS] = Default::default();
        for (socket, old) in truth.iter_mut().zip(old) {
            socket.pid = 7;
            socket.open = old.map(|bytes| (bytes.into(), bytes.into()));
        }
        let mut hidden = [false; SOCKETS];
        let mut ever_hidden = false;
        for steps in std::iter::once(None).chain(history.into_iter().map(Some)) {
            for (at, step) in steps.into_iter().flatten().enumerate() {
                let socket = &mut truth[at];
                hidden[at] = false;
                match step {
                    Step::Move { rx, tx } => {
                        let (rx, tx) = (u64::from(rx), u64::from(tx));
                        let open = socket.open.get_or_insert((0, 0));
                        *open = (open.0 + rx, open.1 + tx);
                        socket.moved = (socket.moved.0 + rx, socket.moved.1 + tx);
                    }
                    Step::End => socket.open = None,
                    Step::Hide => hidden[at] = socket.open.is_some(),
                    Step::Pass => socket.pid = 15 - socket.pid,
                }
                ever_hidden |= hidden[at];
            }
            let mut rows = String::new();
            for pid in [7, 8] {
                let of = |socket: &&(usize, &Truth)| socket.1.pid == pid;
                let all: Vec<_> = truth.iter().enumerate().collect();
                let sum: (u64, u64) = all
                    .iter()
                    .filter(of)
                    .filter_map(|(_, socket)| socket.open)
                    .fold((0, 0), |sum, open| (sum.0 + open.0, sum.1 + open.1));
                rows += &format!("t,p.{pid},,,{},{},0,0,0,,\n", sum.0, sum.1);
                for (at, socket) in all.iter().filter(of) {
                    if let Some((rx, tx)) = socket.open {
                        let rx = if hidden[*at] { "?".into() } else { rx.to_string() };
                        rows += &format!(
                            "t,tcp4 192.0.2.1:{}<->192.0.2.2:443,en0,Established,{rx},{tx},0,0,0,,\n",
                            at + 1
                        );
                    }
                }
            }
            let reading = join.reading(answers(&rows), Instant::now(), Utc::now()).unwrap();
            let credited = reading.processes.iter().fold((0, 0), |sum, process| {
                (sum.0 + process.payload.rx_bytes, sum.1 + process.payload.tx_bytes)
            });
            let moved = truth.iter().fold((0, 0), |sum, socket| {
                (sum.0 + socket.moved.0, sum.1 + socket.moved.1)
            });
            prop_assert!(credited.0 <= moved.0 && credited.1 <= moved.1, "{credited:?} of {moved:?}");
            if !ever_hidden {
                // Every byte here is in some row before its socket ends.
                prop_assert_eq!(credited, moved);
            }
        }
    }
}
