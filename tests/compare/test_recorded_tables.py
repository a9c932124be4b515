"""The recorded tables: their tests from means and deviations, and the values of the seeds."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
TABLES = {
    file.parent.name: found
    for file in sorted(RESULTS.glob("*/table.json"))
    if "rows" in (found := json.loads(file.read_text()))
}
METRICS = ("R@1", "MAP@R", "RP", "NMI")


def differences(table, metric):
    """Every difference that has a test, once; one seed has none."""
    reference = table.get("reference") or table["rows"][0]["name"]
    for row in table["rows"]:
        if metric in row["differences"] and len(row["seeds"]) > 1:
            yield row["differences"][metric]
        for other, found in row.get("pairs", {}).items():
            if other == reference:
                assert found == row["differences"]
            else:
                yield found[metric]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("metric", METRICS)
def test_the_tests_are_those_of_the_means_and_deviations(name, metric):
    found = list(differences(TABLES[name], metric))
    for each in found:
        score = abs(each["mean"]) / (each["sd"] / each["count"] ** 0.5)
        assert each["p"] == pytest.approx(2 * stats.t.sf(score, each["count"] - 1), rel=1e-6)
    # Holm by its definition: rejected at level a, for every a, are the smallest p-values up to
    # the first that is larger than a / (number of those left).
    order = sorted(found, key=lambda each: each["p"])
    for level in (*np.linspace(0.001, 0.999, 97), 0.05):
        rejected = 0
        while rejected < len(order) and order[rejected]["p"] <= level / (len(order) - rejected):
            rejected += 1
        assert rejected == sum(each["p_holm"] <= level for each in order)


@pytest.mark.parametrize("name", TABLES)
def test_the_values_of_the_seeds_have_the_mean_and_deviation_of_the_table(name):
    for row in TABLES[name]["rows"]:
        for metric, values in row.get("values", {}).items():
            assert len(values) == len(row["seeds"])
            mine = row["metrics"][metric]
            assert np.mean(values) == pytest.approx(mine["mean"], abs=1e-6)
            if len(values) > 1:
                assert np.std(values, ddof=1) == pytest.approx(mine["sd"], abs=1e-5)


def test_the_list_of_all_seeds_is_that_of_the_tables():
    lines = [line.strip("| ").split(" | ") for line in (RESULTS / "seeds.md").open()][2:]
    wanted = [
        [name, row.get("label") or row["name"], ", ".join(map(str, row["seeds"]))]
        + [", ".join(f"{100 * each:.1f}" for each in row["values"][at]) for at in METRICS[:2]]
        for name, table in TABLES.items()
        for row in table["rows"]
        if row.get("values")
    ]
    assert [[cell.strip(" |\n") for cell in line] for line in lines] == wanted


@pytest.mark.parametrize("name", TABLES)
def test_a_p_value_in_the_table_is_that_of_the_record(name):
    """Each difference of R@1 in table.md is followed by its corrected p-value."""
    text = (RESULTS / name / "table.md").read_text().replace("\\", "")
    for each in differences(TABLES[name], "R@1"):
        p = "< 0.001" if each["p_holm"] < 0.001 else f"{each['p_holm']:.3f}"
        cell = f"{100 * each['mean']:+.1f} ± {100 * each['half_width']:.1f}, p {p}"
        assert cell in text


def test_curves_end_at_the_values_of_the_seeds():
    for name, table in TABLES.items():
        file = RESULTS / name / "curves.csv"
        if not file.is_file() or name == "omniglot_refine":  # scored without refinement
            continue
        last = {}
        for line in csv.DictReader(file.open()):
            if line["what"] == "test/R@1":
                last[line["setting"], int(line["seed"])] = float(line["value"])
        for row in table["rows"]:
            for seed, value in zip(row["seeds"], row["values"]["R@1"], strict=True):
                assert last[row["name"], seed] == pytest.approx(value, abs=1e-6)


def best_trials(name):
    """Return rate, temperature and score of the best trial of each method, the first of equals."""
    best = {}
    for line in csv.DictReader((RESULTS / name / "trials.csv").open()):
        if line["status"] != "finished":
            continue
        found = (float(line["val/R@1"]), line["train.lr"], line["loss.temperature"])
        if line["method"] not in best or found[0] > best[line["method"]][0]:
            best[line["method"]] = found
    return {
        method: [f"{float(rate):.4f}", temperature, f"{100 * score:.1f}"]
        for method, (score, rate, temperature) in best.items()
    }


@pytest.mark.parametrize(
    ("data", "kind", "edge"),
    [("omniglot", "higher", max), ("glyphs", "higher", max), ("glyphs", "lower", min)],
)
def test_the_further_trials_are_those_of_methods_with_a_rate_at_the_edge(data, kind, edge):
    name = f"{data}_{kind}_rates"
    lines = (RESULTS / name / "best.md").read_text().splitlines()[2:]
    shown = {
        cells[0]: cells[1:]
        for cells in ([c.strip() for c in line.strip("|").split("|")] for line in lines)
    }
    before, further = best_trials(f"{data}_baselines"), best_trials(name)
    assert shown == {name: before[name] + further[name] for name in further}
    extreme = edge(cells[0] for cells in before.values())
    assert set(further) == {name for name, cells in before.items() if cells[0] == extreme}
