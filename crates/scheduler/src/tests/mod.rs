//! The scheduler against a fake server, and its pure parts against fixtures.

mod server;
