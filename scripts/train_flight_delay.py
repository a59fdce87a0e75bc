"""Trains the three model packages of the flight delay example from a training set that MLPE exported.

    mlpe views export flight_delay --out training.parquet      (writes training.json, its manifest, beside it)
    pip install -r scripts/requirements-train.txt
    python scripts/train_flight_delay.py --set training.parquet --manifest training.json --out models

Writes flight_delay_baseline (1.0.0, linear, no windows), flight_delay (2.0.0, boosted trees) and
flight_delay_worse (2.1.0, damaged on purpose). Only rows with as_of before --train-until are read by any step; the last
months of them, from --validate-from, are held back for the figures, and then trained on too. The same input gives the
same bytes: seeds are fixed, rows sorted, one thread used.
"""

import argparse
import hashlib
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import onnx
import pyarrow
import pyarrow.parquet as parquet
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from flight_delay_package import NEVER_NULL, SEED, UNKNOWN_CARRIER, Session, calibration, write_package

OPSET = 17  # at most
CALENDAR = ["hour", "weekday", "month", "distance"]
WEATHER = ["wind", "visib", "precip"]
WINDOWS = ["origin_delay_1h", "origin_count_1h", "origin_delay_3h", "origin_trend", "carrier_delay_6h"]
# Not month: a line through the months before says nothing good of months to come.
LINEAR = ["hour", "weekday", "distance", *WEATHER]
ALL = [*CALENDAR, *WEATHER, "weather_age_h", "plane_age", "seats", "dest_alt", *WINDOWS]


class TrainingSet:
    """Columns of the exported set up to the training cutoff, sorted by (as_of, keys)."""

    def __init__(self, path, until):
        table = parquet.read_table(path)
        keys = sorted(name for name in table.column_names if name.startswith("key_"))
        table = table.sort_by([("as_of", "ascending"), *((key, "ascending") for key in keys)])
        as_of = microseconds(table, "as_of")
        kept = as_of < until
        self.as_of = as_of[kept]
        self.scheduled = microseconds(table, "key_scheduled")[kept] if "key_scheduled" in keys else None
        self.carrier = np.asarray(table.column("carrier").to_pylist(), dtype=object)[kept]
        self.numeric = {name: floats(table, name)[kept] for name in ALL}
        self.late = floats(table, "label")[kept]  # 1, 0, or NaN where there is no outcome
        if len(self.as_of) == 0:
            raise SystemExit("the training set has no row before --train-until")
        for name in NEVER_NULL:
            if np.isnan(self.numeric[name]).any():
                raise SystemExit(f"feature {name} is null in some rows, which the models refuse")

    def matrix(self, names, rows):
        return np.column_stack([self.numeric[name][rows] for name in names]).astype(np.float32)

    def inputs(self, names, rows):
        return {"numeric": self.matrix(names, rows), "carrier": self.carrier[rows].reshape(-1, 1)}


def microseconds(table, name):
    column = table.column(name)
    if pyarrow.types.is_timestamp(column.type):
        column = column.cast(pyarrow.timestamp("us", column.type.tz))
    return column.cast("int64").to_numpy()


def floats(table, name):
    """Float32 with NaN for null: exactly what serving feeds the model."""
    return np.array(table.column(name).cast("float32").to_pylist(), dtype=np.float32)


def with_carrier(steps, names):
    """Columns 0..n-1 are numeric and column n is the carrier; an unknown carrier becomes all zeros."""
    count = len(names)
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("numeric", steps, list(range(count))), ("carrier", encode, [count])])


def linear_model(names):
    steps = Pipeline([("impute", SimpleImputer(strategy="mean")), ("scale", StandardScaler())])
    model = LogisticRegression(C=1.0, max_iter=1000, random_state=SEED)
    return Pipeline([("columns", with_carrier(steps, names)), ("model", model)])


def tree_model(names):
    model = HistGradientBoostingClassifier(
        loss="log_loss",
        learning_rate=0.06,
        max_iter=160,
        max_leaf_nodes=31,
        min_samples_leaf=200,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=SEED,
    )
    return Pipeline([("columns", with_carrier("passthrough", names)), ("model", model)])


def frame(inputs):
    return np.concatenate([inputs["numeric"].astype(object), inputs["carrier"]], axis=1)


def fit(model, inputs, late):
    return model.fit(frame(inputs), late.astype(np.int64))


def damaged(inputs, late, names):
    """What a broken join looks like: window values of other flights, and half of the outcomes of other flights."""
    random = np.random.default_rng(SEED)
    numeric = inputs["numeric"].copy()
    windows = [names.index(name) for name in WINDOWS]
    numeric[:, windows] = numeric[random.permutation(len(numeric))][:, windows]
    late = late.copy()
    mixed = np.flatnonzero(random.random(len(late)) < 0.5)
    late[mixed] = late[random.permutation(mixed)]
    return {"numeric": numeric, "carrier": inputs["carrier"]}, late


def to_onnx(model, names):
    """One graph with two inputs and the output `probabilities`: imputing and encoding are inside."""
    types = [("numeric", FloatTensorType([None, len(names)])), ("carrier", StringTensorType([None, 1]))]
    options = {id(model.steps[-1][1]): {"zipmap": False}}
    graph = skl2onnx.convert_sklearn(
        model, name="flight_delay", initial_types=types, target_opset={"": OPSET, "ai.onnx.ml": 3}, options=options
    )
    declared = [output for output in graph.graph.output if output.name == "probabilities"]
    pruned = select_model_inputs_outputs(graph, ["probabilities"])
    del pruned.graph.output[:]  # the pruned one has lost its type
    pruned.graph.output.extend(declared)
    opsets = sorted(pruned.opset_import, key=lambda opset: opset.domain)  # they come out of a set
    del pruned.opset_import[:]
    pruned.opset_import.extend(opsets)
    onnx.checker.check_model(pruned, full_check=True)
    return pruned.SerializeToString(deterministic=True)


def figures(late, scores):
    return {"auc": round(float(roc_auc_score(late, scores)), 5), "brier": round(float(brier_score_loss(late, scores)), 5)}


def best_threshold(late, scores):
    """The threshold of two digits with the greatest F1 on the held-back months."""
    best = (0.0, 0.5)
    for percent in range(5, 96):
        chosen = scores >= percent / 100
        hits = float((chosen & (late == 1)).sum())
        f1 = 2 * hits / max(1.0, float(chosen.sum() + (late == 1).sum()))
        best = max(best, (f1, percent / 100))
    return best[1]


def leak_checks(data, labelled, training, held):
    """Signs of an outcome among the inputs, each of which would be loud."""
    single = {}
    for name in ALL:
        values = np.nan_to_num(data.numeric[name], nan=float(np.nanmedian(data.numeric[name])))
        area = roc_auc_score(data.late[held], values[held])
        single[name] = round(float(max(area, 1 - area)), 4)
    random = np.random.default_rng(SEED)
    shuffled = random.permutation(data.late[training])
    model = fit(tree_model(ALL), data.inputs(ALL, training), shuffled)
    noise = model.predict_proba(frame(data.inputs(ALL, held)))[:, 1]
    parts = random.permutation(np.flatnonzero(labelled))
    cut = len(parts) * len(held) // (len(held) + len(training))
    model = fit(tree_model(ALL), data.inputs(ALL, parts[cut:]), data.late[parts[cut:]])
    mixed = model.predict_proba(frame(data.inputs(ALL, parts[:cut])))[:, 1]
    gap = None if data.scheduled is None else int((data.scheduled - data.as_of).min() // 60_000_000)
    return {
        "single": single,
        "shuffled": figures(data.late[held], noise)["auc"],
        "random_split": figures(data.late[parts[:cut]], mixed)["auc"],
        "minutes_before": gap,
    }


def held_figures(model, names, data, held):
    return model.predict_proba(frame(data.inputs(names, held)))[:, 1]


def check_graph(graph, model, names, data):
    """The graph gives scikit-learn's scores, on missing values too."""
    rows = np.arange(0, len(data.as_of), 7)
    inputs = data.inputs(names, rows)
    inputs["numeric"][::5, [at for at, name in enumerate(names) if name not in NEVER_NULL]] = np.nan
    inputs["carrier"][::11, 0] = UNKNOWN_CARRIER
    difference = np.abs(Session(graph).scores(inputs) - model.predict_proba(frame(inputs))[:, 1])
    if difference.max() > 1e-4:
        far = int((difference > 1e-4).sum())
        raise SystemExit(f"{far} of {len(rows)} scores of the ONNX graph differ by up to {difference.max()}")
    return float(difference.max())


TITLES = {
    "flight_delay_baseline": (
        "1.0.0",
        "a linear baseline",
        "Logistic regression on hour, weekday, distance, carrier and weather; no windows over recent departures.",
        "replaced by training means",
    ),
    "flight_delay": (
        "2.0.0",
        "boosted trees",
        "Gradient-boosted trees on all features, with the mean delay and count of recent departures.",
        "a branch of their own in the trees",
    ),
    "flight_delay_worse": (
        "2.1.0",
        "damaged on purpose",
        "The trees of 2.0.0, trained on a training set damaged as by a broken join: window values of other flights, and half of "
        "the outcomes of other flights. It is here to be refused by the regression gate.",
        "a branch of their own in the trees",
    ),
}


def train(folder, data, labelled, training, held):
    """Fits on the earlier months for the figures, then on all labelled rows for the graph."""
    version, title, about, missing = TITLES[folder]
    names = LINEAR if folder == "flight_delay_baseline" else ALL
    build = linear_model if folder == "flight_delay_baseline" else tree_model

    def fitted(rows):
        inputs, late = data.inputs(names, rows), data.late[rows]
        if folder == "flight_delay_worse":
            inputs, late = damaged(inputs, late, names)
        return fit(build(names), inputs, late)

    scores = held_figures(fitted(training), names, data, held)
    final = fitted(np.flatnonzero(labelled))
    graph = to_onnx(final, names)
    late = data.late[held]
    metrics = figures(late, scores)
    difference = check_graph(graph, final, names, data)
    print(f"{folder}: {metrics}, {len(graph)} bytes, ONNX differs from scikit-learn by at most {difference:.1e}")
    return {
        **{"version": version, "title": title, "about": about, "missing": missing, "features": names, "graph": graph},
        **{"metrics": metrics, "threshold": best_threshold(late, scores), "calibration": calibration(late, scores)},
    }


def read_manifest(path, training_set):
    """The export manifest, and the digest of it that names the training set."""
    content = Path(path).read_bytes()
    manifest = json.loads(content)
    if manifest["manifest"] != "mlpe.training_set/v1" or manifest["label"] != "late":
        raise SystemExit(f"{path} is not the manifest of a training set with the label late")
    if hashlib.sha256(Path(training_set).read_bytes()).hexdigest() != manifest["sha256"]:
        raise SystemExit(f"{training_set} is not the file that {path} describes")
    return manifest, f"sha256:{hashlib.sha256(content).hexdigest()}"


def parse_instant(text):
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1_000_000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", required=True, help="Parquet file written by `mlpe views export`")
    parser.add_argument("--manifest", required=True, help="its manifest (JSON)")
    parser.add_argument("--out", default="models", help="folder of the packages")
    parser.add_argument("--train-until", default="2013-10-01T00:00:00Z", help="rows asked later are not read")
    parser.add_argument("--validate-from", default="2013-08-01T00:00:00Z", help="rows from here on give the figures")
    options = parser.parse_args()
    manifest, set_digest = read_manifest(options.manifest, options.set)
    data = TrainingSet(options.set, parse_instant(options.train_until))
    labelled = ~np.isnan(data.late)
    later = data.as_of >= parse_instant(options.validate_from)
    training, held = np.flatnonzero(labelled & ~later), np.flatnonzero(labelled & later)
    specs = {folder: train(folder, data, labelled, training, held) for folder in TITLES}
    context = {
        **{"data": data, "manifest": manifest, "set_digest": set_digest, "labelled": labelled, "held": len(held)},
        "validate_from": options.validate_from,
        "carriers": sorted(set(data.carrier[labelled])),
        "baseline": specs["flight_delay_baseline"]["metrics"],
        "trees": specs["flight_delay"]["metrics"],
        "constant_brier": brier_score_loss(data.late[held], np.full(len(held), data.late[training].mean())),
        "checks": leak_checks(data, labelled, training, held),
    }
    for folder, spec in specs.items():
        write_package(Path(options.out) / folder, spec, context)


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
