//! Products of matrices in memory, as small as attention's tiles are.

/// A matrix to be read, with any strides of rows and columns.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    /// From its first number on.
    pub numbers: &'a [f32],
    /// From a row to the next.
    pub row: usize,
    /// From a column to the next.
    pub column: usize,
}

/// A matrix whose rows are contiguous.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// From its first number on.
    pub numbers: &'a [f32],
    /// From a row to the next.
    pub stride: usize,
}

/// Every product has a multiple of this many columns.
pub(super) const COLUMNS: usize = 16;

/// `A B` into `c`, or added to it: A is `[rows, depth]`, B `[depth, columns]`, of which `columns` is a multiple of
/// [`COLUMNS`]; rows of C begin `stride` apart. `TALL` rows by `WIDE` columns are held in registers.
#[inline(always)]
pub(super) fn product<const TALL: usize, const WIDE: usize, const FUSED: bool>(
    (c, stride): (&mut [f32], usize),
    [rows, columns, depth]: [usize; 3],
    a: Strided<'_>,
    b: Rows<'_>,
    add: bool,
) {
    if rows == 0 || columns == 0 || depth == 0 {
        return;
    }
    assert!(columns.is_multiple_of(COLUMNS) && c.len() >= (rows - 1) * stride + columns);
    assert!(a.numbers.len() > (rows - 1) * a.row + (depth - 1) * a.column);
    assert!(b.numbers.len() >= (depth - 1) * b.stride + columns);
    let mut column = 0;
    while column < columns {
        let wide = if columns - column >= WIDE { WIDE } else { COLUMNS };
        let mut row = 0;
        while row < rows {
            let c = &mut c[row * stride + column..];
            let a = Strided { numbers: &a.numbers[row * a.row..], ..a };
            let b = Rows { numbers: &b.numbers[column..], ..b };
            let tall = if rows - row >= TALL { TALL } else { 1 };
            // SAFETY: the tile lies within the matrices, whose sizes are asserted above.
            unsafe {
                match (tall == TALL, wide == WIDE) {
                    (true, true) => tile::<TALL, WIDE, FUSED>(c, stride, depth, a, b, add),
                    (true, false) => tile::<TALL, COLUMNS, FUSED>(c, stride, depth, a, b, add),
                    (false, true) => tile::<1, WIDE, FUSED>(c, stride, depth, a, b, add),
                    (false, false) => tile::<1, COLUMNS, FUSED>(c, stride, depth, a, b, add),
                }
            }
            row += tall;
        }
        column += wide;
    }
}

/// One tile of a product.
///
/// # Safety
/// The `TALL` rows of A and C, the `WIDE` columns of B and C, and `depth` lie within the slices.
#[inline(always)]
unsafe fn tile<const TALL: usize, const WIDE: usize, const FUSED: bool>(
    c: &mut [f32],
    stride: usize,
    depth: usize,
    a: Strided<'_>,
    b: Rows<'_>,
    add: bool,
) {
    let mut sums = [[0.0_f32; WIDE]; TALL];
    if add {
        for (i, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&c[i * stride..][..WIDE]);
        }
    }
    for k in 0..depth {
        // SAFETY: as the caller says.
        let y: &[f32; WIDE] = unsafe { &*b.numbers.as_ptr().add(k * b.stride).cast() };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as the caller says.
            let x = unsafe { *a.numbers.get_unchecked(i * a.row + k * a.column) };
            for (sum, &y) in sums.iter_mut().zip(y) {
                *sum = if FUSED { x.mul_add(y, *sum) } else { x * y + *sum };
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        c[i * stride..][..WIDE].copy_from_slice(sums);
    }
}
