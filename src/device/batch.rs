//! How much is computed at once.

/// Windows of so many tokens that are computed together: about four thousand tokens, which keeps a CPU's caches and a GPU
/// busy.
pub fn batch_size(context: usize) -> usize {
    (4096 / context.max(1)).max(1)
}
