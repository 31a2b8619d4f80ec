//! The subjects an agent reports, one module each.
