//! Why a body could not be counted.

/// A body that is not what its route promises. It names an offset and never a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {}", explanation(.kind))]
pub struct DecodeError {
    kind: &'static str,
    offset: usize,
}

impl DecodeError {
    pub(super) fn at(kind: &'static str, offset: usize) -> Self {
        debug_assert!(Self::kinds().any(|known| known == kind), "`{kind}` is not in the table below");
        Self { kind, offset }
    }

    /// What is wrong, as a label value: one of a fixed set.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Every value of [`Self::kind`].
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(kind, _)| *kind)
    }

    /// Where, in bytes from the start of the (decompressed) body.
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

/// Every kind of error, and what it means.
const KINDS: [(&str, &str); 19] = [
    ("syntax", "not JSON"),
    ("truncated", "the body ends in the middle of a value"),
    ("too_deep", "nested deeper than any inference request"),
    ("no_rows", "no `instances`, `inputs`, `predictions` or `outputs` here"),
    ("no_data", "a tensor without `data`"),
    ("shape", "a `shape` that is no list of sizes"),
    ("shared_memory", "a tensor in shared memory: its values are not on the wire"),
    (
        "too_many_cells",
        "far more values to count than the body has bytes; is the baseline's table that wide?",
    ),
    ("raw_tensor", "one raw tensor: its type is known to the server alone"),
    ("binary_size", "binary tensors that are not as long as they say"),
    ("datatype", "a tensor of a type that is none of the protocol's"),
    ("protobuf", "not the protocol's message"),
    ("framing", "not gRPC's framing"),
    ("csv", "not CSV"),
    ("image", "an image"),
    ("opaque", "a format that is the handler's own"),
    ("encoding", "a content encoding that is not read, or broken"),
    ("too_long", "longer than a copy may be once decompressed"),
    ("panic", "a bug in the decoder"),
];

fn explanation(kind: &str) -> &str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(kind, |(_, explanation)| explanation)
}
