//! Passages coloured by how each token's loss changed.
