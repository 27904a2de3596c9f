"""Makes the golden values of statistics with SciPy and NumPy, in float64.

    make_statistics.py COMMITTED INTO

INTO/stats gets
    features_*.safetensors    pairs of samples; permutations of the pooled sample, and the statistic of each
    stats.json                distances of those pairs, permutation tests, correlations, adjusted p-values, paired tests
    paired_nll.safetensors    what the paired tests compare
    correlation_scipy.json    correlations of small and large samples, with and without ties
    ridge.json                ridge regression and a jackknife+ interval

Data are drawn again from their seeds. From COMMITTED (tests/fixtures) come the real per-token losses `real_a` and `real_b`, and the
rows of ridge.json.

The pair `large` is drawn because the numbers after it depend on it; only its statistics are kept.

Written for SciPy 1.17.1 and NumPy 2.4.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import scipy
from safetensors.numpy import load_file, save_file
from scipy import linalg, stats
from scipy.spatial.distance import cdist, pdist

PERMUTATIONS = 199


def pair(rng, m: int, n: int, width: int, shift: float):
    """Two samples of a mixture of correlated normal distributions, the second wider and moved. As float32, they are the data."""
    mix = rng.standard_normal((width, width)) / np.sqrt(width)
    centres = rng.standard_normal((3, width))

    def draw(count):
        return centres[rng.integers(0, 3, count)] + rng.standard_normal((count, width)) @ mix

    x = draw(m)
    y = draw(n) * (1 + 0.5 * shift) + shift * rng.standard_normal(width)
    return x.astype(np.float32), y.astype(np.float32)


def mmd2(xx, yy, xy) -> dict:
    """The squared maximum mean discrepancy, from the three parts of a kernel's matrix."""
    m, n = xy.shape
    across = 2 * xy.mean()
    within = (xx.sum() - np.trace(xx)) / (m * (m - 1)) + (yy.sum() - np.trace(yy)) / (n * (n - 1))
    return {"unbiased": within - across, "biased": xx.mean() + yy.mean() - across}


def two_samples(x, y) -> dict:
    x, y = x.astype(np.float64), y.astype(np.float64)
    (m, width), n = x.shape, len(y)
    sigma = float(np.median(pdist(np.vstack([x, y]))))
    gamma = 1 / (2 * sigma**2)
    result = {"shape_x": [m, width], "shape_y": [n, width], "median_bandwidth_sigma": sigma, "rbf_gamma": gamma}
    for name, kernel in [
        ("mmd2_rbf", lambda a, b: np.exp(-gamma * cdist(a, b, "sqeuclidean"))),
        ("kid_poly3", lambda a, b: (a @ b.T / width + 1) ** 3),
        ("mmd2_linear", lambda a, b: a @ b.T),
    ]:
        result[name] = mmd2(kernel(x, x), kernel(y, y), kernel(x, y))

    mean_x, mean_y, cov_x, cov_y = x.mean(0), y.mean(0), np.cov(x.T), np.cov(y.T)
    apart = ((mean_x - mean_y) ** 2).sum()
    root = np.trace(linalg.sqrtm(cov_x @ cov_y)).real
    half = linalg.sqrtm(cov_x).real
    symmetric = np.sqrt(np.clip(np.linalg.eigvalsh(half @ cov_y @ half), 0, None)).sum()
    own = np.trace(cov_x) + np.trace(cov_y)
    result["frechet"] = {
        "distance": apart + own - 2 * root,
        "mean_part": apart,
        "trace_sqrt": root,
        "distance_by_symmetric_eigenvalues": apart + own - 2 * symmetric,
    }
    result["centroid_cosine"] = mean_x @ mean_y / np.linalg.norm(mean_x) / np.linalg.norm(mean_y)
    xx, yy, across = cdist(x, x), cdist(y, y), 2 * cdist(x, y).mean()
    result["energy_distance"] = {
        "v_statistic": across - xx.mean() - yy.mean(),
        "u_statistic": across - xx.sum() / (m * (m - 1)) - yy.sum() / (n * (n - 1)),
    }
    return result


def permutation_test(x, y, sigma: float, orders):
    pooled = np.vstack([x, y]).astype(np.float64)
    kernel, m = np.exp(-cdist(pooled, pooled, "sqeuclidean") / (2 * sigma**2)), len(x)

    def statistic(order):
        a, b = order[:m], order[m:]
        return mmd2(kernel[np.ix_(a, a)], kernel[np.ix_(b, b)], kernel[np.ix_(a, b)])["unbiased"]

    observed, null = statistic(np.arange(len(pooled))), np.array([statistic(order) for order in orders])
    count = int((null >= observed).sum())
    return {
        "observed": observed,
        "count_null_ge_observed": count,
        "n_permutations": len(orders),
        "p_value": (count + 1) / (len(orders) + 1),
    }, null


def correlations(x, y) -> dict:
    tests = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall_tau_b": stats.kendalltau}
    found = {name: test(x, y) for name, test in tests.items()}
    found = {name: {"statistic": test.statistic, "p_two_sided": test.pvalue} for name, test in found.items()}
    return {"x": x.tolist(), "y": y.tolist()} | found


def paired(a, b) -> dict:
    a, b = a.astype(np.float64), b.astype(np.float64)
    t, wilcoxon, apart = stats.ttest_rel(a, b), stats.wilcoxon(a, b), a - b
    return {
        "n": len(a),
        "zero_differences": int((apart == 0).sum()),
        "mean_difference": apart.mean(),
        "sd_difference_ddof1": apart.std(ddof=1),
        "paired_t": t.statistic,
        "paired_t_df": int(t.df),
        "paired_t_p": t.pvalue,
        "wilcoxon_statistic_min_rank_sum": wilcoxon.statistic,
        "wilcoxon_p": wilcoxon.pvalue,
    }


def make_stats(committed: Path, folder: Path) -> None:
    rng = np.random.default_rng(1081)
    pairs = {"small": pair(rng, 300, 250, 24, 0.1), "large": pair(rng, 1000, 1000, 64, 0.3)}
    one = pair(rng, 300, 250, 24, 0.0)[0]
    pairs["null"] = (one[:150], one[150:])
    x, y = pair(rng, 300, 250, 24, 0.0)
    pairs["near"] = (x, (y * np.float32(1.06) + np.float32(0.05)).astype(np.float32))
    result = {"scipy": scipy.__version__, "two_sample": {}, "permutation_test": {}}
    for name, (x, y) in pairs.items():
        found = result["two_sample"][name] = two_samples(x, y)
        if name == "large":
            continue
        orders = np.stack([rng.permutation(len(x) + len(y)) for _ in range(PERMUTATIONS)])
        result["permutation_test"][name], null = permutation_test(x, y, found["median_bandwidth_sigma"], orders)
        tensors = {"x": x, "y": y, "permutations": orders.astype(np.int32), "null_statistics_f64": null}
        tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        save_file(tensors, folder / f"features_{name}.safetensors", metadata={"format": "pt"})

    x = rng.standard_normal(20)
    y = 0.6 * x + 0.8 * rng.standard_normal(20)
    result["correlation"] = {
        "no_ties": correlations(np.round(x, 4), np.round(y, 4)),
        "ties": correlations(np.round(x * 2) / 2 + 0.0, np.round(y) + 0.0),  # + 0.0: no negative zeros
    }

    p = np.round(np.concatenate([rng.uniform(0, 0.02, 5), rng.uniform(0, 1, 5), [0.013, 0.013]]), 5)
    adjusted = stats.false_discovery_control(p, method="bh")
    rejected = {f"rejected_at_{level:.2f}": (adjusted <= level).tolist() for level in (0.05, 0.1)}
    result["benjamini_hochberg"] = {"p": p.tolist(), "adjusted": adjusted.tolist()} | rejected

    real = load_file(committed / "paired_nll.safetensors")
    losses = {"real_a": real["real_a"], "real_b": real["real_b"]}
    for name, count, mean in [("small", 20, 0.1), ("long", 500, 0.03)]:
        a = losses[f"{name}_a"] = rng.gamma(2, 1.5, count).astype(np.float32)
        losses[f"{name}_b"] = (a + rng.normal(mean, 0.4, count)).astype(np.float32)
    save_file(losses, folder / "paired_nll.safetensors", metadata={"format": "pt"})
    result["paired_tests"] = {name: paired(losses[f"{name}_a"], losses[f"{name}_b"]) for name in ["real", "small", "long"]}
    # Counted by the tokenizers library over the shared texts, with the recipe that stands beside those; copied here.
    result["unigrams"] = json.loads((committed / "stats.json").read_text())["unigrams"]
    (folder / "stats.json").write_text(json.dumps(result, indent=1) + "\n")


def make_correlations(folder: Path) -> None:
    rng, samples = np.random.default_rng(5), []
    for count in [3, 4, 5, 7, 12, 25, 33, 34, 60, 400]:
        for ties in [False, True] if count >= 5 else [False]:
            x = np.round(rng.standard_normal(count), 6)
            y = np.round(0.4 * x + rng.standard_normal(count), 6)
            # + 0.0: no negative zeros.
            samples.append((np.round(x) + 0.0, np.round(2 * y) / 2 + 0.0) if ties else (x, y))
    # Perfect order, and one exchange away from it.
    x = np.arange(40.0)
    exchanged = x.copy()
    exchanged[[3, 4]] = exchanged[[4, 3]]
    samples += [(x, x), (x, exchanged)]
    cases = []
    for x, y in samples:
        tests = {"pearson": stats.pearsonr(x, y), "spearman": stats.spearmanr(x, y), "kendall": stats.kendalltau(x, y)}
        found = {name: [float(test.statistic), float(test.pvalue)] for name, test in tests.items()}
        cases.append({"x": x.tolist(), "y": y.tolist()} | found)
    source = f"scipy {scipy.__version__}, numpy default_rng(5)"
    (folder / "correlation_scipy.json").write_text(json.dumps({"source": source, "cases": cases}))


def ridge(x, y, w, penalty: float):
    """Least squares of a system with one more row for each predictor: the mean squared error by weights + penalty · |slopes|²."""
    w = w / w.sum()
    mean, centre = w @ x, w @ y
    scale = np.sqrt(w @ (x - mean) ** 2)
    rows = np.vstack([np.sqrt(w)[:, None] * (x - mean) / scale, math.sqrt(penalty) * np.eye(x.shape[1])])
    slopes = np.linalg.lstsq(rows, np.concatenate([np.sqrt(w) * (y - centre), np.zeros(x.shape[1])]))[0]
    return slopes, lambda at: centre + (np.asarray(at) - mean) / scale @ slopes


def make_ridge(committed: Path, folder: Path) -> None:
    data = json.loads((committed / "ridge.json").read_text())
    x, y, w = (np.array(data[key]) for key in "xyw")
    at, result = [0.3, 2.0, -1.9], {key: data[key] for key in "xyw"} | {"ridge": []}
    for penalty in [1e-4, 0.03, 1.0, 10.0]:
        slopes, predict = ridge(x, y, w, penalty)
        result["ridge"].append(
            {"penalty": penalty, "at": at, "prediction": float(predict(at)), "standardised": slopes.tolist()}
        )

    penalty, level, count = 0.03, 0.9, len(y)
    low, high = [], []
    for left in range(count):
        rest = np.arange(count) != left
        predict = ridge(x[rest], y[rest], w[rest], penalty)[1]
        residual = abs(predict(x[left]) - y[left])
        low.append(predict(at) - residual)
        high.append(predict(at) + residual)
    place = math.ceil(level * (count + 1))
    interval = [float(sorted(low, reverse=True)[place - 1]), float(sorted(high)[place - 1])]
    result["jackknife_plus"] = {"penalty": penalty, "at": at, "level": level, "interval": interval}
    (folder / "ridge.json").write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    committed, folder = (Path(argument) / "stats" for argument in sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    make_stats(committed, folder)
    make_correlations(folder)
    make_ridge(committed, folder)


if __name__ == "__main__":
    main()
