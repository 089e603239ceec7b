//! What KServe's logger stores in buckets: records of one request or response, alone or in batches, as JSON, CSV or Parquet.
//!
//! Keys changed their case from 0.16 to 0.17, and some versions write columns with underscores; all are read. A record tells
//! neither path nor status, and gives a response the content type of its request.

use std::borrow::Cow;

use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::pointers::{Places, Pointers};
use crate::decode::value;
use crate::drift::Timestamp;
use crate::pipeline::Service;
use crate::pipeline::event::{Data, Event, events, side};

/// Records of a Parquet file that are held at a time.
const PARQUET_ROWS: usize = 64;

/// An event and when it was, where it says.
pub(super) type Stored<'a> = (Event<'a>, Option<Timestamp>);

/// Why a file or a line is nothing of KServe's.
#[derive(Debug, thiserror::Error)]
#[error("not what KServe's logger stores: {0}")]
pub(super) struct NotStored(String);

impl NotStored {
    /// One whose reader panicked.
    pub(super) fn of_bug() -> Self {
        Self("its reader panicked, which is a bug".to_owned())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow, default, alias = "Bytes")]
    bytes: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "ContentType", alias = "content_type")]
    content_type: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "ReqType", alias = "req_type")]
    req_type: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "Id")]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "InferenceService", alias = "inference_service")]
    inference_service: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "Namespace")]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "Component")]
    component: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "OccurrenceTime", alias = "occurrence_time")]
    occurrence_time: Option<Cow<'a, str>>,
}

/// The columns of a table, in the order of [`Record::of_cells`].
const COLUMNS: [&str; 8] =
    ["bytes", "contenttype", "reqtype", "id", "inferenceservice", "namespace", "component", "occurrencetime"];

impl<'a> Record<'a> {
    fn of_cells(mut cell: impl FnMut(usize) -> Option<Cow<'a, str>>) -> Self {
        Self {
            bytes: cell(0),
            content_type: cell(1),
            req_type: cell(2),
            id: cell(3),
            inference_service: cell(4),
            namespace: cell(5),
            component: cell(6),
            occurrence_time: cell(7),
        }
    }

    fn stored(self) -> Result<Stored<'static>, NotStored> {
        let error = |what: &str| NotStored(format!("a record {what}"));
        let text = |cell: Option<Cow<'a, str>>| Box::<str>::from(cell.unwrap_or_default());
        let bytes = self.bytes.unwrap_or_default();
        let data = BASE64_STANDARD.decode(&*bytes).map_err(|_| error("whose `bytes` are not base64"))?;
        let event = Event {
            id: self.id.filter(|id| !id.is_empty()).ok_or_else(|| error("without `id`"))?.into(),
            side: self.req_type.as_deref().and_then(side).ok_or_else(|| error("without `reqType`"))?,
            service: Service { namespace: text(self.namespace), name: text(self.inference_service) },
            component: text(self.component),
            media_type: self.content_type.map(Box::from),
            data: Data::Within(Cow::Owned(data)),
        };
        // A time that was never set is Go's zero, long before 1970.
        Ok((event, self.occurrence_time.as_deref().and_then(value::rfc3339)))
    }
}

/// The records of one JSON text: one, or a batch; or one of the events that the same logger sends.
pub(super) fn of_json(text: &[u8]) -> Result<Vec<Stored<'_>>, NotStored> {
    let error = |error: serde_json::Error| NotStored(error.to_string());
    if text.trim_ascii_start().starts_with(b"[") {
        let records: Vec<&RawValue> = serde_json::from_slice(text).map_err(error)?;
        let mut stored = Vec::with_capacity(records.len());
        for record in records {
            stored.push(of_object(record.get().as_bytes())?);
        }
        return Ok(stored);
    }
    of_object(text).map(|stored| vec![stored])
}

fn of_object(text: &[u8]) -> Result<Stored<'_>, NotStored> {
    let pointers = Pointers::new([Some("/specversion"), Some("/time")]);
    let mut places = Places::default();
    pointers.find(text, &mut places).map_err(|error| NotStored(error.to_string()))?;
    if places.of(0, text).is_some() {
        let events = events(&http::HeaderMap::new(), text);
        let event = events.ok().and_then(|mut events| events.pop());
        let event = event.ok_or_else(|| NotStored("an event without `id`, `type` or `data`".to_owned()))?;
        return Ok((event, places.of(1, text).and_then(value::timestamp)));
    }
    let record: Record<'_> = serde_json::from_slice(text).map_err(|error| NotStored(error.to_string()))?;
    record.stored()
}

/// The records of a CSV file.
pub(super) fn of_csv(
    file: impl std::io::Read,
    mut each: impl FnMut(Stored<'static>),
) -> Result<(), NotStored> {
    let error = |error: csv::Error| NotStored(error.to_string());
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let headers = reader.headers().map_err(error)?.clone();
    let places = places_of(&headers.iter())?;
    for record in reader.records() {
        let record = record.map_err(error)?;
        each(Record::of_cells(|at| Some(Cow::Borrowed(record.get(places[at]?)?))).stored()?);
    }
    Ok(())
}

/// The records of a Parquet file.
pub(super) fn of_parquet(
    file: impl ChunkReader + 'static,
    mut each: impl FnMut(Stored<'static>),
) -> Result<(), NotStored> {
    let error = |error: &dyn std::error::Error| NotStored(error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|parquet| error(&parquet))?;
    let names: Vec<_> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let wanted = places_of(&names.iter().map(String::as_str))?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().flatten().copied());
    let reader = builder.with_projection(mask).with_batch_size(PARQUET_ROWS).build();
    for batch in reader.map_err(|parquet| error(&parquet))? {
        let batch = batch.map_err(|arrow| error(&arrow))?;
        let columns = columns(&batch)?;
        for row in 0..batch.num_rows() {
            let cell = |at: usize| {
                let column = columns[at].as_ref()?;
                column.is_valid(row).then(|| Cow::Borrowed(column.value(row)))
            };
            each(Record::of_cells(cell).stored()?);
        }
    }
    Ok(())
}

/// The columns of a batch as texts, in the order of [`COLUMNS`].
fn columns(batch: &RecordBatch) -> Result<[Option<StringArray>; COLUMNS.len()], NotStored> {
    let schema = batch.schema();
    let places = places_of(&schema.fields().iter().map(|field| field.name().as_str()))?;
    let mut columns = [const { None }; COLUMNS.len()];
    for (column, place) in columns.iter_mut().zip(places) {
        let Some(place) = place else { continue };
        let texts = arrow_cast::cast(batch.column(place), &DataType::Utf8)
            .map_err(|error| NotStored(error.to_string()))?;
        *column = texts.as_any().downcast_ref::<StringArray>().cloned();
    }
    Ok(columns)
}

/// Where each of [`COLUMNS`] stands among the columns of a table.
fn places_of<'a>(
    names: &(impl Iterator<Item = &'a str> + Clone),
) -> Result<[Option<usize>; COLUMNS.len()], NotStored> {
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let places = COLUMNS.map(|column| names.clone().position(|name| plain(name) == column));
    match (places[0], places[2], places[3]) {
        (Some(_), Some(_), Some(_)) => Ok(places),
        _ => Err(NotStored("its columns are not `bytes`, `reqType`, `id` and so on".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::event::Side;

    fn check(stored: &Stored<'_>, side: Side, body: &str, at: Option<u64>) {
        let (event, time) = stored;
        assert_eq!((&*event.id, event.side, &*event.component), ("0009174a", side, "predictor"));
        assert_eq!((&*event.service.namespace, &*event.service.name), ("default", "sklearn-iris"));
        assert_eq!(event.data, Data::Within(Cow::Borrowed(body.as_bytes())));
        assert_eq!(time.map(Timestamp::as_millis), at);
    }

    const REQUEST: &str = r#"{"url":{"Scheme":"s3","Host":"logs"},"bytes":"eyJpbnN0YW5jZXMiOltbMV1dfQ==","contentType":"application/json","reqType":"org.kubeflow.serving.inference.request","id":"0009174a","sourceUri":{"Scheme":"http"},"inferenceService":"sklearn-iris","namespace":"default","component":"predictor","metadata":{"X-Request-Id":["abc"]},"occurrenceTime":"2026-05-01T12:00:00.123Z"}"#;
    const OLD_RESPONSE: &str = r#"{"Url":null,"Bytes":"eyJwcmVkaWN0aW9ucyI6WzFdfQ==","ContentType":"application/json","ReqType":"org.kubeflow.serving.inference.response","Id":"0009174a","SourceUri":null,"InferenceService":"sklearn-iris","Namespace":"default","Component":"predictor","Endpoint":"","Metadata":null,"Annotations":null,"CertName":"","TlsSkipVerify":false}"#;

    #[test]
    fn records_of_every_version_are_read() {
        let batch = format!("[{REQUEST},{OLD_RESPONSE}]");
        let stored = of_json(batch.as_bytes()).unwrap();
        check(&stored[0], Side::Request, r#"{"instances":[[1]]}"#, Some(1_777_636_800_123));
        check(&stored[1], Side::Response, r#"{"predictions":[1]}"#, None);
        let event = r#"{"specversion":"1.0","id":"0009174a","type":"org.kubeflow.serving.inference.request","time":"2026-05-01T12:00:00.123Z","inferenceservicename":"sklearn-iris","namespace":"default","component":"predictor","data":{"instances":[[1]]}}"#;
        check(
            &of_json(event.as_bytes()).unwrap()[0],
            Side::Request,
            r#"{"instances":[[1]]}"#,
            Some(1_777_636_800_123),
        );
        for wrong in [r#"{"bytes":"?","id":"1","reqType":"request"}"#, r#"{"id":"1"}"#, "[1]", "{", ""] {
            assert!(of_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tables_are_read_too() {
        use std::io::{Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        let text = "url,bytes,contentType,reqType,id,sourceUri,inferenceService,namespace,component,endpoint,metadata,annotations,certName,tlsSkipVerify\n\
            s3://logs,eyJpbnN0YW5jZXMiOltbMV1dfQ==,application/json,org.kubeflow.serving.inference.request,0009174a,http://localhost:9081/,sklearn-iris,default,predictor,,\"{\"\"a\"\":[\"\"b\"\"]}\",,,false\n";
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        let mut all = Vec::new();
        of_csv(&file, |stored| all.push(stored)).unwrap();
        assert_eq!(all.len(), 1);
        check(&all[0], Side::Request, r#"{"instances":[[1]]}"#, None);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a,b\n1,2\n").unwrap();
        file.rewind().unwrap();
        assert!(of_csv(&file, |_| ()).is_err());
    }
}
