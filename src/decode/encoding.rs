//! Content encodings of a copied body.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::DecodeError;

/// Windows that a zstd frame may ask for: 8 MiB, what RFC 8878 asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The body as it was before its `Content-Encoding`, which is at most `max_bytes` long.
///
/// # Errors
/// [`DecodeError`] of kind `encoding` if the encoding is not one of `identity`, `gzip`, `deflate` and `zstd` or the body
/// is not encoded so; of kind `too_long` if the result is longer.
pub fn decode_content<'a>(
    encoding: Option<&str>,
    body: &'a [u8],
    max_bytes: usize,
) -> Result<Cow<'a, [u8]>, DecodeError> {
    let encoding = encoding.map(str::trim).unwrap_or_default();
    let is = |name: &str| encoding.eq_ignore_ascii_case(name);
    // KServe's logger passes compressed bodies on without their header; nothing else that we read begins so.
    let is_bare_gzip = encoding.is_empty() && body.starts_with(&[0x1f, 0x8b]);
    if (encoding.is_empty() || is("identity")) && !is_bare_gzip {
        Ok(Cow::Borrowed(body))
    } else if is_bare_gzip || is("gzip") || is("x-gzip") {
        inflate(MultiGzDecoder::new(body), max_bytes)
    } else if is("deflate") {
        // RFC 9110 says zlib; some servers leave its two bytes out.
        let is_zlib = matches!(body, [cmf, flg, ..] if cmf & 0x0f == 8 && (u32::from(*cmf) << 8 | u32::from(*flg)) % 31 == 0);
        if is_zlib {
            inflate(ZlibDecoder::new(body), max_bytes)
        } else {
            inflate(DeflateDecoder::new(body), max_bytes)
        }
    } else if is("zstd") {
        let mut decoder = zstd::Decoder::with_buffer(body).map_err(|_| broken())?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| broken())?;
        inflate(decoder, max_bytes)
    } else {
        Err(broken())
    }
}

fn inflate(decoder: impl Read, max_bytes: usize) -> Result<Cow<'static, [u8]>, DecodeError> {
    let mut body = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut body).map_err(|_| broken())?;
    if body.len() > max_bytes {
        return Err(DecodeError::at("too_long", max_bytes));
    }
    Ok(Cow::Owned(body))
}

fn broken() -> DecodeError {
    DecodeError::at("encoding", 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = b"{\"instances\": [[1, 2]]}";

    fn encoded(encoding: &str) -> Vec<u8> {
        match encoding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap()
            }
            "zlib" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap()
            }
            "raw" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap()
            }
            _ => zstd::encode_all(TEXT, 3).unwrap(),
        }
    }

    #[test]
    fn every_encoding_gives_the_body_back() {
        for (name, how) in
            [("gzip", "gzip"), ("X-GZip", "gzip"), ("deflate", "zlib"), ("deflate", "raw"), ("zstd", "zstd")]
        {
            let body = encoded(how);
            assert_eq!(decode_content(Some(name), &body, TEXT.len()).unwrap(), TEXT, "{name} by {how}");
            let error = decode_content(Some(name), &body, TEXT.len() - 1).unwrap_err();
            assert_eq!(error.kind(), "too_long");
            let error = decode_content(Some(name), &body[..body.len() / 2], 100).unwrap_err();
            assert_eq!(error.kind(), "encoding", "{name} by {how}");
        }
        assert_eq!(decode_content(None, &encoded("gzip"), TEXT.len()).unwrap(), TEXT);
        for none in [None, Some(""), Some("identity")] {
            assert_eq!(decode_content(none, TEXT, 0).unwrap(), TEXT);
        }
    }

    #[test]
    fn what_is_not_read_is_an_error() {
        for encoding in ["br", "gzip, gzip", "?"] {
            assert_eq!(decode_content(Some(encoding), TEXT, 100).unwrap_err().kind(), "encoding");
        }
        assert_eq!(decode_content(Some("gzip"), TEXT, 100).unwrap_err().kind(), "encoding");
    }
}
