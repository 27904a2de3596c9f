//! Many tests at once: correction of their p-values.

/// Benjamini and Hochberg's adjusted p-values (J. R. Statist. Soc. B 57, 1995), in the order given: if every test with
/// an adjusted value below `q` is called a discovery, the expected share of false ones among them is at most `q`. Equal
/// to `scipy.stats.false_discovery_control`. A p-value that is not a number takes no part and stays one.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|&i| !p[i].is_nan()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a])); // largest first
    let tests = order.len();
    let mut adjusted = p.to_vec();
    let mut least = 1.0_f64;
    for (above, i) in order.into_iter().enumerate() {
        least = least.min(p[i] * tests as f64 / (tests - above) as f64);
        adjusted[i] = least;
    }
    adjusted
}
