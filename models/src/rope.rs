//! Rotary positions: the decoder's three-row M-RoPE (Qwen2-VL, section 2.1) and the tower's 2-D form.
//!
//! Computes tables on the host; does not know tensors' devices or attention.

use crate::config::{VisionConfig, VlmConfig};

/// Patches of one picture: frames, rows and columns, before merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grid {
    pub t: usize,
    pub h: usize,
    pub w: usize,
}

impl Grid {
    /// Patches in all.
    pub fn num_patches(self) -> usize {
        self.t * self.h * self.w
    }

    /// Tokens that the decoder sees, after merging `merge` x `merge` patches.
    pub fn num_tokens(self, merge: usize) -> usize {
        self.num_patches() / (merge * merge)
    }
}

/// Position of one token: time, height, width.
pub type Position = [u32; 3];

/// Positions of `input_ids` with the pictures' `grids` in order of appearance, as `get_rope_index`
/// of the reference does for still pictures: text counts up on all three rows; a picture keeps the
/// time of its start and spreads over height and width; text goes on after the largest of them.
pub fn rope_index(input_ids: &[u32], grids: &[Grid], config: &VlmConfig) -> Vec<Position> {
    let merge = config.vision_config.spatial_merge_size;
    let mut grids = grids.iter();
    let mut positions = Vec::with_capacity(input_ids.len());
    let mut next = 0;
    while positions.len() < input_ids.len() {
        if input_ids[positions.len()] != config.image_token_id {
            positions.push([next; 3]);
            next += 1;
            continue;
        }
        let grid = grids.next().expect("one grid for each run of image tokens");
        let (h, w) = (grid.h / merge, grid.w / merge);
        for t in 0..grid.t as u32 {
            for y in 0..h as u32 {
                for x in 0..w as u32 {
                    positions.push([next + t, next + y, next + x]);
                }
            }
        }
        next += grid.t.max(h).max(w) as u32;
    }
    positions
}

/// `cos` and `sin` of each position, `[positions, head_dim / 2]` row-major. The half head is cut
/// into `mrope_section`; each section turns by its own row of the position.
pub fn decoder_tables(positions: &[Position], config: &VlmConfig) -> (Vec<f32>, Vec<f32>) {
    let half = config.head_dim() / 2;
    let section = config.rope_scaling.mrope_section;
    let axis = |j: usize| usize::from(j >= section[0]) + usize::from(j >= section[0] + section[1]);
    let frequency: Vec<(usize, f32)> = (0..half)
        .map(|j| (axis(j), config.rope_theta.powf(-(j as f64) / half as f64) as f32))
        .collect();
    tables(positions.iter().flat_map(|p| frequency.iter().map(|&(a, f)| p[a] as f32 * f)))
}

/// `cos` and `sin` for the patches of `grid` in the processor's order (merge blocks together),
/// `[patches, head_dim / 2]` row-major: first half of the columns by row, second half by column.
pub fn vision_tables(grid: Grid, config: &VisionConfig) -> (Vec<f32>, Vec<f32>) {
    let head_dim = config.hidden_size / config.num_heads;
    let quarter = head_dim / 4;
    let frequency: Vec<f32> =
        (0..quarter).map(|j| 10000f64.powf(-(j as f64) / quarter as f64) as f32).collect();
    let merge = config.spatial_merge_size;
    let mut angles = Vec::with_capacity(grid.num_patches() * head_dim / 2);
    for _ in 0..grid.t {
        for (row, column) in merge_order(grid, merge) {
            angles.extend(frequency.iter().map(|f| row as f32 * f));
            angles.extend(frequency.iter().map(|f| column as f32 * f));
        }
    }
    tables(angles.into_iter())
}

/// Rows and columns of one frame's patches in the processor's order: block by block of
/// `merge` x `merge`, so that a block becomes one token by a reshape.
pub fn merge_order(grid: Grid, merge: usize) -> impl Iterator<Item = (usize, usize)> {
    let (blocks_h, blocks_w) = (grid.h / merge, grid.w / merge);
    (0..blocks_h).flat_map(move |by| {
        (0..blocks_w).flat_map(move |bx| {
            (0..merge).flat_map(move |y| (0..merge).map(move |x| (by * merge + y, bx * merge + x)))
        })
    })
}

fn tables(angles: impl Iterator<Item = f32>) -> (Vec<f32>, Vec<f32>) {
    angles.map(|a| (a.cos(), a.sin())).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Preset, SpecialIds};

    #[test]
    fn text_goes_on_after_the_largest_side_of_a_picture() {
        let ids = SpecialIds { image: 9, vision_start: 2, vision_end: 3, bos: 4, eos: 4 };
        let config = VlmConfig::preset(Preset::Nano, 300, ids);
        let grid = Grid { t: 1, h: 4, w: 6 };
        let positions = rope_index(&[5, 9, 9, 9, 9, 9, 9, 5, 5], &[grid], &config);
        let expected = [
            [0, 0, 0],
            [1, 1, 1],
            [1, 1, 2],
            [1, 1, 3],
            [1, 2, 1],
            [1, 2, 2],
            [1, 2, 3],
            [4, 4, 4],
            [5, 5, 5],
        ];
        assert_eq!(positions, expected);
    }

    #[test]
    fn patches_of_a_block_stand_together() {
        let order: Vec<_> = merge_order(Grid { t: 1, h: 4, w: 4 }, 2).collect();
        assert_eq!(&order[..5], &[(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)]);
    }
}
