//! Protocol Buffers on the wire: fields one after another, and nothing copied.

use super::DecodeError;

/// A message, or a part of one, that stands at some offset of the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// A text, bytes, a message, or packed numbers.
    Delimited(Message<'a>),
}

impl<'a> Message<'a> {
    pub(super) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    fn error(&self) -> DecodeError {
        DecodeError::at("protobuf", self.offset)
    }

    /// Calls `each` with every field and its number.
    pub(super) fn fields(
        mut self,
        mut each: impl FnMut(u32, Field<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        while !self.bytes.is_empty() {
            let tag = self.varint()?;
            let number = u32::try_from(tag >> 3).map_err(|_| self.error())?;
            let field = match tag & 7 {
                0 => Field::Varint(self.varint()?),
                1 => Field::Fixed64(self.array()?),
                2 => {
                    let len = usize::try_from(self.varint()?).map_err(|_| self.error())?;
                    let offset = self.offset;
                    Field::Delimited(Self { bytes: self.take(len)?, offset })
                }
                5 => Field::Fixed32(self.array()?),
                _ => return Err(self.error()), // groups have been out of use since 2008
            };
            each(number, field)?;
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or_else(|| self.error())?;
        self.bytes = rest;
        self.offset += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let error = self.error();
        self.take(N)?.try_into().map_err(|_| error)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error())
    }
}

/// Numbers of a repeated field: one, or packed any many.
impl<'a> Field<'a> {
    pub(super) fn varints(self, mut each: impl FnMut(u64)) -> Result<(), DecodeError> {
        match self {
            Self::Varint(value) => each(value),
            Self::Delimited(mut packed) => {
                while !packed.bytes.is_empty() {
                    each(packed.varint()?);
                }
            }
            Self::Fixed32(_) | Self::Fixed64(_) => return Err(DecodeError::at("protobuf", 0)),
        }
        Ok(())
    }

    pub(super) fn floats(self, numbers: &mut Vec<f64>) -> Result<(), DecodeError> {
        match self {
            Self::Fixed32(cell) => numbers.push(f32::from_le_bytes(cell).into()),
            Self::Delimited(packed) => {
                let (cells, rest) = packed.bytes.as_chunks();
                numbers.extend(cells.iter().map(|cell| f64::from(f32::from_le_bytes(*cell))));
                if !rest.is_empty() {
                    return Err(packed.error());
                }
            }
            Self::Varint(_) | Self::Fixed64(_) => return Err(DecodeError::at("protobuf", 0)),
        }
        Ok(())
    }

    pub(super) fn doubles(self, numbers: &mut Vec<f64>) -> Result<(), DecodeError> {
        match self {
            Self::Fixed64(cell) => numbers.push(f64::from_le_bytes(cell)),
            Self::Delimited(packed) => {
                let (cells, rest) = packed.bytes.as_chunks();
                numbers.extend(cells.iter().map(|cell| f64::from_le_bytes(*cell)));
                if !rest.is_empty() {
                    return Err(packed.error());
                }
            }
            Self::Varint(_) | Self::Fixed32(_) => return Err(DecodeError::at("protobuf", 0)),
        }
        Ok(())
    }

    /// Whatever a varint means as a signed number: negative ones take all ten bytes.
    pub(super) fn integers(self, numbers: &mut Vec<f64>) -> Result<(), DecodeError> {
        self.varints(|value| numbers.push(value.cast_signed() as f64))
    }

    pub(super) fn message(self) -> Result<Message<'a>, DecodeError> {
        match self {
            Self::Delimited(message) => Ok(message),
            _ => Err(DecodeError::at("protobuf", 0)),
        }
    }
}
