//! The only code that touches the operating system, apart from the backends.
