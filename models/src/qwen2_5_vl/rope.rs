//! Rotary positions: the decoder's three-row M-RoPE (Qwen2-VL, section 2.1) and the tower's 2-D form.
//!
//! Computes tables on the host; does not know tensors' devices or attention.
//!
//! Positions are those of `get_rope_index` in transformers 4.57, odd cases included; in version 5 text
//! continues sooner after a long video. Where the reference fails, or takes text for a part of
//! a picture, this returns an error.

use anyhow::{Result, bail, ensure};
use synergy_hint::hint;

use crate::qwen2_5_vl::config::{VISION_ROPE_THETA, VisionConfig, VlmConfig};

/// The patches of one picture or video, before merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grid {
    /// Patches along time; 1 for a picture.
    pub t: usize,
    /// Rows of patches.
    pub h: usize,
    /// Columns of patches.
    pub w: usize,
}

impl Grid {
    /// Counts the patches.
    pub fn num_patches(self) -> usize {
        self.t * self.h * self.w
    }

    /// Counts the tokens that the decoder sees, after merging `merge` x `merge` patches into one.
    pub fn num_tokens(self, merge: usize) -> usize {
        self.num_patches() / (merge * merge)
    }
}

/// The position of one token: time, height, width.
pub type Position = [u32; 3];

/// A video that the processor has cut into patches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Video {
    /// Its patches.
    pub grid: Grid,
    /// Seconds from one temporal patch to the next (`second_per_grid_ts`), at least 0; 1 where the processor
    /// does not say. Only whole seconds count, since the reference cuts off fractions.
    pub seconds_per_grid: f64,
}

impl Video {
    /// Computes the positions in time from one temporal patch to the next.
    fn step(&self, config: &VlmConfig) -> Result<u64> {
        let seconds = self.seconds_per_grid;
        ensure!(
            seconds >= 0.0 && seconds.is_finite(),
            hint!(
                "a video has {seconds} seconds per grid",
                "give temporal_patch_size / frames per second"
            )
        );
        Ok((seconds as u64).saturating_mul(config.vision_config.tokens_per_second as u64))
    }
}

/// Positions of a padded batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RopeIndex {
    /// `[batch][sequence]`; 1 in all three dimensions at padding.
    pub positions: Vec<Vec<Position>>,
    /// The next token's position minus the row's length, padding included: `[batch]`.
    pub deltas: Vec<i64>,
}

/// Computes the positions of one prompt with the pictures' `grids` in order of appearance. Text counts up in all
/// three dimensions; a picture keeps the time of its start and spreads over height and width; text continues
/// after the largest position so far.
///
/// # Errors
/// See [`batch_rope_index`].
pub fn rope_index(input_ids: &[u32], grids: &[Grid], config: &VlmConfig) -> Result<Vec<Position>> {
    let index = batch_rope_index(&[input_ids.to_vec()], None, grids, &[], config)?;
    Ok(index.positions.into_iter().flatten().collect())
}

/// Computes the positions of a batch whose rows hold the `pictures` and `videos` in order of appearance, like
/// `get_rope_index` of the reference. `attention_mask` is false at padding, on either
/// side; without one, every token counts.
///
/// A row has as many pictures as picture tokens directly after `vision_start_token_id`; each
/// then begins at the first picture token that no other picture has taken; the others are text.
/// The same holds for videos; their temporal patches are `seconds_per_grid` x `tokens_per_second` apart in
/// time. Without pictures and videos everything is text.
///
/// # Shapes
/// `input_ids` and `attention_mask` `[batch][sequence]`.
///
/// # Errors
/// If the tokens of pictures or videos and their grids disagree, a grid does not divide into merge
/// blocks, the mask has another shape or hides a whole row, or a position exceeds 32 bits.
pub fn batch_rope_index(
    input_ids: &[Vec<u32>],
    attention_mask: Option<&[Vec<bool>]>,
    pictures: &[Grid],
    videos: &[Video],
    config: &VlmConfig,
) -> Result<RopeIndex> {
    if let Some(mask) = attention_mask {
        ensure!(
            mask.iter().map(Vec::len).eq(input_ids.iter().map(Vec::len)),
            hint!(
                "the attention mask has another shape than the token ids",
                "give one flag for each token"
            )
        );
    }
    let seen = |row: usize, i: usize| attention_mask.is_none_or(|mask| mask[row][i]);
    let only_text = pictures.is_empty() && videos.is_empty();
    let merge = config.vision_config.spatial_merge_size;
    let stills = pictures.iter().map(|&grid| (grid, 0)).collect();
    let clips = videos.iter().map(|video| Ok((video.grid, video.step(config)?)));
    let mut media = Media {
        kinds: [
            Kind::new("image", Some(config.image_token_id), stills, merge)?,
            Kind::new("video", config.video_token_id, clips.collect::<Result<_>>()?, merge)?,
        ],
        config,
    };
    let mut out = RopeIndex { positions: Vec::new(), deltas: Vec::new() };
    for (row, all) in input_ids.iter().enumerate() {
        let places: Vec<usize> = (0..all.len()).filter(|&i| seen(row, i)).collect();
        let ids: Vec<u32> = places.iter().map(|&i| all[i]).collect();
        let positions = if only_text {
            (0..ids.len() as u32).map(|i| [i; 3]).collect()
        } else {
            ensure!(
                !ids.is_empty(),
                hint!("row {row} of the batch is all padding", "leave the row out")
            );
            media.row(&ids)?
        };
        let mut padded = vec![[1; 3]; all.len()];
        for (&place, &position) in places.iter().zip(&positions) {
            padded[place] = position;
        }
        // The reference looks at padding too where all is text, so that a single token beside it
        // goes on at 2.
        let counted = if only_text { &padded } else { &positions };
        let next = counted.iter().flatten().max().map_or(0, |&p| i64::from(p) + 1);
        out.deltas.push(next - all.len() as i64);
        out.positions.push(padded);
    }
    media.finish()?;
    Ok(out)
}

/// The pictures, or the videos, of a batch.
struct Kind {
    name: &'static str,
    token: Option<u32>,
    grids: Vec<(Grid, u64)>,
    /// How many of `grids` the rows so far have taken.
    taken: usize,
    /// Tokens that all `grids` have, and those found in the batch.
    expected: usize,
    found: usize,
}

impl Kind {
    /// Checks `grids`, each with the positions from one temporal patch to the next.
    fn new(
        name: &'static str,
        token: Option<u32>,
        grids: Vec<(Grid, u64)>,
        merge: usize,
    ) -> Result<Kind> {
        let mut expected: usize = 0;
        for (grid, _) in &grids {
            let Grid { t, h, w } = *grid;
            let tokens = t.checked_mul(h / merge).and_then(|n| n.checked_mul(w / merge));
            let total = tokens.filter(|&n| n > 0).and_then(|n| expected.checked_add(n));
            let Some(total) = total.filter(|_| h.is_multiple_of(merge) && w.is_multiple_of(merge))
            else {
                bail!(hint!(
                    "{name} grid {t} x {h} x {w} does not divide into blocks of {merge} x {merge}",
                    "take grids from the processor of this checkpoint"
                ));
            };
            expected = total;
        }
        ensure!(
            grids.is_empty() || token.is_some(),
            hint!(
                "this model has no token for a {name}",
                "its config.json lacks `{name}_token_id`"
            )
        );
        Ok(Kind { name, token, grids, taken: 0, expected, found: 0 })
    }

    fn is(&self, id: u32) -> bool {
        self.token == Some(id)
    }
}

/// Pictures and videos, taken in order of appearance, row by row.
struct Media<'a> {
    kinds: [Kind; 2],
    config: &'a VlmConfig,
}

impl Media<'_> {
    /// Computes the positions of a row without padding.
    fn row(&mut self, ids: &[u32]) -> Result<Vec<Position>> {
        let merge = self.config.vision_config.spatial_merge_size;
        let start = self.config.vision_start_token_id;
        let mut left = [0; 2];
        for (kind, left) in self.kinds.iter_mut().zip(&mut left) {
            kind.found += ids.iter().filter(|&&id| kind.is(id)).count();
            *left = ids.windows(2).filter(|pair| pair[0] == start && kind.is(pair[1])).count();
        }
        let mut positions = Vec::with_capacity(ids.len());
        let mut next: u64 = 0;
        loop {
            let rest = &ids[positions.len()..];
            let first = |k: usize| rest.iter().position(|&id| self.kinds[k].is(id));
            let Some((ahead, k)) =
                (0..2).filter(|&k| left[k] > 0).filter_map(|k| Some((first(k)?, k))).min()
            else {
                break;
            };
            let kind = &mut self.kinds[k];
            let Some(&(grid, step)) = kind.grids.get(kind.taken) else {
                bail!(hint!(
                    ("more {}s in the prompt than the {} given", kind.name, kind.taken),
                    "give one for each"
                ));
            };
            kind.taken += 1;
            left[k] -= 1;
            let (h, w) = (grid.h / merge, grid.w / merge);
            let count = grid.t * h * w;
            let run = rest[ahead..].iter().take(count).take_while(|&&id| kind.is(id)).count();
            ensure!(
                run == count,
                hint!(
                    (
                        "{} {} has {count} tokens by its grid, but {run} stand in the prompt",
                        kind.name,
                        kind.taken
                    ),
                    "expand the prompt with the grids it is run with"
                )
            );
            push_text(&mut positions, &mut next, ahead);
            let (t, h, w) = (grid.t as u64, h as u64, w as u64);
            let last = next.saturating_add(step.saturating_mul(t - 1).max(h.max(w) - 1));
            ensure!(
                last.saturating_add(ids.len() as u64) < u64::from(u32::MAX),
                hint!(
                    ("{} {} is too long: its last position would be {last}", kind.name, kind.taken),
                    "give its seconds per grid in seconds"
                )
            );
            for t in 0..t {
                for y in 0..h {
                    for x in 0..w {
                        positions.push([next + t * step, next + y, next + x].map(|p| p as u32));
                    }
                }
            }
            next = last + 1;
        }
        let rest = ids.len() - positions.len();
        push_text(&mut positions, &mut next, rest);
        Ok(positions)
    }

    /// Refuses a batch whose tokens and grids disagree in number.
    fn finish(&self) -> Result<()> {
        for kind in &self.kinds {
            if !kind.grids.is_empty() && kind.found != kind.expected {
                bail!(hint!(
                    (
                        "the {}s given have {} tokens by their grids, but {} stand in the prompt",
                        kind.name,
                        kind.expected,
                        kind.found
                    ),
                    "give one for each in the prompt, and no more"
                ));
            }
        }
        Ok(())
    }
}

/// Appends `count` tokens of text from position `next` on.
fn push_text(positions: &mut Vec<Position>, next: &mut u64, count: usize) {
    positions.extend((*next..).take(count).map(|p| [p as u32; 3]));
    *next += count as u64;
}

/// Tabulates cosine and sine of each position. The half head is cut into `mrope_section`; each section turns by its
/// own dimension of the position.
///
/// # Shapes
/// Returns `[positions, head_dim / 2]` twice, row-major.
pub fn decoder_tables(positions: &[Position], config: &VlmConfig) -> (Vec<f32>, Vec<f32>) {
    let half = config.head_dim() / 2;
    let section = config.rope_scaling.mrope_section;
    let axis = |j: usize| usize::from(j >= section[0]) + usize::from(j >= section[0] + section[1]);
    let frequencies: Vec<(usize, f32)> =
        (0..half).map(|j| (axis(j), frequency(config.rope_theta, j, half))).collect();
    tables(positions.iter().flat_map(|p| frequencies.iter().map(|&(a, f)| p[a] as f32 * f)))
}

/// Tabulates cosine and sine for the patches of `grid` in the processor's order (merge blocks together). The first half
/// of the columns turns by the patch's row, the second half by its column.
///
/// # Shapes
/// Returns `[patches, head_dim / 2]` twice, row-major.
pub fn vision_tables(grid: Grid, config: &VisionConfig) -> (Vec<f32>, Vec<f32>) {
    let head_dim = config.hidden_size / config.num_heads;
    let quarter = head_dim / 4;
    let frequencies: Vec<f32> =
        (0..quarter).map(|j| frequency(VISION_ROPE_THETA, j, quarter)).collect();
    let merge = config.spatial_merge_size;
    let mut angles = Vec::with_capacity(grid.num_patches() * head_dim / 2);
    for _ in 0..grid.t {
        for (row, column) in merge_order(grid, merge) {
            angles.extend(frequencies.iter().map(|f| row as f32 * f));
            angles.extend(frequencies.iter().map(|f| column as f32 * f));
        }
    }
    tables(angles.into_iter())
}

/// Computes `theta^(-j / count)`, rounded where the reference rounds: it computes the power and its reciprocal in
/// 32 bits each.
fn frequency(theta: f64, j: usize, count: usize) -> f32 {
    let exponent = j as f32 / count as f32;
    1.0 / theta.powf(f64::from(exponent)) as f32
}

/// Lists rows and columns of one frame's patches in the processor's order: block by block of
/// `merge` x `merge`, so that a reshape makes a block one token.
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
    use crate::tests::fixtures;
    use proptest::prelude::*;
    use serde::Deserialize;

    const IMAGE: u32 = 9;
    const VIDEO: u32 = 10;
    const START: u32 = 2;
    const END: u32 = 3;
    const PAD: u32 = 4;

    fn config() -> VlmConfig {
        VlmConfig { image_token_id: IMAGE, video_token_id: Some(VIDEO), ..fixtures::nano(300) }
    }

    fn grid([t, h, w]: [usize; 3]) -> Grid {
        Grid { t, h, w }
    }

    #[test]
    fn text_goes_on_after_the_largest_side_of_a_picture() {
        let ids = [START, 9, 9, 9, 9, 9, 9, END, 5];
        let positions = rope_index(&ids, &[grid([1, 4, 6])], &config()).unwrap();
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
    fn tokens_of_a_picture_that_nothing_opens_are_text() {
        let square = grid([1, 4, 4]);
        let positions = rope_index(&[5, 9, 9, 9, 9, 5], &[square], &config()).unwrap();
        assert_eq!(positions, [0, 1, 2, 3, 4, 5].map(|p| [p; 3]));
        // One picture is opened, so the first run is it.
        let ids = [&[9; 4][..], &[START], &[9; 4], &[END]].concat();
        let positions = rope_index(&ids, &[square; 2], &config()).unwrap();
        assert_eq!(positions[..4], [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]);
        assert_eq!(positions[4..], [2, 3, 4, 5, 6, 7].map(|p| [p; 3]));
    }

    #[derive(Deserialize)]
    struct Fixture {
        image_token_id: u32,
        video_token_id: u32,
        vision_start_token_id: u32,
        spatial_merge_size: usize,
        tokens_per_second: usize,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        input_ids: Vec<Vec<u32>>,
        attention_mask: Option<Vec<Vec<u8>>>,
        image_grid_thw: Vec<[usize; 3]>,
        video_grid_thw: Vec<[usize; 3]>,
        second_per_grid_ts: Option<Vec<f64>>,
        positions: [Vec<Vec<u32>>; 3],
        deltas: Vec<i64>,
    }

    #[test]
    fn positions_are_those_of_the_reference() {
        let fixture: Fixture = fixtures::json("rope_index.json");
        let mut config = config();
        config.image_token_id = fixture.image_token_id;
        config.video_token_id = Some(fixture.video_token_id);
        config.vision_start_token_id = fixture.vision_start_token_id;
        config.vision_config.spatial_merge_size = fixture.spatial_merge_size;
        config.vision_config.tokens_per_second = fixture.tokens_per_second;
        assert_eq!(fixture.cases.len(), 19);
        for case in fixture.cases {
            let mask: Option<Vec<Vec<bool>>> = case
                .attention_mask
                .map(|rows| rows.iter().map(|row| row.iter().map(|&m| m == 1).collect()).collect());
            let pictures: Vec<Grid> = case.image_grid_thw.into_iter().map(grid).collect();
            let seconds = case.second_per_grid_ts.unwrap_or(vec![1.0; case.video_grid_thw.len()]);
            let videos: Vec<Video> = std::iter::zip(case.video_grid_thw, seconds)
                .map(|(thw, seconds_per_grid)| Video { grid: grid(thw), seconds_per_grid })
                .collect();
            let index =
                batch_rope_index(&case.input_ids, mask.as_deref(), &pictures, &videos, &config)
                    .unwrap();
            for (axis, want) in case.positions.iter().enumerate() {
                let got: Vec<Vec<u32>> = (index.positions.iter())
                    .map(|row| row.iter().map(|p| p[axis]).collect())
                    .collect();
                assert_eq!(&got, want, "{}, axis {axis}", case.name);
            }
            assert_eq!(index.deltas, case.deltas, "{}", case.name);
        }
    }

    #[track_caller]
    fn refused(ids: &[u32], pictures: &[[usize; 3]], videos: &[Video], cause: &str) {
        let pictures: Vec<Grid> = pictures.iter().copied().map(grid).collect();
        let error =
            batch_rope_index(&[ids.to_vec()], None, &pictures, videos, &config()).unwrap_err();
        let error = synergy_hint::text(&error);
        assert!(error.contains(cause) && error.contains("\nhint: "), "{error}");
    }

    #[test]
    fn tokens_and_grids_that_disagree_are_an_error() {
        let one = [START, 9, 9, 9, 9, END];
        let two = [one, one].concat();
        refused(&two, &[[1, 4, 4]], &[], "more images in the prompt than the 1 given");
        refused(&one, &[[1, 4, 4], [1, 4, 4]], &[], "have 8 tokens by their grids, but 4 stand");
        refused(&[5, 6], &[[1, 4, 4]], &[], "have 4 tokens by their grids, but 0 stand");
        refused(&one[..4], &[[1, 4, 4]], &[], "image 1 has 4 tokens by its grid, but 3 stand");
        refused(&[START, 9, 9, 5, 9, 9], &[[1, 4, 4]], &[], "but 2 stand");
        refused(&one, &[[1, 4, 5]], &[], "1 x 4 x 5 does not divide");
        refused(&one, &[[1, 0, 4]], &[], "1 x 0 x 4 does not divide");
        refused(&one, &[[usize::MAX, 4, 4]], &[], "does not divide");
        refused(&[START, START], &[[1, 4, 4]], &[], "but 0 stand");
    }

    #[test]
    fn a_video_that_cannot_be_placed_is_an_error() {
        let clip = |seconds_per_grid| Video { grid: grid([2, 4, 4]), seconds_per_grid };
        let ids = [&[START][..], &[VIDEO; 8], &[END]].concat();
        refused(&ids, &[], &[clip(f64::NAN)], "NaN seconds per grid");
        refused(&ids, &[], &[clip(-1.0)], "-1 seconds per grid");
        refused(&ids, &[], &[clip(1e30)], "video 1 is too long");
        refused(&ids, &[[1, 4, 4]], &[], "more videos in the prompt than the 0 given");
        let config = VlmConfig { video_token_id: None, ..config() };
        let error = batch_rope_index(&[ids], None, &[], &[clip(1.0)], &config).unwrap_err();
        assert!(synergy_hint::text(&error).contains("`video_token_id`"), "{error}");
    }

    #[test]
    fn a_mask_that_does_not_fit_is_an_error() {
        let index = |mask: &[bool]| {
            let ids = [vec![START, 9, END]];
            batch_rope_index(&ids, Some(&[mask.to_vec()]), &[grid([1, 2, 2])], &[], &config())
        };
        assert!(index(&[true; 3]).is_ok());
        assert!(index(&[true; 2]).unwrap_err().to_string().contains("another shape"));
        assert!(index(&[false; 3]).unwrap_err().to_string().contains("all padding"));
    }

    /// A stretch of a prompt: text, a picture or a video.
    #[derive(Debug, Clone)]
    enum Part {
        Text(usize),
        Picture(Grid),
        Clip(Video),
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            (1usize..6).prop_map(Part::Text),
            (1usize..4, 1usize..4).prop_map(|(h, w)| Part::Picture(grid([1, 2 * h, 2 * w]))),
            (1usize..4, 1usize..4, 1usize..4, 0.0..4.0).prop_map(|(t, h, w, seconds_per_grid)| {
                Part::Clip(Video { grid: grid([t, 2 * h, 2 * w]), seconds_per_grid })
            }),
        ]
    }

    fn rows() -> impl Strategy<Value = Vec<Vec<Part>>> {
        let row = proptest::collection::vec(part(), 0..5);
        // Text at both ends, so that no row is empty and every picture has text after it.
        let row = row.prop_map(|parts| [vec![Part::Text(1)], parts, vec![Part::Text(1)]].concat());
        proptest::collection::vec(row, 1..4)
    }

    fn ids(row: &[Part]) -> Vec<u32> {
        let ids = row.iter().flat_map(|part| match part {
            Part::Text(count) => vec![5; *count],
            Part::Picture(grid) => {
                [&[START][..], &vec![IMAGE; grid.num_tokens(2)], &[END]].concat()
            }
            Part::Clip(video) => {
                [&[START][..], &vec![VIDEO; video.grid.num_tokens(2)], &[END]].concat()
            }
        });
        ids.collect()
    }

    fn index(rows: &[Vec<Part>], left: bool) -> (Vec<Vec<u32>>, Vec<Vec<bool>>, RopeIndex) {
        let width = rows.iter().map(|row| ids(row).len()).max().unwrap();
        let (mut batch, mut mask) = (Vec::new(), Vec::new());
        let (mut pictures, mut videos) = (Vec::new(), Vec::new());
        for row in rows {
            let ids = ids(row);
            let (gap, len) = (width - ids.len(), ids.len());
            let (pad, off, on) = (vec![PAD; gap], vec![false; gap], vec![true; len]);
            batch.push(if left { [pad, ids].concat() } else { [ids, pad].concat() });
            mask.push(if left { [off, on].concat() } else { [on, off].concat() });
            for part in row {
                match part {
                    Part::Text(_) => {}
                    Part::Picture(grid) => pictures.push(*grid),
                    Part::Clip(video) => videos.push(*video),
                }
            }
        }
        let index = batch_rope_index(&batch, Some(&mask), &pictures, &videos, &config()).unwrap();
        (batch, mask, index)
    }

    fn kept(index: &RopeIndex, mask: &[Vec<bool>]) -> Vec<Vec<Position>> {
        let rows = std::iter::zip(&index.positions, mask);
        rows.map(|(row, mask)| {
            std::iter::zip(row, mask).filter(|(_, m)| **m).map(|(p, _)| *p).collect()
        })
        .collect()
    }

    proptest! {
        #[test]
        fn text_goes_on_one_after_all_that_stands_before_it(rows in rows(), left: bool) {
            let (batch, mask, index) = index(&rows, left);
            for ((ids, mask), row) in batch.iter().zip(&mask).zip(&index.positions) {
                let mut next = 0;
                for ((&id, &kept), &position) in ids.iter().zip(mask).zip(row) {
                    if !kept {
                        prop_assert_eq!(position, [1; 3]);
                        continue;
                    }
                    if id != IMAGE && id != VIDEO {
                        prop_assert_eq!(position, [next; 3]);
                    }
                    next = next.max(position.into_iter().max().unwrap() + 1);
                }
            }
        }

        #[test]
        fn neither_the_side_of_the_padding_nor_the_batch_changes_a_position(rows in rows()) {
            let (_, mask, right) = index(&rows, false);
            let right_kept = kept(&right, &mask);
            let (_, mask, left) = index(&rows, true);
            prop_assert_eq!(&kept(&left, &mask), &right_kept);
            prop_assert_eq!(&left.deltas, &right.deltas);
            for (row, want) in rows.iter().zip(&right_kept) {
                let (_, _, alone) = index(std::slice::from_ref(row), false);
                prop_assert_eq!(&alone.positions[0], want);
            }
        }
    }

    #[test]
    fn patches_of_a_block_stand_together() {
        let order: Vec<_> = merge_order(Grid { t: 1, h: 4, w: 4 }, 2).collect();
        assert_eq!(&order[..5], &[(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)]);
    }
}
