#!/usr/bin/env python3
"""Writes the dashboards beside it: `dashboards/generate.py`, or into another FOLDER. Needs nothing but Python.

The files are what people import, and in Git; a test holds them to this program, and runs every query and variable in them against a
real Prometheus. What is said once here (who a model is, how a table is sorted, how a quantile is taken) is in them dozens of times.
"""

import json
import pathlib
import sys

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Of every series of a model.
MODEL = 'namespace=~"$namespace",inferenceservice=~"$inferenceservice",model=~"$model",version=~"$version"'
PROCESS = 'job=~"$job",instance=~"$instance"'
WIDTH = 24


def target(expr, legend="", table=False):
    return {"expr": expr, "legendFormat": legend or "__auto"} | (
        {"format": "table", "instant": True, "range": False} if table else {"range": True, "instant": False}
    )


def panel(kind, title, description, targets, unit="none", w=12, h=8, options=None, custom=None, **more):
    for ref, one in zip("ABCDEF", targets):
        one |= {"refId": ref, "datasource": DATA_SOURCE, "editorMode": "code"}
    defaults = {"unit": unit} | more.pop("defaults", {}) | ({"custom": custom} if custom else {})
    return {
        "type": kind, "title": title, "description": description, "datasource": DATA_SOURCE,
        "gridPos": {"w": w, "h": h, "x": 0, "y": 0}, "targets": targets, "options": options or {},
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
    } | more


def lines(title, description, *targets, unit="none", **more):
    """Over time."""
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    custom = {"lineWidth": 1, "fillOpacity": more.pop("fill", 0), "showPoints": "never", "spanNulls": False}
    return panel("timeseries", title, description, list(targets), unit, options=options, custom=custom, **more)


def number(title, description, expr, unit="none", steps=None, **more):
    """One figure, of now."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value" if steps else "none", "graphMode": "area", "justifyMode": "auto", "textMode": "auto", "orientation": "auto",
        "wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard",
    }
    thresholds = [{"color": "green", "value": None}] + [{"color": color, "value": at} for color, at in steps or []]
    defaults = {"thresholds": {"mode": "absolute", "steps": thresholds}}
    return panel("stat", title, description, [target(expr)], unit, more.pop("w", 4), more.pop("h", 4), options, defaults=defaults, **more)


def table(title, description, columns, sort, unit="none", hide=(), links=(), **more):
    """Rows of now: `columns` are names and expressions, joined by the labels that they share; sorted by the column `sort`."""
    targets = [target(expr, table=True) for _, expr in columns]
    values = {f"Value #{ref}" if len(columns) > 1 else "Value": name for ref, (name, _) in zip("ABCDEF", columns)}
    options = {"showHeader": True, "cellHeight": "sm", "frameIndex": 0, "sortBy": [{"displayName": sort, "desc": True}]}
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {name: True for name in ("Time", *hide)}, "indexByName": {}, "renameByName": values}},
    ]
    overrides = [
        {"matcher": {"id": "byName", "options": column}, "properties": [{"id": "links", "value": [{"title": "More", "url": url, "targetBlank": False}]}]}
        for column, url in links
    ]
    return panel("table", title, description, targets, unit, options=options, overrides=overrides, transformations=transformations, **more)


def bars(title, description, by, columns, unit="percentunit", **more):
    """One group of bars a value of the label `by`."""
    targets = [target(expr, table=True) for _, expr in columns]
    values = {f"Value #{ref}": name for ref, (name, _) in zip("ABCDEF", columns)}
    options = {
        "xField": by, "orientation": "vertical", "xTickLabelRotation": 0, "xTickLabelMaxLength": 0, "fullHighlight": False, "showValue": "never", "stacking": "none", "groupWidth": 0.7, "barWidth": 0.9,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}, "tooltip": {"mode": "multi", "sort": "none"},
    }
    transformations = [
        {"id": "joinByField", "options": {"byField": by, "mode": "outer"}},
        {"id": "organize", "options": {"excludeByName": {"Time": True, **{f"Time {n}": True for n in range(1, 4)}}, "indexByName": {}, "renameByName": values}},
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": by}]}},
    ]
    return panel("barchart", title, description, targets, unit, options=options, transformations=transformations, **more)


def quantiles(title, description, metric, where, by="", **more):
    """Median and 99th percentile of a histogram."""
    labels = f"{by}, le" if by else "le"
    name = f"{{{{{by}}}}} " if by else ""
    of = lambda q: f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"
    return lines(title, description, target(of(0.5), f"{name}median"), target(of(0.99), f"{name}99 %"), unit="s", **more)


def rate(expr, by):
    return f"sum by ({by}) (rate({expr}[$__rate_interval]))"


def variable(name, query, label, multi=True, current=""):
    query = f"label_values({query}, {name})"
    return {
        "name": name, "label": label, "type": "query", "datasource": DATA_SOURCE, "query": {"query": query, "refId": name},
        "definition": query, "refresh": 2, "sort": 1, "multi": multi, "includeAll": multi, "options": [], "hide": 0,
        "current": {"text": "All", "value": "$__all"} if multi else {"text": current, "value": current},
    } | ({"allValue": ".*"} if multi else {})


def models(*more, one=False):
    """Who: a namespace, a service, a model, a version."""
    chain = [("namespace", "Namespace"), ("inferenceservice", "InferenceService"), ("model", "Model"), ("version", "Version")]
    chosen, found = [], []
    for name, label in chain:
        where = "{" + ",".join(chosen) + "}" if chosen else ""
        is_many = not (one and name == "model")
        found.append(variable(name, f"driftd_baseline_info{where}", label, multi=is_many))
        chosen.append(f'{name}=~"${name}"')
    return found + list(more)


WINDOW = variable("window", f"driftd_window_samples{{{MODEL}}}", "Window", multi=False, current="5m")
PROCESSES = [
    variable("job", "driftd_build_info", "Job"),
    variable("instance", 'driftd_build_info{job=~"$job"}', "Process"),
]


def dashboard(uid, title, description, variables, rows):
    panels, y, next_id = [], 0, 1
    for name, row in rows:
        panels.append({"type": "row", "title": name, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        y, x, height = y + 1, 0, 0
        for one in row:
            grid = one["gridPos"]
            if x + grid["w"] > WIDTH:
                y, x, height = y + height, 0, 0
            grid |= {"x": x, "y": y}
            x, height = x + grid["w"], max(height, grid["h"])
            panels.append(one)
        y += height
    for one in panels:
        one["id"] = next_id
        next_id += 1
    data_source = {
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0, "options": [],
        "current": {"text": "", "value": ""}, "regex": "", "multi": False, "includeAll": False,
    }
    link = {
        "title": "driftd", "type": "dashboards", "tags": ["driftd"], "asDropdown": True, "includeVars": True, "keepTime": True,
        "targetBlank": False, "icon": "", "tooltip": "", "url": "",
    }
    return {
        "uid": uid, "title": title, "description": description, "tags": ["driftd"], "schemaVersion": 42, "version": 1, "editable": True,
        "graphTooltip": 1, "refresh": "30s", "timezone": "browser", "time": {"from": "now-3h", "to": "now"}, "annotations": {"list": []},
        "links": [link], "templating": {"list": [data_source, *variables]}, "panels": panels,
    }


WHO = "namespace, inferenceservice, model, version"
TO_MODEL = (
    "/d/driftd-model?var-namespace=${__data.fields.namespace}&var-inferenceservice=${__data.fields.inferenceservice}"
    "&var-model=${__data.fields.model}&var-version=${__data.fields.version}"
)


def overview():
    by_cause = f'sum by ({WHO}, cause) (driftd_model_drifted{{{MODEL},window="$window"}})'
    return dashboard("driftd-overview", "driftd: models", "Every watched model at a glance.", models(WINDOW), [
        ("Now", [
            number("Models", "Versions of models that are watched.", f"count(group by ({WHO}) (driftd_baseline_info{{{MODEL}}}))"),
            number("Drifted", "Of these, those with a cause of drift in the chosen window, in more than half of their pods.",
                   f'count(max by ({WHO}) (avg by ({WHO}, cause) (driftd_model_drifted{{{MODEL},window="$window"}})) > 0.5) or vector(0)',
                   steps=[("red", 1)]),
            number("Rows a second", "Rows of features counted.", f'sum(rate(driftd_rows_total{{{MODEL},role="feature"}}[$__rate_interval]))', "reqps"),
            number("Oldest row", "Since the last row of the model that has waited longest.",
                   f"max(time() - max by ({WHO}) (driftd_last_row_timestamp_seconds{{{MODEL}}}))", "s", steps=[("orange", 900)]),
            number("Contract", "Rows a second that break a model's contract.",
                   f"sum(rate(driftd_contract_violations_total{{{MODEL}}}[$__rate_interval]))", "reqps", steps=[("orange", 0.1)]),
            number("Without a baseline", "Failed attempts to load one, in five minutes.", "sum(increase(driftd_baseline_errors_total[5m]))", steps=[("orange", 1)]),
            table("Models", "The largest PSI over its threshold, evidence over what an alarm takes, and pods with a cause of drift. Choose a model to see its features.", [
                ("PSI ÷ threshold", f'max by ({WHO}) (driftd_drift_score{{{MODEL},statistic="psi",window="$window"}} / driftd_drift_threshold{{{MODEL},statistic="psi",window="$window"}})'),
                ("Evidence", f"max by ({WHO}) (driftd_evidence{{{MODEL}}})"),
                ("Pods that drift", f'sum by ({WHO}) (driftd_model_drifted{{{MODEL},window="$window"}})'),
                ("Rows", f'sum by ({WHO}) (driftd_rows_total{{{MODEL},role="feature"}})'),
            ], sort="PSI ÷ threshold", links=[("model", TO_MODEL)], w=24, h=10),
        ]),
        ("Over time", [
            lines("Pods that drift, by cause", "How many pods of a model have a cause of drift in the chosen window. Nothing while a window fills or is stale: no data is not no drift.",
                  target(by_cause, "{{inferenceservice}} {{model}} {{version}}: {{cause}}"), fill=10),
            lines("Evidence", "Mean over the pods of a model, over what an alarm takes: 1 is the budget of false alarms.",
                  target(f"avg by ({WHO}, role) (driftd_evidence{{{MODEL}}})", "{{inferenceservice}} {{model}} {{version}} {{role}}")),
            lines("Rows counted", "Rows of features a second.", target(rate(f'driftd_rows_total{{{MODEL},role="feature"}}', WHO), "{{inferenceservice}} {{model}} {{version}}"), unit="reqps"),
            lines("Contract violations", "Rows a second that break a model's contract, by reason.",
                  target(rate(f"driftd_contract_violations_total{{{MODEL}}}", "model, version, reason"), "{{model}} {{version}}: {{reason}}"), unit="reqps"),
        ]),
    ])


def model():
    scores = lambda statistic: f'max by (feature, role) (driftd_drift_score{{{MODEL},statistic="{statistic}",window="$window",feature=~"$feature"}})'
    threshold = lambda statistic: f'max by (feature, role) (driftd_drift_threshold{{{MODEL},statistic="{statistic}",window="$window",feature=~"$feature"}})'
    counts = f'driftd:bin_observations:increase5m{{{MODEL},feature=~"$column"}}'
    feature = variable("feature", f"driftd_baseline_bin_share{{{MODEL}}}", "Features")
    column = {**variable("feature", f"driftd_baseline_bin_share{{{MODEL}}}", "Bars of", multi=False), "name": "column"}
    both = lambda title, description, statistic: lines(
        title, description, target(scores(statistic), "{{feature}}"), target(threshold(statistic), "{{feature}}: threshold"))
    return dashboard("driftd-model", "driftd: one model", "The features and predictions of a model, the most drifted first.", models(WINDOW, feature, column, one=True), [
        ("Verdict", [
            number("Cause", "Of drift in the chosen window: how many pods have one.", f'sum by (cause) (driftd_model_drifted{{{MODEL},window="$window"}})', steps=[("red", 1)], w=12),
            number("Rows in the window", "Behind the scores, over all pods.", f'max(sum by (feature, role) (driftd_window_samples{{{MODEL},window="$window"}}))', w=6),
            number("Baseline rows", "Behind the baseline.", f"max(driftd_baseline_rows{{{MODEL}}})", w=6),
        ]),
        ("Features, the most drifted first", [
            table("Features", "Scores of the chosen window, the largest of all pods. A feature has drifted where a score is at its threshold or above and evidence says that it is no chance. Choose one to see its bars.", [
                ("PSI", scores("psi")), ("PSI threshold", threshold("psi")), ("KS", scores("ks")), ("JS", scores("js")),
                ("Wasserstein", scores("wasserstein")),
                ("Drifted", f'max by (feature, role) (driftd_drifted{{{MODEL},window="$window",feature=~"$feature"}})'),
            ], sort="PSI", links=[("feature", "/d/driftd-model?${__url_time_range}&${__all_variables}&var-column=${__value.text}")], w=14, h=12),
            bars("Baseline and now", "Shares of the feature chosen under “Bars of”: of the rows of the last five minutes over all pods, and of the baseline. Bins are the baseline's quantiles, so equal bars are no drift; `missing` is no value, `other` one of the wrong type or category.", "bin", [
                ("now", f"sum by (bin) ({counts}) / ignoring (bin) group_left () sum without (bin) (sum by (bin) ({counts}))"),
                ("baseline", f'avg by (bin) (driftd_baseline_bin_share{{{MODEL},feature=~"$column"}})'),
            ], w=10, h=12),
        ]),
        ("Over time", [
            both("PSI", "Population stability index in nats, with the threshold in force at the window's size.", "psi"),
            both("Kolmogorov–Smirnov", "Largest distance of the distributions, of features that have an order.", "ks"),
            lines("Drifted", "1 drift or schema, 0 not; nothing while a window fills or is stale.", target(f'max by (feature, role) (driftd_drifted{{{MODEL},window="$window",feature=~"$feature"}})', "{{feature}}")),
            lines("Evidence", "Over what an alarm takes, of features and predictions.", target(f"avg by (role) (driftd_evidence{{{MODEL}}})", "{{role}}")),
            lines("Rows", "Counted a second.", target(rate(f"driftd_rows_total{{{MODEL}}}", "role"), "{{role}}"), unit="reqps"),
            lines("Contract violations", "Rows a second, by feature and reason.", target(rate(f"driftd_contract_violations_total{{{MODEL}}}", "feature, reason"), "{{feature}}: {{reason}}"), unit="reqps"),
        ]),
    ])


def fleet():
    over = lambda name: f"driftd:{name}:5m{{{MODEL}}} - driftd:{name}_expected:5m{{{MODEL}}}"
    feature = "{{model}} {{version}} {{feature}}"
    against = "{{model}} {{version}} against {{against}}: {{feature}}"
    return dashboard("driftd-fleet", "driftd: fleet and canary", "All pods of a model together, and its versions beside each other.", models(), [
        ("All pods together", [
            number("Pods", "That tell of a model.", f"count(group by (job, instance) (driftd_baseline_info{{{MODEL}}}))"),
            number("Pods that drift", "With a cause of drift in any window.", f"count(max by (job, instance) (driftd_model_drifted{{{MODEL}}}) > 0) or vector(0)", steps=[("red", 1)]),
            table("Who serves what", "Component, revision and pods of each version.", [
                ("Pods", f"count by ({WHO}, component, revision) (driftd_model_info{{{MODEL}}})"),
            ], sort="Pods", w=16, h=8),
            lines("PSI of the fleet", "Of the last five minutes, from sums of counts over all pods, what is expected without drift taken off.", target(over("psi"), feature)),
            lines("KS of the fleet", "The same for features that have an order.", target(over("ks"), feature)),
            lines("Evidence of the fleet", "Mean over pods, over what an alarm takes.", target(f"driftd:evidence:mean{{{MODEL}}}", "{{model}} {{version}} {{role}}")),
            lines("Evidence of each pod", "The largest of its roles.", target(f"max by (instance, model, version) (driftd_evidence{{{MODEL}}})", "{{instance}} {{model}} {{version}}")),
        ]),
        ("Canary against stable", [
            lines("Share of the traffic", "Rows of a version among those of its model.",
                  target(f'sum by ({WHO}) (rate(driftd_rows_total{{{MODEL},role="feature"}}[$__rate_interval])) / ignoring (version) group_left () sum by (namespace, inferenceservice, model) (rate(driftd_rows_total{{{MODEL},role="feature"}}[$__rate_interval]))', "{{model}} {{version}}"), unit="percentunit", fill=10, w=8),
            lines("PSI between versions", "Against the version with the most traffic in the same five minutes, where bins are equal (`--edges-from`).", target(over("versions_psi"), against), w=8),
            lines("KS between versions", "The same for features that have an order.", target(over("versions_ks"), against), w=8),
            table("Where versions differ", "PSI of now, the largest first.", [("PSI", over("versions_psi")), ("KS", over("versions_ks"))], sort="PSI", w=24, h=8),
        ]),
    ])


def tap():
    return dashboard("driftd-tap", "driftd: the tap's own cost", "What watching costs, and what was not seen.", PROCESSES, [
        ("Traffic", [
            lines("Exchanges by outcome", "Every exchange is passed on; this says what became of its copy.", target(rate(f"driftd_tap_exchanges_total{{{PROCESS}}}", "tap, outcome"), "{{tap}} {{outcome}}"), unit="reqps", fill=10),
            lines("Not seen", "Copies that were dropped before they were counted, by reason.", target(rate(f"driftd_tap_dropped_total{{{PROCESS}}}", "tap, reason"), "{{tap}} {{reason}}"), unit="reqps", w=6),
            lines("Not understood", "Copies that could not be decoded, by reason.", target(rate(f"driftd_decode_errors_total{{{PROCESS}}}", "format, reason"), "{{format}} {{reason}}"), unit="reqps", w=6),
        ]),
        ("Cost", [
            quantiles("Added latency", "Time that an exchange spent in the tap itself.", "driftd_tap_added_seconds", PROCESS),
            quantiles("The model's latency", "To compare with: from sending the request to the head of the answer.", "driftd_upstream_seconds", PROCESS),
            lines("CPU", "Cores in use, of each process.", target(f"rate(process_cpu_seconds_total{{{PROCESS}}}[$__rate_interval])", "{{instance}}"), w=8),
            lines("Memory", "Resident, and of it what copies hold.", target(f"process_resident_memory_bytes{{{PROCESS}}}", "{{instance}}"), target(f"driftd_tap_mirrored_bytes{{{PROCESS}}}", "{{instance}}: copies"), unit="bytes", w=8),
            quantiles("A tick", "Merging, scoring and publishing all models.", "driftd_evaluation_seconds", PROCESS, w=8),
            lines("Series left out", "By metrics.max_series.", target(f"driftd_metrics_series_cut_total{{{PROCESS}}}", "{{instance}}"), w=8),
            lines("Baselines not loaded", "Failed attempts a second, by reason.", target(rate(f"driftd_baseline_errors_total{{{PROCESS}}}", "reason"), "{{reason}}"), w=8),
            lines("Windows not kept", "Failed attempts a second to keep windows in state_dir, by reason.", target(rate(f"driftd_state_errors_total{{{PROCESS}}}", "reason"), "{{reason}}"), w=8),
        ]),
        ("Logs", [
            lines("Unread", "Bytes of logs that wait.", target(f"driftd_logs_unread_bytes{{{PROCESS}}}", "{{source}}"), unit="bytes", w=8),
            lines("Read", "Bytes a second, decompressed.", target(rate(f"driftd_logs_read_bytes_total{{{PROCESS}}}", "source"), "{{source}}"), unit="Bps", w=8),
            lines("Behind", "Between the latest row and now.", target(f"time() - driftd_logs_watermark_timestamp_seconds{{{PROCESS}}}", "{{source}}"), unit="s", w=8),
        ]),
    ])


def rollbacks():
    counted = lambda metric, label: rate(f'{metric}{{job=~"$job"}}', label)
    job = variable("job", "driftd_heartbeat_timestamp_seconds", "Job")
    where = 'job=~"$job"'
    held = [("red", 1)]
    return dashboard("driftd-rollbacks", "driftd: rollbacks", "What the controller was told, what it did, how long it took, and what holds it back.", [job], [
        ("Now", [
            number("Open incidents", "Rollbacks under way.", f"sum(driftd_incidents{{{where}}})", steps=[("orange", 1)]),
            number("Recovered in a day", "Rollbacks that were seen to help.", f'sum(increase(driftd_incidents_total{{{where},outcome="recovered"}}[1d]))'),
            number("For a person", "Incidents in a day that a person has to look at.", f'sum(increase(driftd_incidents_total{{{where},outcome=~"needs_human|not_recovered|inconclusive"}}[1d]))', steps=held),
            number("Paused", "Scopes in which no rollback is done.", f"sum(max by (scope) (driftd_paused{{{where}}}))", steps=held),
            number("Circuit", "1 while so many are accused at once that none is rolled back.", f"max(driftd_circuit_open{{{where}}})", steps=held),
            number("Heartbeat", "Since the last one of any replica.", f"time() - max(driftd_heartbeat_timestamp_seconds{{{where}}})", "s", steps=[("red", 120)]),
            table("Open incidents", "Which services, and where they are.", [("Open", f"max by (namespace, inferenceservice, state) (driftd_incident_state{{{where}}})")], sort="namespace"),
            lines("Incidents by how they ended", "In an hour.", target(f"sum by (outcome) (increase(driftd_incidents_total{{{where}}}[1h]))", "{{outcome}}"), fill=10),
        ]),
        ("How long it takes", [
            quantiles("From the alert to the commit", "From the start of the alert to our commit on the branch.", "driftd_time_to_commit_seconds", where),
            quantiles("From the alert to the proof", "Until the rollback was seen to help.", "driftd_time_to_verified_seconds", where),
            quantiles("Stages", "Where the time goes.", "driftd_rollback_stage_seconds", where, by="stage", w=24),
        ]),
        ("What it was told and what holds it back", [
            lines("Deliveries", "Of alerts, a second.", target(counted("driftd_alerts_received_total", "outcome"), "{{outcome}}"), unit="reqps", w=8),
            lines("Gates that said no", "A second, by gate.", target(counted("driftd_gate_denied_total", "gate"), "{{gate}}"), w=8),
            lines("Budget left", "Rollbacks that may still be done, in all and of a namespace.", target(f"min by (scope) (driftd_budget_remaining{{{where}}})", "{{scope}}"), w=8),
            lines("Open incidents by state", "Where they are.", target(f"sum by (state) (driftd_incidents{{{where}}})", "{{state}}"), w=8, fill=10),
            lines("Paused", "1 while rollbacks in a scope are.", target(f"max by (scope) (driftd_paused{{{where}}})", "{{scope}}"), w=8),
            lines("Leader", "1 in the replica that acts.", target(f"driftd_leader{{{where}}}", "{{instance}}"), w=8),
        ]),
        ("Git and Argo CD", [
            lines("Pushes", "Attempts a second, by result.", target(counted("driftd_git_push_attempts_total", "result"), "{{result}}"), w=8),
            lines("Git unreachable", "Since the last fetch that worked.", target(f"max by (instance) (driftd_git_unreachable_seconds{{{where}}})", "{{instance}}"), unit="s", w=8),
            quantiles("Waiting for the clone", "Work on Git that waits for other work on it.", "driftd_git_lock_wait_seconds", where, w=8),
            lines("Refreshes of Argo CD", "A second, by result.", target(counted("driftd_argocd_refresh_total", "result"), "{{result}}"), w=8),
            lines("Blocked by an operation", "How long one has kept our commit from being synced.", target(f"max by (instance) (driftd_argocd_operation_blocked_seconds{{{where}}})", "{{instance}}"), unit="s", w=8),
            lines("Journal", "Writes a second that failed.", target(f"sum by (instance) (rate(driftd_journal_errors_total{{{where}}}[$__rate_interval]))", "{{instance}}"), w=8),
        ]),
    ])


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for make in (overview, model, fleet, tap, rollbacks):
        text = json.dumps(make(), indent=2, ensure_ascii=False)
        (folder / f"{make.__name__}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
