//! The colours of figures.

/// Colours of groups and strategies, after Okabe and Ito: they stand out on white and stay apart under every
/// colour-vision deficiency. Red, green, blue.
pub const PALETTE: [[u8; 3]; 6] = [
    [0x00, 0x72, 0xb2],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0x56, 0xb4, 0xe9],
    [0x80, 0x60, 0x00],
];
