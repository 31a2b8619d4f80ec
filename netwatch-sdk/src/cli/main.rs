//! The command `netwatch-collector`.

fn main() {}
