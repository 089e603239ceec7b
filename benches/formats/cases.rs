//! One table of numbers as every format writes it, and who else reads it.

use std::collections::HashMap;
use std::hint::black_box;

use driftd::baseline::{ColumnKind, ColumnSpec, Role, Schema};
use driftd::decode::Format;
use prost::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::protobuf::{
    Dim, InferInputTensor, InferTensorContents, ModelInferRequest, ModelSpec, PredictRequest, TensorProto,
    TensorShapeProto,
};

const N_FEATURES: usize = 16;
/// 256 KiB of FP64.
const N_ROWS: usize = 2048;
/// Of an embedding; a vector is one prediction to us, its norm.
const N_DIMENSIONS: usize = 1024;

type Plain = Box<dyn Fn(&[u8])>;

pub struct Case {
    pub name: &'static str,
    pub format: Format,
    pub media_type: Option<&'static str>,
    pub is_response: bool,
    pub schema: Schema,
    pub bytes: Vec<u8>,
    pub n_values: usize,
    /// Others that read it, the fastest first.
    pub beside: Vec<(&'static str, Plain)>,
}

#[derive(Deserialize)]
struct Instances {
    instances: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Columns {
    inputs: HashMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct Tensors {
    inputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    data: Vec<f64>,
}

#[derive(Deserialize)]
struct Split {
    dataframe_split: Frame,
}

#[derive(Deserialize)]
struct Frame {
    data: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Records {
    dataframe_records: Vec<HashMap<String, f64>>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<ChatMessage>,
}

#[derive(Deserialize)]
struct ChatMessage {
    content: String,
}

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    embedding: Vec<f64>,
}

/// Numbers of full precision, the same ones every time.
fn rows() -> Vec<Vec<f64>> {
    let mut rng = fastrand::Rng::with_seed(64);
    (0..N_ROWS).map(|_| (0..N_FEATURES).map(|_| (rng.f64() - 0.5) * 1000.0).collect()).collect()
}

fn names() -> Vec<String> {
    (0..N_FEATURES).map(|at| format!("x{at:02}")).collect()
}

fn schema(columns: &[(&str, Role)]) -> Schema {
    let spec =
        |&(name, role): &(&str, Role)| ColumnSpec { name: name.into(), role, kind: ColumnKind::Number };
    Schema::new(columns.iter().map(spec))
}

/// Whatever `numbers` takes out of `T` cannot be left out by the compiler.
fn json_parsers<T: DeserializeOwned + 'static, N: 'static>(
    numbers: fn(T) -> N,
) -> Vec<(&'static str, Plain)> {
    let sonic = move |bytes: &[u8]| drop(black_box(numbers(sonic_rs::from_slice::<T>(bytes).unwrap())));
    let serde = move |bytes: &[u8]| drop(black_box(numbers(serde_json::from_slice::<T>(bytes).unwrap())));
    vec![("sonic-rs", Box::new(sonic)), ("serde_json", Box::new(serde))]
}

/// The last bytes of the body, which are the tensor, as it may lie.
fn copied<const N: usize>(of: fn([u8; N]) -> f64) -> Vec<(&'static str, Plain)> {
    let copy = move |bytes: &[u8]| {
        let cells = &bytes[bytes.len() - N * N_ROWS * N_FEATURES..];
        drop(black_box(cells.as_chunks().0.iter().map(|&cell| of(cell)).collect::<Vec<_>>()));
    };
    vec![("copied into `Vec<f64>`", Box::new(copy))]
}

fn messages<T: Message + Default + 'static>() -> Vec<(&'static str, Plain)> {
    vec![("prost", Box::new(|bytes| drop(black_box(T::decode(&bytes[5..]).unwrap()))))]
}

fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
}

fn table(name: &'static str, format: Format, bytes: Vec<u8>, beside: Vec<(&'static str, Plain)>) -> Case {
    let names = names();
    let columns: Vec<_> = names.iter().map(|name| (name.as_str(), Role::Feature)).collect();
    let n_values = N_ROWS * N_FEATURES;
    Case {
        name,
        format,
        media_type: None,
        is_response: false,
        schema: schema(&columns),
        bytes,
        n_values,
        beside,
    }
}

pub fn all() -> Vec<Case> {
    [json_cases(), binary_cases(), mlflow_cases(), openai_cases()].into_iter().flatten().collect()
}

fn json_cases() -> Vec<Case> {
    let rows = rows();
    let columns: HashMap<_, Vec<f64>> = names()
        .into_iter()
        .enumerate()
        .map(|(at, name)| (name, rows.iter().map(|row| row[at]).collect()))
        .collect();
    let tensor =
        json!({"name": "input-0", "shape": [N_ROWS, N_FEATURES], "datatype": "FP64", "data": rows.concat()});
    let text = |value: serde_json::Value| value.to_string().into_bytes();
    vec![
        table(
            "KServe V1 and TF Serving REST, rows",
            Format::V1,
            text(json!({"instances": rows})),
            json_parsers(|body: Instances| body.instances),
        ),
        table(
            "TF Serving REST, columns",
            Format::V1,
            text(json!({"inputs": columns})),
            json_parsers(|body: Columns| body.inputs),
        ),
        table(
            "V2, JSON",
            Format::V2,
            text(json!({"inputs": [tensor]})),
            json_parsers(|mut body: Tensors| body.inputs.remove(0).data),
        ),
        table("TorchServe", Format::TorchServe, text(json!(rows)), json_parsers(|rows: Vec<Vec<f64>>| rows)),
    ]
}

#[expect(clippy::cast_possible_truncation, reason = "what FP32 is")]
fn binary_cases() -> Vec<Case> {
    let numbers = rows().concat();
    let shape = [N_ROWS, N_FEATURES].map(|size| i64::try_from(size).unwrap()).to_vec();
    let doubles: Vec<u8> = numbers.iter().copied().flat_map(f64::to_le_bytes).collect();
    let singles =
        |of: fn(f64) -> f32| numbers.iter().flat_map(|&number| of(number).to_le_bytes()).collect::<Vec<u8>>();
    let (full, cents) =
        (singles(|number| number as f32), singles(|number| ((number * 100.0).round() / 100.0) as f32));
    let v2 = |datatype: &str, cells: &[u8]| {
        let parameters = json!({"binary_data_size": cells.len()});
        let tensor =
            json!({"name": "input-0", "shape": shape, "datatype": datatype, "parameters": parameters});
        [json!({"inputs": [tensor]}).to_string().as_bytes(), cells].concat()
    };
    let infer = |contents: Option<InferTensorContents>, raw: Vec<Vec<u8>>| {
        let (name, datatype) = ("input-0".to_owned(), "FP64".to_owned());
        let inputs = vec![InferInputTensor { name, datatype, shape: shape.clone(), contents }];
        framed(&ModelInferRequest { model_name: "m".to_owned(), inputs, raw_input_contents: raw })
    };
    let predict = |tensor_content: Vec<u8>, double_val: Vec<f64>| {
        let dim = shape.iter().map(|&size| Dim { size }).collect();
        let tensor = TensorProto {
            dtype: 2,
            tensor_shape: Some(TensorShapeProto { dim }),
            tensor_content,
            double_val,
        };
        let model_spec = Some(ModelSpec { name: "m".to_owned() });
        framed(&PredictRequest { model_spec, inputs: HashMap::from([("x".to_owned(), tensor)]) })
    };
    let typed = InferTensorContents { fp64_contents: numbers.clone(), fp32_contents: Vec::new() };
    let single = |cell| f64::from(f32::from_le_bytes(cell));
    vec![
        table("V2, binary FP64", Format::V2, v2("FP64", &doubles), copied(f64::from_le_bytes)),
        table("V2, binary FP32", Format::V2, v2("FP32", &full), copied(single)),
        table("V2, binary FP32 of two decimals", Format::V2, v2("FP32", &cents), copied(single)),
        table(
            "V2 gRPC, typed FP64",
            Format::V2Grpc,
            infer(Some(typed), Vec::new()),
            messages::<ModelInferRequest>(),
        ),
        table(
            "V2 gRPC, raw FP64",
            Format::V2Grpc,
            infer(None, vec![doubles.clone()]),
            [messages::<ModelInferRequest>(), copied(f64::from_le_bytes)].into_iter().flatten().collect(),
        ),
        table(
            "TF Serving gRPC, typed",
            Format::TfGrpc,
            predict(Vec::new(), numbers.clone()),
            messages::<PredictRequest>(),
        ),
        table(
            "TF Serving gRPC, content",
            Format::TfGrpc,
            predict(doubles, Vec::new()),
            messages::<PredictRequest>(),
        ),
    ]
}

fn mlflow_cases() -> Vec<Case> {
    let (rows, names) = (rows(), names());
    let record = |row: &Vec<f64>| names.iter().cloned().zip(row.iter().copied()).collect::<HashMap<_, _>>();
    let records: Vec<_> = rows.iter().map(record).collect();
    let line = |row: &Vec<f64>| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let lines: Vec<_> = std::iter::once(names.join(",")).chain(rows.iter().map(line)).collect();
    let read_csv = |bytes: &[u8]| {
        let mut numbers = Vec::new();
        for row in csv::Reader::from_reader(bytes).byte_records() {
            numbers.extend(row.unwrap().iter().map(|cell| fast_float2::parse::<f64, _>(cell).unwrap()));
        }
        drop(black_box(numbers));
    };
    let split = json!({"dataframe_split": {"columns": names, "data": rows}});
    let by_csv = table(
        "MLflow, CSV",
        Format::Mlflow,
        (lines.join("\n") + "\n").into_bytes(),
        vec![("csv and fast-float2", Box::new(read_csv))],
    );
    vec![
        table(
            "MLflow, split",
            Format::Mlflow,
            split.to_string().into_bytes(),
            json_parsers(|body: Split| body.dataframe_split.data),
        ),
        table(
            "MLflow, records",
            Format::Mlflow,
            json!({"dataframe_records": records}).to_string().into_bytes(),
            json_parsers(|body: Records| body.dataframe_records),
        ),
        Case { media_type: Some("text/csv"), ..by_csv },
    ]
}

/// A long conversation, of which one number is counted: how many characters it has. And embeddings, of whose numbers the
/// norm is.
fn openai_cases() -> Vec<Case> {
    let sentence = "The quick brown fox jumps over the lazy dog, and says \"why not?\" – every day.\n";
    let turn = |at: usize| json!({"role": (["user", "assistant"][at % 2]), "content": sentence.repeat(4)});
    let chat = json!({"model": "m", "messages": (0..512).map(turn).collect::<Vec<_>>()});
    let numbers = rows().concat();
    let vector = |numbers: &[f64]| json!({"object": "embedding", "index": 0, "embedding": numbers});
    let vectors: Vec<_> = numbers.chunks(N_DIMENSIONS).map(vector).collect();
    let answer = json!({"object": "list", "model": "m", "data": vectors});
    vec![
        Case {
            name: "OpenAI chat, a request (one number a message)",
            format: Format::OpenAi,
            media_type: None,
            is_response: false,
            schema: schema(&[("prompt_characters", Role::Feature)]),
            bytes: chat.to_string().into_bytes(),
            n_values: 512,
            beside: json_parsers(|chat: Chat| {
                chat.messages.iter().map(|message| message.content.chars().count()).sum::<usize>()
            }),
        },
        Case {
            name: "OpenAI embeddings, a response",
            format: Format::OpenAi,
            media_type: None,
            is_response: true,
            schema: schema(&[("embedding_norm", Role::Prediction)]),
            bytes: answer.to_string().into_bytes(),
            n_values: numbers.len(),
            beside: json_parsers(|answer: Embeddings| {
                answer.data.into_iter().map(|each| each.embedding).collect::<Vec<_>>()
            }),
        },
    ]
}
