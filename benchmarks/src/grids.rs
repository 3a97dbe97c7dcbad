//! Grids of colored cells, and one picture of all grids of a task.
//!
//! This module does not know where tasks are from or what is asked about them.

use image::{Rgb, RgbImage};

const COLORS: [[u8; 3]; 10] = [
    [0, 0, 0],
    [0, 116, 217],
    [255, 65, 54],
    [46, 204, 64],
    [255, 220, 0],
    [170, 170, 170],
    [240, 18, 190],
    [255, 133, 27],
    [127, 219, 255],
    [135, 12, 37],
];
const GROUND: [u8; 3] = [255, 255, 255];
const LINE: [u8; 3] = [90, 90, 90];
/// The side of a cell with its line, in pixels.
const CELL_PX: usize = 12;
/// The space between two grids, in pixels.
const GAP_PX: usize = 12;

/// Rows of colors, 0 to 9.
pub type Grid = Vec<Vec<u8>>;

/// Examples of a rule, and a grid that it is to be applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Inputs and outputs of the rule.
    pub examples: Vec<(Grid, Grid)>,
    /// The grid to which the rule is to be applied.
    pub input: Grid,
}

impl Task {
    /// Draws one picture of all grids: a row for each example, the input last.
    pub fn render(&self) -> RgbImage {
        let rows: Vec<(&Grid, Option<&Grid>)> = self
            .examples
            .iter()
            .map(|(input, output)| (input, Some(output)))
            .chain([(&self.input, None)])
            .collect();
        let side = |cells: usize| cells * CELL_PX + 1;
        let left = rows.iter().map(|(input, _)| side(width(input))).max().unwrap_or(0);
        let right = rows.iter().filter_map(|(_, output)| Some(side(width((*output)?)))).max();
        let heights: Vec<usize> = rows
            .iter()
            .map(|(input, output)| side(input.len().max(output.map_or(0, Vec::len))))
            .collect();
        let total_width = 3 * GAP_PX + left + right.unwrap_or(0);
        let total_height = heights.iter().sum::<usize>() + (heights.len() + 1) * GAP_PX;
        let mut picture =
            RgbImage::from_pixel(total_width as u32, total_height as u32, Rgb(GROUND));
        let mut top = GAP_PX;
        for ((input, output), height) in rows.iter().zip(heights) {
            draw(&mut picture, input, GAP_PX, top);
            if let Some(output) = output {
                draw(&mut picture, output, 2 * GAP_PX + left, top);
            }
            top += height + GAP_PX;
        }
        picture
    }
}

fn width(grid: &Grid) -> usize {
    grid.first().map_or(0, Vec::len)
}

fn draw(picture: &mut RgbImage, grid: &Grid, left: usize, top: usize) {
    let (columns, rows) = (width(grid), grid.len());
    for y in 0..=rows * CELL_PX {
        for x in 0..=columns * CELL_PX {
            let is_line = y % CELL_PX == 0 || x % CELL_PX == 0;
            let color =
                if is_line { LINE } else { COLORS[usize::from(grid[y / CELL_PX][x / CELL_PX])] };
            picture.put_pixel((left + x) as u32, (top + y) as u32, Rgb(color));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_each_cell_in_its_color() {
        let examples = vec![
            (vec![vec![1, 2]], vec![vec![2, 1]]),
            (vec![vec![3], vec![4]], vec![vec![4], vec![3]]),
        ];
        let picture = Task { examples, input: vec![vec![0, 5, 9]] }.render();
        // Three cells left, two right; one, two and one rows.
        let side = |cells: u32| cells * CELL_PX as u32 + 1;
        assert_eq!(picture.width(), 3 * GAP_PX as u32 + side(3) + side(2));
        assert_eq!(picture.height(), 4 * GAP_PX as u32 + side(1) + side(2) + side(1));
        let middle = |left: u32, top: u32, column: u32, row: u32| {
            let half = CELL_PX as u32 / 2;
            picture[(left + column * CELL_PX as u32 + half, top + row * CELL_PX as u32 + half)].0
        };
        let (left, right) = (GAP_PX as u32, 2 * GAP_PX as u32 + side(3));
        let second = 2 * GAP_PX as u32 + side(1);
        let last = second + side(2) + GAP_PX as u32;
        assert_eq!(middle(left, GAP_PX as u32, 0, 0), COLORS[1]);
        assert_eq!(middle(right, GAP_PX as u32, 0, 0), COLORS[2]);
        assert_eq!(middle(right, second, 0, 1), COLORS[3]);
        assert_eq!(middle(left, last, 2, 0), COLORS[9]);
        assert_eq!(middle(right, last, 0, 0), GROUND);
    }
}
