//! Why the kernel refuses, in a sentence with the way out.

use std::io;

use aya::{maps::MapType, programs::ProgramError, sys::is_map_supported};

use super::{capabilities, causes};
use crate::{Error, ErrorKind, collector::Hook, error::chain};

/// An error of aya in a sentence: which part, what the kernel said, the way out.
pub(super) fn refusal(part: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let is_denied = matches!(os_error(error), Some(libc::EPERM | libc::EACCES));
    explain(part, error, is_denied, None)
}

/// The same of the maps, which the kernel also denies for their size alone. Where it lets
/// everybody make some, it calls the others wrong: it has refused the types they need.
pub(super) fn refusal_of_maps(error: &(dyn std::error::Error + 'static)) -> Error {
    let (is_denied, limit) = match os_error(error) {
        Some(libc::EPERM | libc::EACCES) => (true, causes::locked_memory()),
        Some(libc::EINVAL) => (!has_cap_bpf() || causes::is_in_user_namespace(), None),
        _ => (false, None),
    };
    explain("the kernel refuses the maps", error, is_denied, limit)
}

fn has_cap_bpf() -> bool {
    !capabilities::lacking().iter().any(|name| name == "CAP_BPF")
}

/// `limit` is one that denies the part even with the capability for it, `CAP_BPF`.
fn explain(
    part: &str,
    error: &(dyn std::error::Error + 'static),
    is_denied: bool,
    limit: Option<String>,
) -> Error {
    let code = os_error(error);
    let said = code.map_or_else(
        || chain(error),
        |code| {
            let text = io::Error::from_raw_os_error(code).to_string();
            match last_verifier_line(error) {
                Some(line) => format!("{text}: {line}"),
                None => text,
            }
        },
    );
    let lacking = capabilities::lacking();
    let limit = limit.filter(|_| has_cap_bpf());
    let (kind, mut why) = if is_denied && !lacking.is_empty() {
        let needs = format!(
            "needs {} (run as root, or grant them: setcap, or --cap-add for a container)",
            lacking.join(", ")
        );
        (ErrorKind::Permission, vec![needs])
    } else if is_denied {
        (ErrorKind::Unsupported, causes::of_denial())
    } else {
        (ErrorKind::Unsupported, causes::of_refusal())
    };
    why.extend(limit);
    if why.is_empty() && is_denied {
        why.push("this kernel or a security policy forbids it".to_owned());
    }
    why.insert(0, said);
    Error::new(kind, format!("{part}: {}", why.join("; ")))
}

/// Why no hook can work, where the kernel is too old for any; found by trying.
pub(super) fn too_old() -> Option<Error> {
    let has_ring_buffers = is_map_supported(MapType::RingBuf);
    matches!(has_ring_buffers, Ok(false)).then(|| {
        Error::new(
            ErrorKind::Unsupported,
            "this kernel is too old for the kernel programs: it has no ring buffers, which came with Linux 5.8",
        )
    })
}

/// None of the hooks that were tried works. What several have in common is said once.
pub(super) fn no_hook(mut refused: Vec<(Hook, Error)>) -> Error {
    if refused.len() == 1
        && let Some((_, only)) = refused.pop()
    {
        return only;
    }
    let mut reasons: Vec<(String, String)> = Vec::new();
    let mut kind = ErrorKind::Unsupported;
    for (hook, error) in refused {
        if error.kind() == ErrorKind::Permission {
            kind = ErrorKind::Permission;
        }
        let why = chain(&error);
        match reasons.iter_mut().find(|(_, known)| *known == why) {
            Some((hooks, _)) => {
                hooks.push_str(", ");
                hooks.push_str(hook.name());
            }
            None => reasons.push((hook.name().to_owned(), why)),
        }
    }
    let all: Vec<String> = reasons
        .iter()
        .map(|(hooks, why)| format!("{hooks}: {why}"))
        .collect();
    Error::new(kind, format!("no hook works: {}", all.join("; ")))
}

fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(code) = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        next = cause.source();
    }
    None
}

fn last_verifier_line(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let Some(ProgramError::LoadError { verifier_log, .. }) = error.downcast_ref::<ProgramError>()
    else {
        return None;
    };
    let log = verifier_log.to_string();
    log::debug!("the verifier says:\n{log}");
    let mut lines = log.lines().rev().filter(|line| {
        let is_summary = |start: &&str| line.starts_with(start);
        !line.is_empty()
            && !["processed ", "verification", "stack depth "]
                .iter()
                .any(is_summary)
    });
    lines.next().map(str::to_owned)
}
