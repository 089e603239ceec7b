//! A line of JSON as an exchange: where its parts stand is for the configuration to say.

use std::borrow::Cow;

use http::Method;

use crate::config::{Fields, Named};
use crate::decode::pointers::{Places, Pointers};
use crate::decode::{BodyHeaders, Format, Route, value};
use crate::drift::Timestamp;
use crate::pipeline::{Message, Part, Service};
use crate::telemetry::Outcome;

/// Places of the pointers.
#[derive(Clone, Copy)]
enum At {
    Model,
    Version,
    Namespace,
    Service,
    Request,
    Response,
    Timestamp,
    Path,
    Status,
    Id,
}

/// Reads lines of one source.
#[derive(Debug)]
pub(super) struct LineReader {
    fields: Fields,
    pointers: Pointers,
    places: Places,
    /// Where lines are single rows.
    row: Option<Route>,
}

/// What a line says.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) at: Option<Timestamp>,
    pub(super) service: Option<Service>,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) version: Option<Cow<'a, str>>,
    pub(super) route: Option<Route>,
    pub(super) request: Option<Cow<'a, [u8]>>,
    pub(super) response: Option<Cow<'a, [u8]>>,
    pub(super) id: Option<Cow<'a, str>>,
}

impl LineReader {
    pub(super) fn new(fields: &Fields) -> Self {
        let is_rows = fields.features.is_some() || fields.prediction.is_some();
        let pointers = Pointers::new([
            fields.model.pointer(),
            fields.version.pointer(),
            fields.namespace.pointer(),
            fields.inferenceservice.pointer(),
            fields.features.as_deref().or(fields.request.as_deref()),
            fields.prediction.as_deref().or(fields.response.as_deref()),
            fields.timestamp.as_deref(),
            fields.path.as_deref(),
            fields.status.as_deref(),
            fields.id.as_deref(),
        ]);
        Self {
            fields: fields.clone(),
            pointers,
            places: Places::default(),
            row: is_rows.then_some(Route { format: Format::Row, model: None, version: None }),
        }
    }

    /// When a line was, if it says so.
    pub(super) fn time_of(&mut self, line: &[u8]) -> Option<Timestamp> {
        self.pointers.find(line, &mut self.places).ok()?;
        self.places.of(At::Timestamp as usize, line).and_then(value::timestamp)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What it counts as if there is nothing in it to count.
    pub(super) fn read<'a>(&'a mut self, line: &'a [u8]) -> Result<Line<'a>, Outcome> {
        self.pointers.find(line, &mut self.places).map_err(|_| Outcome::Unrecognised)?;
        let this = &*self;
        let raw = |at: At| this.places.of(at as usize, line);
        let text = |at: At| raw(at).and_then(value::text);
        if text(At::Status).is_some_and(|status| status != "200") {
            return Err(Outcome::NotOk);
        }
        let named = |named: &'a Named, at: At| match named {
            Named::Untold => None,
            Named::Always(name) => Some(Cow::Borrowed(name.as_str())),
            Named::At(_) => text(at),
        };
        let (namespace, service) =
            (named(&this.fields.namespace, At::Namespace), named(&this.fields.inferenceservice, At::Service));
        let model = named(&this.fields.model, At::Model);
        // A namespace alone tells services apart that are named as their models.
        let service = service.or_else(|| namespace.as_ref().and(model.clone()));
        let service = service
            .map(|name| Service { namespace: namespace.unwrap_or_default().into(), name: name.into() });
        let route = match (&this.row, text(At::Path)) {
            (Some(row), _) => Some(row.clone()),
            (None, Some(path)) => {
                let path = path.split('?').next().unwrap_or_default();
                Some(Route::of(&Method::POST, path).ok_or(Outcome::Unrecognised)?)
            }
            (None, None) => None,
        };
        let body = |at: At| {
            let raw = raw(at)?;
            Some(if this.row.is_some() { Cow::Borrowed(raw) } else { value::body(raw) })
                .filter(|body| !body.is_empty())
        };
        let (request, response) = (body(At::Request), body(At::Response));
        if request.is_none() && response.is_none() {
            return Err(Outcome::Unrecognised);
        }
        Ok(Line {
            at: raw(At::Timestamp).and_then(value::timestamp),
            service,
            model,
            version: named(&this.fields.version, At::Version),
            route,
            request,
            response,
            id: text(At::Id),
        })
    }
}

impl Line<'_> {
    /// As decoders see it: bodies whose `headers` are the same for all, as a log tells of none.
    pub(super) fn as_message<'a>(&'a self, headers: &'a BodyHeaders) -> Message<'a> {
        let part = |bytes: &'a Option<Cow<'_, [u8]>>| bytes.as_deref().map(|bytes| Part { bytes, headers });
        Message {
            route: self.route.as_ref(),
            service: self.service.as_ref(),
            model: self.model.as_deref(),
            version: self.version.as_deref(),
            request: part(&self.request),
            response: part(&self.response),
        }
    }
}
