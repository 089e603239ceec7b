//! From a request line to the model and the wire format, before any byte of a body is looked at.

use http::Method;
use percent_encoding::percent_decode_str;

use super::json::{Kind, Scanner};
use super::{Body, opened, tf_grpc};

/// A wire format, as in the label `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// KServe V1 and TF Serving's REST API: `POST /v1/models/{model}[/versions/{version}]:predict`.
    V1,
    /// Open Inference Protocol V2 as JSON, and binary tensors behind it: `POST /v2/models/{model}[/versions/{version}]/infer`.
    V2,
    /// Triton's generate extension: `POST /v2/models/{model}[/versions/{version}]/generate`, `generate_stream`.
    Generate,
    /// V2 over gRPC: `inference.GRPCInferenceService/ModelInfer`, `ModelStreamInfer`.
    V2Grpc,
    /// TF Serving over gRPC: `tensorflow.serving.PredictionService/Predict`.
    TfGrpc,
    /// TF Serving's other REST routes: `POST /v1/models/{model}[/versions/{version}]:classify`, `:regress`.
    TfExamples,
    /// The same over gRPC: `tensorflow.serving.PredictionService/Classify`, `Regress`.
    TfExamplesGrpc,
    /// TorchServe: `POST /predictions/{model}[/{version}]`.
    TorchServe,
    /// `MLflow`'s scoring server: `POST /invocations`.
    Mlflow,
    /// OpenAI-style chat, completions and embeddings: `POST [/openai]/v1/…`.
    OpenAi,
    /// One row of a log, its features and its prediction each a JSON value.
    Row,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 11] = [
        Self::V1,
        Self::V2,
        Self::Generate,
        Self::V2Grpc,
        Self::TfGrpc,
        Self::TfExamples,
        Self::TfExamplesGrpc,
        Self::TorchServe,
        Self::Mlflow,
        Self::OpenAi,
        Self::Row,
    ];

    /// The label value of this format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Generate => "generate",
            Self::V2Grpc => "v2_grpc",
            Self::TfGrpc => "tf_grpc",
            Self::TfExamples => "tf_examples",
            Self::TfExamplesGrpc => "tf_examples_grpc",
            Self::TorchServe => "torchserve",
            Self::Mlflow => "mlflow",
            Self::OpenAi => "openai",
            Self::Row => "jsonl",
        }
    }
}

impl Format {
    /// The format of a request of which nothing but the body is known; `None` if it is none that we read.
    pub fn of_body(body: &Body<'_>) -> Option<Self> {
        opened(body, Self::of_opened)
    }

    fn of_opened(body: &Body<'_>) -> Option<Self> {
        if body.is_of_type("text/csv") {
            return Some(Self::Mlflow);
        }
        if body.media_type.is_some_and(|media_type| media_type.starts_with("application/grpc")) {
            return Some(if tf_grpc::names(body).is_some() { Self::TfGrpc } else { Self::V2Grpc });
        }
        let mut found = None;
        let mut scanner = Scanner::new(body.bytes);
        if scanner.kind() != Ok(Kind::Object) {
            return None;
        }
        // Cut off or not, its first keys tell.
        let _ = scanner.object(|scanner, key| {
            match &*key {
                "inputs" if is_list_of_tensors(*scanner) => found = Some(Self::V2),
                "messages" | "prompt" | "input" => found = found.or(Some(Self::OpenAi)),
                "dataframe_split" | "dataframe_records" => found = Some(Self::Mlflow),
                "examples" => found = found.or(Some(Self::TfExamples)),
                "text_input" => found = found.or(Some(Self::Generate)),
                "instances" | "inputs" => found = found.or(Some(Self::V1)),
                _ => (),
            }
            scanner.skip().map(drop)
        });
        found
    }
}

/// An array whose first value is an object that says its data type.
fn is_list_of_tensors(mut scanner: Scanner<'_>) -> bool {
    let mut is_it = false;
    let _ = scanner.expect(b'[').and_then(|()| {
        scanner.object(|scanner, key| {
            is_it |= key == "datatype";
            scanner.skip().map(drop)
        })
    });
    is_it
}

const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// An inference request that we can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its wire format.
    pub format: Format,
    /// The model's name in the path, percent-decoded; some formats have it in the body, or nowhere.
    pub model: Option<Box<str>>,
    /// The version in the path, where there is one.
    pub version: Option<Box<str>>,
}

impl Route {
    /// What an inference request asks for, or `None` for everything that we only pass on.
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        if method != Method::POST {
            return None;
        }
        let unnamed = |format| Some(Self { format, model: None, version: None });
        // KServe's prefix, and vLLM's own server, which has none.
        match path.strip_prefix("/openai").unwrap_or(path) {
            "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" => return unnamed(Format::OpenAi),
            _ => (),
        }
        match path {
            "/inference.GRPCInferenceService/ModelInfer" | MODEL_STREAM_INFER => {
                return unnamed(Format::V2Grpc);
            }
            "/tensorflow.serving.PredictionService/Predict" => return unnamed(Format::TfGrpc),
            "/tensorflow.serving.PredictionService/Classify"
            | "/tensorflow.serving.PredictionService/Regress" => return unnamed(Format::TfExamplesGrpc),
            "/invocations" => return unnamed(Format::Mlflow),
            _ => (),
        }
        if let Some(rest) = path.strip_prefix("/v2/models/") {
            let (named, verb) = rest.rsplit_once('/')?;
            let format = match verb {
                "infer" | "infer_stream" => Format::V2,
                "generate" | "generate_stream" => Format::Generate,
                _ => return None,
            };
            return Self::new(format, named, "versions/");
        }
        if let Some(rest) = path.strip_prefix("/predictions/") {
            return Self::new(Format::TorchServe, rest, "");
        }
        let rest = path.strip_prefix("/v1/models/")?;
        // Some clients write the colon as `%3A`.
        let verbs =
            [("predict", Format::V1), ("classify", Format::TfExamples), ("regress", Format::TfExamples)];
        let (named, format) =
            verbs.iter().find_map(|(verb, format)| Some((rest.strip_suffix(verb)?, *format)))?;
        let named = [":", "%3A", "%3a"].iter().find_map(|colon| named.strip_suffix(colon))?;
        match named.split_once("/labels/") {
            // What a label stands for is known to the server alone.
            Some((model, label)) if !label.contains('/') => Self::new(format, model, "versions/"),
            _ => Self::new(format, named, "versions/"),
        }
    }

    /// Whether what is asked for there is a stream, each message of which is answered by one.
    pub fn is_stream(path: &str) -> bool {
        path == MODEL_STREAM_INFER
    }

    /// `{model}` or `{model}/{before_version}{version}`.
    fn new(format: Format, named: &str, before_version: &str) -> Option<Self> {
        let (model, version) = match named.split_once('/') {
            None => (named, None),
            Some((model, rest)) => (model, Some(rest.strip_prefix(before_version)?)),
        };
        let decoded = |segment: &str| {
            let is_name = !segment.is_empty() && !segment.contains('/');
            is_name.then(|| percent_decode_str(segment).decode_utf8_lossy().into())
        };
        let version = match version {
            None => None,
            Some(version) => Some(decoded(version)?),
        };
        Some(Self { format, model: Some(decoded(model)?), version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<(Format, &str, Option<&str>)>) {
        let route = Route::of(&Method::POST, path);
        let actual = route.as_ref().map(|route| {
            (route.format, route.model.as_deref().unwrap_or_default(), route.version.as_deref())
        });
        assert_eq!(actual, expected, "{path}");
    }

    #[test]
    fn inference_requests_have_a_route() {
        check("/v1/models/credit:predict", Some((Format::V1, "credit", None)));
        check("/v1/models/credit%3Apredict", Some((Format::V1, "credit", None)));
        check("/v1/models/credit%20risk%3apredict", Some((Format::V1, "credit risk", None)));
        check("/v1/models/a:b:predict", Some((Format::V1, "a:b", None)));
        check("/v1/models/credit/versions/3:predict", Some((Format::V1, "credit", Some("3"))));
        check("/v2/models/credit/infer", Some((Format::V2, "credit", None)));
        check("/v2/models/credit/versions/3/infer", Some((Format::V2, "credit", Some("3"))));
        check("/v2/models/team%2Fcredit/infer", Some((Format::V2, "team/credit", None)));
        check("/v1/models/credit/labels/stable:predict", Some((Format::V1, "credit", None)));
        check("/v1/models/credit/versions/3:classify", Some((Format::TfExamples, "credit", Some("3"))));
        check("/v1/models/credit%3Aregress", Some((Format::TfExamples, "credit", None)));
        check("/v2/models/credit/versions/3/infer_stream", Some((Format::V2, "credit", Some("3"))));
        check("/v2/models/credit/generate", Some((Format::Generate, "credit", None)));
        check("/v2/models/credit/generate_stream", Some((Format::Generate, "credit", None)));
        check("/tensorflow.serving.PredictionService/Classify", Some((Format::TfExamplesGrpc, "", None)));
        check("/tensorflow.serving.PredictionService/Regress", Some((Format::TfExamplesGrpc, "", None)));
        check("/predictions/credit", Some((Format::TorchServe, "credit", None)));
        check("/predictions/credit/2.0", Some((Format::TorchServe, "credit", Some("2.0"))));
        check("/invocations", Some((Format::Mlflow, "", None)));
        check("/openai/v1/chat/completions", Some((Format::OpenAi, "", None)));
        check("/v1/embeddings", Some((Format::OpenAi, "", None)));
        check("/inference.GRPCInferenceService/ModelInfer", Some((Format::V2Grpc, "", None)));
        check("/inference.GRPCInferenceService/ModelStreamInfer", Some((Format::V2Grpc, "", None)));
        check("/tensorflow.serving.PredictionService/Predict", Some((Format::TfGrpc, "", None)));
    }

    #[test]
    fn a_body_tells_its_format() {
        for (body, expected) in [
            (r#"{"instances": [[1]]}"#, Some(Format::V1)),
            (r#"{"signature_name": "x", "inputs": {"a": [1]}}"#, Some(Format::V1)),
            (r#"{"inputs": [[1, 2]]}"#, Some(Format::V1)),
            (
                r#"{"id": "1", "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}"#,
                Some(Format::V2),
            ),
            (r#"{"inputs": [{"age": 1}]}"#, Some(Format::V1)),
            (r#"{"dataframe_split": {"data": []}}"#, Some(Format::Mlflow)),
            (r#"{"model": "m", "messages": []}"#, Some(Format::OpenAi)),
            (r#"{"examples": [{"age": 1}]}"#, Some(Format::TfExamples)),
            (r#"{"text_input": "Hi"}"#, Some(Format::Generate)),
            (r#"{"specversion": "1.0", "data": {"messages": []}}"#, Some(Format::OpenAi)),
            (r#"{"data": {"messages": []}}"#, None),
            (r#"{"error": "no"}"#, None),
            ("", None),
            ("[1]", None),
        ] {
            assert_eq!(Format::of_body(&Body::new(body.as_bytes())), expected, "{body}");
        }
        let of_type = |media_type| Format::of_body(&Body { media_type: Some(media_type), ..Body::new(b"") });
        assert_eq!(of_type("application/grpc+proto"), Some(Format::V2Grpc));
        assert_eq!(of_type("text/csv; charset=utf-8"), Some(Format::Mlflow));
    }

    #[test]
    fn everything_else_has_none() {
        for path in [
            "/",
            "",
            "*",
            "/metrics",
            "/v1/models",
            "/v1/models/credit",
            "/v1/models/:predict",
            "/v1/models/credit:explain",
            "/v1/models/credit/labels/stable/2:predict",
            "/inference.GRPCInferenceService/ModelReady",
            "/openai/v1/rerank",
            "/predictions",
            "/predictions/",
            "/predictions/credit/1/2",
            "/v1/models/credit/versions/:predict",
            "/v1/models/credit/versions/1/2:predict",
            "/v2/models/credit",
            "/v2/models/credit/ready",
            "/v2/models//infer",
            "/v2/models/credit/explain",
            "/v2/repository/models/credit/load",
        ] {
            check(path, None);
        }
        assert_eq!(Route::of(&Method::GET, "/v1/models/credit:predict"), None);
    }
}
