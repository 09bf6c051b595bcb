//! Room for the sockets that a run needs, found out before it starts.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Standard streams, epoll, `/proc` files and the like.
const RESERVE: u64 = 32;

/// Makes sure that `sockets` can be open at once; the soft limit is raised as far as the hard one allows.
pub(crate) fn ensure(sockets: usize) -> Result<(), String> {
    let needed = sockets as u64 + RESERVE;
    let limit = getrlimit(Resource::Nofile);
    if allows(limit.current, needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limit.maximum,
    };
    if allows(limit.maximum, needed) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let hard = limit.maximum.unwrap_or(u64::MAX);
    Err(format!(
        "{sockets} connections need {needed} descriptors, but this process may have {hard}: \
         raise the limit (`ulimit -Hn {needed}` as root, or LimitNOFILE={needed} in a unit) or ask for fewer"
    ))
}

/// Takes all that the hard limit gives, for a process that cannot know how many will come.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Best effort: with the soft limit left as it was there is only less room.
    setrlimit(Resource::Nofile, all).ok();
}

/// What this process, and its children, may have.
pub(crate) fn soft_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(1_048_576)
}

/// No limit is `None`.
fn allows(limit: Option<u64>, needed: u64) -> bool {
    limit.is_none_or(|limit| needed <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_connections_are_refused_with_the_number_needed() {
        assert_eq!(ensure(1), Ok(()));
        let error = ensure(2_000_000_000).unwrap_err();
        assert!(error.contains("need 2000000032 descriptors"), "{error}");
    }
}
