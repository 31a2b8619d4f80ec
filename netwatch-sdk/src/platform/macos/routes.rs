//! `netstat -rn`: the default routes.

use super::{DefaultRoute, Host, Partial, gaps};
use crate::{
    Result,
    parse::{
        netstat::routes::{self, parse_netstat_routes},
        next_hop::NextHop,
    },
};

/// The default routes, IPv4 first; in each family the one of unbound sockets
/// first, then those of sockets bound to one interface.
pub(crate) fn read_default_routes(host: &Host) -> Result<Partial<Vec<DefaultRoute>>> {
    let printed = parse_netstat_routes(&host.runner.stdout("netstat", &["-rn"])?)?;
    let mut routes = printed.routes;
    routes.sort_by_key(|route| (route.ipv6, route.scoped));
    Ok(Partial {
        value: routes.into_iter().map(default_route).collect(),
        gaps: gaps("netstat", printed.unreadable),
    })
}

fn default_route(route: routes::DefaultRoute) -> DefaultRoute {
    let gateway = match route.next_hop {
        NextHop::Router(address) => Some(address.ip),
        NextHop::Link(_) => None,
    };
    DefaultRoute {
        gateway,
        interface: route.interface,
        metric: None,
        ipv6: route.ipv6,
    }
}
