//! mirroring
