//! What a throttle acts on, one file each: read back, and apply what was planned.

pub mod gate;
pub mod remote;
pub mod scale;
