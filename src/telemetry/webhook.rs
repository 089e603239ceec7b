//! Series of the admission webhook.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Series of the admission webhook.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    reviews: IntCounterVec,
    certificate_loads: IntCounterVec,
    /// From the first byte of a review to its answer.
    pub request_seconds: Histogram,
    /// Making the answer alone.
    pub review_seconds: Histogram,
    /// Reviews that are being read or answered.
    pub in_flight: IntGauge,
    /// Connections that ended before TLS was agreed on.
    pub handshake_errors: IntCounter,
    /// Reviews that broke off, or took too long to come.
    pub broken_off: IntCounter,
}

impl WebhookMetrics {
    /// Registers the series, `process_*` and `driftd_build_info` among them.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        super::process::register_itself(registry)?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let histogram = |name: &str, help: &str| {
            let buckets = vec![0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let in_flight = IntGauge::new("driftd_webhook_in_flight", "Reviews being read or answered.")?;
        registry.register(Box::new(in_flight.clone()))?;
        let certificate_loads = counters(
            "driftd_webhook_certificate_loads_total",
            "Certificates that were read anew: loaded, or refused with the one before left in force.",
            &["outcome"],
        )?;
        for outcome in ["loaded", "refused"] {
            certificate_loads.with_label_values(&[outcome]);
        }
        Ok(Self {
            reviews: counters(
                "driftd_webhook_reviews_total",
                "Reviews by what became of them; all are allowed.",
                &["outcome", "reason"],
            )?,
            certificate_loads,
            request_seconds: histogram(
                "driftd_webhook_request_seconds",
                "From a review's head to its answer, reading its body included.",
            )?,
            review_seconds: histogram("driftd_webhook_review_seconds", "Deciding on one review.")?,
            in_flight,
            handshake_errors: counter(
                "driftd_webhook_handshake_errors_total",
                "Connections that ended before TLS was agreed on; the API server's show in its own log.",
            )?,
            broken_off: counter(
                "driftd_webhook_broken_off_total",
                "Reviews that broke off, or took too long to come.",
            )?,
        })
    }

    /// A series that exists before its first event, which a rate would not see.
    pub fn expect(&self, labels: [&str; 2]) {
        self.reviews.with_label_values(&labels);
    }

    /// Counts a review.
    pub fn count(&self, labels: [&str; 2]) {
        self.reviews.with_label_values(&labels).inc();
    }

    /// Counts a look at a changed certificate.
    pub fn count_certificate(&self, is_loaded: bool) {
        let outcome = if is_loaded { "loaded" } else { "refused" };
        self.certificate_loads.with_label_values(&[outcome]).inc();
    }
}
