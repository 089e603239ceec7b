//! Values as they lie in memory: little-endian, row-major, without padding.

use super::Data;
use crate::decode::DecodeError;

/// Reads the values of one tensor, numbers to the end of `numbers`; `offset` is where `bytes` begin in the body.
pub(in crate::decode) fn read_raw<'a>(
    datatype: &str,
    bytes: &'a [u8],
    offset: usize,
    numbers: &mut Vec<f64>,
) -> Result<Data<'a>, DecodeError> {
    let start = numbers.len();
    let is = |name: &str| datatype.eq_ignore_ascii_case(name);
    let known = if is("BYTES") || is("STRING") {
        return texts(bytes, offset).map(Data::Texts);
    } else if is("BOOL") {
        return Ok(Data::Booleans(bytes.into()));
    } else if is("FP32") {
        cells(bytes, numbers, |cell| f32::from_le_bytes(cell).into())
    } else if is("FP64") {
        cells(bytes, numbers, f64::from_le_bytes)
    } else if is("INT64") {
        cells(bytes, numbers, |cell| i64::from_le_bytes(cell) as f64)
    } else if is("INT32") {
        cells(bytes, numbers, |cell| i32::from_le_bytes(cell).into())
    } else if is("INT16") {
        cells(bytes, numbers, |cell| i16::from_le_bytes(cell).into())
    } else if is("INT8") {
        cells(bytes, numbers, |cell| i8::from_le_bytes(cell).into())
    } else if is("UINT64") {
        cells(bytes, numbers, |cell| u64::from_le_bytes(cell) as f64)
    } else if is("UINT32") {
        cells(bytes, numbers, |cell| u32::from_le_bytes(cell).into())
    } else if is("UINT16") {
        cells(bytes, numbers, |cell| u16::from_le_bytes(cell).into())
    } else if is("UINT8") {
        cells(bytes, numbers, |cell: [u8; 1]| cell[0].into())
    } else if is("FP16") {
        cells(bytes, numbers, |cell| half(u16::from_le_bytes(cell)))
    } else if is("BF16") {
        cells(bytes, numbers, |cell| f32::from_bits(u32::from(u16::from_le_bytes(cell)) << 16).into())
    } else {
        return Err(DecodeError::at("datatype", offset));
    };
    if known { Ok(Data::Numbers(start..numbers.len())) } else { Err(DecodeError::at("binary_size", offset)) }
}

/// The type of `width` numbers, if their bits make sense in one alone: floats of everyday size (from 1e-19 to 9e18; zero, infinity and the
/// usual `NaN` too) and small whole numbers look nothing like each other.
pub(in crate::decode) fn of_bits(bytes: &[u8], width: usize) -> Option<&'static str> {
    let is_everyday = |exponent: u64, bias: u64| exponent.abs_diff(bias) < 64;
    if bytes.len() == width.checked_mul(4)? {
        let cells = || bytes.as_chunks().0.iter().map(|cell| u32::from_le_bytes(*cell));
        let is_float = |bits: u32| {
            let rest = bits << 1; // without the sign
            rest == 0 || rest == 0xff << 24 || rest == 0x1ff << 23 || is_everyday(u64::from(rest >> 24), 127)
        };
        let is_integer = |bits: u32| bits.cast_signed().unsigned_abs() < 1 << 23;
        if cells().all(is_float) { Some("FP32") } else { cells().all(is_integer).then_some("INT32") }
    } else if bytes.len() == width.checked_mul(8)? {
        let cells = || bytes.as_chunks().0.iter().map(|cell| u64::from_le_bytes(*cell));
        let is_float = |bits: u64| {
            let rest = bits << 1;
            rest == 0 || rest == 0x7ff << 53 || rest == 0xfff << 52 || is_everyday(rest >> 53, 1023)
        };
        let is_integer = |bits: u64| bits.cast_signed().unsigned_abs() < 1 << 52;
        if cells().all(is_float) { Some("FP64") } else { cells().all(is_integer).then_some("INT64") }
    } else {
        None
    }
}

/// `false` if the bytes are no whole number of cells.
fn cells<const N: usize>(bytes: &[u8], numbers: &mut Vec<f64>, number: impl Fn([u8; N]) -> f64) -> bool {
    let (cells, rest) = bytes.as_chunks::<N>();
    numbers.extend(cells.iter().map(|cell| number(*cell)));
    rest.is_empty()
}

/// IEEE 754 binary16.
pub(in crate::decode) fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// Each with its length in front, in four bytes.
fn texts(bytes: &[u8], offset: usize) -> Result<Vec<&[u8]>, DecodeError> {
    let mut texts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let text = rest
            .split_first_chunk()
            .and_then(|(len, rest)| rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?));
        let Some((text, others)) = text else {
            return Err(DecodeError::at("binary_size", offset + bytes.len() - rest.len()));
        };
        texts.push(text);
        rest = others;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(datatype: &str, bytes: &[u8], expected: &[f64]) {
        let mut numbers = vec![7.0];
        let data = read_raw(datatype, bytes, 0, &mut numbers).unwrap();
        assert!(matches!(data, Data::Numbers(range) if range == (1..1 + expected.len())));
        assert_eq!(&numbers[1..], expected, "{datatype}");
    }

    #[test]
    fn every_type_of_number_is_read() {
        check("FP32", &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80], &[1.5, -0.0]);
        check("fp64", &1.1f64.to_le_bytes(), &[1.1]);
        check("INT64", &(-3i64).to_le_bytes(), &[-3.0]);
        check("INT32", &(-70_000i32).to_le_bytes(), &[-70_000.0]);
        check("INT16", &[0xff, 0x7f], &[32_767.0]);
        check("INT8", &[0xff, 1], &[-1.0, 1.0]);
        check("UINT64", &u64::MAX.to_le_bytes(), &[18_446_744_073_709_551_615.0]);
        check("UINT32", &[1, 0, 0, 0x80], &[2_147_483_649.0]);
        check("UINT16", &[0xff, 0xff], &[65_535.0]);
        check("UINT8", &[0xff], &[255.0]);
        check("BF16", &[0xc0, 0x3f], &[1.5]);
        check("FP16", &[0x00, 0x3e, 0x01, 0x00, 0x00, 0xfc], &[1.5, 2f64.powi(-24), f64::NEG_INFINITY]);
        assert!(half(0x7e00).is_nan());
        assert!((half(0x7bff) - 65_504.0).abs() < 1e-9);
    }

    #[test]
    fn texts_have_their_lengths_in_front() {
        let bytes = [&[2, 0, 0, 0][..], b"RL", &[7, 0, 0, 0], b"CollgCr", &[0, 0, 0, 0]].concat();
        let Data::Texts(texts) = read_raw("BYTES", &bytes, 0, &mut Vec::new()).unwrap() else {
            panic!("texts")
        };
        assert_eq!(texts, [&b"RL"[..], b"CollgCr", b""]);
        for cut in [1, 3, 5, 8, 16] {
            let error = read_raw("BYTES", &bytes[..cut], 100, &mut Vec::new()).unwrap_err();
            assert_eq!((error.kind(), error.offset() >= 100), ("binary_size", true), "{cut}");
        }
    }

    #[test]
    fn bits_tell_floats_from_whole_numbers() {
        let singles =
            |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        let doubles =
            |numbers: &[f64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        let words =
            |numbers: &[i32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        let longs =
            |numbers: &[i64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        for (bytes, expected) in [
            (singles(&[0.0, -1.5, 1e6, f32::NAN, f32::NEG_INFINITY]), Some("FP32")),
            (words(&[0, -1, 31, 52_000, -4]), Some("INT32")),
            (words(&[1, 2, 3, 4, 1_065_353_216]), None),
            (doubles(&[0.0, -1.5, 1e-9, f64::NAN, f64::INFINITY]), Some("FP64")),
            (longs(&[0, -1, 31, 52_000, -4]), Some("INT64")),
            (longs(&[1, 2, 3, 4, i64::MAX]), None),
            (vec![1; 5], None),
            (vec![1; 10], None),
            (vec![1; 21], None),
        ] {
            assert_eq!(of_bits(&bytes, 5), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_whole_number_of_cells_is_an_error() {
        assert_eq!(read_raw("FP32", &[0; 7], 3, &mut Vec::new()).unwrap_err().kind(), "binary_size");
        assert_eq!(read_raw("COMPLEX64", &[0; 8], 3, &mut Vec::new()).unwrap_err().kind(), "datatype");
    }
}
