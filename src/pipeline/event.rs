//! `CloudEvents` 1.0 over HTTP as KServe's logger sends them (binary mode), and in structured mode and batches.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Service;

/// One side of an exchange, as an event tells it.
#[derive(Debug, PartialEq)]
pub(crate) struct Event<'a> {
    pub(crate) id: Box<str>,
    pub(crate) side: Side,
    pub(crate) service: Service,
    /// `predictor`, `transformer` or `explainer`; empty where the event does not say.
    pub(crate) component: Box<str>,
    /// Of `data`, where the event has its own.
    pub(crate) media_type: Option<Box<str>>,
    pub(crate) data: Data<'a>,
}

/// Where the request or response itself is.
#[derive(Debug, PartialEq)]
pub(crate) enum Data<'a> {
    /// It is the body of the message.
    Body,
    /// A part of that, or what a part of that stands for.
    Within(Cow<'a, [u8]>),
}

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// Why a message is no event of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEvent;

/// All events of one message.
pub(crate) fn events<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Vec<Event<'a>>, NoEvent> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is = |name: &str| media_type.trim_start().to_ascii_lowercase().starts_with(name);
    if is("application/cloudevents-batch+json") {
        let events: Vec<Structured<'a>> = serde_json::from_slice(body).map_err(|_| NoEvent)?;
        events.into_iter().map(Structured::event).collect()
    } else if headers.contains_key("ce-id") {
        binary(headers).map(|event| vec![event])
    } else {
        // Whatever the content type says: KServe takes any object with these keys for an event, and so do we.
        serde_json::from_slice(body).map_err(|_| NoEvent).and_then(Structured::event).map(|event| vec![event])
    }
}

fn binary<'a>(headers: &HeaderMap) -> Result<Event<'a>, NoEvent> {
    // Values may be percent-encoded, as the specification has it, or not, as KServe sends them.
    let attribute = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(Box::<str>::from(percent_decode_str(value).decode_utf8_lossy().trim()))
    };
    Ok(Event {
        id: attribute("ce-id").filter(|id| !id.is_empty()).ok_or(NoEvent)?,
        side: attribute("ce-type").and_then(|kind| side(&kind)).ok_or(NoEvent)?,
        service: Service {
            namespace: attribute("ce-namespace").unwrap_or_default(),
            name: attribute("ce-inferenceservicename").unwrap_or_default(),
        },
        component: attribute("ce-component").unwrap_or_default(),
        media_type: None,
        data: Data::Body,
    })
}

/// `org.kubeflow.serving.inference.request` and whatever else ends so.
pub(crate) fn side(kind: &str) -> Option<Side> {
    match kind.rsplit('.').next()? {
        "request" => Some(Side::Request),
        "response" => Some(Side::Response),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Structured<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
    datacontenttype: Option<Box<str>>,
    inferenceservicename: Option<Box<str>>,
    namespace: Option<Box<str>>,
    component: Option<Box<str>>,
}

impl<'a> Structured<'a> {
    fn event(self) -> Result<Event<'a>, NoEvent> {
        let data = match (self.data, self.data_base64) {
            (_, Some(encoded)) => Cow::Owned(BASE64_STANDARD.decode(encoded).map_err(|_| NoEvent)?),
            (Some(data), None) => Cow::Borrowed(data.get().as_bytes()),
            (None, None) => Cow::Borrowed(&[][..]),
        };
        Ok(Event {
            id: Some(self.id.trim()).filter(|id| !id.is_empty()).ok_or(NoEvent)?.into(),
            side: side(&self.kind).ok_or(NoEvent)?,
            service: Service {
                namespace: self.namespace.unwrap_or_default(),
                name: self.inferenceservicename.unwrap_or_default(),
            },
            component: self.component.unwrap_or_default(),
            media_type: self.datacontenttype,
            data: Data::Within(data),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        pairs.iter().map(pair).collect()
    }

    fn expected(side: Side, data: Data<'_>) -> Event<'_> {
        Event {
            id: "0009174a".into(),
            side,
            service: Service { namespace: "default".into(), name: "sklearn-iris".into() },
            component: "predictor".into(),
            media_type: None,
            data,
        }
    }

    #[test]
    fn kserves_logger_is_understood() {
        let headers = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "0009174a"),
            ("ce-type", "org.kubeflow.serving.inference.response"),
            ("ce-source", "http://localhost:9081/"),
            ("ce-inferenceservicename", "sklearn%2Diris"),
            ("ce-namespace", "default"),
            ("ce-component", "predictor"),
            ("ce-endpoint", ""),
            ("ce-metadata", r#"{"X-Request-Id":["abc"]}"#),
            ("content-type", "application/json"),
        ]);
        assert_eq!(events(&headers, b"\xff").unwrap(), [expected(Side::Response, Data::Body)]);
    }

    #[test]
    fn structured_events_and_batches_are_understood() {
        let event = r#"{"specversion":"1.0","id":"0009174a","source":"/","type":"org.kubeflow.serving.inference.request",
            "inferenceservicename":"sklearn-iris","namespace":"default","component":"predictor","data":{"instances": [[1]]}}"#;
        let data = Data::Within(Cow::Borrowed(br#"{"instances": [[1]]}"#));
        let json = headers(&[("content-type", "application/json")]);
        assert_eq!(events(&json, event.as_bytes()).unwrap(), [expected(Side::Request, data)]);
        let encoded = event.replace(
            r#""data":{"instances": [[1]]}"#,
            r#""data_base64":"AQI=","datacontenttype":"application/grpc""#,
        );
        let in_base64 = Event {
            media_type: Some("application/grpc".into()),
            ..expected(Side::Request, Data::Within(vec![1, 2].into()))
        };
        assert_eq!(events(&json, encoded.as_bytes()).unwrap(), [in_base64]);
        let batch = headers(&[("content-type", "application/cloudevents-batch+json; charset=utf-8")]);
        assert_eq!(events(&batch, format!("[{event}, {encoded}]").as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let json = headers(&[("content-type", "application/json")]);
        for body in ["", "{}", "[]", r#"{"id": "", "type": "a.request"}"#, r#"{"id": "1", "type": "a.ping"}"#]
        {
            assert_eq!(events(&json, body.as_bytes()), Err(NoEvent), "{body}");
        }
        assert_eq!(events(&headers(&[("ce-id", "1"), ("ce-type", "ping")]), b"{}"), Err(NoEvent));
        let no_base64 = br#"{"id": "1", "type": "a.request", "data_base64": "?"}"#;
        assert_eq!(events(&json, no_base64), Err(NoEvent));
    }
}
