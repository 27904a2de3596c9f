//! Loops over f32 numbers that the compiler vectorises, and functions for them: without branches, calls or tables.

/// Numbers worked on together, as wide as the widest vectors.
pub(super) const LANES: usize = 16;

/// A function without generics that is compiled once for each kind of vectors, and run with the widest vectors of the
/// processor. There are two forms:
///
/// * `fn name(…) { … }`: the body is compiled as it is. No product is fused with a sum, so the results are the same with
///   all kinds of vectors.
/// * `fn name(…) by function`: `function::<TALL, WIDE, FUSED>` with the rows and columns of a product's tile that suit the
///   vectors, and whether products are fused with sums.
macro_rules! vectorised {
    ($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn any($($argument: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                vectorised!(@with "avx512f"; ($($argument: $type),*) ($($result)?) any);
                vectorised!(@with "avx2"; ($($argument: $type),*) ($($result)?) any);
            }
            any($($argument),*)
        }
    };
    ($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) by $function:ident) => {
        $(#[$attribute])*
        fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                vectorised!(@with "avx512f"; ($($argument: $type),*) () $function::<8, 32, true>);
                vectorised!(@with "avx2", "fma"; ($($argument: $type),*) () $function::<4, 16, true>);
            }
            $function::<4, 16, { cfg!(target_arch = "aarch64") }>($($argument),*);
        }
    };
    (@with $($feature:tt),+; ($($argument:ident: $type:ty),*) ($($result:ty)?) $function:expr) => {{
        #[target_feature($(enable = $feature),+)]
        fn with($($argument: $type),*) $(-> $result)? {
            $function($($argument),*)
        }
        if $(is_x86_feature_detected!($feature))&&+ {
            // SAFETY: the processor has the features that the function was compiled for.
            return unsafe { with($($argument),*) };
        }
    }};
}

/// Lanes of a sum: more than one vector, because each addition waits for the one before it.
pub(super) const SUM_LANES: usize = 2 * LANES;

/// Σ of all lanes, in pairs.
#[inline(always)]
pub(super) fn added(mut lanes: [f32; SUM_LANES]) -> f32 {
    for half in [16, 8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// Σ of a function of every number, in fixed lanes.
#[inline(always)]
pub(super) fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = x.as_chunks::<SUM_LANES>();
    let mut lanes = [0.0_f32; SUM_LANES];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &x)| *lane += of(x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &x)| *lane += of(x));
    added(lanes)
}

/// e^x for x ≤ 0, within two units in the last place; e^−87 for all below, and NaN for NaN. Moshier's expf (Cephes):
/// e^x = 2ⁿ·e^r, with a polynomial for |r| ≤ ln 2 / 2.
#[inline(always)]
pub(super) fn exponential(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// 1.5·2²³: added to a number, it rounds it to an integer, and the last bits of the sum are this integer.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let power = f32::from_bits(1.0_f32.to_bits().wrapping_add(shifted.to_bits() << 23));
    (p * r * r + r + 1.0) * power
}

/// σ(x) = 1/(1 + e^−x), and its slope σ(1 − σ).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> (f32, f32) {
    let e = exponential(-x.abs());
    let r = 1.0 / (1.0 + e);
    (if x < 0.0 { e * r } else { r }, e * r * r)
}

/// tanh x, within a few units in the last place (Moshier's tanhf, Cephes).
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let mut near = -5.704_988_7e-3;
    for coefficient in [2.063_908_8e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        near = near * s + coefficient;
    }
    let e = exponential(-2.0 * t);
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    if t < 0.625 { near * s * x + x } else { far }
}

/// The error function, within 1e-7. Two polynomials: erf itself near 0, and the logarithm of 1 − erf beyond 475/512 (N.
/// Juffa, <https://stackoverflow.com/a/35966928>).
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    // At 4 it is 1 in f32.
    let t = if x.abs() > 4.0 { 4.0 } else { x.abs() };
    let s = t * t;
    let mut near = -5.967_617e-4;
    for coefficient in [4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1] {
        near = near * s + coefficient;
    }
    let mut far = (-1.728_534_7e-5 * t + 3.831_971_3e-4) * s + (-3.883_964_4e-3 * t + 2.425_462_2e-2);
    for coefficient in [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1] {
        far = far * t + coefficient;
    }
    let found = if t > 0.927_734_4 { 1.0 - exponential(far * t - t) } else { near * t + t };
    found.copysign(x)
}
