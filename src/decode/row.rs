//! One row of a log: the features by name or position, the prediction likewise or as a lone value.

use super::columns::Columns;
use super::json::Scanner;
use super::{Body, DecodeError, v1};

/// Reads either side.
pub(super) fn row(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    v1::row(&mut Scanner::new(body.bytes), columns)
}
