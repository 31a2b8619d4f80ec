//! A traffic shape: one way for processes to move bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    actor::{Act, Actor},
    calls::{self, Mover},
    detect, dns, edges, events, shapes,
};

/// Which addresses a shape uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
    /// IPv6 sockets with IPv4 traffic.
    Mapped,
}

impl Family {
    pub(crate) const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Mapped];

    pub(crate) fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
            Self::Mapped => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        }
    }

    pub(crate) fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 | Self::Mapped => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Mapped => "mapped",
        }
    }

    pub(crate) fn long(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
            Self::Mapped => "IPv4 on IPv6 sockets",
        }
    }
}

/// Whether what one side sent is what the other received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// Every byte arrives.
    Complete,
    /// Some are left unread, refused or cut off; the reason is in the shape.
    Partial,
}

/// Where the traffic processes of a shape live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The host's network namespace.
    Host,
    /// A network namespace made for this run.
    Namespace,
}

/// One way for processes to move bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// What `live workload` and filters call it, without the family.
    pub(crate) stem: &'static str,
    /// What is special about it, as the docs say it.
    pub(crate) about: &'static str,
    pub(crate) family: Family,
    pub(crate) pairing: Pairing,
    pub(crate) place: Place,
    /// The part that others send to; it starts first.
    pub(crate) serve: Option<Act>,
    /// The part that starts the traffic.
    pub(crate) drive: Act,
    /// Parts that a traffic process starts itself.
    pub(crate) more: &'static [(&'static str, Act)],
    /// The calls for shapes that differ in nothing else.
    pub(crate) send: Mover,
    pub(crate) receive: Mover,
    /// The size of one message or buffer, for shapes that take it.
    pub(crate) size: usize,
}

impl Shape {
    /// What most shapes have in common.
    pub(crate) const BASE: Self = Self {
        stem: "",
        about: "",
        family: Family::V4,
        pairing: Pairing::Complete,
        place: Place::Host,
        serve: None,
        drive: nothing,
        more: &[],
        send: calls::send,
        receive: calls::recv,
        size: 64 * 1024,
    };

    /// The same over other addresses.
    pub(crate) const fn over(self, family: Family) -> Self {
        Self { family, ..self }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.stem, self.family.suffix())
    }

    pub(crate) fn sentence(&self) -> String {
        format!("{} ({})", self.about, self.family.long())
    }

    pub(crate) fn act(&self, role: &str) -> Option<Act> {
        match role {
            "serve" => self.serve,
            "drive" => Some(self.drive),
            other => self
                .more
                .iter()
                .find(|(name, _)| *name == other)
                .map(|(_, act)| *act),
        }
    }
}

fn nothing(_: &Actor) -> anyhow::Result<()> {
    anyhow::bail!("this shape has no such part")
}

/// The shape that `name` means.
pub(crate) fn named(name: &str) -> Option<&'static Shape> {
    const COLLECTOR: &Shape = &edges::child::SHAPE;
    const DNS: &Shape = &dns::parts::SHAPE;
    const DETECT: &Shape = &detect::SHAPE;
    let mut all = shapes::all()
        .iter()
        .chain([COLLECTOR, DNS, DETECT])
        .chain(&events::traffic::SHAPES);
    all.find(|shape| shape.name() == name)
}

/// The table of shapes for the docs.
pub(crate) fn table() -> String {
    let mut table = String::from("| shape | what it does |\n|---|---|\n");
    for shape in shapes::all() {
        table.push_str(&format!("| `{}` | {} |\n", shape.name(), shape.sentence()));
    }
    table
}
