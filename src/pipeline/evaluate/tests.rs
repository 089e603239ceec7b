#![expect(clippy::float_cmp, reason = "counts in an exposition are whole numbers")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use prometheus::Registry;
use serde_json::json;
use tokio::sync::mpsc;

use super::super::models::Slot;
use super::super::{Exchange, Intake, MirroredBody, Model, Origin, Shard};
use super::*;
use crate::baseline::Baseline;
use crate::config::{EvaluationConfig, Identity, ModelConfig};
use crate::decode::{BodyHeaders, Format, Route};
use crate::telemetry::ModelMetrics;

/// A model of one feature, whose bins are as many as its version says.
fn slot(name: &str, version: usize) -> Slot {
    let n_bins = version % 7 + 2;
    let counts = vec![10; n_bins];
    let edges: Vec<_> = (1..n_bins).collect();
    let rows = 10 * n_bins;
    let x = json!({"name": "x", "role": "feature", "kind": "numeric", "rows": rows, "missing": 0, "other": 0, "edges": edges,
                   "group_starts": (0..n_bins).collect::<Vec<_>>(), "counts": counts, "min": 0, "max": n_bins, "mean": 1, "std": 1});
    let file = json!({"format": "driftd.baseline/v1", "model": name, "version": version.to_string(), "rows": rows, "features": [x]});
    let baseline = Baseline::from_json(file.to_string().as_bytes()).unwrap();
    let config = Arc::new(ModelConfig::new("nowhere.json"));
    Slot { model: Some(Arc::new(Model::new(&config, baseline, Origin::Own))), config }
}

fn catalog(slots: Vec<Slot>) -> Arc<Catalog> {
    Arc::new(Catalog { models: Arc::new(Models::new(slots)), ..Catalog::default() })
}

fn exchange(budget: &MirrorBudget, model: &str, rows: &[f64]) -> Exchange {
    let body = |text: String| {
        let mut body = MirroredBody::new(budget.clone(), BodyHeaders::of(&HeaderMap::new()));
        body.push(text.as_bytes()).unwrap();
        body
    };
    let rows: Vec<_> = rows.iter().map(|x| [x]).collect();
    Exchange {
        route: Some(Route { format: Format::V1, model: Some(model.into()), version: None }),
        service: None,
        request: body(json!({"instances": rows}).to_string()),
        response: body(json!({"predictions": rows}).to_string()),
    }
}

struct Bench {
    registry: Registry,
    evaluator: Evaluator,
    catalog: watch::Sender<Arc<Catalog>>,
    intake: Intake,
    budget: MirrorBudget,
    shards: Vec<std::thread::JoinHandle<()>>,
}

impl Bench {
    fn start(first: Arc<Catalog>, n_shards: usize, max_series: usize) -> Self {
        let registry = Registry::new();
        let (queues, shards): (Vec<_>, Vec<_>) = (0..n_shards)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(64);
                (sender, Shard::new(receiver, 1 << 20, None))
            })
            .unzip();
        let context = Context {
            evaluation: EvaluationConfig::default(),
            identity: Identity::default(),
            metrics: ModelMetrics::register(&registry).unwrap(),
            series_left: max_series,
        };
        let process = ProcessMetrics::register(&registry).unwrap();
        let (catalog, receiver) = watch::channel(first);
        let handles = shards.iter().map(Shard::handle).collect();
        let (publish, _) = watch::channel(Arc::default());
        let evaluator = Evaluator::new(receiver, handles, context, process, Vec::new(), publish);
        let shards = shards.into_iter().map(|shard| std::thread::spawn(move || shard.run())).collect();
        let budget = MirrorBudget::new(64 << 20, 1 << 20);
        Self { registry, evaluator, catalog, intake: Intake::new(queues), budget, shards }
    }

    /// Ends the shards once they have counted everything.
    fn finish(&mut self) {
        self.intake = Intake::new([]);
        self.shards.drain(..).for_each(|shard| shard.join().unwrap());
    }

    /// Every series of a family by the values of some of its labels.
    fn series(&self, family: &str, labels: &[&str]) -> BTreeMap<Vec<String>, f64> {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|found| found.name() == family);
        let value = |metric: &prometheus::proto::Metric| {
            let of = |name: &&str| {
                let label = metric.get_label().iter().find(|label| label.name() == *name);
                label.map(|label| label.value().to_owned()).unwrap_or_default()
            };
            let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
            (labels.iter().map(of).collect(), value)
        };
        metrics.flat_map(prometheus::proto::MetricFamily::get_metric).map(value).collect()
    }
}

/// Two shards count as fast as they can while the baseline is replaced at every look: every row is counted once, over the bins of one
/// baseline, and what is watched no more leaves nothing behind.
#[test]
fn a_baseline_that_is_replaced_under_traffic_loses_no_row_and_mixes_no_bins() {
    const N_EXCHANGES: u64 = 20_000;
    let mut bench = Bench::start(catalog(vec![slot("m", 0)]), 2, 1000);
    let is_over = Arc::new(AtomicBool::new(false));
    let (intake, budget, over) = (bench.intake.clone(), bench.budget.clone(), Arc::clone(&is_over));
    let traffic = std::thread::spawn(move || {
        for at in 0..N_EXCHANGES {
            let rows = [(at % 11) as f64, 1.0, 100.0];
            while intake.offer(exchange(&budget, "m", &rows)).is_err() {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    let (mut rows, mut bins): (BTreeMap<String, f64>, BTreeMap<String, f64>) = Default::default();
    let mut version = 0;
    let mut look = |bench: &mut Bench| {
        bench.evaluator.tick();
        let mut of_look: BTreeMap<String, f64> = BTreeMap::new();
        for (key, n) in bench.series("driftd_bin_observations_total", &["version", "bin"]) {
            *of_look.entry(key[0].clone()).or_default() += n;
        }
        bins.extend(of_look);
        let counted = bench.series("driftd_rows_total", &["version", "role"]);
        rows.extend(
            counted.into_iter().filter(|(key, _)| key[1] == "feature").map(|(key, n)| (key[0].clone(), n)),
        );
        assert_eq!(rows, bins, "rows and the sum over their bins, by version");
        let in_sight = bench.series("driftd_baseline_info", &["version"]).len();
        assert!(in_sight <= 2, "the present one and the last: {in_sight}");
    };
    while !is_over.load(Ordering::SeqCst) {
        version += 1;
        bench.catalog.send_replace(catalog(vec![slot("m", version)]));
        look(&mut bench);
    }
    traffic.join().unwrap();
    bench.finish();
    look(&mut bench);
    assert_eq!(rows.values().sum::<f64>(), 3.0 * N_EXCHANGES as f64);
    let n_with_rows = rows.values().filter(|n| **n > 0.0).count();
    assert!(n_with_rows > 3, "only {n_with_rows} of {version} baselines had traffic: nothing was tried");

    bench.catalog.send_replace(catalog(Vec::new()));
    bench.evaluator.tick();
    bench.evaluator.tick();
    for family in bench.registry.gather() {
        let of_models = family
            .get_metric()
            .iter()
            .filter(|metric| metric.get_label().iter().any(|label| label.name() == "inferenceservice"));
        assert_eq!(of_models.count(), 0, "series of {} are left", family.name());
    }
}

#[test]
fn counters_of_the_same_bins_count_on_and_the_budget_of_series_is_given_back() {
    let baseline = |version: &str, n_bins: usize| {
        let slot = slot("m", n_bins);
        let config = ModelConfig { version: Some(version.to_owned()), ..ModelConfig::new("nowhere.json") };
        let baseline = slot.model.unwrap().baseline.clone();
        let model = Model::new(&config, baseline, Origin::Own);
        Slot { config: Arc::new(config), model: Some(Arc::new(model)) }
    };
    // Enough for one model.
    let n_series = crate::telemetry::ModelSeries::n_series(5, 3);
    let mut bench = Bench::start(catalog(vec![baseline("1", 3)]), 1, n_series);
    let mut seen = 0.0;
    let mut see = |bench: &mut Bench, n_bins: usize| {
        bench.intake.offer(exchange(&bench.budget, "m", &[0.5; 10])).unwrap();
        seen += 10.0;
        // The shard counts when it wakes.
        for _ in 0..3000 {
            bench.evaluator.tick();
            if bench.series("driftd_rows_total", &["role"])[&vec!["feature".to_owned()]] >= seen {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let bins = bench.series("driftd_bin_observations_total", &["bin"]);
        assert_eq!(bins.len(), n_bins + 2, "{bins:?}");
        bins[&vec!["00".to_owned()]]
    };
    assert_eq!(see(&mut bench, 5), 10.0);
    bench.catalog.send_replace(catalog(vec![baseline("1", 3)]));
    bench.evaluator.tick();
    assert_eq!(see(&mut bench, 5), 20.0, "the same bins");
    bench.catalog.send_replace(catalog(vec![baseline("1", 1)]));
    bench.evaluator.tick();
    bench.evaluator.tick();
    assert_eq!(see(&mut bench, 3), 10.0, "other bins begin at 0");
    assert_eq!(bench.series("driftd_metrics_series_cut_total", &["x"]).values().sum::<f64>(), 0.0);
    bench.finish();
}
