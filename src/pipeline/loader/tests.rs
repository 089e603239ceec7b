#![expect(clippy::float_cmp, reason = "counts in an exposition are whole numbers")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use prometheus::Registry;
use tempfile::TempDir;

use super::*;
use crate::pipeline::models::{Asked, Found};
use crate::pipeline::{Origin, Service};

/// A baseline of one feature that is 0 in `n_rows` rows.
fn baseline(model: &str, version: &str, n_rows: u64) -> String {
    let x = format!(
        r#"{{"name": "x", "role": "feature", "kind": "numeric", "rows": {n_rows}, "missing": 0, "other": 0,
             "edges": [1.0], "group_starts": [0, 1], "counts": [{n_rows}, 0], "min": 0, "max": 0, "mean": 0, "std": 0}}"#
    );
    format!(
        r#"{{"format": "driftd.baseline/v1", "model": "{model}", "version": "{version}", "rows": {n_rows}, "features": [{x}]}}"#
    )
}

/// A loader whose looks are taken by hand, a second apart.
struct Looks {
    loader: Loader,
    catalog: watch::Receiver<Arc<Catalog>>,
    registry: Registry,
    now: Instant,
}

impl Looks {
    fn at(models: Vec<ModelConfig>, models_dir: Option<&Path>, max_models: usize) -> Self {
        let registry = Registry::new();
        let process = ProcessMetrics::register(&registry).unwrap();
        let interval = Duration::from_secs(1);
        let models_dir = models_dir.map(Path::to_owned);
        let loader = Loader::new(
            LoaderConfig { models, models_dir, max_models, interval, learner: None, kept_in: None },
            process,
        );
        Self { catalog: loader.catalog(), loader, registry, now: Instant::now() }
    }

    fn look(&mut self) {
        self.now += Duration::from_secs(1);
        self.loader.round(self.now, false);
    }

    /// Name, version and rows of the baseline of every model, `-` for one that is not there.
    fn models(&self) -> Vec<String> {
        let catalog = self.catalog.borrow();
        let describe = |idx| match catalog.models.get(idx) {
            Some(model) => format!("{} {} {}", model.name, model.version, model.baseline.rows()),
            None => "-".to_owned(),
        };
        (0..catalog.models.len()).map(describe).collect()
    }

    fn problems(&self) -> Vec<BaselineProblem> {
        self.catalog.borrow().problems.clone()
    }

    fn n_failed(&self, reason: &str) -> f64 {
        let families = self.registry.gather();
        let errors = families.iter().find(|family| family.name() == "driftd_baseline_errors_total").unwrap();
        let of_reason = |metric: &&prometheus::proto::Metric| metric.get_label()[0].value() == reason;
        errors.get_metric().iter().find(of_reason).unwrap().get_counter().get_value()
    }
}

#[test]
fn a_baseline_that_changes_is_another_model_and_a_broken_one_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.json");
    fs::write(&file, baseline("a", "1", 10)).unwrap();
    let mut looks = Looks::at(vec![ModelConfig::new(&file)], None, 10);
    assert_eq!(looks.models(), ["a 1 10"]);
    let first = Arc::clone(looks.catalog.borrow().models.get(0).unwrap());

    fs::write(&file, baseline("a", "1", 10)).unwrap();
    looks.look();
    assert!(Arc::ptr_eq(&first, looks.catalog.borrow().models.get(0).unwrap()), "touched, but the same");
    fs::write(&file, baseline("a", "2", 20)).unwrap();
    looks.look();
    assert_eq!(looks.models(), ["a 2 20"]);

    fs::write(&file, "half of it").unwrap();
    looks.look();
    assert_eq!(looks.models(), ["a 2 20"]);
    let [problem] = &*looks.problems() else { panic!("one problem") };
    assert!(
        problem.watched
            && problem.path.ends_with("a.json")
            && problem.error.contains("driftd baseline build")
    );
    assert_eq!(looks.n_failed("json"), 1.0);
    fs::remove_file(&file).unwrap();
    looks.look();
    assert_eq!(
        looks.models(),
        ["a 2 20"],
        "that a configured file is not there is no decision to watch no more"
    );
    assert_eq!(looks.n_failed("io"), 1.0);

    fs::write(&file, baseline("a", "3", 30)).unwrap();
    looks.look();
    assert_eq!((looks.models(), looks.problems()), (vec!["a 3 30".to_owned()], vec![]));
}

#[test]
fn what_keeps_failing_is_tried_ever_more_seldom_until_something_is_there() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.json");
    let mut looks = Looks::at(vec![ModelConfig::new(&file)], None, 10);
    let mut attempts = Vec::new();
    for second in 1..=200 {
        let before = looks.n_failed("io");
        looks.look();
        if looks.n_failed("io") > before {
            attempts.push(second);
        }
    }
    assert_eq!(attempts, [1, 3, 7, 15, 31, 63, 113, 163]);
    fs::write(&file, baseline("a", "1", 10)).unwrap();
    looks.look();
    assert_eq!(looks.models(), ["a 1 10"], "at once");
}

/// As kubelet writes a `ConfigMap`: `..data` is a link to a folder, and is swapped.
#[test]
fn a_config_map_is_one_swap_of_a_link() {
    let folder = TempDir::new().unwrap();
    let at = |path: &str| folder.path().join(path);
    let publish = |name: &str, files: &[(&str, String)]| {
        fs::create_dir(at(name)).unwrap();
        for (file, text) in files {
            fs::write(at(name).join(file), text).unwrap();
        }
        symlink(name, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    publish("..1", &[("a.json", baseline("a", "1", 10)), ("b.json", baseline("b", "1", 10))]);
    for file in ["a.json", "b.json"] {
        symlink(Path::new("..data").join(file), at(file)).unwrap();
    }
    let mut looks = Looks::at(Vec::new(), Some(folder.path()), 10);
    assert_eq!(looks.models(), ["a 1 10", "b 1 10"]);
    publish("..2", &[("a.json", baseline("a", "2", 20)), ("c.json", baseline("c", "1", 10))]);
    symlink("..data/c.json", at("c.json")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    looks.look();
    assert_eq!(
        looks.models(),
        ["a 2 20", "c 1 10"],
        "b leads nowhere, kubelet takes its link away in a moment"
    );
    assert_eq!(looks.problems(), []);
}

#[test]
fn a_folder_is_a_namespace_and_gone_is_gone() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("prod")).unwrap();
    let file = folder.path().join("prod/credit.json");
    fs::write(&file, baseline("", "", 10).replace(r#""model": "", "version": "", "#, "")).unwrap();
    fs::write(folder.path().join("broken.json"), "{").unwrap();
    let mut looks = Looks::at(Vec::new(), Some(folder.path()), 10);
    assert_eq!(looks.models(), ["-", "credit  10"], "named as its file, where the baseline has no name");
    let found = |namespace: &str, name: &str| {
        let service = Service { namespace: namespace.into(), name: name.into() };
        let catalog = Arc::clone(&looks.catalog.borrow());
        match catalog.models.find(Asked { service: Some(&service), ..Asked::default() }) {
            Found::Model(idx, _) => Some(idx),
            Found::NoBaseline => Some(99),
            Found::Unknown => None,
        }
    };
    assert_eq!(
        [found("prod", "credit"), found("test", "credit"), found("any", "broken")],
        [Some(1), None, Some(99)]
    );

    fs::rename(folder.path(), folder.path().with_extension("away")).unwrap();
    looks.look();
    assert_eq!(looks.models().len(), 2, "a folder that cannot be read says nothing of its files");
    assert!(looks.problems().iter().any(|problem| problem.path == folder.path().display().to_string()));
    fs::rename(folder.path().with_extension("away"), folder.path()).unwrap();
    fs::remove_file(&file).unwrap();
    looks.look();
    assert_eq!(looks.models(), ["-"]);
}

#[test]
fn there_are_as_many_models_as_may_be_and_none_is_there_twice() {
    let folder = TempDir::new().unwrap();
    for name in ["a", "b", "c", "d"] {
        fs::write(folder.path().join(format!("{name}.json")), baseline("same", name, 10)).unwrap();
    }
    fs::copy(folder.path().join("a.json"), folder.path().join("b.json")).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let configured = elsewhere.path().join("z.json");
    fs::write(&configured, baseline("z", "1", 10)).unwrap();
    let looks = Looks::at(vec![ModelConfig::new(&configured)], Some(folder.path()), 4);
    assert_eq!(looks.models(), ["z 1 10", "same a 10", "same c 10"]);
    let problems = looks.problems();
    let told = |part: &str| problems.iter().filter(|problem| problem.error.contains(part)).count();
    assert_eq!((problems.len(), told("raise `max_models`"), told("has another baseline already")), (2, 1, 1));
    assert_eq!((looks.n_failed("too_many"), looks.n_failed("twice")), (1.0, 1.0));
}

#[test]
fn a_version_borrows_until_it_has_its_own() {
    let folder = TempDir::new().unwrap();
    let stable = folder.path().join("stable.json");
    fs::write(&stable, baseline("a", "1", 10)).unwrap();
    let beside = ModelConfig::beside(&folder.path().join("v2").display().to_string());
    let borrowed =
        crate::config::BaselinePlace { is_borrowed: true, ..ModelConfig::new(&stable).places.remove(0) };
    let places = beside.places.iter().cloned().chain([borrowed]).collect();
    let mut looks =
        Looks::at(vec![ModelConfig { version: Some("2".to_owned()), places, ..beside }], None, 10);
    let origin = |looks: &Looks| looks.catalog.borrow().models.get(0).unwrap().origin;
    assert_eq!((looks.models(), looks.problems()), (vec!["a 2 10".to_owned()], vec![]));
    assert_eq!(origin(&looks), Origin::Borrowed);

    let own = folder.path().join("v2/driftd-baseline.json");
    fs::create_dir(own.parent().unwrap()).unwrap();
    fs::write(&own, "{").unwrap();
    looks.look();
    assert_eq!((looks.models(), origin(&looks)), (vec!["a 2 10".to_owned()], Origin::Borrowed));
    assert!(looks.problems()[0].watched, "broken, and borrowed on");
    fs::write(&own, baseline("a", "1", 20)).unwrap();
    looks.look();
    assert_eq!((looks.models(), looks.problems()), (vec!["a 2 20".to_owned()], vec![]));
    assert_eq!(origin(&looks), Origin::Own);
    fs::remove_file(&own).unwrap();
    looks.look();
    assert_eq!((looks.models(), origin(&looks)), (vec!["a 2 10".to_owned()], Origin::Borrowed));
}
