//! The traffic shapes, one file per family of them.

mod connection;
mod conserve;
mod datagram;
mod exec;
mod fastopen;
mod flags;
mod idle;
mod impaired;
mod ktls;
mod mapped_receive;
mod multipath;
mod offload;
mod other_kinds;
mod phased;
mod ring;
mod shared;
mod short;
mod sockmap;
mod splice;
mod stream;
mod workers;
mod zerocopy;

use std::sync::OnceLock;

pub(crate) use phased::{STEPS, step_size};
pub(crate) use short::count as short_count;

use crate::shape::Shape;

/// Every shape. Each is compared with the collector to the byte.
pub(crate) fn all() -> &'static [Shape] {
    static ALL: OnceLock<Vec<Shape>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        for part in [
            stream::SHAPES,
            datagram::SHAPES,
            flags::SHAPES,
            splice::SHAPES,
            zerocopy::SHAPES,
            mapped_receive::SHAPES,
            ring::SHAPES,
            offload::SHAPES,
            fastopen::SHAPES,
            ktls::SHAPES,
            sockmap::SHAPES,
            multipath::SHAPES,
            connection::SHAPES,
            shared::SHAPES,
            workers::SHAPES,
            exec::SHAPES,
            short::SHAPES,
            idle::SHAPES,
            other_kinds::SHAPES,
            phased::SHAPES,
            conserve::SHAPES,
            impaired::SHAPES,
        ] {
            all.extend_from_slice(part);
        }
        all.extend(stream::every_family());
        all.extend(datagram::every_family());
        all.sort_by_key(Shape::name);
        all
    })
}

/// The shapes that need no test of their own: they run from start to end without a pause.
pub(crate) fn unattended() -> impl Iterator<Item = &'static Shape> {
    all()
        .iter()
        .filter(|shape| !phased::is(shape) && !conserve::is(shape) && !impaired::is(shape))
}
