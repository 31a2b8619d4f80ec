//! Stops the build with a way out when the kernel programs that the SDK embeds are missing.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/backend/ebpf/object");
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let embeds = env::var_os("CARGO_FEATURE_EBPF").is_some()
        && env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux")
        && ["x86_64", "aarch64"].contains(&architecture.as_str());
    let object = format!("src/backend/ebpf/object/netwatch.{architecture}.o");
    if embeds && !Path::new(&object).is_file() {
        println!(
            "cargo::error=netwatch-sdk/{object} is missing; build it with `cargo xtask build-ebpf`"
        );
    }
}
