//! The memory layout that netwatch's kernel programs and its SDK share.
#![no_std]
